"""To a hub on loopback and back: what arrives, what is refused, and what is left when it goes wrong."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from huggingface_hub import ModelCard, constants, snapshot_download

from deploy.huggingface.cli import main
from deploy.huggingface.folders import README, write_model_folder
from deploy.huggingface.hub import open_hub
from deploy.production import Production
from sentiment.bundle.bundle import Bundle, open_bundle
from sentiment.errors import DeployError
from tests.conftest import make_tiny_bundle
from tests.support.deploy.hub_server import TOKEN, USER, run_hub
from tests.support.serving import make_store, run_service

NAME = f"{USER}/sentiment"


@pytest.fixture
def server(monkeypatch):
    """A hub whose user is logged in here."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with run_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def make_version(folder: Path, number: int) -> Production:
    bundle: Bundle = make_tiny_bundle(folder / str(number), slope=0.1 * number)
    return Production(f"sentiment:{number}-{bundle.card.digest[:12]}", "sentigate:1", folder, bundle)


def publish(production: Production, folder: Path, name: str = NAME, *, public: bool = False):
    folder.mkdir()
    write_model_folder(production, folder, name, "apache-2.0")
    return open_hub().publish(folder, name, "model", production.version, public=public)


def test_a_bundle_arrives_whole_by_one_commit_with_its_version_as_tag(server, tmp_path):
    """What the hub has under the tag is the bundle, byte for byte, with a card; a new repository is private."""
    one = make_version(tmp_path, 1)

    published = publish(one, tmp_path / "out")

    repository = server.model(NAME)
    assert [commit.title for commit in repository.commits] == ["initial commit", f"Version {one.version}"]
    assert repository.tags == {one.version: published.commit}
    assert repository.private
    assert set(repository.files) == {".gitattributes", README, *one.bundle.card.files}
    assert all(repository.files[name] == (one.bundle.folder / name).read_bytes() for name in one.bundle.card.files)
    assert ModelCard(repository.files[README].decode()).data.license == "apache-2.0"


def test_a_version_that_is_there_is_left_as_it_is(server, tmp_path):
    """Whoever publishes twice changes nothing the second time."""
    one = make_version(tmp_path, 1)
    first = publish(one, tmp_path / "out")

    again = publish(one, tmp_path / "again")

    assert (again.is_new, again.commit) == (False, first.commit)
    assert len(server.model(NAME).commits) == 2


def test_what_is_published_can_be_fetched_opened_and_run_as_the_card_says(server, tmp_path, monkeypatch):
    """The bundle comes back sound, and the program in the card runs on it."""
    one = make_version(tmp_path, 1)
    publish(one, tmp_path / "out")

    fetched = snapshot_download(
        NAME, revision=one.version, local_dir=tmp_path / "back", endpoint=server.url, token=TOKEN
    )

    assert open_bundle(Path(fetched)).card == one.bundle.card
    program = re.search(r"```python\n(.*?)```", (Path(fetched) / README).read_text(), re.S)[1]
    said: list[dict[str, float]] = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: fetched)
    exec(program, {"print": said.append})
    assert set(said[0]) == set(one.bundle.card.labels)
    assert sum(said[0].values()) == pytest.approx(1)


def test_a_withdrawn_version_gives_way_to_the_one_before_and_the_last_takes_the_repository_along(server, tmp_path):
    """Taking back goes a version at a time, and is a commit of its own."""
    one, two = make_version(tmp_path, 1), make_version(tmp_path, 2)
    publish(one, tmp_path / "out1")
    publish(two, tmp_path / "out2")
    before = dict(server.model(NAME).commits[1].files)

    said = open_hub().withdraw_model(NAME)

    assert said.endswith(f"its files are those of version {one.version} again.")
    assert server.model(NAME).files == before
    assert list(server.model(NAME).tags) == [one.version]
    assert open_hub().withdraw_model(NAME) == f"{NAME} had version {one.version} alone and is gone."
    assert server.repositories == {}


def test_a_token_that_is_wrong_or_missing_is_said_before_anything_is_made(server, monkeypatch, tmp_path):
    """Nobody is half logged in."""
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(
        DeployError, match=r"does not take the token \(401\); log in with `hf auth login`, or set HF_TOKEN"
    ):
        open_hub()

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(DeployError, match="there is no token for the Hugging Face hub here; log in with"):
        open_hub()
    assert server.repositories == {}


