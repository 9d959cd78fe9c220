"""`sentigate`, and `python -m sentigate`: the command in the environment of this checkout's state folder."""

import os
import sys

from sentiment.environment import list_environment
from sentiment.paths import CHECKOUT, locate_state


def main() -> None:
    """Run the command; variables that are set already win."""
    if not (CHECKOUT / "zenml_config.yaml").is_file():
        sys.exit(f"Error: {CHECKOUT} is no checkout of Sentigate; clone one and run `make setup` in it.")
    wanted = {**list_environment(locate_state()), "ZENML_REPOSITORY_PATH": str(CHECKOUT)}
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    try:
        from sentigate.cli import sentigate
    except ModuleNotFoundError as error:
        sys.exit(f"Error: {sys.executable} has no {error.name}; run `make setup`, then `.venv/bin/sentigate`.")
    except KeyboardInterrupt:
        sys.exit(130)
    sentigate(prog_name="sentigate")


if __name__ == "__main__":
    main()
