"""The stack of one machine, brought up for real by compose; Debian's packages stand in for images of registries."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import yaml

from deploy.compose.project import FILE, Compose, find_compose
from deploy.compose.secrets import OPERATOR_KEY
from deploy.images.build import BASE_TAG
from deploy.images.engines import Engine
from release.smoke_test import find_free_port
from sentiment.errors import DeployError
from sentiment.paths import CHECKOUT
from tests.support.serving import WORD, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.container, pytest.mark.postgres]

STAND_INS = CHECKOUT / "tests" / "support" / "deploy" / "stand_ins"
OVERRIDE = STAND_INS / "compose.yaml"
BUILT = {name: STAND_INS / name for name in ("postgres", "nginx", "prometheus", "grafana")}
REGISTER = """
import sys
import mlflow
mlflow.set_experiment("stack")
with mlflow.start_run() as run:
    mlflow.log_artifact(sys.argv[2], "bundle")
    source = mlflow.get_artifact_uri("bundle")
client = mlflow.MlflowClient()
client.create_registered_model("sentiment")
version = client.create_model_version("sentiment", source, run_id=run.info.run_id)
client.set_registered_model_alias("sentiment", "production", version.version)
"""
FETCH = """
from pathlib import Path
import mlflow
version = mlflow.MlflowClient().get_model_version_by_alias("sentiment", "production")
folder = mlflow.artifacts.download_artifacts(artifact_uri=version.source)
print((Path(folder) / "model").read_text())
"""
PORTS = ("SENTIGATE_PORT", "HTTP_PORT", "HTTPS_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT", "MLFLOW_PORT")


@dataclass
class Stack:
    """A stack with a name, secrets and ports of its own."""

    folder: Path
    project: str = field(default_factory=lambda: f"sentigate-test-{uuid.uuid4().hex[:8]}")
    ports: dict[str, int] = field(default_factory=lambda: {name: find_free_port() for name in PORTS})

    @property
    def image(self) -> str:
        """An image of its own name, which nobody else builds anew meanwhile."""
        return f"localhost/{self.project}:latest"

    @property
    def environment(self) -> dict[str, str]:
        ports = {name: str(port) for name, port in self.ports.items()}
        own = {"SENTIGATE_SECRETS": str(self.folder), "SENTIGATE_IMAGE": self.image, "SENTIMENT_WORKERS": "1"}
        return {**os.environ, "BASE_IMAGE": BASE_TAG, **ports, **own}

    @property
    def compose(self) -> Compose:
        return find_compose(self.project, (FILE, OVERRIDE))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['SENTIGATE_PORT']}"

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Return what `sentigate stack` did."""
        files = [part for file in (FILE, OVERRIDE) for part in ("--file", str(file))]
        command = [sys.executable, "-m", "sentigate", "stack", "--project", self.project, *files, *arguments]
        return subprocess.run(command, cwd=CHECKOUT, env=self.environment, capture_output=True, text=True, check=False)

    def up(self, *profiles: str) -> None:
        done = self.run("up", "--profiles", ",".join(profiles))
        assert done.returncode == 0, done.stdout + done.stderr

    def ask(self, path: str, body: object = None, **options) -> httpx.Response:
        key = {"authorization": f"Bearer {(self.folder / OPERATOR_KEY).read_text()}"}
        method = "GET" if body is None else "POST"
        url = options.pop("url", self.url)
        return httpx.request(method, f"{url}{path}", json=body, headers=key, timeout=30, trust_env=False, **options)

    def predict(self) -> str:
        return self.ask("/predict", {"text": WORD}).raise_for_status().json()["prediction_id"]

    def read_rows(self) -> set[str]:
        """Return the ids of the predictions in PostgreSQL; none where it does not answer."""
        container = self.compose.find_container("postgres")
        query = ["psql", "--username=postgres", "--dbname=sentigate", "-Atc", "select id from predictions"]
        try:
            return set(self.compose.engine.run("exec", container.id, *query).split()) if container else set()
        except DeployError:
            return set()

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def execute(self, *command: str) -> str:
        """Return what a command in the container of PostgreSQL prints."""
        return self.compose.engine.run("exec", self.compose.find_container("postgres").id, *command)

    def wait_for_rows(self, wanted: set[str]) -> None:
        wait_until(lambda: wanted <= self.read_rows(), lambda: f"{len(wanted - self.read_rows())} rows are missing", 60)

    def inspect(self, service: str) -> dict:
        container = self.compose.find_container(service)
        return json.loads(self.compose.engine.run("container", "inspect", container.id))[0]

    def remove(self) -> None:
        self.run("down")
        engine = self.compose.engine
        for name in engine.run("volume", "ls", "--quiet", "--filter", f"name={self.project}").split():
            engine.run("volume", "rm", name)
        engine.run("rmi", self.image)


