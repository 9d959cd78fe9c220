"""A bundle is opened in a process of its own first: whatever it does there, the one that asked goes on."""

import os
import threading
import time
from pathlib import Path

import pytest

from sentiment.bundle import trial
from sentiment.bundle.trial import Patience, read_free_memory, try_bundle
from sentiment.errors import BundleError
from tests.support.hostile import (
    make_growing_bundle,
    make_hanging_bundle,
    make_killing_bundle,
    make_panicking_bundle,
    make_swelling_bundle,
)

SECONDS = 30.0
HURRIED = 2.0


def be_patient(seconds: float = SECONDS) -> Patience:
    return Patience(time.monotonic() + seconds)


def refuse(folder: Path, patience: Patience) -> str:
    """Return why a bundle is not sound."""
    with pytest.raises(BundleError) as refused:
        try_bundle(folder, patience)
    return str(refused.value)


def test_a_sound_bundle_says_its_digest_and_an_answer(tiny_bundle):
    """What comes back is the digest of the files that were opened, and what they say of one text."""
    digest, answer = try_bundle(tiny_bundle.folder, be_patient())

    assert (digest, answer.split()[0]) == (tiny_bundle.card.digest, "positive")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (make_killing_bundle, "opening the model in {} ended the process that did it (SIGSEGV); name another bundle."),
        (make_panicking_bundle, "opening the model in {} ended the process that did it (exit code 1); name another"),
        (make_swelling_bundle, "the graph or the tokenizer in {} cannot be run (Fail); train and export it again."),
        (make_growing_bundle, "opening the model in {} "),  # out of memory, or of time on a slow machine
        (make_hanging_bundle, "opening the model in {} was not done after {:.0f} s; name a smaller or nearer bundle."),
    ],
    ids=["kills", "panics", "swells", "grows", "hangs"],
)
def test_a_bundle_that_does_harm_does_it_to_its_trial(tmp_path, make, said):
    """Each is refused in one sentence, within its time."""
    folder, started = make(tmp_path / "hostile"), time.monotonic()
    patience = be_patient(HURRIED if make in {make_hanging_bundle, make_growing_bundle} else SECONDS)

    reason = refuse(folder, patience)

    assert reason.startswith(said.format(folder, HURRIED))
    assert "\n" not in reason
    assert time.monotonic() - started < SECONDS


def test_a_trial_ends_by_itself(tmp_path, monkeypatch):
    """Where nobody is left to kill it the system does, by its own clock."""
    folder = make_hanging_bundle(tmp_path / "hostile")
    patience = be_patient(HURRIED)
    monkeypatch.setattr(Patience, "is_over", False)

    assert refuse(folder, patience).startswith(f"opening the model in {folder} was not done after ")


def test_a_trial_ends_when_nobody_waits_for_it(tmp_path):
    """A caller that leaves takes the process along."""
    patience = be_patient()
    folder, started = make_hanging_bundle(tmp_path / "hostile"), time.monotonic()
    threading.Timer(1, patience.given_up.set).start()
    refuse(folder, patience)

    assert time.monotonic() - started < SECONDS / 2


def test_a_trial_knows_no_secrets(tiny_bundle, monkeypatch):
    """A file that takes the process over finds no keys in its environment."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "marmalade")
    seen = {}
    monkeypatch.setattr(trial, "run_bounded", lambda *options: seen.update(options[3]) or f"{'d' * 64} x")
    try_bundle(tiny_bundle.folder, be_patient())

    assert "marmalade" not in seen.values()
    assert seen["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "1000\n", "memory.current": "700\n", "memory.stat": "anon 3\ninactive_file 50\n"}, 350),
        ({"memory.max": "max\n", "memory.current": "700\n", "memory.stat": "inactive_file 50\n"}, None),
        ({}, None),
    ],
    ids=["a container", "no limit", "no group"],
)
def test_memory_is_that_of_the_container(tmp_path, monkeypatch, files, left):
    """A bundle may use what the control group has left, page cache that can go included."""
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(trial, "CGROUP", tmp_path)

    assert read_free_memory() == left if left else read_free_memory() > 10**6


def test_the_bound_on_memory_is_that_of_a_share(tiny_bundle, monkeypatch):
    """Every worker is to open it beside what it has open: a large bundle may use one share of what is free."""
    seen = []
    monkeypatch.setattr(trial, "run_bounded", lambda _, options, *__: seen.append(int(options[2])) or "d x")
    monkeypatch.setattr(trial, "read_free_memory", lambda: 300)
    for copies in (1, 3):
        try_bundle(tiny_bundle.folder, be_patient(), copies=copies)

    assert seen == [trial.BASE_BYTES + 300, trial.BASE_BYTES + 100]
