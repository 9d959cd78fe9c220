"""The `cascade` candidate: a cheap first stage in front of the fine-tuned transformer."""
