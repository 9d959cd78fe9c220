"""Images by digest, and the state of a checkout, in a real registry."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from filelock import FileLock

from deploy.ci.state import restore_state, save_state, write_layout
from deploy.images.registry import add_tag, copy, find_digest, mirror_image, push_image
from release.bento_store import find_free_port
from sentiment.errors import BusyError, DeployError, LedgerError
from sentiment.governance.ledger import LedgerEntry, append_entry
from sentiment.paths import CHECKOUT, StateFolder
from tests.support.deploy.clouds import ACCOUNT, REGION, start_cloud
from tests.support.deploy.github import REPOSITORY, put_on_path
from tests.support.image_registry import Registry, require_registry, run_closed_registry, run_registry

pytestmark = pytest.mark.slow

LINE = LedgerEntry("2026-01-01T00:00:00Z", "decision", "sentiment", None, "decided.")


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Iterator[Registry]:
    require_registry("skopeo")
    with run_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def state(tmp_path) -> StateFolder:
    """A state folder as a training leaves it, with what is kept and what is not."""
    return make_state(tmp_path / "state")


def make_state(folder: Path, lines: int = 2) -> StateFolder:
    for name in ("mlflow/artifacts/1/bundle/model.onnx", "bentoml/models/sentiment/5/card.json", "finetuned/big"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    with sqlite3.connect(folder / "mlflow" / "mlflow.db") as database:
        database.execute("create table versions (number integer)")
        database.execute("insert into versions values (5)")
    for _ in range(lines):
        append_entry(folder / "ledger.jsonl", LINE)
    (folder / "production.json").write_text('{"tag": "sentiment:5"}')
    return StateFolder(folder)


def push_something(registry: Registry, name: str, folder: Path) -> str:
    """Put a small image into the registry; return its name by digest."""
    made = make_state(folder)
    digest = save_state(made, f"{registry.host}/{name}:one", "")
    return f"{registry.host}/{name}@{digest}"


def move(state: StateFolder, folder: Path) -> StateFolder:
    """Move a state away, so that its folder has the keys of the machine alone."""
    shutil.move(state.folder, folder)
    shutil.copytree(folder / "signing", state.signing, ignore=shutil.ignore_patterns("ledger.json"))
    return state


def test_a_tag_moves_to_the_same_digest_and_says_what_it_named_before(registry, tmp_path):
    first = push_something(registry, "moved", tmp_path / "a")
    second = push_something(registry, "moved2", tmp_path / "b")
    again = mirror_image(second, f"{registry.host}/moved", "two")
    assert add_tag(first, "production") == ""
    assert add_tag(again, "production") == first.partition("@")[2]
    assert find_digest(f"{registry.host}/moved:production") == second.partition("@")[2]


def test_an_image_that_is_copied_to_another_registry_keeps_its_digest(registry, tmp_path):
    image = push_something(registry, "mirrored", tmp_path / "a")
    with run_registry(tmp_path / "other") as other:
        copied = mirror_image(image, f"{other.host}/team/mirrored", "5-r1.1")
        assert copied.partition("@")[2] == image.partition("@")[2]
        assert find_digest(copied) == find_digest(image)


def test_what_is_not_there_is_none_and_what_cannot_be_said_is_an_error(registry, tmp_path):
    assert find_digest(f"{registry.host}/nothing:here") is None
    with pytest.raises(DeployError, match=r"has no .*/nothing@sha256:0{64}; push it first"):
        add_tag(f"{registry.host}/nothing@sha256:{'0' * 64}", "production")
    with pytest.raises(DeployError, match="cannot be reached"):
        find_digest(f"127.0.0.1:{find_free_port()}/nothing:here")


def test_a_registry_that_wants_a_password_says_how_to_log_in(tmp_path):
    """Nobody may take a refusal for an empty registry: then a model would pass the gate without a champion."""
    require_registry("skopeo")
    with run_closed_registry(tmp_path, "ci", "tangerine") as closed:
        with pytest.raises(DeployError, match=rf"{closed.host} refuses: .*; log in with `skopeo login {closed.host}`"):
            find_digest(f"{closed.host}/state:main")
        with pytest.raises(DeployError, match="refuses"):
            restore_state(StateFolder(tmp_path / "state"), f"{closed.host}/state:main", first=True)


@pytest.mark.parametrize("name", ["sentigate", "ghcr.io/Owner/x:1", "ghcr.io/o/x:1@sha256:12", "https://ghcr.io/o/x:1"])
def test_what_names_no_image_is_told(name):
    with pytest.raises(
        DeployError, match=r"names nothing in a registry; wanted for example ghcr\.io/owner/sentigate:TAG"
    ):
        find_digest(name)


@pytest.mark.container
def test_an_image_of_this_machine_is_pushed_once(registry, tmp_path):
    """An image gets a tag of its own for each release; what was tested is never replaced behind a tag."""
    podman = shutil.which("podman")
    if podman is None or subprocess.run([podman, "info"], capture_output=True, check=False).returncode:
        pytest.skip("no podman works here")
    name, layer = "sentigate-flows-tiny:1", tmp_path / "layer.tar"
    with tarfile.open(layer, "w") as tar:
        tar.add(__file__, "file")
    subprocess.run([podman, "import", "--quiet", str(layer), name], check=True, capture_output=True)
    try:
        pushed = push_image(name, f"{registry.host}/tiny", "5-r1.1")
        assert find_digest(f"{registry.host}/tiny:5-r1.1") == pushed.partition("@")[2]
        with pytest.raises(DeployError, match="a tag of a release is given once; take another tag"):
            push_image(name, f"{registry.host}/tiny", "5-r1.1")
        assert add_tag(pushed, "production") == ""
        assert find_digest(f"{registry.host}/tiny:production") == pushed.partition("@")[2]
    finally:
        subprocess.run([podman, "rmi", name], check=False, capture_output=True)


def test_ecr_is_asked_with_the_password_that_aws_gives(tmp_path):
    """The file with it is gone afterwards, and the logins of the user are as they were."""
    host = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
    skopeo = tmp_path / "skopeo"
    config = json.dumps({"config": {"Labels": {"sentigate.model.version": "5-0a"}}})
    skopeo.write_text(f'#!/bin/sh\ncat "${{2#--authfile=}}" >"$(dirname "$0")/login"\necho \'{config}\'\n')
    skopeo.chmod(0o755)
    with start_cloud(tmp_path) as cloud:
        environment = {**cloud.environment, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        command = [sys.executable, "-m", "deploy.images.registry", "model", f"{host}/sentigate:production"]
        done = subprocess.run(command, cwd=CHECKOUT, env=environment, check=True, capture_output=True, text=True)
        given = cloud.call("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    assert done.stdout == "5-0a\n"
    assert json.loads((tmp_path / "login").read_text()) == {"auths": {host: {"auth": given}}}


def test_an_image_that_nobody_built_is_told(registry):
    with pytest.raises(DeployError, match="neither docker nor podman has an image sentigate-flows:none; `make image`"):
        push_image("sentigate-flows:none", f"{registry.host}/x", "1")


def test_a_state_comes_back_as_it_was_saved(registry, state, tmp_path):
    name = f"{registry.host}/state:whole"
    digest = save_state(state, name, "")
    move(state, tmp_path / "away")
    assert restore_state(state, name, first=False) == digest == find_digest(name)
    found = (path.relative_to(state.folder) for path in state.folder.rglob("*") if path.is_file())
    kept = sorted(str(path) for path in found if path.suffix != ".pem")  # keys were there, and do not travel
    assert kept == [
        "bentoml/models/sentiment/5/card.json",
        "ledger.jsonl",
        "mlflow/artifacts/1/bundle/model.onnx",
        "mlflow/mlflow.db",
        "production.json",
        "run.lock",
        "signing/ledger.json",
    ]
    with sqlite3.connect(state.folder / "mlflow" / "mlflow.db") as database:
        assert database.execute("select number from versions").fetchall() == [(5,)]
    assert state.ledger.read_text().count("\n") == 2


def test_a_state_whose_ledger_was_cut_is_neither_saved_nor_restored(registry, state, tmp_path):
    """Whoever may write to the registry cannot take a decision back, and keys never travel with a state."""
    state.ledger.write_bytes(state.ledger.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(LedgerError, match="line 2 is gone, which was the last one: the end was cut off"):
        save_state(state, f"{registry.host}/state:cut", "")
    assert find_digest(f"{registry.host}/state:cut") is None
    write_layout(state, tmp_path / "layout")
    copy(f"oci:{tmp_path / 'layout'}", f"docker://{registry.host}/state:cut")
    move(state, tmp_path / "away")
    with pytest.raises(LedgerError, match="line 2 is gone, which was the last one: the end was cut off"):
        restore_state(state, f"{registry.host}/state:cut", first=False)
    assert not state.ledger.exists()


def test_a_state_that_another_key_signed_is_not_restored(registry, state, tmp_path):
    """A runner trusts the keys of its environment, not those that come with a state."""
    name = f"{registry.host}/state:foreign"
    save_state(state, name, "")
    shutil.move(state.folder, tmp_path / "away")
    with pytest.raises(LedgerError, match=r"line 1 is signed by the key '[0-9a-f]{16}', which is not trusted here"):
        restore_state(state, name, first=False)
    assert not state.ledger.exists()


def test_a_database_that_is_open_is_saved_as_of_one_moment(registry, state, tmp_path):
    """What was committed and lies in SQLite's journal is kept, what was not is not."""
    writer = sqlite3.connect(state.folder / "mlflow" / "mlflow.db", isolation_level=None)
    writer.execute("pragma journal_mode = wal")
    writer.execute("insert into versions values (6)")
    writer.execute("begin")
    writer.execute("insert into versions values (7)")
    save_state(state, f"{registry.host}/state:open", "")
    writer.close()
    move(state, tmp_path / "away")
    restore_state(state, f"{registry.host}/state:open", first=False)
    with sqlite3.connect(state.folder / "mlflow" / "mlflow.db") as database:
        assert database.execute("select number from versions").fetchall() == [(5,), (6,)]


