"""A shadow model answers a share of the texts in the shadow, and whatever it does, nobody waits for it."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from sentiment.bundle.predictor import Prediction
from sentiment.errors import BundleError
from service.api.ids import make_id
from service.api.schemas import ReloadRequest
from service.models.loaded import LoadedModel
from service.models.shadow import MAX_WAITING, NICENESS, Shadow, describe_source, is_sampled, open_shadow_model
from service.prediction_log.entries import ShadowEntry
from service.prediction_log.log import Answered
from service.prediction_log.spool import SpoolError
from tests.conftest import make_tiny_bundle

LABELS = ("negative", "positive")
SECRET = "marmalade"
GUARD_SECONDS = 10


class FakePredictor:
    """Says what it is told to, and fails over some texts."""

    def __init__(self, labels: Sequence[str] = LABELS, says: str = "positive") -> None:
        self.labels = tuple(labels)
        self.bundle = SimpleNamespace(card=SimpleNamespace(digest="d" * 64))
        self.released = threading.Event()
        self.released.set()
        self.priority = 0
        self._says = says

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        self.released.wait(GUARD_SECONDS)
        self.priority = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        if "fail" in texts[0]:
            raise RuntimeError(f"cannot read {texts[0]}")
        return [make_prediction(self._says)]


class Stage:
    """A champion's labels, and what became of what its shadow was offered."""

    def __init__(self) -> None:
        self.labels: tuple[str, ...] = LABELS
        self.entries: list[ShadowEntry] = []
        self.agreed: list[bool | None] = []
        self.full = False
        self._shadows: list[Shadow] = []

    def start(self, model: FakePredictor | Exception, share: float = 1.0) -> Shadow:
        def open_it() -> LoadedModel:
            if isinstance(model, Exception):
                raise model
            return LoadedModel(model, "5")

        shadow = Shadow(
            share,
            open_shadow_model=open_it,
            read_labels=lambda: self.labels,
            record=self._record,
            watch=self.agreed.append,
        )
        shadow.start()
        self._shadows.append(shadow)
        wait_until(lambda: shadow.read_status().status != "opening")
        return shadow

    def offer(self, shadow: Shadow, *texts: str) -> list[str]:
        """Offer answers to texts; return their ids."""
        ids = [make_id() for _ in texts]
        shadow.offer([Answered(text, make_prediction("positive"), "4", "c" * 64) for text in texts], ids)
        return ids

    def close(self) -> None:
        for shadow in self._shadows:
            shadow.close(0.1)

    def _record(self, entry: ShadowEntry) -> None:
        if self.full:
            raise SpoolError("the spool is full")
        self.entries.append(entry)


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


def make_prediction(label: str) -> Prediction:
    return Prediction(label, 0.75, {label: 0.75}, False, 3, False)


def wait_until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + GUARD_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_every_sampled_answer_has_one_beside_it(stage):
    """An entry names the prediction, what the champion said, and what the shadow model says; nothing of the text."""
    ids = stage.offer(stage.start(FakePredictor(says="negative")), f"{SECRET} 1", f"{SECRET} 2")
    wait_until(lambda: len(stage.agreed) == 2)

    assert [entry.prediction_id for entry in stage.entries] == ids
    assert {(entry.champion_label, entry.label, entry.model_version) for entry in stage.entries} == {
        ("positive", "negative", "5")
    }
    assert stage.agreed == [False, False]
    assert SECRET not in str([asdict(entry) for entry in stage.entries])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_id_of_a_prediction_decides_whether_it_is_sampled(share):
    """The share is met, and the same id is always in it or never."""
    ids = [make_id() for _ in range(4000)]
    sampled = [one for one in ids if is_sampled(one, share)]
    assert len(sampled) / len(ids) == pytest.approx(share, abs=0.04)
    assert sampled == [one for one in ids if is_sampled(one, share)]


def test_what_is_not_sampled_is_not_answered(stage):
    """A shadow model sees its share and no more."""
    shadow = stage.start(FakePredictor(), share=0.3)
    ids = stage.offer(shadow, *(str(number) for number in range(100)))
    wanted = [one for one in ids if is_sampled(one, 0.3)]
    wait_until(lambda: len(stage.entries) == len(wanted))
    assert [entry.prediction_id for entry in stage.entries] == wanted