@pytest.fixture(scope="module")
def stand_ins(engine: Engine) -> None:
    """Build the images that stand in, where the engine does not have them."""
    for name, folder in BUILT.items():
        tag = f"localhost/sentigate-test-{name}"
        if engine.find_image(tag) is None:
            engine.run("build", "--tag", tag, str(folder))


@pytest.fixture(scope="module")
def stack(engine: Engine, stand_ins: None, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The smallest set, up: the service and PostgreSQL."""
    stack = Stack(tmp_path_factory.mktemp("stack") / "secrets")
    engine.run("tag", image, stack.image)
    try:
        stack.up()
        yield stack
    finally:
        stack.remove()


def test_the_smallest_set_is_the_service_and_its_database(stack):
    """Up by one command from nothing, secrets made; an answer is a row of PostgreSQL."""
    assert {one.service: one.state for one in stack.compose.list_containers()} == {
        "service": "healthy",
        "postgres": "healthy",
    }
    stack.wait_for_rows({stack.predict()})
    assert httpx.post(f"{stack.url}/predict", json={"text": WORD}, trust_env=False).status_code == 401


def test_containers_may_do_no_more_than_they_need(stack):
    """No capability, no new privilege, a disk that is not written, limits, an ordinary user, logs that rotate."""
    for service in ("service", "postgres"):
        described = stack.inspect(service)
        host = described["HostConfig"]
        assert described["Config"]["User"].split(":")[0] not in {"", "0", "root"}
        assert (host["ReadonlyRootfs"], host["Memory"] > 0, host["PidsLimit"] > 0) == (True, True, True)
        assert not described.get("EffectiveCaps")
        assert "no-new-privileges" in str(host["SecurityOpt"])
        assert host["RestartPolicy"]["Name"] == "unless-stopped"


def test_the_database_is_private(stack):
    """Nothing of it is published, and its network leads nowhere else."""
    assert not any(stack.inspect("postgres")["HostConfig"]["PortBindings"].values())
    engine = stack.compose.engine
    networks = sorted(stack.inspect("postgres")["NetworkSettings"]["Networks"])
    assert networks == [f"{stack.project}_database", f"{stack.project}_mlflow_database"]
    for name in networks:
        network = json.loads(engine.run("network", "inspect", name))[0]
        assert network.get("internal", network.get("Internal")) is True


@pytest.mark.parametrize(
    ("database", "statement"),
    [
        ("sentigate", "CREATE TABLE public.mine (id int)"),
        ("sentigate", "CREATE SCHEMA mine"),
        ("sentigate", "CREATE TEMP TABLE mine (id int)"),
        ("sentigate", "ALTER TABLE predictions ADD COLUMN mine int"),
        ("sentigate", "UPDATE alembic_version SET version_num = 'x'"),
        ("sentigate", "DROP TABLE feedback"),
        ("mlflow", "SELECT 1"),
    ],
)
def test_the_role_of_the_service_writes_rows_and_nothing_else(stack, database, statement):
    """It may neither change its schema nor look into another database."""
    url = (stack.folder / "database_url").read_text().replace("@postgres:", "@127.0.0.1:")
    url = url.replace("/sentigate?", f"/{database}?")
    with pytest.raises(DeployError, match=r"(?i)permission denied|must be owner|CONNECT privilege"):
        stack.execute("psql", "--no-psqlrc", "--set=VERBOSITY=terse", url, "-c", statement)


def test_no_secret_is_in_what_the_engine_shows(stack):
    """Neither in the environment nor in the arguments of a container, nor in its log."""
    values = [file.read_text().strip() for file in stack.folder.iterdir() if file.name != "tls_certificate"]
    for service in ("service", "postgres"):
        shown = json.dumps(stack.inspect(service)) + stack.compose.read_log(stack.compose.find_container(service), 1000)
        assert not [value for value in values if value in shown]


def test_a_stack_from_before_gets_an_owner_and_keeps_its_rows(stack):
    """Its service owned all there was; the next `up` takes that away, and the log goes on."""
    kept = stack.predict()
    stack.wait_for_rows({kept})
    ask = ("psql", "--username=postgres", "--dbname=sentigate", "-Atc")
    stack.execute(*ask, "REASSIGN OWNED BY sentigate_owner TO sentigate")
    stack.execute(*ask, "DROP OWNED BY sentigate_owner")
    stack.execute(*ask, "DROP ROLE sentigate_owner")
    stack.up()
    owners = stack.execute(*ask, "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'").split()
    assert owners == ["sentigate_owner"]
    assert kept in stack.read_rows()
    stack.wait_for_rows({stack.predict()})


def test_a_database_that_is_killed_costs_no_answer_and_no_row(stack):
    """It is killed while callers ask; they are all answered, it comes back by itself, and every row is there."""
    asked = {stack.predict() for _ in range(20)}
    os.kill(stack.inspect("postgres")["State"]["Pid"], signal.SIGKILL)
    asked |= {stack.predict() for _ in range(20)}
    wait_until(lambda: stack.compose.find_container("postgres"), seconds=60)
    asked |= {stack.predict() for _ in range(20)}
    stack.wait_for_rows(asked)
    assert len(asked) == 60


def test_a_service_that_is_killed_comes_back_and_ships_what_it_had(stack):
    """What was acknowledged right before the kill is in its volume, and then in PostgreSQL."""
    asked = {stack.predict() for _ in range(20)}
    os.kill(stack.inspect("service")["State"]["Pid"], signal.SIGKILL)
    stack.wait_for_rows(asked)
    wait_until(lambda: _answers(f"{stack.url}/readyz"), seconds=60)


def test_an_image_that_cannot_be_had_changes_nothing(stack, tmp_path):
    """One sentence says which; what runs goes on."""
    override = tmp_path / "compose.yaml"
    override.write_text(
        yaml.safe_dump({"services": {"postgres": {"image": "localhost:1/db:1", "pull_policy": "missing"}}})
    )
    before = stack.compose.list_containers()
    done = stack.run("--file", str(override), "up")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: the image localhost:1/db:1 of postgres cannot be had: ")
    assert done.stderr.count("\n") == 1
    assert stack.compose.list_containers() == before


def test_down_keeps_what_was_stored(stack):
    """Down and up again: the rows are there, the passwords fit, and the key of before opens."""
    asked = stack.predict()
    stack.wait_for_rows({asked})
    before = stack.read_rows()
    assert stack.run("down").returncode == 0
    assert stack.compose.list_containers() == []
    stack.up()
    assert stack.read_rows() >= before
    stack.wait_for_rows({stack.predict()})


def test_a_backup_brings_back_what_was_there(stack, tmp_path):
    """Taken and restored while the service runs; what came after it goes, and the log goes on."""
    kept = stack.predict()
    stack.wait_for_rows({kept})
    assert stack.run("backup", str(tmp_path / "backup")).returncode == 0
    later = stack.predict()
    stack.wait_for_rows({later})
    done = stack.run("restore", "--yes", str(tmp_path / "backup"))
    assert done.returncode == 0, done.stderr
    assert kept in stack.read_rows()
    assert later not in stack.read_rows()
    stack.wait_for_rows({stack.predict()})


def test_a_damaged_backup_changes_nothing(stack, tmp_path):
    """It is refused in one sentence, and no row goes."""
    assert stack.run("backup", str(tmp_path / "backup")).returncode == 0
    dump = tmp_path / "backup" / "sentigate.dump"
    dump.write_bytes(dump.read_bytes()[:3000])
    before = stack.read_rows()
    done = stack.run("restore", "--yes", str(tmp_path / "backup"))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: pg_restore failed: ")
    assert "Traceback" not in done.stderr
    assert stack.read_rows() == before


def test_passwords_that_went_are_not_made_anew_beside_a_database(stack, tmp_path):
    """A new password would lock the service out; it is said what to put back."""
    empty = Stack(tmp_path / "secrets", stack.project, stack.ports)
    done = empty.run("up")
    assert done.returncode == 1
    assert "there is a database from before, but not its passwords" in done.stderr
    assert not (tmp_path / "secrets").exists()


def test_front_and_metrics_join_what_runs(stack):
    """nginx answers by TLS, Prometheus scrapes by its key; neither reaches the database."""
    stack.up("front", "metrics")
    https = {"url": f"https://localhost:{stack.ports['HTTPS_PORT']}", "verify": str(stack.folder / "tls_certificate")}
    assert stack.ask("/predict", {"text": WORD}, **https).is_success
    assert stack.ask("/metrics", **https).status_code == 404
    prometheus = f"http://127.0.0.1:{stack.ports['PROMETHEUS_PORT']}/api/v1/query"

    def ask_up() -> list[str]:
        answer = httpx.get(prometheus, params={"query": 'up{job="sentigate"}'}, trust_env=False).json()
        return [one["value"][1] for one in answer["data"]["result"]]

    wait_until(lambda: ask_up() == ["1"], seconds=60)
    for service in ("nginx", "prometheus", "grafana"):
        assert list(stack.inspect(service)["NetworkSettings"]["Networks"]) == [f"{stack.project}_default"]


def test_a_service_that_is_replaced_is_found_again(stack):
    """A new container has another address; nginx asks for it within seconds."""
    stack.up("front")
    stack.compose.engine.run("rm", "--force", stack.compose.find_container("service").id)
    stack.up("front")
    https = {"url": f"https://localhost:{stack.ports['HTTPS_PORT']}", "verify": str(stack.folder / "tls_certificate")}
    wait_until(lambda: stack.ask("/predict", {"text": WORD}, **https).is_success)


def test_mlflow_keeps_its_registry_in_postgresql(stack, tmp_path):
    """A version that a client registers is there after the server came back, and its files, too."""
    stack.up("mlflow")
    url = f"http://127.0.0.1:{stack.ports['MLFLOW_PORT']}"
    login = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": stack.read("mlflow_admin_password")}
    environment = {**os.environ, "MLFLOW_TRACKING_URI": url, **login}
    assert httpx.get(f"{url}/api/2.0/mlflow/experiments/get?experiment_id=0", trust_env=False).status_code == 401
    (tmp_path / "model").write_text("weights")
    command = [sys.executable, "-c", REGISTER, url, str(tmp_path / "model")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    os.kill(stack.inspect("mlflow")["State"]["Pid"], signal.SIGKILL)
    wait_until(lambda: _answers(f"{url}/health"), seconds=60)
    done = subprocess.run(
        [sys.executable, "-c", FETCH],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.stdout.strip() == "weights"


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False