def test_a_state_that_another_run_saved_meanwhile_is_not_written_over(registry, state):
    name = f"{registry.host}/state:raced"
    before = save_state(state, name, "")
    append_entry(state.ledger, LINE)
    after = save_state(state, name, before)
    with pytest.raises(DeployError, match=f"{after} by now, and this state was made from {before}"):
        save_state(state, name, before)
    with pytest.raises(DeployError, match="this state was made from nothing"):
        save_state(state, name, "")
    assert find_digest(name) == after


def test_the_first_state_is_begun_on_purpose_alone(registry, tmp_path, state):
    """A registry without a state, or with one, is only what the caller says that it is."""
    empty, name = StateFolder(tmp_path / "empty"), f"{registry.host}/state:begun"
    with pytest.raises(DeployError, match="where there was none yet, say so with --first"):
        restore_state(empty, name, first=False)
    assert restore_state(empty, name, first=True) == ""
    save_state(state, name, "")
    with pytest.raises(DeployError, match="is not the first"):
        restore_state(empty, name, first=True)


def test_a_state_that_no_workflow_of_main_saved_is_not_restored(registry, state, tmp_path, monkeypatch):
    """Whoever may write packages could otherwise bring a champion of their own, or none."""
    name = f"{registry.host}/state:signed"
    digest = save_state(state, name, "")
    move(state, tmp_path / "away")
    github = put_on_path(tmp_path / "bin", monkeypatch)
    github.sign(f"{registry.host}/state@{digest}", "ci.yml")
    with pytest.raises(DeployError, match=r"nobody signed that retrain\.yml or record\.yml"):
        restore_state(state, name, first=False, attested_by=REPOSITORY)
    assert not state.ledger.exists()
    github.sign(f"{registry.host}/state@{digest}", "record.yml")
    assert restore_state(state, name, first=False, attested_by=REPOSITORY) == digest


