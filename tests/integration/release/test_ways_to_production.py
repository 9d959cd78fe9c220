"""Every way to production, tried with files that never passed the gate.

By whoever may write to the registry, MLflow's and BentoML's store, and not to ledger or signing key; and by whoever may
write to the ledger, too, and not to the signing key. Each is refused in a sentence, and nothing changes.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import mlflow
import pytest
from bentoml._internal.bento import BentoStore
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from bentoml.exceptions import BentoMLException
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from deploy.ci.release import main, prepare_release
from deploy.images.build import find_bento
from deploy.production import find_production
from release.bento_store import build_bento, find_stored, store_model
from release.canary import run_canary, try_version
from release.journal import change_production, recover_journal
from release.mlflow_registry import (
    fetch_bundle,
    log_bundle,
    name_version,
    point_alias,
    read_alias,
    register_bundle,
    require_version,
    tag_version,
)
from release.promotion import (
    check_version,
    deploy_version,
    describe_promotion,
    ensure_stored,
    promote_version,
    reject_version,
    stage_version,
)
from release.rollback import roll_back
from sentiment.bundle.bundle import SIGNATURE_FILE, Bundle, seal_bundle
from sentiment.bundle.trial import Patience
from sentiment.config.reader import CANARY_KEY, read_yaml
from sentiment.config.schema import CanarySection
from sentiment.environment import list_environment
from sentiment.errors import SentimentError
from sentiment.governance.ledger import read_entries
from sentiment.governance.signatures import LINE, load_public_keys, load_signing_key, make_signing_key, verify_signature
from sentiment.model_name import ModelName
from sentiment.paths import CHECKOUT, STATE_VARIABLE, StateFolder
from service.api.schemas import ReloadRequest
from service.models.fetch.sources import Sources
from service.models.sources import fetch_bundle as fetch_for_reload
from service.models.sources import find_admitted_tag
from service.models.trust import choose_opener
from service.settings import ServiceSettings
from tests.conftest import enter_decision, make_tiny_bundle

pytestmark = pytest.mark.slow

NEVER_PASSED = "never passed the gate"
CHANGED = "somebody changed it; restore its files"
OTHER_FILES = "of sentiment version . are the model ............, the registry says"
MOVED = "somebody moved it by hand; put it back: make rollback VERSION=2"
EVIL = "4"
CANARY = CanarySection.model_validate(read_yaml(CHECKOUT / "zenml_config.yaml")[CANARY_KEY])


Attack = Callable[["Place"], str]
"""What a registry writer does; it returns the version that has files now which never passed."""
Way = Callable[["Place", str], None]
"""What an operator, or a pipeline, does with that version."""


@dataclass(frozen=True)
class Place:
    """A registry whose version 1 was in production, 2 is, and 3 waits; and a bundle that never passed."""

    state: StateFolder
    evil: Bundle
    run_id: str

    def find_digest(self, number: str) -> str:
        return str(MlflowClient().get_model_version("sentiment", number).tags["digest"])

    def read(self) -> tuple[Any, ...]:
        """Return all that says what is in production or about to be, and who says so."""
        aliases = {alias: read_alias(alias) for alias in ("production", "previous", "staging")}
        stored = {path: path.read_bytes() for path in (self.state.bentoml / "models").rglob("card.json")}
        return aliases, self.state.production.read_bytes(), self.state.ledger.read_bytes(), stored


def make_bundle(folder: Path, number: int) -> Bundle:
    bundle = make_tiny_bundle(folder)
    return seal_bundle(folder, replace(bundle.card, max_tokens=8 + number))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty registry, which takes MLflow seconds to make, and the Bento of version 2, so that tests copy both."""
    state = StateFolder(tmp_path_factory.mktemp("empty"))
    with pytest.MonkeyPatch.context() as patch, use_stores(state):
        for name, value in list_environment(state).items():
            patch.setenv(name, value)
        (state.folder / "mlflow").mkdir()
        MlflowClient(state.tracking_uri).search_experiments()
        bundle = make_bundle(state.folder / "bundle", 2)
        name = ModelName("2", bundle.card.digest)
        store_model(bundle, name.tag)
        enter_decision(bundle.card.digest)
        build_bento(name.tag)
        yield state.folder


class use_stores:  # noqa: N801 - a context manager
    """Let BentoML, in this process, use the stores of a state folder."""

    def __init__(self, state: StateFolder) -> None:
        self._home = state.bentoml

    def __enter__(self) -> None:
        for name in ("models", "bentos"):
            (self._home / name).mkdir(parents=True, exist_ok=True)
        BentoMLContainer.model_store.set(ModelStore(self._home / "models"))
        BentoMLContainer.bento_store.set(BentoStore(self._home / "bentos"))

    def __exit__(self, *_: object) -> None:
        BentoMLContainer.model_store.reset()
        BentoMLContainer.bento_store.reset()


