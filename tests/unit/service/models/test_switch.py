"""Which model a worker answers from, and how all workers of one server change it together."""

import fcntl
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from filelock import FileLock

from sentiment.bundle.trial import Patience
from sentiment.errors import BundleError
from service.models import switch as module
from service.models.desired_state import PENDING_FILE, SERVED_FILE, DesiredCanary, DesiredState, write_desired_state
from service.models.loaded import LoadedModel, TryBundle
from service.models.switch import LOCK_FILE, ModelSwitch, SwitchBusyError, SwitchError, SwitchTimings
from service.models.workers import Workers, list_workers

GUARD_SECONDS = 10
TIMINGS = SwitchTimings(poll_seconds=0.02, ready_seconds=float(GUARD_SECONDS))
"""Workers look often, and wait for each other as long as a test may take."""
INITIAL = DesiredState("", "/bundles/initial", "1")
GOOD, OTHER, BAD, SLOW = (Path("/bundles", name) for name in ("good", "other", "bad", "slow"))
DAMAGED = "model.onnx was altered; fetch the bundle again from the registry."
BUSY = "another reload is under way; ask again when it is done"
FORK = multiprocessing.get_context("fork")
LOCKS: dict[Path, FileLock] = {}
CALLER_LEFT = "the caller gave up"


class Opener:
    """Opens a bundle by its name alone; does before it what its fault is."""

    def __init__(self, **faults: Callable[[], object]) -> None:
        self.opened: list[str] = []
        self.faults = {"bad": damage, **faults}

    def __call__(self, folder: Path) -> str:
        self.opened.append(folder.name)
        if folder.name in self.faults:
            self.faults[folder.name]()
        return f"the predictor of {folder.name}"


class Gate:
    """Holds up whoever opens a bundle until it is released, and then raises where it should."""

    def __init__(self, error: Exception | None = None) -> None:
        self.entered, self.released = threading.Event(), threading.Event()
        self._error = error

    def __call__(self) -> None:
        self.entered.set()
        assert self.released.wait(GUARD_SECONDS)
        if self._error:
            raise self._error


def reload(switch: ModelSwitch, wanted: Path, version: str) -> int:
    """Serve a bundle that lies where it may stay."""
    return switch.reload(lambda folder, patience: (wanted, version), threading.Event())


def pass_trial(folder: Path, patience: Patience, *, copies: int) -> tuple[str, str]:
    """Find every bundle sound."""
    return "", "positive 0.90"


def damage() -> None:
    raise BundleError(DAMAGED)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stall() -> None:
    time.sleep(GUARD_SECONDS)


def be_worker(folder: Path, open_model: Opener, pipe: Connection) -> None:
    """Follow reloads in a process of its own; say which version answers, reload, or end."""
    switch = ModelSwitch(folder, INITIAL, open_model, pass_trial, TIMINGS)
    switch.start()
    pipe.send("up")
    while (wanted := pipe.recv()) != "end":
        pipe.send(switch.current.version if wanted == "version" else reload(switch, *wanted))


class Neighbour:
    """Another worker of the server."""

    def __init__(self, folder: Path, open_model: Opener) -> None:
        self._pipe, theirs = FORK.Pipe()
        self.process = FORK.Process(target=be_worker, args=(folder, open_model, theirs), daemon=True)
        self.process.start()
        theirs.close()
        assert self.hear() == "up"

    def hear(self) -> object:
        assert self._pipe.poll(GUARD_SECONDS)
        return self._pipe.recv()

    def say(self, wanted: object) -> object:
        self._pipe.send(wanted)
        return self.hear()

    @property
    def version(self) -> object:
        return self.say("version")

    def kill(self) -> None:
        self.process.kill()
        self.process.join(GUARD_SECONDS)


@pytest.fixture
def folder(tmp_path) -> Path:
    """What the workers of a server share."""
    return tmp_path / "serving" / "1"


@pytest.fixture
def neighbours(folder) -> Iterator[Callable[..., Neighbour]]:
    """What starts another worker; it is ended after the test."""
    started = []

    def start(**faults: Callable[[], object]) -> Neighbour:
        started.append(Neighbour(folder, Opener(**faults)))
        return started[-1]

    yield start
    for neighbour in started:
        neighbour.kill()


