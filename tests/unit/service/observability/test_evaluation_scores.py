"""The newest evaluation of the model that answers is known, and asked for now and then."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sentiment.database.evaluations import append_evaluations, read_newest_evaluations
from service.observability.evaluation_scores import KEPT_SECONDS, EvaluationScores, LatestScores, read_scores
from tests.unit.sentiment.database.test_evaluations import RECORD

SCORES = [EvaluationScores("bundled", 0.75, 0.5, 0.25)]


class Desk:
    """A database that counts how often it is asked; it may hang or be away."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_away = False
        self.seconds = 0.0
        self.released = threading.Event()
        self.released.set()
        self.scores = LatestScores(self.read, patience_seconds=0.2, clock=lambda: self.seconds)

    def read(self, digest: str) -> list[EvaluationScores]:
        self.asked.append(digest)
        self.released.wait(10)
        if self.is_away:
            raise OSError("away")
        return SCORES


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.released.set()


def test_scores_are_asked_for_once_a_minute(desk):
    """Within a minute the same scores are given again."""
    assert [desk.scores.find("a") for _ in range(3)] == [SCORES] * 3
    desk.seconds += KEPT_SECONDS
    assert (desk.scores.find("a"), desk.asked) == (SCORES, ["a", "a"])


def test_another_model_has_scores_of_its_own(desk):
    """After a reload the scores of the new model are asked for."""
    assert (desk.scores.find("a"), desk.scores.find("b"), desk.asked) == (SCORES, SCORES, ["a", "b"])


def test_a_database_that_is_away_gives_no_scores(desk):
    """An error is no scores, for a minute."""
    desk.is_away = True
    assert [desk.scores.find("a") for _ in range(2)] == [(), ()]
    desk.is_away = False
    desk.seconds += KEPT_SECONDS
    assert (desk.scores.find("a"), len(desk.asked)) == (SCORES, 2)


def test_a_database_that_hangs_is_asked_once(desk):
    """While one question waits no other is put, and nobody waits long."""
    desk.released.clear()
    assert desk.scores.find("a") == ()
    desk.seconds += KEPT_SECONDS
    assert (desk.scores.find("a"), desk.scores.find("b"), desk.asked) == ((), (), ["a"])
    desk.released.set()
    assert desk.scores.find("a") == SCORES


def test_the_newest_evaluation_on_each_dataset_counts(tmp_path: Path, monkeypatch):
    """Of several evaluations of a bundle the last on each dataset is read, and none of another bundle."""
    url = f"sqlite:///{tmp_path}/records.db"
    monkeypatch.setenv("DATABASE_URL", url)
    newer = replace(RECORD, macro_f1=0.875, accuracy=0.5)
    other = replace(RECORD, dataset="youtube")
    append_evaluations(url, [RECORD, other, newer, replace(RECORD, bundle_digest="x" * 64, macro_f1=0.1)])

    assert read_newest_evaluations(url, RECORD.bundle_digest) == [newer, other]
    assert read_scores(RECORD.bundle_digest) == [
        EvaluationScores("bundled", 0.875, 0.5, 0.125),
        EvaluationScores("youtube", 0.75, 0.75, 0.125),
    ]
    assert read_scores("none") == []
