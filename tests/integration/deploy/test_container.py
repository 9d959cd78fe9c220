"""The service in a container, hardened: no way to write but its volume, no capability, little memory."""

import json
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from deploy.images.build import BASE_TAG
from deploy.images.engines import Engine
from sentiment.errors import DeployError
from sentiment.governance.signatures import make_signing_key
from sentiment.paths import CHECKOUT
from service.security.keys import make_key, write_key
from tests.support.deploy.containers import HARDENED, Container, is_busy, run_container
from tests.support.serving import wait_until

pytestmark = [pytest.mark.container, pytest.mark.slow]

LEFT_OUT = {"hf-xet"}  # for downloads from the Hugging Face hub alone
READY_SECONDS = 5
STOP_SECONDS = 2
MOST_ADDED_BYTES = 330_000_000
FIND_MISSING = """
import json, re
from importlib.metadata import distributions, requires
from packaging.requirements import Requirement
have = {re.sub("[-_.]+", "-", d.name).lower(): d.version for d in distributions()}
wanted = [Requirement(line) for name in have for line in requires(name) or []]
asked = {re.sub("[-_.]+", "-", r.name).lower() for r in wanted if not r.marker or r.marker.evaluate({"extra": ""})}
print(json.dumps({"have": have, "missing": sorted(asked - set(have))}))
"""
FIND_ZOMBIES = """
from pathlib import Path
stats = [path.read_text().rpartition(")")[2].split()[0] for path in Path("/proc").glob("[0-9]*/stat")]
print(stats.count("Z"))
"""
KILL_A_WORKER = """
import os, signal
from pathlib import Path
workers = [int(p.parent.name) for p in Path("/proc").glob("[0-9]*/cmdline") if b"worker.service" in p.read_bytes()]
os.kill(workers[0], signal.SIGKILL)
print(workers[0])
"""
LIST_ROWS = """
import sqlite3
database = sqlite3.connect("file:/var/lib/sentigate/sentigate.db?mode=ro", uri=True)
print(*(found for (found,) in database.execute("select id from predictions")), sep="\\n")
"""


@pytest.fixture(scope="module")
def container(engine: Engine, image: str) -> Iterator[Container]:
    """One container that the tests share, which is never stopped."""
    with run_container(engine, image) as container:
        yield container


@pytest.fixture
def volume(engine: Engine) -> Iterator[str]:
    """A named volume, removed afterwards."""
    name = engine.run("volume", "create").strip()
    yield name
    engine.run("volume", "rm", "--force", name)


def find_rows(container: Container) -> set[str]:
    """Return the ids of the predictions in the database of a container."""
    return {str(uuid.UUID(found)) for found in container.execute("python", "-c", LIST_ROWS).split()}


def test_a_container_answers(container):
    """One text and many are answered, by the model that is in the image."""
    answer = container.post("/predict", {"text": "what a day"}).raise_for_status().json()
    assert answer["model_version"] == "tiny"
    many = container.post("/batch_predict", {"texts": ["one", "two words"]}).raise_for_status().json()
    assert len(many["predictions"]) == 2


@pytest.mark.parametrize("path", ["/", "/dashboard", "/livez", "/readyz", "/health", "/model", "/metrics"])
def test_a_container_serves_pages_and_probes(container, path):
    """Whatever the service has in a checkout it has in a container."""
    assert container.get(path).status_code == httpx.codes.OK


def test_the_engine_sees_that_it_is_healthy(container):
    """The health check of the image asks the readiness probe."""
    if container.engine.name == "podman":  # where systemd does not run, nobody else asks
        container.engine.run("healthcheck", "run", container.name)
    wait_until(lambda: container.inspect()["State"]["Health"]["Status"] == "healthy", seconds=60)


def test_the_health_check_fails_where_nothing_listens(container):
    """A service that does not answer is not healthy."""
    check = container.inspect()["Config"]["Healthcheck"]["Test"][1:]
    env = ("env", "PORT=9")
    with pytest.raises(Exception, match="ConnectionRefused"):
        container.execute(*env, *check)


def test_it_runs_as_nobody_of_importance(container):
    """The user of the image is a number, and not root."""
    assert container.inspect()["Config"]["User"] == "1034:1034"
    assert container.execute("id", "-u").strip() == "1034"


@pytest.mark.parametrize("folder", ["/", "/etc", "/app/.venv", "/home/bentoml/bento", "/home/bentoml/bento/src"])
def test_its_code_cannot_be_changed(engine, image, folder):
    """Even where the root file system can be written, its user may not."""
    with pytest.raises(Exception, match="Permission denied"):
        engine.run("run", "--rm", "--entrypoint", "touch", image, f"{folder}/mine")


@pytest.mark.parametrize("tool", ["gcc", "cc", "make", "git", "uv"])
def test_nothing_that_builds_is_in_the_image(container, tool):
    """An image has what serves."""
    assert container.execute("sh", "-c", f"command -v {tool} || echo none").strip() == "none"