@pytest.fixture
def make_switch(folder) -> Iterator[Callable[..., ModelSwitch]]:
    """What makes the switch of this worker, which follows unless it is told not to; it is closed after the test."""
    made = []

    def make(
        open_model: Opener, *, follows: bool = True, try_bundle: TryBundle = pass_trial, **timings: float
    ) -> ModelSwitch:
        made.append(ModelSwitch(folder, INITIAL, open_model, try_bundle, replace(TIMINGS, **timings)))
        if follows:
            made[-1].start()
        return made[-1]

    yield make
    for switch in made:
        switch.close()


@pytest.fixture
def aside() -> Iterator[Callable[..., Future]]:
    """What does something beside the test."""
    with ThreadPoolExecutor(2) as pool:
        yield pool.submit


def wait_until(is_so: Callable[[], bool]) -> None:
    """Look again and again until it is so."""
    deadline = time.monotonic() + GUARD_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def refuse(switch: ModelSwitch, wanted: Path, version: str = "2") -> str:
    """Return why a reload was refused."""
    with pytest.raises(SwitchError) as refused:
        reload(switch, wanted, version)
    return str(refused.value)


@pytest.fixture(autouse=True)
def held() -> Iterator[dict[Path, FileLock]]:
    """The locks that a worker which offers a state holds."""
    yield LOCKS
    while LOCKS:
        LOCKS.popitem()[1].release()


def offer(folder: Path, desired: DesiredState, name: str = PENDING_FILE) -> None:
    """Write down what another worker would, which lives and holds the lock while there is a pending state."""
    if name == PENDING_FILE and folder not in LOCKS:
        LOCKS[folder] = FileLock(folder / LOCK_FILE)
        LOCKS[folder].acquire()
    write_desired_state(folder / name, desired)


def test_a_worker_answers_from_the_first_model(make_switch, folder):
    """Before any reload a worker serves what it was started with, and says so."""
    switch = make_switch(Opener(), follows=False)

    assert switch.current == LoadedModel("the predictor of initial", "1")
    assert read(folder / f"{os.getpid()}.status") == {"id": "", "progress": "serving", "reason": "", "serves": ""}
    assert list_workers(folder) == [str(os.getpid())]


def test_a_worker_that_cannot_open_its_first_model_does_not_start(folder, refuses):
    """A service without a model answers nobody."""
    with refuses(BundleError):
        ModelSwitch(folder, DesiredState("", str(BAD), "1"), Opener(), pass_trial)


def test_workers_that_serve_what_was_chosen_last_are_counted(make_switch, folder):
    """A worker that has refused a model serves the one before, and one that is still to switch is not current."""
    switch = make_switch(Opener(), follows=False)
    assert switch.count_workers() == Workers(living=1, current=1)
    offer(folder, DesiredState("a", str(BAD), "2"))
    switch.poll()
    assert switch.count_workers() == Workers(living=1, current=1)
    (folder / PENDING_FILE).unlink()
    offer(folder, DesiredState("b", str(GOOD), "3"), SERVED_FILE)
    assert switch.count_workers() == Workers(living=1, current=0)
    switch.poll()
    assert switch.count_workers() == Workers(living=1, current=1)


def test_a_good_model_is_served(make_switch, folder):
    """A reload returns when the model answers; nothing of the reload is left but what is served."""
    switch = make_switch(Opener())

    assert reload(switch, GOOD, "2") == 1
    assert switch.current == LoadedModel("the predictor of good", "2")
    served = read(folder / SERVED_FILE)
    assert (served["folder"], served["version"]) == ("/bundles/good", "2")
    status = {"id": served["id"], "progress": "serving", "reason": "", "serves": served["id"]}
    assert read(folder / f"{os.getpid()}.status") == status
    assert not (folder / PENDING_FILE).exists()
    assert not list(folder.glob("*.part"))


def test_a_call_that_is_under_way_keeps_its_model(make_switch):
    """Whoever took the predictor before a switch goes on with it."""
    switch = make_switch(Opener())
    before = switch.current
    reload(switch, GOOD, "2")

    assert before == LoadedModel("the predictor of initial", "1")


def test_a_model_answers_only_once_it_is_open(make_switch, aside):
    """While a model is being opened the one before answers."""
    gate = Gate()
    switch = make_switch(Opener(slow=gate))
    asked = aside(reload, switch, SLOW, "2")
    assert gate.entered.wait(GUARD_SECONDS)
    before = switch.current.version
    gate.released.set()

    assert (before, asked.result(GUARD_SECONDS), switch.current.version) == ("1", 1, "2")


