"""The order in which rows are trained on."""

import random

import pytest
import torch

from sentiment.candidates.transformer.trainer import EpochSampler, group_by_length


def order(lengths: list[int], batch_size: int, seed: int = 1) -> list[int]:
    return group_by_length(lengths, batch_size, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rows", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_every_row_comes_once_and_the_longest_first(rows: int, batch_size: int):
    """A text that the memory does not hold stops the first step, not the last one."""
    lengths = [random.Random(row).randint(1, 90) for row in range(rows)]
    found = order(lengths, batch_size)
    assert sorted(found) == list(range(rows))
    assert lengths[found[0]] == max(lengths)


def test_a_batch_holds_texts_of_like_length():
    """Padding costs far less than in an order of chance."""
    lengths = [random.Random(row).randint(1, 90) for row in range(4000)]

    def pad(rows: list[int]) -> int:
        batches = [rows[start : start + 16] for start in range(0, len(rows), 16)]
        return sum(16 * max(lengths[row] for row in batch) for batch in batches)

    chance = random.Random(0).sample(range(4000), 4000)
    assert pad(order(lengths, 16)) < 1.1 * sum(lengths) < 0.7 * pad(chance)


def test_an_epoch_has_its_order_whenever_it_begins():
    """A run that goes on in the second epoch meets the rows as one that was never killed."""
    lengths = [row % 9 + 1 for row in range(50)]
    whole, resumed = (EpochSampler(lengths, 4, seed=3) for _ in range(2))
    first = list(whole)
    whole.set_epoch(1)
    resumed.set_epoch(1)
    assert list(resumed) == list(whole) != first
