"""Datasets: where they lie, how they are read, cleaned and split."""