def test_models_can_be_changed_again_and_again(make_switch):
    """Each reload has an id of its own, also that of a model which was served before."""
    switch = make_switch(Opener())
    seen = []
    for wanted, version in ((GOOD, "2"), (OTHER, "3"), (GOOD, "2"), (GOOD, "2")):
        reload(switch, wanted, version)
        seen.append(switch.current)

    assert [served.version for served in seen] == ["2", "3", "2", "2"]
    assert seen[1].predictor == "the predictor of other"


@pytest.mark.parametrize(
    "error", [BundleError("it is altered."), ValueError("it has no labels"), OSError("it is gone")], ids=repr
)
def test_a_model_that_is_not_sound_changes_nothing(make_switch, folder, error):
    """What keeps a model from being opened is the answer, and the one before goes on."""
    switch = make_switch(Opener(broken=Gate(error)))
    switch._open_model.faults["broken"].released.set()

    assert refuse(switch, Path("/bundles/broken")) == str(error)
    assert switch.current == LoadedModel("the predictor of initial", "1")
    assert not (folder / SERVED_FILE).exists()
    assert not (folder / PENDING_FILE).exists()


@pytest.mark.parametrize("refusals", [1, 2, 5])
def test_a_good_model_is_served_after_bad_ones(make_switch, refusals):
    """A reload that was refused stands in the way of no other, nor of a second try of the same folder."""
    opener = Opener()
    switch = make_switch(opener)
    reasons = [refuse(switch, BAD) for _ in range(refusals)]
    del opener.faults["bad"]

    assert reasons == [DAMAGED] * refusals
    assert (reload(switch, BAD, "2"), switch.current.version) == (1, "2")


def test_a_bad_model_after_a_good_one_leaves_the_good_one(make_switch, folder):
    """What is left after a refusal is what was served before, and not the first model."""
    switch = make_switch(Opener())
    reload(switch, GOOD, "2")
    refuse(switch, BAD, "3")

    assert switch.current.version == "2"
    assert read(folder / SERVED_FILE)["version"] == "2"


def test_a_model_is_opened_once(make_switch, folder):
    """A look at the folder opens nothing that was opened, nor anything that was refused."""
    opener = Opener()
    switch = make_switch(opener, follows=False)
    for choice in (DesiredState("a", str(BAD), "2"), DesiredState("b", str(GOOD), "3")):
        offer(folder, choice)
        for _ in range(3):
            switch.poll()
    offer(folder, choice, SERVED_FILE)
    (folder / PENDING_FILE).unlink()
    for _ in range(3):
        switch.poll()

    assert (opener.opened, switch.current.version) == (["initial", "bad", "good"], "3")


def test_a_model_that_is_served_in_the_middle_of_a_look_is_opened_once(make_switch, folder, monkeypatch):
    """Whenever the others are done, a worker switches to what it has open, which takes no time and cannot fail."""
    opener, choice = Opener(), DesiredState("a", str(GOOD), "2")
    switch = make_switch(opener, follows=False)
    offer(folder, choice)
    switch.poll()
    look = module.read_desired_state

    def serve_before(path: Path) -> DesiredState | None:
        if path.name == PENDING_FILE:
            offer(folder, choice, SERVED_FILE)
            path.unlink(missing_ok=True)
        return look(path)

    monkeypatch.setattr(module, "read_desired_state", serve_before)
    switch.poll()
    switch.poll()

    assert (opener.opened, switch.current.version) == (["initial", "good"], "2")


def test_a_pending_state_that_is_withdrawn_is_forgotten(make_switch, folder):
    """A model that was made ready and never served takes no memory, and is opened anew when it is offered again."""
    opener = Opener()
    switch = make_switch(opener, follows=False)
    offer(folder, DesiredState("a", str(GOOD), "2"))
    switch.poll()
    (folder / PENDING_FILE).unlink()
    switch.poll()
    offer(folder, DesiredState("b", str(GOOD), "2"))
    switch.poll()

    assert (opener.opened, switch.current.version) == (["initial", "good", "good"], "1")


