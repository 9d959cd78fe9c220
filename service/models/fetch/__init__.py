"""Bundles from outside BentoML's store: the places that an operator allows, and the copy of their files."""
