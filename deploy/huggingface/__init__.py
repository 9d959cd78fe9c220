"""The Hugging Face hub: the bundle with its card, and a Space that runs the Bento."""