@pytest.mark.parametrize("name", [PENDING_FILE, SERVED_FILE])
def test_what_cannot_be_read_is_passed_over(make_switch, folder, name):
    """A file that says nothing changes nothing."""
    switch = make_switch(Opener(), follows=False)
    (folder / name).write_text('{"id": "a", "fol')
    switch.poll()

    assert switch.current.version == "1"


def test_a_pending_state_that_is_served_already_is_not_prepared_again(make_switch, folder):
    """A worker that looks while a reload is being written down says that it serves the model, and goes on so."""
    opener, choice = Opener(), DesiredState("a", str(GOOD), "2")
    switch = make_switch(opener, follows=False)
    offer(folder, choice)
    switch.poll()
    offer(folder, choice, SERVED_FILE)
    switch.poll()
    (folder / PENDING_FILE).unlink()
    switch.poll()

    assert read(folder / f"{os.getpid()}.status") == {"id": "a", "progress": "serving", "reason": "", "serves": "a"}
    assert (opener.opened, switch.current.version) == (["initial", "good"], "2")


def test_a_bundle_is_fetched_into_a_folder_of_its_own(make_switch, folder):
    """No two reloads share a folder; what was fetched for the one before is removed, and what is served stays."""
    switch, folders = make_switch(Opener()), []

    def fetch(wanted: Path, patience: Patience) -> tuple[Path, str]:
        assert not wanted.exists()
        wanted.mkdir(parents=True)
        folders.append(wanted)
        return wanted, f"{len(folders)}"

    counts = [switch.reload(fetch, threading.Event()) for _ in range(3)]

    assert (counts, len(set(folders)), switch.current.version) == ([1, 1, 1], 3, "3")
    assert list((folder / "models").iterdir()) == folders[-1:]


@pytest.mark.parametrize("error", [BundleError("it is altered."), OSError(28, "No space left on device")], ids=repr)
def test_a_bundle_that_cannot_be_fetched_leaves_nothing(make_switch, folder, error):
    """What keeps a bundle from being fetched is raised; half a bundle does not stay on the disk."""
    switch = make_switch(Opener())

    def fetch(wanted: Path, patience: Patience) -> tuple[Path, str]:
        wanted.mkdir(parents=True)
        (wanted / "card.json").touch()
        raise error

    with pytest.raises(type(error)) as refused:
        switch.reload(fetch, threading.Event())
    assert (refused.value is error, list((folder / "models").iterdir())) == (True, [])
    assert (reload(switch, GOOD, "2"), switch.current.version) == (1, "2")


def test_a_bundle_that_was_refused_does_not_stay(make_switch, folder):
    """A bundle that a worker cannot serve is removed, and the one that is served is not."""
    switch = make_switch(Opener())

    def fetch(wanted: Path, patience: Patience) -> tuple[Path, str]:
        wanted.mkdir(parents=True)
        return wanted, "2"

    switch.reload(fetch, threading.Event())
    served = list((folder / "models").iterdir())
    switch._open_model = lambda folder: damage()
    with pytest.raises(SwitchError):
        switch.reload(fetch, threading.Event())

    assert (list((folder / "models").iterdir()), switch.current.version) == (served, "2")


def test_one_bundle_is_fetched_at_a_time(make_switch, aside):
    """A reload that is refused because another is under way fetches nothing."""
    gate, fetched = Gate(), []
    switch = make_switch(Opener(slow=gate))
    first = aside(reload, switch, SLOW, "2")
    assert gate.entered.wait(GUARD_SECONDS)
    with pytest.raises(SwitchBusyError):
        switch.reload(lambda wanted, _: fetched.append(wanted), threading.Event())
    gate.released.set()

    assert (first.result(GUARD_SECONDS), fetched) == (1, [])


def test_a_caller_that_gave_up_is_not_served(make_switch, folder, aside, refuses):
    """A reload whose caller has gone changes nothing and does not stand in the way of the next."""
    gate, given_up = Gate(), threading.Event()
    switch = make_switch(Opener(slow=gate))
    asked = aside(switch.reload, lambda *_: (SLOW, "2"), given_up)
    assert gate.entered.wait(GUARD_SECONDS)
    given_up.set()
    with refuses(SwitchError):
        asked.result(GUARD_SECONDS)
    gate.released.set()

    assert (switch.current.version, (folder / SERVED_FILE).exists()) == ("1", False)
    assert (reload(switch, GOOD, "3"), switch.current.version) == (1, "3")


