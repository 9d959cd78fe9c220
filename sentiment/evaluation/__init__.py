"""How good a model is on labelled text: predictions, scores, comparisons, slices, behaviour."""
