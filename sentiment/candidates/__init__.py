"""Ways to train a model: each is trained on the same splits and exported to the same kind of bundle."""
