"""What a machine of deploy/aws does, done here: against a stand-in of AWS, a registry and a real engine."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deploy.images.engines import Engine
from release.smoke_test import find_free_port
from sentiment.paths import CHECKOUT
from service.security.keys import make_key, write_key
from tests.support.deploy.clouds import ACCOUNT, REGION, Cloud, start_cloud
from tests.support.image_registry import ClosedRegistry, run_closed_registry

PROGRAMS = CHECKOUT / "deploy" / "aws" / "instance"
NAME = "sentigate-test"
IMAGE = "localhost/sentigate-machine-test"
PASSWORD = "tangerine@7/%s"
SECRET, KEPT = make_key("tests", ["predict", "read"])
WITHDRAWN = make_key("old", ["predict"])[1]

# The CLI's three answers that the machine asks for, from the same stand-in.
AWS = """#!{python}
import base64, json, sys, boto3
service, action, *rest = sys.argv[1:]
option = lambda name: rest[rest.index(name) + 1]
client = boto3.client(service, region_name={region!r})
if action == "get-login-password":
    token = client.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    print(base64.b64decode(token).decode().partition(":")[2])
elif action == "get-secret-value":
    print(json.dumps(client.get_secret_value(SecretId=option("--secret-id")), default=str))
else:
    found = client.get_parameters(Names=rest[rest.index("--names") + 1:], WithDecryption="--with-decryption" in rest)
    print(json.dumps(found, default=str))
"""
# Pruning would take what others keep in the same storage.
DOCKER = '#!/bin/sh\n[ "$1 $2" = "image prune" ] || exec {engine} "$@"\n'
SYSTEMCTL = '#!/bin/sh\necho "$@" >>{folder}/systemctl.log\n'
INSECURE = '[[registry]]\nlocation = "{host}"\ninsecure = true\n'


@dataclass
class Machine:
    """The folders of a machine, what stands in for its commands, and where its parameters are."""

    folder: Path
    cloud: Cloud
    registry: ClosedRegistry
    port: int

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.cloud.environment,
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "SENTIGATE_RUN": str(self.folder / "run"),
            "SENTIGATE_ETC": str(self.folder / "etc"),
            "SENTIGATE_STATE": str(self.folder / "state"),
            "SENTIGATE_PORT": str(self.port),
            "REGISTRY_AUTH_FILE": str(self.registry.credentials),
            "CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf"),
        }

    @property
    def restarts(self) -> list[str]:
        log = self.folder / "systemctl.log"
        return log.read_text().splitlines() if log.exists() else []

    def read(self, name: str) -> str:
        return (self.folder / "run" / name).read_text()

    def set(self, name: str, value: str) -> None:
        kind = "SecureString" if name == "api-keys" else "String"
        self.cloud.call("ssm").put_parameter(Name=f"/{NAME}/{name}", Value=value, Type=kind, Overwrite=True)

    def sync(self, *options: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, PROGRAMS / "sync.py", *options]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)


@pytest.fixture
def machine(tmp_path: Path, engine: Engine) -> Iterator[Machine]:
    """A machine whose parameters name a small image, two keys and a database that does not answer."""
    if os.geteuid() != 0:
        pytest.skip("the programs of a machine run as root")
    for name in ("bin", "etc", "state"):
        (tmp_path / name).mkdir()
    shutil.chown(tmp_path / "state", 1034, 1034)
    programs = {
        "aws": AWS.format(python=sys.executable, region=REGION),
        "docker": DOCKER.format(engine=engine.name),
        "systemctl": SYSTEMCTL.format(folder=tmp_path),
    }
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "etc" / "rds.pem").write_text("none\n")
    configuration = {"name": NAME, "region": REGION, "volume": "vol-1", "log_group": None}
    (tmp_path / "etc" / "instance.json").write_text(json.dumps(configuration))
    with start_cloud(tmp_path) as cloud, run_closed_registry(tmp_path, "AWS", f"{ACCOUNT}-auth-token") as registry:
        (tmp_path / "registries.conf").write_text(INSECURE.format(host=registry.host))
        made = Machine(tmp_path, cloud, registry, find_free_port())
        login = json.dumps({"username": "sentigate", "password": PASSWORD})
        secret = cloud.call("secretsmanager").create_secret(Name="database", SecretString=login)["ARN"]
        database = {"host": "127.0.0.1", "port": find_free_port(), "name": "sentigate", "secret": secret}
        made.set("database", json.dumps(database))
        made.set("settings", json.dumps({"SENTIMENT_WORKERS": "1"}))
        made.set("api-keys", "".join(write_key(key) + "\n" for key in (KEPT, WITHDRAWN)))
        yield made


@pytest.fixture
def pushed(machine: Machine, engine: Engine) -> Iterator[str]:
    """An image of one small file, which the machine is to run, in its registry alone."""
    (machine.folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    local = f"{IMAGE}:{machine.port}"
    engine.run("build", "--quiet", "--tag", local, str(machine.folder))
    named = _push(machine, engine, local)
    engine.run("rmi", local)
    yield named
    subprocess.run([engine.name, "rmi", named], capture_output=True, check=False)


@pytest.mark.parametrize("program", ["setup.sh", "run.sh"])
def test_the_programs_of_a_machine_pass_the_linter_for_shells(program):
    if shutil.which("shellcheck") is None:
        pytest.skip("there is no shellcheck; apt-get install shellcheck")
    done = subprocess.run(["shellcheck", PROGRAMS / program], capture_output=True, text=True, check=False)
    assert done.stdout == ""


def test_systemd_takes_the_units(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    units = [path for path in PROGRAMS.iterdir() if path.suffix in {".service", ".timer"}]
    (tmp_path / "docker.service").write_text("[Service]\nExecStart=/bin/true\n")
    for unit in units:  # systemd looks for the programs, which are on no machine but those at AWS
        text = unit.read_text()
        for program in ("/usr/local/sbin/sentigate-sync", "/usr/local/sbin/sentigate-run", "/usr/bin/docker"):
            text = text.replace(program, "/bin/true")
        (tmp_path / unit.name).write_text(text)
    command = ["systemd-analyze", "verify", *(tmp_path / unit.name for unit in units)]
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.container
@pytest.mark.slow
def test_a_machine_pulls_its_image_and_answers_callers_with_a_key(machine, image, engine):
    """With a database that does not answer, too: what is answered waits in the spool on the machine's own volume."""
    pushed = _push(machine, engine, image)
    done = machine.sync()
    assert done.returncode == 0, done.stderr
    assert json.loads(machine.registry.credentials.read_text()).get("auths", {}) == {}
    running = subprocess.Popen(
        ["bash", PROGRAMS / "run.sh"], env={**machine.environment}, stderr=subprocess.PIPE, text=True
    )
    try:
        url = f"http://127.0.0.1:{machine.port}"
        _wait_until_ready(url, running)
        assert httpx.post(f"{url}/predict", json={"text": "fine"}).status_code == 401
        answer = httpx.post(f"{url}/predict", json={"text": "fine"}, headers={"x-api-key": SECRET}, timeout=20)
        assert answer.status_code == 200
        assert list((machine.folder / "state" / "spool").rglob("*"))
        described = json.loads(engine.run("inspect", "sentigate"))[0]["HostConfig"]
        assert described["ReadonlyRootfs"]
        assert described["Memory"] > 0
        assert PASSWORD not in json.dumps(described)
    finally:
        subprocess.run([engine.name, "stop", "--time", "10", "sentigate"], capture_output=True, check=False)
        running.wait(30)
        subprocess.run([engine.name, "rmi", pushed], capture_output=True, check=False)


