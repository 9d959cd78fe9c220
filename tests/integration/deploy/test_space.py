"""The Docker Space: built from the folder that goes to the hub, and run as the hub runs it."""

import subprocess
import sys
import uuid
from pathlib import Path

import httpx
import pytest

from deploy.images.build import BASE_TAG
from release.smoke_test import find_free_port
from tests.support.production import make_checkout
from tests.support.serving import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.container]
PORT = "7860"
READY_SECONDS = 60


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout with a tiny Bento in production."""
    return make_checkout(tmp_path_factory.mktemp("space"))


@pytest.fixture(scope="module")
def folder(checkout, tmp_path_factory) -> Path:
    """What would go to the hub."""
    preview = tmp_path_factory.mktemp("preview")
    done = checkout.run("sentigate", "deploy", "space", "apply", "ada/demo", "--preview", str(preview))
    assert done.stdout == f"{preview} is what would go to ada/demo; nobody was asked.\n", done.stderr
    return preview


@pytest.fixture(scope="module")
def url(engine, folder):
    """The Space as it runs: user 1000, no rights, its port on loopback."""
    name = f"sentigate-space-{uuid.uuid4().hex[:8]}"
    command = [engine.name, "build", "--quiet", "--build-arg", f"BASE_IMAGE={BASE_TAG}", "--tag", name, str(folder)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    port = find_free_port()
    hardened = ["--user", "1000", "--cap-drop", "all", "--security-opt", "no-new-privileges"]
    published = ["--publish", f"127.0.0.1:{port}:{PORT}", "--detach", "--rm", "--name", name]
    subprocess.run([engine.name, "run", *hardened, *published, name], check=True, capture_output=True)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        subprocess.run([engine.name, "stop", name], check=False, capture_output=True)
        subprocess.run([engine.name, "rmi", "--force", name], check=False, capture_output=True)


def test_a_space_holds_all_that_it_runs_and_no_more(folder, checkout):
    """Bento, model, requirements by digest, Dockerfile and card; nothing is fetched that has no digest."""
    version = checkout.pointer["tag"].partition(":")[2]

    assert {path.name for path in folder.iterdir()} == {"Dockerfile", "README.md", "bento", "requirements.lock"}
    assert (folder / "bento/models/sentiment" / version / "card.json").is_file()
    assert "--require-hashes" in (folder / "Dockerfile").read_text()
    assert not list(folder.rglob("__pycache__"))


def test_a_preview_does_not_write_over_what_is_there(checkout, folder):
    """A folder with something in it stays as it is."""
    done = checkout.run("sentigate", "deploy", "space", "apply", "ada/demo", "--preview", str(folder))

    assert done.returncode == 1
    assert done.stderr == f"Error: {folder} is there already and not empty; name another folder.\n"


def test_a_space_answers_from_the_model_in_production_and_lets_the_hub_frame_its_page(url, checkout):
    """As user 1000, without rights, on the port that its card names."""

    def ask_probe() -> bool:
        try:
            return httpx.get(f"{url}/readyz", trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    wait_until(ask_probe, seconds=READY_SECONDS)

    answer = httpx.post(f"{url}/predict", json={"text": "what a day"}, timeout=30, trust_env=False)
    assert answer.json()["model_digest"] == checkout.pointer["digest"]
    page = httpx.get(url, trust_env=False)
    assert page.headers["content-security-policy"].endswith("frame-ancestors https://huggingface.co")