def test_a_shadow_model_that_is_slow_sheds_texts(stage):
    """What finds no room is counted and dropped, and whoever offers it does not wait."""
    predictor = FakePredictor()
    predictor.released.clear()
    shadow = stage.start(predictor)
    stage.offer(shadow, "first")
    wait_until(lambda: shadow.read_status().waiting == 0)

    started = time.perf_counter()
    stage.offer(shadow, *(str(number) for number in range(MAX_WAITING + 7)))
    assert time.perf_counter() - started < 1
    assert stage.agreed == [None] * 7
    predictor.released.set()
    wait_until(lambda: stage.agreed.count(True) == MAX_WAITING + 1)


def test_a_shadow_model_gives_way_to_the_service(stage):
    """Its thread has a lower priority than all others."""
    predictor = FakePredictor()
    stage.offer(stage.start(predictor), "text")
    wait_until(lambda: stage.agreed)
    assert predictor.priority == NICENESS


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BundleError("no such model."), "the shadow model cannot be opened (no such model)"),
        (RuntimeError(SECRET), "the shadow model cannot be opened (RuntimeError)"),
    ],
)
def test_a_shadow_model_that_cannot_be_opened_is_said_once(stage, caplog, error, reason):
    """The reason is in the log and in the status, and nothing is kept for it."""
    shadow = stage.start(error)
    stage.offer(shadow, SECRET)

    status = shadow.read_status()
    assert (status.status, status.reason, status.model_version, status.waiting) == ("unavailable", reason, None, 0)
    assert [record.message for record in caplog.records] == [f"{reason}; the champion answers on"]
    assert SECRET not in caplog.text


def test_a_shadow_model_that_fails_is_said_once_and_goes_on(stage, caplog, sentence):
    """A text that is too much for it costs its own answer alone; no text is in the log."""
    shadow = stage.start(FakePredictor())
    stage.offer(shadow, f"fail {SECRET}", f"fail {SECRET}")
    wait_until(lambda: len(stage.agreed) == 2)
    assert shadow.read_status().status == "failing"
    stage.offer(shadow, "text")
    wait_until(lambda: len(stage.agreed) == 3)

    assert (shadow.read_status().status, stage.agreed) == ("ok", [None, None, True])
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [sentence]


def test_an_answer_that_cannot_be_kept_is_dropped(stage):
    """A full spool costs the shadow model's answer."""
    stage.full = True
    stage.offer(stage.start(FakePredictor()), "text")
    wait_until(lambda: stage.agreed)
    assert (stage.agreed, stage.entries) == ([None], [])


def test_other_labels_cannot_be_compared_until_a_champion_has_the_same(stage, caplog, sentence):
    """A shadow model with other labels answers nothing, and goes on after a reload of a champion that fits."""
    stage.labels = ("bad", "good")
    shadow = stage.start(FakePredictor())
    stage.offer(shadow, "text")
    wait_until(lambda: stage.agreed)
    assert (shadow.read_status().status, stage.agreed) == ("other_labels", [None])
    stage.labels = tuple(reversed(LABELS))
    stage.offer(shadow, "text")
    wait_until(lambda: len(stage.agreed) == 2)

    assert (shadow.read_status().status, stage.agreed) == ("ok", [None, True])
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [sentence]


def test_a_shadow_that_ends_answers_what_waits(stage):
    """What was taken before the end is answered, as far as there is time."""
    shadow = stage.start(FakePredictor())
    stage.offer(shadow, *("text" for _ in range(100)))
    shadow.close()
    assert len(stage.entries) == 100


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("4", ReloadRequest(version="4")),
        ("4-0612f84cc27d", ReloadRequest(version="4-0612f84cc27d")),
        ("/models/5", ReloadRequest(folder="/models/5")),
        ("s3://bucket/bundle", ReloadRequest(uri="s3://bucket/bundle")),
        ("file:///models/5", ReloadRequest(uri="file:///models/5")),
    ],
)
def test_a_shadow_model_is_named_by_version_folder_or_uri(name, source):
    """A name means what it means to a reload."""
    assert describe_source(name) == source


def test_a_shadow_model_leaves_no_copy_behind(tmp_path: Path):
    """A bundle is copied while it is opened, and then answers without its files."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    home = tmp_path / "home"
    home.mkdir()
    served = open_shadow_model(str(bundle.folder), home)
    assert list(home.iterdir()) == []
    assert served.predictor.predict(["good"])[0].label == "positive"


def test_a_bundle_that_is_not_there_is_refused(tmp_path: Path):
    """A folder without a bundle cannot be opened."""
    with pytest.raises(BundleError):
        open_shadow_model(str(tmp_path / "nothing"), tmp_path)
