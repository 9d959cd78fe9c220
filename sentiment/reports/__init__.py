"""HTML pages and pictures about datasets, models and decisions."""
