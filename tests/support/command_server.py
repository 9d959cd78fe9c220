"""Commands of a checkout, each in a process of its own that has imported ZenML and MLflow already.

`python -m tests.support.command_server` imports once, then forks for each line that it reads, which saves each command
ten seconds of imports. One test per command starts it as a user does.
"""

import json
import os
import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

# Libraries alone: whoever imports a pipeline opens ZenML's database, and a connection must not be shared by forks.
IMPORTED = (
    *("zenml.zen_stores.sql_zen_store", "mlflow.store.tracking.sqlalchemy_store", "bentoml"),
    *("pandas", "scipy.stats"),
)
CHECKOUT = Path(__file__).resolve().parents[2]


class CommandServer:
    """Runs modules of a checkout as `python -m` does, in its folder and with its environment."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._logs = TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.command_server"],
            cwd=folder,
            env=environment | {"PYTHONPATH": str(CHECKOUT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Return the exit code and everything that a module said; `command` is its name and its arguments."""
        log = Path(self._logs.name) / "log"
        self._process.stdin.write(json.dumps([str(log), *command]) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return subprocess.CompletedProcess(command, code, log.read_text(encoding="utf-8"), "")

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
        self._logs.cleanup()


def serve() -> None:
    """Fork for each command on standard input; its exit code goes to standard output."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for name in IMPORTED:
        import_module(name)
    for line in sys.stdin:
        log, *command = json.loads(line)
        if (child := os.fork()) == 0:
            os._exit(_run(Path(log), command))
        _, status = os.waitpid(child, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()


def _run(log: Path, command: list[str]) -> int:
    """Return the exit code of a module that says everything into a file."""
    with log.open("w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = command
    try:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter ends
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve()