@pytest.fixture
def place(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    state = StateFolder(tmp_path / "state")
    for kept in ("mlflow", "bentoml/bentos"):
        shutil.copytree(empty / kept, state.folder / kept)
    monkeypatch.setenv(STATE_VARIABLE, str(state.folder))
    mlflow.set_tracking_uri(state.tracking_uri)
    experiment = mlflow.create_experiment("test", artifact_location=str(state.mlflow_artifacts))
    with use_stores(state), mlflow.start_run(experiment_id=experiment) as run:
        made = Place(state, make_bundle(tmp_path / "evil", 100), run.info.run_id)
        for number in (1, 2, 3):
            add_version(make_bundle(tmp_path / str(number), number), str(number - 1) if number > 1 else None)
        yield made
    mlflow.set_tracking_uri(None)


def register(bundle: Bundle) -> str:
    """Register a bundle in a run of its own; return its number."""
    with mlflow.start_run(nested=True) as run:
        return str(register_bundle(bundle, log_bundle(bundle), run.info.run_id).version)


def add_version(bundle: Bundle, champion: str | None) -> None:
    """Add a version that passed the gate: 3 waits, the others go into production."""
    enter_decision(bundle.card.digest, champion_version=champion)
    version = require_version(register(bundle))
    ensure_stored(version)
    if champion == "2":
        stage_version(version, champion)
    else:
        change_production(describe_promotion(version, champion))


def add_files(place: Place) -> str:
    """Register files that never passed, and say that they did."""
    number = register(place.evil)
    tag_version(number, **{"gate.outcome": "pass"})
    return number


def add_files_under_a_good_digest(place: Place) -> str:
    """Register them with the digest of what passed."""
    number = add_files(place)
    tag_version(number, digest=place.find_digest("3"))
    return number


def add_files_under_a_good_name(place: Place) -> str:
    """And put the model that passed into the store under the name that they would have there."""
    number = add_files_under_a_good_digest(place)
    store_model(place.evil, ModelName(number, place.find_digest("3")).tag)
    return number


def swap_files(place: Place, number: str, *, tag: bool) -> str:
    """Put them in the place of a version's, in the registry and in the store; with or without its tag."""
    version = require_version(number)
    stored = find_stored(name_version(version).tag)
    for folder in (Path(version.source.removeprefix("file://")), stored):
        for name in place.evil.card.files:
            shutil.copy(place.evil.folder / name, folder / name)
    if tag:
        tag_version(number, digest=place.evil.card.digest)
        renamed = stored.with_name(f"{number}-{place.evil.card.digest[:12]}")
        shutil.copytree(stored, renamed)
        described = (renamed / "model.yaml").read_text().replace(stored.name, renamed.name)
        (renamed / "model.yaml").write_text(described)
    return number


def point(attack: Attack, alias: str) -> Attack:
    """Let an alias say so, too; what waits is out of the way where production is meant."""

    def moved(place: Place) -> str:
        number = attack(place)
        if alias == "production":
            point_alias("staging", None)
        point_alias(alias, number)
        return number

    return moved


def swap(number: str, *, tag: bool = False) -> Attack:
    return lambda place: swap_files(place, number, tag=tag)


def promote(place: Place, number: str) -> None:
    promote_version(number)


def approve(place: Place, number: str) -> None:
    promote_version("staging", approve=True)


def go_back(place: Place, number: str) -> None:
    roll_back("it is rude to users", version=number)


class Watching:
    """A service that a canary would be tried on; it must never be told to."""

    url = "http://127.0.0.1:9"

    def require_ready(self) -> str:
        return "2-good"

    def count(self, name: str, **labels: str) -> int:
        return 0

    def start(self, name: str, share: float, minutes: float) -> None:
        raise AssertionError(f"{name} was started as a canary")


def try_as_canary(place: Place, number: str) -> None:
    run_canary(CANARY, number)


def try_as_canary_after_its_check(place: Place, number: str) -> None:
    try_version(require_version(number), CANARY, Watching())


def deploy_after_the_gate(place: Place, number: str) -> None:
    deploy_version(require_version(number), "2", "auto")


def release(place: Place, number: str) -> None:
    prepare_release()


def make_image(place: Place, number: str) -> None:
    find_bento(number)


def deploy(place: Place, number: str) -> None:
    find_production()


def start_service(place: Place, number: str) -> None:
    find_admitted_tag()


def reload_production(place: Place, number: str) -> None:
    fetch_for_reload(ReloadRequest(alias="production"), place.state.folder / "r-1", Patience(0), Sources())


def open_in_a_deploy_target(place: Place, number: str) -> None:
    stored = find_stored(name_version(require_version(number)).tag)
    choose_opener(ServiceSettings(require_signature=True))(stored)


def finish_a_move(place: Place, number: str) -> None:
    recover_journal()


def leave_a_move(place: Place) -> str:
    """Register files that never passed, and leave a move to them that looks cut off."""
    number = add_files(place)
    change = describe_promotion(require_version(number), "2", force="because I say so")
    place.state.journal.write_text(json.dumps(asdict(change)))
    return number


def move(place: Place, number: str) -> None:
    change_production(describe_promotion(require_version(number), "2"))


WAYS: dict[str, tuple[Way, Attack, str]] = {
    "promote": (promote, add_files, NEVER_PASSED),
    "promote, under a good digest": (promote, add_files_under_a_good_digest, OTHER_FILES),
    "promote, under a good name": (promote, add_files_under_a_good_name, OTHER_FILES),
    "promote again": (promote, point(add_files, "production"), MOVED),
    "promote again, files swapped": (promote, swap("2"), OTHER_FILES),
    "promote again, files and tag swapped": (promote, swap("2", tag=True), CHANGED),
    "approve": (approve, point(add_files, "staging"), NEVER_PASSED),
    "approve, files swapped": (approve, swap("3"), OTHER_FILES),
    "approve, files and tag swapped": (approve, swap("3", tag=True), NEVER_PASSED),
    "roll back": (go_back, swap("1"), OTHER_FILES),
    "roll back, tag swapped": (go_back, swap("1", tag=True), CHANGED),
    "canary": (try_as_canary, add_files, NEVER_PASSED),
    "canary, under a good digest": (try_as_canary_after_its_check, add_files_under_a_good_name, OTHER_FILES),
    "train, files and tag swapped": (deploy_after_the_gate, swap("3", tag=True), NEVER_PASSED),
    "train, files swapped": (deploy_after_the_gate, swap("3"), OTHER_FILES),
    "move": (move, add_files, NEVER_PASSED),
    "move that was cut off": (finish_a_move, leave_a_move, NEVER_PASSED),
    "release what waits": (release, point(add_files, "staging"), NEVER_PASSED),
    "release what waits, good digest": (release, point(add_files_under_a_good_name, "staging"), OTHER_FILES),
    "release production": (release, point(add_files, "production"), MOVED),
    "image": (make_image, swap("2"), NEVER_PASSED),
    "deploy": (deploy, swap("2"), NEVER_PASSED),
    "serve": (start_service, swap("2"), NEVER_PASSED),
    "reload": (reload_production, swap("2"), NEVER_PASSED),
    "open where signatures are required": (
        open_in_a_deploy_target,
        swap("2"),
        r"signature\.json .* is of another model",
    ),
}


def refuse(place: Place, way: Way, number: str, sentence: str) -> None:
    """Try a way, which is refused in one sentence and changes nothing."""
    before = place.read()
    with pytest.raises((SentimentError, BentoMLException), match=sentence) as raised:
        way(place, number)
    assert "\n" not in str(raised.value)
    assert place.read() == before


@pytest.mark.parametrize("name", WAYS)
def test_a_registry_writer_gets_nothing_into_production(place: Place, name: str) -> None:
    """Aliases, tags, files of MLflow and of BentoML's store say what they like: the ledger does not."""
    way, attack, sentence = WAYS[name]
    pointer = place.state.production.read_bytes()
    refuse(place, way, attack(place), sentence)
    place.state.journal.unlink(missing_ok=True)
    recover_journal()
    assert place.state.production.read_bytes() == pointer


def forge_line(place: Place, after: bytes, event: str) -> bytes:
    """Return a line on the bundle that never passed which follows another, with the key and a signature of that."""
    details = {"outcome": "pass", "digest": place.evil.card.digest, "champion_version": "2", "replaced": "2"}
    copied = json.loads(place.state.ledger.read_bytes().splitlines()[-1])
    forged = {"event": event, "version": EVIL, "details": details}
    return json.dumps(copied | forged | {"previous": sha256(after).hexdigest() if after else ""}).encode()


def add_forged_lines(place: Place) -> bytes:
    """Say that it passed, and went into production, in lines that chain."""
    ledger = place.state.ledger.read_bytes()
    decision = forge_line(place, ledger.splitlines()[-1], "decision")
    return ledger + decision + b"\n" + forge_line(place, decision, "promotion") + b"\n"


def add_lines_of_another_key(place: Place) -> bytes:
    """Say so in a line that holds, signed with a key of one's own."""
    key = make_signing_key(place.state.folder / "mine")
    line = json.loads(forge_line(place, place.state.ledger.read_bytes().splitlines()[-1], "decision")) | {"key": key.id}
    del line["signature"]
    line["signature"] = key.sign(LINE, line)
    return place.state.ledger.read_bytes() + json.dumps(line).encode()


def edit_digest(place: Place) -> bytes:
    """Put the digest of what never passed in the place of what did."""
    return place.state.ledger.read_bytes().replace(place.find_digest("2").encode(), place.evil.card.digest.encode())


def write_anew(place: Place) -> bytes:
    """Write a whole ledger of one's own."""
    return forge_line(place, b"", "decision") + b"\n"


FORGERIES = (add_forged_lines, add_lines_of_another_key, edit_digest, write_anew)
BY_SIGNATURE_ALONE = "open where signatures are required"


@pytest.mark.parametrize("name", [name for name in WAYS if "," not in name and name != BY_SIGNATURE_ALONE])
def test_a_ledger_writer_gets_nothing_into_production(place: Place, name: str) -> None:
    """A line that the key of the installation did not sign counts for nothing, and is told."""
    way, attack, _ = WAYS[name]
    number, sound = attack(place), place.state.ledger.read_bytes()
    for forge in FORGERIES:
        place.state.ledger.write_bytes(forge(place))
        refuse(place, way, number, r"ledger\.jsonl line \d+ (was altered|is signed by the key|does not follow)")
        place.state.ledger.write_bytes(sound)


@pytest.mark.parametrize("act", [lambda: reject_version("", "why not"), recover_journal, lambda: promote_version("3")])
def test_whoever_reads_a_ledger_that_was_cut_says_so(place: Place, act: Callable[[], object]) -> None:
    """A rejection or a rollback cannot be taken back by cutting it off."""
    reject_version("", "it is rude to users")
    point_alias("staging", "3")
    whole = place.state.ledger.read_bytes().splitlines(keepends=True)
    place.state.ledger.write_bytes(b"".join(whole[:-1]))
    refuse(place, lambda *_: act(), "3", rf"ledger\.jsonl line {len(whole)} is gone, which was the last one")


def test_what_is_admitted_is_signed_and_goes_on(place: Place) -> None:
    """What passed goes into production with its signature, is released, built, deployed, served, and gone back from."""
    promote_again = promote_version("2")
    assert promote_again.is_done
    assert find_admitted_tag() == find_production().model
    assert find_bento("2").model_digest == place.find_digest("2")
    carried = {path.stem for path in (find_production().bento_folder / "public").iterdir()}
    assert carried == {load_signing_key().id}
    for number in ("1", "2", "3"):
        open_in_a_deploy_target(place, number)
    assert roll_back("it is rude to users").version == "1"


def test_ci_writes_down_what_it_deployed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Registry and ledger follow a deployment of an earlier version by a rollback, without `make`."""
    monkeypatch.setenv("PATH", "")
    deployed = str(name_version(require_version("1")))
    done = CliRunner().invoke(main, ["record", deployed, "--reason", "it is rude to users"])
    assert (done.exit_code, done.output) == (
        0,
        f"version {deployed} is in production, by the registry and the ledger.\n",
    )
    last = read_entries(place.state.ledger)[-1]
    assert (read_alias("production"), last.event, last.reason) == ("1", "rollback", "it is rude to users")


def test_what_is_forced_is_a_decision_of_its_own(place: Place) -> None:
    """A reason on the record lets files that never passed through, these files, and their signature says so."""
    number = add_files(place)
    check_version(require_version(number), "2", "the law asks for it")
    decision = read_entries(place.state.ledger)[-1]
    assert (decision.event, decision.details["outcome"], decision.reason) == (
        "decision",
        "forced",
        "the law asks for it",
    )
    assert decision.summary == f"version {number} is forced: it never passed the gate."
    signed = verify_signature(ensure_stored(require_version(number)), place.evil.card.digest, load_public_keys())
    assert (signed.statement.verdict, signed.statement.reason) == ("forced", "the law asks for it")
    assert (fetch_bundle(require_version(number)).folder / SIGNATURE_FILE).is_file()


def test_what_is_forced_under_a_good_digest_is_refused(place: Place) -> None:
    """A reason is for the files that the operator named, and not for those that somebody put there."""
    number = add_files(place)
    tag_version(number, digest="e" * 64)
    refuse(place, lambda *_: promote_version(number, force="the law asks for it"), number, OTHER_FILES)
