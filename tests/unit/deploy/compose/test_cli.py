"""What is checked before the stack starts, and what is said when it cannot."""

import socket
import subprocess
import sys

import click
import pytest
import yaml

from deploy.compose.cli import check_port, read_profiles
from deploy.compose.project import FILE, MIGRATION, PROFILES, _read_port
from deploy.compose.secrets import DATABASE, KEYS, OPERATOR_KEY, TLS, check_readable, make_missing
from sentiment.errors import DeployError
from service.security.keys import find_key, read_keys
from service.settings import ServiceSettings


@pytest.fixture
def folder(tmp_path):
    """A folder for secrets."""
    return tmp_path / "secrets"


@pytest.fixture
def described():
    """The compose file."""
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def test_secrets_are_made_once(folder):
    """What is there stays as it is."""
    made = make_missing(folder, with_tls=False, has_database=False)
    before = {file.name: file.read_text() for file in folder.iterdir()}
    assert sorted(made) == sorted(before)
    assert make_missing(folder, with_tls=False, has_database=True) == []
    assert {file.name: file.read_text() for file in folder.iterdir()} == before


def test_two_stacks_share_no_secret(tmp_path):
    """Every value is random."""
    values = []
    for name in ("one", "two"):
        make_missing(tmp_path / name, with_tls=True, has_database=False)
        values += [file.read_text() for file in (tmp_path / name).iterdir()]
    assert len(set(values)) == len(values)


def test_the_folder_keeps_others_out_and_containers_read_the_files(folder):
    """Containers run as other users, so the files are open and their folder is not; one key is nobody else's."""
    make_missing(folder, with_tls=True, has_database=False)
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}
    assert modes.pop(OPERATOR_KEY) == 0o600
    assert set(modes.values()) == {0o644}


def test_the_keys_open_what_they_are_for(folder):
    """The operator's does everything, Prometheus' reads."""
    make_missing(folder, with_tls=False, has_database=False)
    keys = read_keys((folder / "api_keys").read_text().splitlines(), "api_keys")
    operator = find_key(keys, (folder / OPERATOR_KEY).read_text())
    prometheus = find_key(keys, (folder / "metrics_key").read_text())
    assert (operator.scopes, prometheus.scopes) == ({"predict", "feedback", "admin"}, {"read"})


@pytest.mark.parametrize(("file", "role"), [("database_url", "sentigate"), ("owner_url", "sentigate_owner")])
def test_an_address_of_the_database_holds_the_password_of_its_role(folder, file, role):
    """In the clear by its own words: the network is one machine's, and nothing else is in it."""
    make_missing(folder, with_tls=False, has_database=False)
    password = (folder / f"{role}_password").read_text()
    assert (folder / file).read_text() == f"postgresql://{role}:{password}@postgres:5432/sentigate?sslmode=disable"


@pytest.mark.parametrize("gone", [DATABASE[0], KEYS[1], TLS[1]])
def test_part_of_a_set_is_not_made_anew(folder, gone, refuses):
    """A new password beside an old address would open nothing."""
    make_missing(folder, with_tls=True, has_database=False)
    (folder / gone).unlink()
    with refuses(DeployError):
        make_missing(folder, with_tls=True, has_database=True)


def test_passwords_are_not_made_for_a_database_that_is_there(folder, refuses):
    with refuses(DeployError):
        make_missing(folder, with_tls=False, has_database=True)
    assert not folder.exists()


def test_a_secret_that_no_container_could_read_is_named(folder, refuses):
    """As the key of a certificate is, fresh from its maker."""
    make_missing(folder, with_tls=True, has_database=False)
    check_readable([folder / TLS[1]])
    (folder / TLS[1]).chmod(0o600)
    with refuses(DeployError):
        check_readable([folder / TLS[1]])


@pytest.mark.parametrize("content", [None, ""])
def test_a_secret_that_is_missing_or_empty_is_named(tmp_path, content, refuses):
    if content is not None:
        (tmp_path / "api_keys").write_text(content)
    with refuses(DeployError):
        check_readable([tmp_path / "api_keys"])