def test_the_packages_are_those_of_the_lock(container):
    """Nothing else is installed, and nothing is missing but what serving does not want."""
    found = json.loads(container.execute("python", "-c", FIND_MISSING))
    lines = (CHECKOUT / "service" / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = dict(line.removesuffix(" \\").split("==") for line in lines if "==" in line)
    assert found["have"] == locked
    assert set(found["missing"]) == LEFT_OUT
    assert "torch" not in locked


def test_the_image_says_what_is_in_it(engine, image):
    """Labels name the Bento, the model and the commit they were built from."""
    labels = json.loads(engine.run("image", "inspect", image))[0]["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "sentigate"
    assert labels["org.opencontainers.image.version"] == labels["sentigate.model.version"] == "tiny"
    assert labels["org.opencontainers.image.base.name"] == BASE_TAG
    assert len(labels["sentigate.model.digest"]) == 64
    assert len(labels["org.opencontainers.image.revision"].removesuffix("-dirty")) == 40
    assert labels["org.opencontainers.image.created"].endswith("+00:00")


def test_the_image_is_small(engine, image):
    """It adds little to its base, the model aside."""
    sizes = [engine.find_image(name).size_bytes for name in (image, BASE_TAG)]
    assert sizes[0] - sizes[1] < MOST_ADDED_BYTES


def test_it_warns_when_everybody_may_ask(container):
    """A container listens on all addresses, so without keys it says what that means."""
    assert "asks for no key" in container.log


def test_keys_come_from_a_file(engine, image, tmp_path):
    """A mounted file of keys closes the service; the probes stay open."""
    presented, key = make_key("tests", ("predict", "read"))
    (tmp_path / "keys.txt").write_text(f"{write_key(key)}\n", encoding="utf-8")
    mounted = (
        "--volume",
        f"{tmp_path}/keys.txt:/run/secrets/keys:ro",
        "--env",
        "SENTIMENT_API_KEY_FILE=/run/secrets/keys",
    )
    with run_container(engine, image, *mounted) as container:
        assert container.post("/predict", {"text": "hm"}).status_code == httpx.codes.UNAUTHORIZED
        asked = container.post("/predict", {"text": "hm"}, headers={"authorization": f"Bearer {presented}"})
        assert asked.status_code == httpx.codes.OK
        assert container.get("/readyz").status_code == httpx.codes.OK


def test_a_model_that_nobody_trusted_here_signed_is_not_served(engine, image, tmp_path):
    """The image wants a signature, its own model's too; where another key is trusted, it ends with a sentence."""
    make_signing_key(tmp_path)
    (key,) = (tmp_path / "public").iterdir()
    with pytest.raises(DeployError, match=r"is not served: the model .* which is not trusted here"):
        engine.run("run", "--rm", *HARDENED, "--env", f"SENTIMENT_PUBLIC_KEYS={key.read_text()}", image)


def test_rows_survive_the_container(engine, image, volume):
    """The volume has the log; the next container goes on with it."""
    mounted = ("--volume", f"{volume}:/var/lib/sentigate")
    with run_container(engine, image, *mounted) as first:
        kept = first.post("/predict", {"text": "keep this"}).json()["prediction_id"]
        first.stop()
    with run_container(engine, image, *mounted) as second:
        asked = second.post("/predict", {"text": "and this"}).json()["prediction_id"]
        wait_until(lambda: {kept, asked} <= find_rows(second))


def test_it_is_ready_soon_after_its_start(engine, image):
    """A container is ready in seconds, on a machine that has a moment for it."""
    with run_container(engine, image) as container:
        taken = []
        for _ in range(3):
            container.stop()
            taken.append(container.start())
    if is_busy():
        pytest.skip(f"ready after {min(taken):.1f} s on a machine that is busy with other things, too")
    assert min(taken) < READY_SECONDS


def test_a_stop_loses_nothing_that_was_acknowledged(engine, image, volume):
    """Stopped under load it is gone in two seconds, and every answer that went out is in the log."""
    acknowledged, over = set(), threading.Event()

    def ask(container):
        with httpx.Client(base_url=container.url, timeout=10, trust_env=False) as client:
            while not over.is_set():
                try:
                    answer = client.post("/predict", json={"text": "one of many"})
                except httpx.TransportError:
                    return
                if answer.status_code == httpx.codes.OK:
                    acknowledged.add(answer.json()["prediction_id"])

    mounted = ("--volume", f"{volume}:/var/lib/sentigate")
    with run_container(engine, image, *mounted) as container, ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, container) for _ in range(4)]
        wait_until(lambda: len(acknowledged) > 200)
        taken = container.stop()
        over.set()
        for asked in asking:
            asked.result()
        assert container.inspect()["State"]["ExitCode"] == 0
        assert taken < STOP_SECONDS or is_busy()
    with run_container(engine, image, *mounted) as container:
        wait_until(
            lambda: acknowledged <= find_rows(container), lambda: f"{len(acknowledged - find_rows(container))} lost"
        )


def test_a_worker_that_dies_is_buried_and_replaced(container):
    """The first process of the container starts another one, and no zombie stays."""
    died = container.execute("python", "-c", KILL_A_WORKER).strip()
    wait_until(lambda: container.execute("sh", "-c", f"test -d /proc/{died} || echo gone").strip() == "gone")
    wait_until(lambda: container.get("/readyz").status_code == httpx.codes.OK)
    assert container.execute("python", "-c", FIND_ZOMBIES).strip() == "0"