def test_a_model_that_takes_too_long_changes_nothing(make_switch, folder, sentence):
    """A reload does not wait for ever; a model that is open too late is not served."""
    gate = Gate()
    switch = make_switch(Opener(slow=gate), ready_seconds=0.1)
    reason = refuse(switch, SLOW)
    gate.released.set()
    wait_until(lambda: read(folder / f"{os.getpid()}.status")["progress"] == "ready")

    assert reason == sentence
    assert (switch.current.version, (folder / SERVED_FILE).exists()) == ("1", False)


def test_a_good_model_is_served_after_one_that_took_too_long(make_switch, folder):
    """A model that was too slow stands in the way of no other."""
    gate = Gate()
    switch = make_switch(Opener(slow=gate), ready_seconds=0.1)
    refuse(switch, SLOW)
    gate.released.set()
    switch._timings = TIMINGS

    assert (reload(switch, GOOD, "3"), switch.current.version) == (1, "3")


def test_a_late_model_is_not_taken_for_the_next(make_switch, folder, aside, refuses):
    """A bad model is refused, though one that was asked for before it is ready by then."""
    gate = Gate()
    switch = make_switch(Opener(slow=gate), poll_seconds=0.05, ready_seconds=0.1, switch_seconds=0.3)
    refuse(switch, SLOW)
    switch._timings = TIMINGS
    asked = aside(reload, switch, BAD, "3")
    wait_until((folder / PENDING_FILE).exists)
    gate.released.set()

    with refuses(SwitchError):
        asked.result(GUARD_SECONDS)
    assert not (folder / SERVED_FILE).exists()


def test_a_late_refusal_is_not_taken_for_that_of_the_next(make_switch, folder, aside):
    """A good model is served, though one that was asked for before it is found to be bad by then."""
    gate = Gate(BundleError("the one before was altered."))
    switch = make_switch(Opener(slow=gate), poll_seconds=0.05, ready_seconds=0.1)
    refuse(switch, SLOW)
    switch._timings = TIMINGS
    asked = aside(reload, switch, GOOD, "3")
    wait_until((folder / PENDING_FILE).exists)
    gate.released.set()

    assert (asked.result(GUARD_SECONDS), switch.current.version) == (1, "3")


def test_one_reload_at_a_time(make_switch, aside):
    """A second reload is refused at once, and the first goes on."""
    gate = Gate()
    switch = make_switch(Opener(slow=gate))
    first = aside(reload, switch, SLOW, "2")
    assert gate.entered.wait(GUARD_SECONDS)
    with pytest.raises(SwitchBusyError) as refused:
        reload(switch, GOOD, "3")
    gate.released.set()

    assert (str(refused.value), first.result(GUARD_SECONDS), switch.current.version) == (BUSY, 1, "2")
    assert (reload(switch, GOOD, "3"), switch.current.version) == (1, "3")


def test_a_reload_that_another_worker_is_asked_for_is_one(make_switch, folder):
    """Two workers that are asked at once do not both change the model."""
    switch = make_switch(Opener())
    with (folder / LOCK_FILE).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        reason = refuse(switch, GOOD)

    assert (reason, switch.current.version) == (BUSY, "1")


def test_all_workers_change_together(neighbours, make_switch):
    """A reload returns when every worker answers from the model, and says how many there are."""
    others = [neighbours(), neighbours()]
    switch = make_switch(Opener())

    assert reload(switch, GOOD, "2") == 3
    assert [switch.current.version, *(other.version for other in others)] == ["2", "2", "2"]


def test_any_worker_may_be_asked(neighbours, make_switch):
    """The worker that is asked follows as the others do, and each may be the next."""
    other = neighbours()
    switch = make_switch(Opener())
    counts = [other.say((GOOD, "2")), reload(switch, OTHER, "3"), other.say((GOOD, "4"))]

    assert (counts, switch.current.version, other.version) == ([2, 2, 2], "4", "4")


@pytest.mark.parametrize("refusals", [1, 3])
def test_one_worker_that_refuses_keeps_all_from_changing(neighbours, make_switch, refusals):
    """Where one worker cannot serve a model none does; the next model is served by all."""
    other = neighbours(good=damage)
    switch = make_switch(Opener())
    reasons = [refuse(switch, GOOD) for _ in range(refusals)]
    versions = (switch.current.version, other.version)

    assert (reasons, versions) == ([DAMAGED] * refusals, ("1", "1"))
    assert (reload(switch, OTHER, "3"), switch.current.version, other.version) == (2, "3", "3")