def test_a_port_that_somebody_listens_on_is_named_with_a_way_out():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(DeployError, match=f"{port} .*grafana .* GRAFANA_PORT"):
            check_port("grafana", "127.0.0.1", port)


def test_a_profile_that_is_not_known_is_refused():
    assert read_profiles(None, None, "front, metrics") == ("front", "metrics")
    with pytest.raises(click.BadParameter, match="'grafana' is not a profile; wanted some of front, metrics, mlflow"):
        read_profiles(None, None, "front,grafana")


@pytest.mark.parametrize("port", ["127.0.0.1:3000:3000", {"host_ip": "127.0.0.1", "published": "3000", "target": 3000}])
def test_a_port_is_read_as_docker_and_as_podman_compose_spell_it(port):
    assert _read_port(port) == ("127.0.0.1", 3000)


def test_the_smallest_set_is_the_service_and_its_database(described):
    smallest = [name for name, entry in described["services"].items() if "profiles" not in entry]
    assert smallest == ["service", "postgres"]
    profiles = {profile for entry in described["services"].values() for profile in entry.get("profiles", [])}
    assert profiles == {*PROFILES, MIGRATION}


def test_every_container_is_held_in(described):
    """Restarted, checked, limited, without capabilities, on a disk that it cannot write, with logs that rotate."""
    for name, entry in described["services"].items():
        assert (entry["read_only"], entry["cap_drop"]) == (True, ["ALL"]), name
        assert set(entry["deploy"]["resources"]["limits"]) == {"memory", "pids"}, name
        assert name == MIGRATION or (entry["restart"], entry["healthcheck"]["test"][0]) == ("unless-stopped", "CMD")
        assert set(entry["logging"]["options"]) == {"max-size", "max-file"}, name


def test_only_nginx_is_published_beyond_this_machine(described):
    for name, entry in described["services"].items():
        for port in entry.get("ports", []):
            assert name == "nginx" or port.startswith("127.0.0.1:"), (name, port)


def test_the_service_and_mlflow_share_no_network(described):
    """Each reaches PostgreSQL over a network that leads nowhere else, and neither the other."""
    services, networks = described["services"], described["networks"]
    assert set(services["service"]["networks"]).isdisjoint(services["mlflow"]["networks"])
    assert services["postgres"]["networks"] == ["database", "mlflow_database"]
    assert all(networks[name]["internal"] for name in services["postgres"]["networks"])
    assert services[MIGRATION]["networks"] == ["database"]


def test_only_the_migration_and_postgresql_have_the_password_of_the_owner(described):
    """The service, which strangers talk to, could not change a schema if it were taken over."""
    owners = ("owner_url", "sentigate_owner_password", "postgres_password")
    holders = {name for name, entry in described["services"].items() if set(owners) & set(entry.get("secrets", []))}
    assert holders == {MIGRATION, "postgres"}


def test_what_is_pulled_is_pinned_by_digest(described):
    for name, entry in described["services"].items():
        pulled = "build" not in entry and entry.get("pull_policy") != "never"
        assert not pulled or "@sha256:" in entry["image"], name


def test_nginx_and_the_service_share_one_limit(described):
    """The limit of the compose file is the service's own default."""
    default = ServiceSettings.model_fields["max_body_bytes"].default
    ours = f"${{SENTIMENT_MAX_BODY_BYTES:-{default}}}"
    services = described["services"]
    assert services["nginx"]["environment"]["MAX_BODY_BYTES"] == ours
    assert services["service"]["environment"]["SENTIMENT_MAX_BODY_BYTES"] == ours


def test_no_password_is_in_the_compose_file(described):
    """Each one is read from a file."""
    for entry in described["services"].values():
        for name, value in entry.get("environment", {}).items():
            assert not any(word in name for word in ("PASSWORD", "KEY", "URL")) or value.startswith("/run/secrets/"), (
                name
            )


def test_the_compose_file_is_what_the_specification_says():
    """By the schema of compose-spec itself."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
