"""A real PostgreSQL server for tests, from the machine's own binaries, on loopback and in a folder of its own."""

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import URL

from release.smoke_test import find_free_port

USER = "postgres"
PASSWORD = "tangerine@7/%s"  # with the signs that have to be quoted in a URL


@dataclass(frozen=True)
class Postgres:
    """One cluster, which tests stop, pause and start again; `account` is who runs it where we are root."""

    binaries: Path
    folder: Path
    port: int
    account: str | None

    def create(self) -> None:
        """Make the cluster."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        if self.account:
            shutil.chown(self.folder, self.account)
            shutil.chown(secret, self.account)
        access = ["-U", USER, "-A", "scram-sha-256", f"--pwfile={secret}"]
        self._run("initdb", "-D", self._data, *access, "-E", "UTF8", "--locale=C", "--no-sync")

    def start(self) -> None:
        """Return when the server takes connections; nothing happens to one that runs."""
        self.resume()
        if self._find_processes():
            return
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -F"
        self._run("pg_ctl", "-D", self._data, "-l", str(self.folder / "log"), "-o", options, "-w", "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server where it runs; `immediate` is as good as a crash."""
        self.resume()
        if self._find_processes():
            self._run("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")

    def encrypt(self, name: str) -> Path:
        """Let the server speak TLS, too, with a certificate for a name; return the certificate, its own authority."""
        key, certificate = self.folder / "server.key", self.folder / "server.crt"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
        command += ["-subj", "/CN=test", "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", certificate]
        subprocess.run(command, check=True, capture_output=True)
        settings = self.folder / "data" / "postgresql.auto.conf"
        settings.write_text(f"ssl = on\nssl_key_file = '{key}'\nssl_cert_file = '{certificate}'\n", encoding="utf-8")
        for file in (key, certificate, settings):
            file.chmod(0o600)
            if self.account:
                shutil.chown(file, self.account)
        self.stop()
        self.start()
        return certificate

    def pause(self) -> None:
        """Let the server hang: its connections stay open, and nobody answers on them."""
        for process in (
            process for _ in range(2) for process in self._find_processes()
        ):  # again for children made since
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        """Let a paused server go on; nothing happens to one that runs."""
        for process in self._find_processes():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def create_database(self, encoding: str = "UTF8") -> str:
        """Return the URL of a new, empty database."""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self.name_url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}'")
        return self.name_url(name)

    def name_url(self, database: str, password: str = PASSWORD) -> str:
        """Return the URL of a database, which need not be there."""
        url = URL.create("postgresql", USER, password, "127.0.0.1", self.port, database)
        return url.render_as_string(hide_password=False)

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _find_processes(self) -> list[psutil.Process]:
        """Return the postmaster and its children; none where no server runs."""
        with suppress(FileNotFoundError, psutil.NoSuchProcess):
            number = int((self.folder / "data" / "postmaster.pid").read_text(encoding="utf-8").split()[0])
            postmaster = psutil.Process(number)
            return [postmaster, *postmaster.children(recursive=True)]
        return []

    def _run(self, name: str, *arguments: str) -> None:
        command = [str(self.binaries / name), *arguments]
        if self.account:
            command = ["runuser", "-u", self.account, "--", *command]
        with (self.folder / "commands.log").open("a+") as said:
            done = subprocess.run(command, cwd=self.folder, stdout=said, stderr=said, check=False)
            said.seek(0)
            assert done.returncode == 0, f"{name} failed: {said.read()[-2000:]}"


@contextmanager
def run_postgres() -> Iterator[Postgres]:
    """Yield a server that runs; it is stopped and removed whatever happens. Skips the test where there is none."""
    binaries = find_binaries()
    account = find_account()
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path is short, and its owner is another
    server = Postgres(binaries, folder, find_free_port(), account)
    try:
        server.create()
        server.start()
        yield server
    finally:
        try:
            server.stop()
        finally:
            shutil.rmtree(folder)


def find_binaries() -> Path:
    """Return the folder of PostgreSQL's programs, the newest version first, or skip."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    on_path = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    for folder in [*on_path, *versions]:
        if all((folder / name).is_file() for name in ("initdb", "pg_ctl", "postgres")):
            return folder
    pytest.skip("PostgreSQL's initdb, pg_ctl and postgres are neither on PATH nor in /usr/lib/postgresql")


def find_account() -> str | None:
    """Return who has to run the server, because root may not; None where it is ourselves. Skips where nobody can."""
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        if shutil.which("runuser"):
            return pwd.getpwnam("postgres").pw_name
    pytest.skip("PostgreSQL does not run as root, and there is no user `postgres` or no runuser")