def test_a_tag_that_moves_after_the_look_changes_nothing(registry, state, tmp_path, monkeypatch):
    """What was looked up is what is restored."""
    name = f"{registry.host}/state:moving"
    first = save_state(state, name, "")
    pointer = state.production.read_text()
    state.production.write_text('{"tag": "sentiment:6"}')
    monkeypatch.setattr("deploy.ci.state.find_digest", lambda _: first)
    save_state(state, name, first)
    assert find_digest(name) != first
    move(state, tmp_path / "away")
    assert restore_state(state, name, first=False) == first
    assert state.production.read_text() == pointer


def test_a_registry_of_a_checkout_is_not_written_over(registry, state):
    name = f"{registry.host}/state:own"
    save_state(state, name, "")
    with pytest.raises(DeployError, match="has a registry of its own, which is not written over"):
        restore_state(state, name, first=False)


def test_a_state_of_another_folder_is_refused_and_nothing_is_left(registry, state, tmp_path):
    name = f"{registry.host}/state:elsewhere"
    save_state(state, name, "")
    elsewhere = StateFolder(tmp_path / "elsewhere")
    with pytest.raises(DeployError, match=f"was made in {state.folder}, .*SENTIMENT_STATE_DIR={state.folder}, not in"):
        restore_state(elsewhere, name, first=False)
    assert [path.name for path in elsewhere.folder.iterdir()] == ["run.lock"]


def test_an_image_that_is_no_state_is_refused(registry, tmp_path):
    """The image of the service, given by mistake."""
    layout = tmp_path / "layout"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def write(content: dict) -> dict:
        data = json.dumps(content).encode()
        digest = sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    oci = "application/vnd.oci.image"
    config = write({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}})
    manifest = {"schemaVersion": 2, "mediaType": f"{oci}.manifest.v1+json", "layers": []}
    described = write({**manifest, "config": {"mediaType": f"{oci}.config.v1+json", **config}})
    index = {"schemaVersion": 2, "manifests": [{"mediaType": f"{oci}.manifest.v1+json", **described}]}
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    copy(f"oci:{layout}", f"docker://{registry.host}/sentigate:5")
    with pytest.raises(DeployError, match="is an image, and no state that was saved"):
        restore_state(StateFolder(tmp_path / "state"), f"{registry.host}/sentigate:5", first=False)


def test_a_state_is_not_saved_while_a_run_is_at_work(registry, state):
    with FileLock(state.run_lock), pytest.raises(BusyError, match="a run is at work in this checkout"):
        save_state(state, f"{registry.host}/state:busy", "")


def test_a_folder_without_a_registry_has_nothing_to_save(registry, tmp_path):
    with pytest.raises(DeployError, match="has no registry to save; `make train` makes one"):
        save_state(StateFolder(tmp_path / "none"), f"{registry.host}/state:none", "")


def test_the_command_line_says_one_sentence(registry, tmp_path):
    environment = {**os.environ, "SENTIMENT_STATE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "deploy.ci.state", "restore", f"{registry.host}/state:missing"]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    said = f"Error: there is no {registry.host}/state:missing; where there was none yet, say so with --first.\n"
    assert done.stderr == said
