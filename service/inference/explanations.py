"""The weight of each word in a prediction, measured through the batcher a few texts at a time."""

from collections.abc import Awaitable, Callable, Sequence

from sentiment.bundle.explanation import keep_parts, list_orders, list_steps, split_parts, weigh_parts
from service.api.schemas import WordWeight

TEXTS_PER_TURN = 8

Score = Callable[[Sequence[str]], Awaitable[list[float]]]
"""Returns the probability of the label that is explained, for each text."""


async def explain_text(
    text: str, score: Score, *, max_parts: int, max_evaluations: int, max_words: int
) -> tuple[float, list[WordWeight]]:
    """Return the score without any word, and what each part of the text adds to it.

    At most `max_evaluations` texts are scored, with about `max_words` words in all, but at least two for each part.
    """
    parts = split_parts(text, max_parts)
    evaluations = min(max_evaluations, 2 * max_words // max(len(text.split()), 1))
    orders = list(list_orders(len(parts), evaluations))
    steps = [list_steps(order) for order in orders]
    subsets = sorted({kept for path in steps for kept in path}, key=sorted)
    scores: dict[frozenset[int], float] = {}
    for start in range(0, len(subsets), TEXTS_PER_TURN):
        turn = subsets[start : start + TEXTS_PER_TURN]
        scores |= zip(turn, await score([keep_parts(text, parts, kept) for kept in turn]), strict=True)
    weights = weigh_parts(orders, [[scores[kept] for kept in path] for path in steps])
    words = [
        WordWeight(text=text[part.start : part.end], start=part.start, end=part.end, weight=round(weight, 6))
        for part, weight in zip(parts, weights, strict=True)
    ]
    return scores[frozenset()], words
