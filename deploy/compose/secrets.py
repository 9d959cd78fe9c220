"""The secrets of the stack: random, one file each, made where they are missing and never shown."""

import secrets
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from sentiment.errors import DeployError, find_last_words
from service.security.keys import make_key, write_key

FOLDER = Path(__file__).with_name("secrets")
PASSWORD_BYTES = 32
OPERATOR_KEY = "operator_key"
DATABASE = ("postgres_password", "sentigate_password", "mlflow_password", "database_url")
OWNER = ("sentigate_owner_password", "owner_url")
KEYS = ("api_keys", "metrics_key")
GRAFANA = ("grafana_admin_password",)
MLFLOW = ("mlflow_admin_password",)
TLS = ("tls_certificate", "tls_key")
READABLE, PRIVATE = 0o644, 0o600


def make_missing(folder: Path, *, with_tls: bool, has_database: bool) -> list[str]:
    """Make what is missing; return the names of the files that were made.

    Files that belong together are made together: a password that is left of a set, or a database whose passwords are
    gone, raises DeployError.
    """
    makers: dict[tuple[str, ...], Callable[[], Mapping[str, str]]] = {
        DATABASE: _make_passwords,
        OWNER: _make_owner,
        KEYS: _make_keys,
        GRAFANA: lambda: {GRAFANA[0]: _make_password()},
        MLFLOW: lambda: {MLFLOW[0]: _make_password()},
    }
    if with_tls:
        makers[TLS] = lambda: _make_certificate(folder)
    wanted = [names for names in makers if _find_missing(folder, names)]
    if DATABASE in wanted and has_database:
        raise DeployError(
            f"there is a database from before, but not its passwords; put {', '.join(DATABASE)} back into {folder},"
            " or, to start with an empty one, remove its volume."
        )
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    made: list[str] = []
    for names in wanted:
        for name, value in makers[names]().items():
            _write(folder / name, value)
            made.append(name)
    return made


def check_readable(files: Iterable[Path]) -> None:
    """Raise DeployError for a secret that is missing, empty, or closed to the users that containers run as."""
    for file in files:
        if not file.is_file() or not file.stat().st_size:
            state = "empty" if file.is_file() else "missing"
            raise DeployError(
                f"the secret {file} is {state}; put it back, or remove what belongs to it for `make stack-secrets`."
            )
        if not file.stat().st_mode & 0o004:
            raise DeployError(
                f"the secret {file} cannot be read by the user of its container; `chmod 644 {file}`: its folder,"
                " which is yours alone, keeps others out."
            )


def _find_missing(folder: Path, names: tuple[str, ...]) -> list[str]:
    """Return the names when none of them is there. Raises DeployError when only some are."""
    missing = [name for name in names if not (folder / name).exists()]
    if missing and len(missing) < len(names):
        there = [name for name in names if name not in missing]
        raise DeployError(
            f"{folder} has {', '.join(there)}, but not {', '.join(missing)}, which belongs to it;"
            " put it back, or remove the whole set to have a new one made."
        )
    return missing


def _make_password() -> str:
    return secrets.token_urlsafe(PASSWORD_BYTES)


def _make_passwords() -> dict[str, str]:
    values = {name: _make_password() for name in DATABASE if name != "database_url"}
    return {**values, "database_url": _make_url("sentigate", values["sentigate_password"])}


def _make_owner() -> dict[str, str]:
    password = _make_password()
    return {OWNER[0]: password, OWNER[1]: _make_url("sentigate_owner", password)}


def _make_url(role: str, password: str) -> str:
    """Return the address of the database; in the clear, on a network of this machine that nothing else is in."""
    return f"postgresql://{role}:{password}@postgres:5432/sentigate?sslmode=disable"


def _make_keys() -> dict[str, str]:
    operator, kept = make_key("operator", ["predict", "feedback", "admin"])
    prometheus, kept_too = make_key("prometheus", ["read"])
    lines = "".join(f"{write_key(one)}\n" for one in (kept, kept_too))
    return {"api_keys": lines, "metrics_key": prometheus, OPERATOR_KEY: operator}


def _make_certificate(folder: Path) -> dict[str, str]:
    """Return a certificate for this machine alone, signed by itself, and its key."""
    key, certificate = folder / "tls_key.new", folder / "tls_certificate.new"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    command += ["-days", "365", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    try:
        done = subprocess.run(
            [*command, "-keyout", str(key), "-out", str(certificate)], capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise DeployError(
            f"there is no certificate in {folder} and no openssl to make one; install openssl, or put a certificate"
            " and its key there as tls_certificate and tls_key."
        ) from error
    if done.returncode:
        raise DeployError(f"openssl made no certificate: {find_last_words(done.stderr)}.")
    values = {"tls_certificate": certificate.read_text("ascii"), "tls_key": key.read_text("ascii")}
    key.unlink()
    certificate.unlink()
    return values


def _write(file: Path, value: str) -> None:
    file.touch(mode=PRIVATE)
    file.write_text(value, encoding="utf-8")
    if file.name != OPERATOR_KEY:  # which no container reads
        file.chmod(READABLE)