@pytest.mark.container
@pytest.mark.slow
def test_a_machine_restarts_for_what_is_read_at_its_start_and_for_nothing_else(machine, pushed):
    assert machine.sync().returncode == 0
    (machine.folder / "run" / "started").touch()
    assert machine.sync("--restart").returncode == 0
    machine.set("api-keys", write_key(KEPT) + "\n")
    assert machine.sync("--restart").returncode == 0
    assert WITHDRAWN.digest not in machine.read("secrets/api-keys")
    assert machine.restarts == []
    machine.set("settings", json.dumps({"SENTIMENT_WORKERS": "2"}))
    assert machine.sync("--restart").returncode == 0
    assert machine.restarts == ["try-restart --no-block sentigate.service"]
    assert machine.read("settings") == "SENTIMENT_WORKERS=2\n"


@pytest.mark.container
@pytest.mark.slow
def test_secrets_are_for_root_and_for_the_container(machine, pushed):
    assert machine.sync().returncode == 0
    run = machine.folder / "run"
    assert [run.stat().st_mode & 0o777, (run / "secrets").stat().st_mode & 0o777] == [0o700, 0o750]
    for name in ("api-keys", "database-url"):
        found = (run / "secrets" / name).stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, 1034, 0o440)
    assert machine.read("secrets/database-url").startswith("postgresql://sentigate:tangerine%407%2F%25s@127.0.0.1:")
    assert "?sslmode=verify-full&sslrootcert=" in machine.read("secrets/database-url")


@pytest.mark.container
@pytest.mark.slow
def test_an_image_that_cannot_be_pulled_leaves_the_one_before_and_still_withdraws_keys(machine, pushed):
    assert machine.sync().returncode == 0
    machine.set("image", f"{machine.registry.host}/sentigate@sha256:{'0' * 64}")
    machine.set("api-keys", write_key(KEPT) + "\n")
    done = machine.sync("--restart")
    assert done.returncode == 1
    assert done.stderr.startswith("docker pull --quiet failed: ")
    assert machine.read("image") == pushed
    assert WITHDRAWN.digest not in machine.read("secrets/api-keys")


def test_a_machine_without_parameters_says_which(machine):
    done = machine.sync()
    assert done.returncode == 1
    assert done.stderr == f"Parameter Store has no /{NAME}/image in {REGION}; run terraform apply.\n"


def _push(machine: Machine, engine: Engine, image: str) -> str:
    """Put an image into the machine's registry and make the machine want it; return its name by digest."""
    machine.registry.log_in(engine)
    done = machine.registry.push(image)
    assert done.returncode == 0, done.stderr
    machine.registry.forget_logins()
    named = done.stdout.strip()
    machine.set("image", named)
    return named


def _wait_until_ready(url: str, running: "subprocess.Popen[str]", seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and running.poll() is None:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    running.terminate()
    pytest.fail(f"the service was not ready: {running.communicate()[1]}")
