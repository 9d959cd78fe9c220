"""The model bundle: its files, what answers from it, and what verifies it."""

from sentiment.bundle.bundle import Bundle, Card

__all__ = ["Bundle", "Card"]