def test_the_repository_of_somebody_else_is_refused_in_one_sentence(server, tmp_path):
    """A name under another account is not written to, and not made."""
    with pytest.raises(DeployError, match=r"^the token may not write to eve/sentiment \(403\): You don't .*your"):
        publish(make_version(tmp_path, 1), tmp_path / "out", "eve/sentiment")
    assert server.repositories == {}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "'' is no name on the hub; wanted for example REPO=user/sentiment."),
        ("a/b/c", "'a/b/c' is no name on the hub; wanted for example REPO=user/sentiment."),
        ("no spaces/here", "'no spaces/here' is no name on the hub; wanted for example REPO=user/sentiment."),
        ("sentiment", "'sentiment' names no owner; wanted for example REPO=user/sentiment."),
    ],
)
@pytest.mark.parametrize("command", ["model", "space", "withdraw-model", "remove-space"])
def test_what_is_no_name_is_refused_before_anybody_is_asked(server, command, name, said):
    """A name that the hub cannot have is said to be none."""
    done = CliRunner().invoke(main, [command, name])

    assert (done.exit_code, done.output) == (1, f"Error: {said}\n")
    assert server.asked == []


@pytest.mark.parametrize("step", ["/objects/batch$", "/commit/main$", "/tag/"])
def test_an_upload_that_breaks_off_leaves_no_repository(server, tmp_path, step, monkeypatch):
    """Whatever fails on the way, what the attempt made is removed again."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    server.breaks_at = step

    with pytest.raises(DeployError, match=r"^http://127.0.0.1:\d+ refused \(500\): Internal Error; try again.$"):
        publish(make_version(tmp_path, 1), tmp_path / "out")
    assert server.repositories == {}


def test_an_upload_that_breaks_off_leaves_the_version_that_was_there(server, tmp_path):
    """A reader of the repository sees the old version or the new one, never some of both."""
    publish(make_version(tmp_path, 1), tmp_path / "out1")
    before = dict(server.model(NAME).files)
    server.breaks_at = "/commit/main$"

    with pytest.raises(DeployError, match=r"refused \(500\)"):
        publish(make_version(tmp_path, 2), tmp_path / "out2")
    assert (server.model(NAME).files, len(server.model(NAME).tags)) == (before, 1)


def test_a_file_over_the_limit_is_said_and_leaves_nothing(server, tmp_path):
    """The hub's word on the size reaches the user."""
    server.limit = 10

    with pytest.raises(DeployError, match=r"did not take ada/sentiment: LFS batch API .*over the limit of 10 bytes"):
        publish(make_version(tmp_path, 1), tmp_path / "out")
    assert server.repositories == {}


def test_a_hub_that_is_away_is_said_in_one_sentence(server, monkeypatch):
    """Without a network nothing hangs and nothing is traced."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    with pytest.raises(DeployError, match=r"^http://127\.0\.0\.1:9 cannot be reached \(ConnectError\)"):
        open_hub()


def test_a_space_loses_what_the_next_one_has_not_and_is_removed_whole(server, tmp_path):
    """A file that a later Bento has no more does not stay in the Space."""
    hub = open_hub()
    for number, names in enumerate((("Dockerfile", "old.py"), ("Dockerfile", "new.py")), start=1):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in names:
            (folder / name).write_text(f"{name} {number}\n")
        hub.publish(folder, NAME, "space", str(number), public=True)

    repository = server.repositories["spaces", NAME]
    assert set(repository.files) == {".gitattributes", "Dockerfile", "new.py"}
    assert (repository.sdk, repository.private) == ("docker", False)
    hub.remove_space(NAME)
    assert server.repositories == {}


def test_a_plan_without_docker_spaces_is_said(server, tmp_path):
    """Who must pay first is told so."""
    server.plan = False

    with pytest.raises(DeployError, match=r"wants a paid plan for ada/sentiment \(402\): Docker Spaces need a PRO"):
        open_hub().publish(tmp_path, NAME, "space", "1", public=True)


@pytest.mark.slow
def test_a_running_service_reloads_a_version_from_the_hub(server, tmp_path):
    """By `hf://`, in a revision that the operator has named."""
    one, two = make_version(tmp_path, 1), make_version(tmp_path, 2)
    publish(one, tmp_path / "out1", public=True)
    publish(two, tmp_path / "out2")
    sources = f"hf://{NAME}@{two.version},hf://{NAME}@9-none"
    variables = {
        "HF_ENDPOINT": server.url,
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "SENTIMENT_RELOAD_SOURCES": sources,
    }
    (tmp_path / "service").mkdir()
    with run_service(make_store(tmp_path / "store"), tmp_path / "service", **variables) as service:

        def reload(uri: str) -> tuple[int, str]:
            status = service.post("/reload", {"uri": uri}).status_code
            return status, service.get("/model").json()["digest"]

        assert reload(f"hf://{NAME}@{two.version}") == (200, two.bundle.card.digest)
        assert reload(f"hf://{NAME}@9-none") == (422, two.bundle.card.digest)
        assert reload(f"hf://{NAME}@{one.version}") == (422, two.bundle.card.digest)