def test_one_worker_that_is_slow_keeps_all_from_changing(neighbours, make_switch, sentence):
    """Where one worker is late none changes."""
    other = neighbours(slow=stall)
    switch = make_switch(Opener(), ready_seconds=0.2)

    assert refuse(switch, SLOW) == sentence
    assert (switch.current.version, other.version) == ("1", "1")


def test_a_worker_that_was_killed_in_the_middle_is_not_waited_for(neighbours, make_switch, folder):
    """A worker that dies over a model keeps nobody from it, and leaves nothing behind."""
    other = neighbours(good=die)
    switch = make_switch(Opener())

    assert (reload(switch, GOOD, "2"), switch.current.version) == (1, "2")
    assert not list(folder.glob(f"{other.process.pid}-*.worker"))


def test_a_worker_that_starts_after_a_reload_serves_what_the_others_do(neighbours, make_switch):
    """A worker that was killed comes back to the model of its neighbours, and follows the next reload."""
    other = neighbours()
    switch = make_switch(Opener())
    reload(switch, GOOD, "2")
    other.kill()
    another = neighbours()

    assert another.version == "2"
    assert (reload(switch, OTHER, "3"), another.version) == (2, "3")


def test_a_worker_that_starts_after_a_refused_reload_serves_the_first_model(neighbours, make_switch):
    """What was refused is not served by whoever comes later, and stands in nobody's way."""
    switch = make_switch(Opener())
    refuse(switch, BAD)
    other = neighbours()

    assert other.version == "1"
    assert (other.say((GOOD, "2")), switch.current.version) == (2, "2")


def test_a_worker_that_was_asked_and_died_leaves_the_others_as_they_were(neighbours, make_switch, folder):
    """Half a reload is none, and the next one is whole."""
    other = neighbours()
    switch = make_switch(Opener())
    other._pipe.send((SLOW, "2"))
    gate = Gate()
    switch._open_model.faults["slow"] = gate
    assert gate.entered.wait(GUARD_SECONDS)
    other.kill()
    gate.released.set()

    assert (reload(switch, GOOD, "3"), switch.current.version) == (1, "3")


def test_a_worker_that_closed_is_none(folder):
    """A service that ended is not waited for."""
    switch = ModelSwitch(folder, INITIAL, Opener(), pass_trial, TIMINGS)
    switch.start()
    switch.close()

    assert list_workers(folder) == []
    assert not list(folder.glob(f"{os.getpid()}.*"))


class Trial:
    """Finds every bundle sound but those of these names, and remembers what it was asked."""

    def __init__(self, *killers: str) -> None:
        self.killers, self.tried = set(killers), []

    def __call__(self, folder: Path, patience: Patience, *, copies: int) -> tuple[str, str]:
        self.tried.append((folder.name, copies))
        if folder.name in self.killers:
            raise BundleError(f"opening {folder.name} ended the process that did it (SIGSEGV).")
        return "", ""


def test_a_bundle_that_its_trial_does_not_survive_is_opened_by_nobody(make_switch, folder, refuses):
    """What kills a process of its own is never written down, so that no worker meets it."""
    opener, trial = Opener(), Trial("good")
    switch = make_switch(opener, try_bundle=trial)

    with refuses(BundleError):
        reload(switch, GOOD, "2")
    with refuses(BundleError):
        switch.start_canary(lambda *_: (GOOD, "2"), 0.5, 60, threading.Event())
    assert (opener.opened, trial.tried) == (["initial"], [("good", 2), ("good", 2)])
    assert not (folder / PENDING_FILE).exists()
    assert (reload(switch, OTHER, "3"), opener.opened[1:]) == (1, ["other"])


def test_a_bundle_is_tried_once_for_all_workers(neighbours, make_switch):
    """The worker that is asked has it tried, with room for every worker to open it, and none does so again."""
    neighbours(), neighbours()
    trial = Trial()
    switch = make_switch(Opener(), try_bundle=trial)

    assert (reload(switch, GOOD, "2"), trial.tried) == (3, [("good", 4)])


