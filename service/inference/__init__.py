"""From a text to its prediction: micro-batching, the canary's share of the requests, and explanations."""
