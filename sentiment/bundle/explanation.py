"""Which words made a prediction: what each adds to the probability of the label, averaged over orders of adding them.

Permutation sampling of Shapley values (Strumbelj and Kononenko 2014), each order beside its reverse. Whatever the
orders, the weights add up: the probability of the label without any word plus all weights is that of the whole text.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Part:
    """Characters `start` to `end` of a text: a word or, in a long text, several words side by side."""

    start: int
    end: int


def split_parts(text: str, max_parts: int) -> list[Part]:
    """Return the words of a text, joined to their neighbours as evenly as it takes to have at most `max_parts`."""
    words = [Part(*found.span()) for found in WORD.finditer(text)]
    count = min(len(words), max_parts)
    edges = [round(i * len(words) / count) for i in range(count + 1)] if count else []
    return [Part(words[first].start, words[last - 1].end) for first, last in pairwise(edges)]


def list_orders(parts: int, evaluations: int, seed: int = 0) -> Iterator[list[int]]:
    """Yield as many orders of the parts as fit into so many evaluations, at least that of the text and its reverse."""
    generator = random.Random(seed)  # noqa: S311 - drawn again, no secret
    order = list(range(parts))
    for _ in range(max(1, evaluations // (2 * max(parts, 1)))):
        yield order
        yield order[::-1]
        order = generator.sample(order, parts)


def keep_parts(text: str, parts: Sequence[Part], kept: frozenset[int]) -> str:
    """Return the text with these parts only, in their places."""
    if len(kept) == len(parts):
        return text
    return " ".join(text[part.start : part.end] for number, part in enumerate(parts) if number in kept)


def list_steps(order: Sequence[int]) -> list[frozenset[int]]:
    """Return which parts are there after each step of an order, from none to all."""
    return [frozenset(order[:count]) for count in range(len(order) + 1)]


def weigh_parts(orders: Sequence[Sequence[int]], scores: Sequence[Sequence[float]]) -> list[float]:
    """Return the weight of each part, from the scores after each step of each order."""
    weights = [0.0] * len(orders[0])
    for order, reached in zip(orders, scores, strict=True):
        for part, before, after in zip(order, reached[:-1], reached[1:], strict=True):
            weights[part] += (after - before) / len(orders)
    return weights