@pytest.mark.parametrize("age", ["left by a worker that died", "older than a reload lasts"])
def test_a_stale_pending_state_is_ignored_and_removed(make_switch, folder, age):
    """Who asked for a model holds the lock as long as it lives, and not for ever: nobody opens what it left behind."""
    opener = Opener()
    switch = make_switch(opener, follows=False)
    offer(folder, DesiredState("a", str(GOOD), "2"))
    if age.startswith("left"):
        LOCKS.pop(folder).release()
    else:
        long_ago = time.time() - TIMINGS.ready_seconds - TIMINGS.switch_seconds - 1
        os.utime(folder / PENDING_FILE, (long_ago, long_ago))
    switch.poll()

    assert (opener.opened, (folder / PENDING_FILE).exists()) == (["initial"], False)


def test_a_model_that_is_being_opened_holds_up_no_order(make_switch, folder):
    """While one model hangs a withdrawal is seen, the next model opened, and what is served taken up."""
    gate = Gate()
    opener = Opener(slow=gate)
    switch = make_switch(opener, follows=False)
    offer(folder, DesiredState("a", str(SLOW), "2"))
    started = time.monotonic()
    switch.poll()
    assert gate.entered.wait(GUARD_SECONDS)
    for choice in (DesiredState("b", str(GOOD), "3"), DesiredState("c", str(OTHER), "4")):
        offer(folder, choice)
        switch.poll()
        assert read(folder / f"{os.getpid()}.status")["progress"] == "ready"
    offer(folder, choice, SERVED_FILE)
    switch.poll()
    seconds = time.monotonic() - started
    gate.released.set()

    assert (switch.current.version, opener.opened) == ("4", ["initial", "slow", "good", "other"])
    assert seconds < 2


def test_a_choice_that_cannot_be_opened_stands_in_the_way_of_no_other(make_switch, folder, refuses):
    """Where what is served kills, the next reload is served, and a canary beside it does not bring it in untried."""
    opener, trial = Opener(), Trial("bad")
    switch = make_switch(opener, follows=False, try_bundle=trial)
    evil = DesiredState("evil", str(BAD), "9")
    offer(folder, evil, SERVED_FILE)
    with refuses(SwitchError):
        switch.poll()
    offer(folder, replace(evil, canary=DesiredCanary("c", str(OTHER), "4", 0.5, time.monotonic() + 60)))
    switch.poll()
    refused = read(folder / f"{os.getpid()}.status")
    offer(folder, DesiredState("b", str(GOOD), "3"))
    switch.poll()

    assert (refused["id"], refused["progress"]) == ("evil+c", "failed")
    assert read(folder / f"{os.getpid()}.status")["progress"] == "ready"
    assert opener.opened == ["initial", "good"]


class PanicError(BaseException):
    """What a library in Rust raises when it panics."""


def panic() -> None:
    raise PanicError


@pytest.mark.parametrize("fault", [panic, damage], ids=["panic", "error"])
def test_whatever_opening_raises_is_said(make_switch, fault, sentence):
    """A panic, which is no Exception, neither ends the thread that takes orders nor lets the caller wait."""
    switch = make_switch(Opener(good=fault))

    assert refuse(switch, GOOD) == sentence
    assert (reload(switch, OTHER, "3"), switch.current.version) == (1, "3")


def test_a_worker_that_starts_does_not_open_what_kills(make_switch, folder, refuses):
    """What the others serve is tried again first; where it kills, the worker answers from the model of its start."""
    make_switch(Opener(), follows=False)
    offer(folder, DesiredState("a", str(GOOD), "2"), SERVED_FILE)
    opener, trial = Opener(), Trial("good")
    late = make_switch(opener, follows=False, try_bundle=trial)
    assert (late.current.version, opener.opened) == ("1", ["initial"])

    with refuses(SwitchError):
        late.poll()
    assert opener.opened == ["initial"]
    trial.killers.clear()
    late.poll()
    assert (late.current.version, opener.opened) == ("2", ["initial", "good"])


def test_another_model_than_was_tried_is_not_opened(make_switch, tiny_bundle):
    """A folder whose card was changed since its trial is refused before its graph is read."""
    opener = Opener()
    switch = make_switch(opener, try_bundle=lambda *_, **__: ("0" * 64, ""))

    assert refuse(switch, tiny_bundle.folder).endswith("is not the one that was tried; ask for it again.")
    assert opener.opened == ["initial"]
