"""Backup and restore of the databases of the stack, by PostgreSQL's own programs in its container."""

import subprocess
from pathlib import Path
from typing import IO, Any

from deploy.compose.project import MIGRATION, Compose
from sentiment.errors import DeployError, find_last_words

OWNERS = {"sentigate": "sentigate_owner", "mlflow": "mlflow"}
SCRIPT = "/docker-entrypoint-initdb.d/databases.sh"
DISCARD = """
DROP DATABASE IF EXISTS {name}_restored WITH (FORCE);
DROP DATABASE IF EXISTS {name}_replaced WITH (FORCE);
"""
PREPARE = (
    DISCARD
    + """
CREATE DATABASE {name}_restored OWNER {owner} ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE {name}_restored FROM PUBLIC;
GRANT CONNECT ON DATABASE {name}_restored TO {name};
"""
)
SWAP = """
ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false;
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}';
BEGIN;
ALTER DATABASE {name} RENAME TO {name}_replaced;
ALTER DATABASE {name}_restored RENAME TO {name};
COMMIT;
DROP DATABASE {name}_replaced;
"""
RELEASE = "ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true;"


def prepare(compose: Compose) -> None:
    """Bring roles, passwords and databases to what the secrets say, and the service's schema to this version's.

    Raises DeployError when that cannot be done.
    """
    _run_in_container(compose, "sh", SCRIPT)
    done = compose.run("run", "--rm", "--no-deps", MIGRATION, profiles=[MIGRATION], capture_output=True, text=True)
    if done.returncode:
        own = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]  # engines say more after it
        said = find_last_words("\n".join(own) or done.stderr).removeprefix("Error: ")
        raise DeployError(f"the database was not migrated: {said}.")


def back_up(compose: Compose, folder: Path) -> list[Path]:
    """Write a dump of each database into a new folder; return the files. Raises DeployError and leaves nothing half."""
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise DeployError(f"{folder} cannot be made ({error.strerror}); name another folder.") from error
    files: list[Path] = []
    try:
        for name in OWNERS:
            file = folder / f"{name}.dump"
            file.touch(mode=0o600)
            with file.open("wb") as dump:
                _run_on_databases(compose, "pg_dump", "--format=custom", f"--dbname={name}", stdout=dump)
            with file.open("rb") as dump:
                _run_on_databases(compose, "pg_restore", "--list", stdin=dump)
            files.append(file)
    except DeployError:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        raise
    return files


def restore(compose: Compose, folder: Path) -> list[str]:
    """Put the databases of a backup in the place of those that are there, each at once; return their names.

    A dump that is damaged raises DeployError, and the database stays as it was.
    """
    files = {name: folder / f"{name}.dump" for name in OWNERS if (folder / f"{name}.dump").is_file()}
    if not files:
        raise DeployError(f"{folder} holds no backup; wanted a folder that `make backup` wrote.")
    try:
        for name, file in files.items():
            _query(compose, PREPARE.format(name=name, owner=OWNERS[name]))
            with file.open("rb") as dump:
                target = (f"--dbname={name}_restored", f"--role={OWNERS[name]}")
                _run_on_databases(compose, "pg_restore", "--single-transaction", "--no-owner", *target, stdin=dump)
    except DeployError:
        _query(compose, "".join(DISCARD.format(name=name) for name in files))
        raise
    for name in files:
        try:
            _query(compose, SWAP.format(name=name))
        finally:
            _query(compose, RELEASE.format(name=name))
    prepare(compose)
    return list(files)


def _query(compose: Compose, statements: str) -> None:
    options = ["--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--dbname=postgres"]
    _run_on_databases(compose, "psql", *options, input=statements.encode(), stdout=subprocess.DEVNULL)


def _run_on_databases(compose: Compose, program: str, *arguments: str, **options: Any) -> None:
    _run_in_container(compose, program, "--username=postgres", *arguments, **options)


def _run_in_container(
    compose: Compose, program: str, *arguments: str, stdout: int | IO[bytes] = subprocess.PIPE, **options: Any
) -> None:
    """Run a program in PostgreSQL's container. Raises DeployError with its last words when it fails."""
    container = compose.find_container("postgres")
    if container is None:
        raise DeployError("PostgreSQL does not run here; start it with `make up`.")
    command = [compose.engine.name, "exec", "--interactive", container.id, program, *arguments]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, check=False, **options)
    if done.returncode:
        raise DeployError(f"{program} failed: {find_last_words(done.stderr.decode('utf-8', 'replace'))}.")
