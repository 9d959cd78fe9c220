"""Opening a bundle in a process of its own: it may kill or hang whoever opens it, and then takes nothing else away."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from sentiment.bundle.bundle import read_card
from sentiment.errors import BundleError
from sentiment.paths import CHECKOUT

LOOK_SECONDS = 0.05
BASE_BYTES = 500_000_000
"""Memory of a process that has a model of no size open, with room: 115 MB were seen."""
BYTES_PER_BUNDLE_BYTE = 8
CGROUP = Path("/sys/fs/cgroup")
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "VIRTUAL_ENV")
"""Variables that a trial sees: none of the secrets that its parent may have."""


@dataclass(frozen=True)
class Patience:
    """How long something may take: until a moment of the monotonic clock, or until nobody waits for it any more."""

    until: float
    given_up: threading.Event = field(default_factory=threading.Event)

    @property
    def seconds_left(self) -> float:
        return max(0.0, self.until - time.monotonic())

    @property
    def is_over(self) -> bool:
        return self.given_up.is_set() or not self.seconds_left


def try_bundle(folder: Path, patience: Patience, *, copies: int = 1) -> tuple[str, str]:
    """Return the digest of a bundle and its answer to one text, after another process has opened and asked it.

    That process may use as much memory as lets so many `copies` of the model be opened. Raises BundleError for a bundle
    that is not sound, kills the process, or takes too long or too much.
    """
    card = read_card(folder)
    size = sum((folder / name).stat().st_size for name in card.files if (folder / name).is_file())
    memory = BASE_BYTES + min(BYTES_PER_BUNDLE_BYTE * size, read_free_memory() // max(1, copies))
    options = (str(folder), str(max(1, round(patience.seconds_left))), str(memory))
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment["TOKENIZERS_PARALLELISM"] = "false"
    said = run_bounded("sentiment.bundle.verify", options, patience, environment, f"opening the model in {folder}")
    digest, _, answer = said.partition(" ")
    return digest, answer


def run_bounded(
    module: str, options: tuple[str, ...], patience: Patience, environment: Mapping[str, str], what: str
) -> str:
    """Return what a module of ours writes in a process of its own, which is killed once the patience is over.

    Raises BundleError with the sentence that it writes where it exits with 1, or with one that says how `what` ended.
    """
    started = time.monotonic()
    command = [sys.executable, "-m", module, *options]
    with subprocess.Popen(  # noqa: S603 - this Python on a module of ours, without a shell
        command,
        cwd=CHECKOUT,
        env={**environment, "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        errors="replace",
    ) as process:
        try:
            while True:
                try:
                    said = process.communicate(timeout=LOOK_SECONDS)[0].strip()
                    break
                except subprocess.TimeoutExpired:
                    if patience.is_over:
                        raise BundleError(_describe_delay(what, time.monotonic() - started)) from None
        finally:
            process.kill()
    if process.returncode == 0:
        return said
    if process.returncode == 1 and said:
        raise BundleError(said)
    name = signal.Signals(-process.returncode).name if process.returncode < 0 else f"exit code {process.returncode}"
    if name in {"SIGALRM", "SIGXCPU"}:
        raise BundleError(_describe_delay(what, time.monotonic() - started))
    raise BundleError(f"{what} ended the process that did it ({name}); name another bundle.")


def read_free_memory() -> int:
    """Return the bytes that this machine, or the control group of this container, has left."""
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return min(free, limit - used + int(stat["inactive_file"]))
    except (OSError, ValueError, KeyError):  # no control group, or one without a limit
        return free


def _describe_delay(what: str, seconds: float) -> str:
    return f"{what} was not done after {seconds:.0f} s; name a smaller or nearer bundle."
