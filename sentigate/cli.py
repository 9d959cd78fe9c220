"""The root of the command, where every subcommand is, and how an error ends it: in one sentence."""

import sys
import tomllib
from typing import Any, NoReturn

import click
from click.shell_completion import get_completion_class

from sentigate.lazy import LazyCommand, SectionedGroup
from sentiment.errors import SentimentError
from sentiment.paths import CHECKOUT

INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it


class Root(SectionedGroup):
    """The command itself: whatever a user can mend is said in one sentence, without a stack trace."""

    def main(self, *arguments: Any, **options: Any) -> NoReturn:
        """Run a subcommand and exit: 2 for a command line that is wrong, 1 for what failed, 130 for Ctrl-C."""
        try:
            code = super().main(*arguments, **{**options, "standalone_mode": False})
        except click.Abort as error:
            interrupted = isinstance(error.__cause__ or error.__context__, KeyboardInterrupt)
            _end("stopped." if interrupted else "nothing was done.", INTERRUPTED if interrupted else 1)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else "sentigate"
            _end(f"Error: {describe_misuse(error)}; `{path} --help` lists what there is.", error.exit_code)
        except click.ClickException as error:
            _end(f"Error: {error.format_message()}", error.exit_code)
        except SentimentError as error:
            _end(f"Error: {error}", 1)
        except ModuleNotFoundError as error:
            _end(f"Error: {sys.executable} has no {error.name}; run `make setup`, then `.venv/bin/sentigate`.", 1)
        except OSError as error:
            if error.filename is None:
                raise
            _end(f"Error: {error.filename} cannot be used ({error.strerror}); mend that and try again.", 1)
        sys.exit(code if isinstance(code, int) else 0)


def describe_misuse(error: click.UsageError) -> str:
    """Return what is wrong with a command line, and the nearest name that there is, without a full stop."""
    if isinstance(error, click.NoSuchOption):
        return f"there is no option {error.option_name}{_format_nearest(error.possibilities)}"
    if isinstance(error, click.exceptions.NoSuchCommand):
        return f"there is no command {error.command_name}{_format_nearest(error.possibilities)}"
    return error.format_message().strip().rstrip(".")


def _format_nearest(names: list[str] | None) -> str:
    return f" (did you mean {names[0]}?)" if names else ""


def _end(sentence: str, code: int) -> NoReturn:
    click.echo(sentence, err=True)
    sys.exit(code)


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        click.echo(f"sentigate {project['version']}")
        context.exit()


@click.command(short_help="Print what makes a shell complete this command.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete this command: `eval "$(sentigate completion bash)"`."""
    complete = get_completion_class(shell)
    assert complete is not None  # noqa: S101 - click knows these three
    click.echo(complete(sentigate, {}, "sentigate", "_SENTIGATE_COMPLETE").source())


@click.command(
    short_help="Ask a running service what its callers ask.",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def smoke(arguments: tuple[str, ...]) -> None:
    """Ask a running service what its callers ask; the same as `python deploy/smoke.py`, which needs no set-up."""
    from deploy.smoke import main

    sys.exit(main(arguments))


def in_state(origin: str, help: str) -> LazyCommand:  # noqa: A002 - click's name
    """Return a command that needs the state folder that `make setup` makes."""
    return LazyCommand(origin, help, needs_setup=True)


HUB = "deploy.huggingface.cli"
DEPLOYMENTS: dict[str, click.Command] = {
    "aws": LazyCommand("deploy.aws.cli:main", "Run the service on AWS."),
    "kubernetes": LazyCommand("deploy.kubernetes.cli:main", "Run the service on Kubernetes."),
    "bentocloud": click.Group(
        "bentocloud",
        {
            "apply": LazyCommand("deploy.bentocloud.cli:deploy", "Push the Bento and create or update its deployment."),
            "destroy": LazyCommand("deploy.bentocloud.cli:destroy", "Stop the deployment and remove it."),
        },
        help="Run what is in production on BentoCloud.",
    ),
    "huggingface": click.Group(
        "huggingface",
        {
            "publish": LazyCommand(f"{HUB}:model", "Push the bundle with a model card."),
            "withdraw": LazyCommand(f"{HUB}:withdraw_model", "Take the newest version of a model back."),
        },
        help="Publish the model in production on the Hugging Face hub.",
    ),
    "space": click.Group(
        "space",
        {
            "apply": LazyCommand(f"{HUB}:space", "Push a Docker Space that runs the Bento in production."),
            "destroy": LazyCommand(f"{HUB}:remove_space", "Delete a Space."),
        },
        help="Run what is in production as a Docker Space of the Hugging Face hub.",
    ),
}
SECTIONS: dict[str, dict[str, click.Command]] = {
    "Start": {
        "setup": LazyCommand("pipelines.setup:main", "Make the state folder of this checkout; safe to repeat."),
        "demo": in_state("pipelines.demo:main", "Train, gate, build, serve and ask on the bundled comments."),
        "completion": completion,
    },
    "Models": {
        "train": in_state("sentigate.training:train", "Train the candidates and gate the best one."),
        "evaluate": in_state("sentigate.training:evaluate", "Measure models on datasets and compare them."),
    },
    "Production": {
        "status": LazyCommand("sentigate.production:status", "Show model and canary of running services."),
        "promote": in_state("sentigate.production:promote", "Put a version into production."),
        "approve": in_state("sentigate.production:approve", "Say yes to the version that waits."),
        "reject": in_state("sentigate.production:reject", "Say no to the version that waits."),
        "canary": in_state("sentigate.production:canary", "Try a version on a share of live requests."),
        "rollback": in_state("sentigate.production:rollback", "Put the previous version back."),
        "ledger": LazyCommand("sentigate.ledger:ledger", "Show or seal the record of decisions."),
        "signing-key": LazyCommand("sentigate.ledger:signing_key", "Change the key that signs decisions."),
    },
    "Service": {
        "serve": LazyCommand("service.serve:main", "Serve the model in production."),
        "smoke": smoke,
        "keys": LazyCommand("service.security.key_commands:keys", "Add, list and remove API keys."),
        "forget": LazyCommand("service.prediction_log.privacy:forget", "Remove one person's rows from the log."),
        "export": LazyCommand("service.prediction_log.privacy:export", "Write one person's rows of the log."),
        "migrate": LazyCommand("sentiment.database.__main__:main", "Bring the database to the newest schema."),
    },
    "Deployment": {
        "image": LazyCommand("deploy.images.build:main", "Build the container image."),
        "push": LazyCommand("deploy.images.registry:push", "Push an image to a registry."),
        "audit": LazyCommand("deploy.images.audit:main", "Look packages up among known vulnerabilities."),
        "stack": LazyCommand("deploy.compose.cli:main", "Run the whole stack on this machine."),
        "deploy": click.Group(
            "deploy", DEPLOYMENTS, help="Bring the service to a cloud or a cluster, or take it away."
        ),
    },
}
sentigate = Root("sentigate", SECTIONS, "Labelled text in; a gated, observable sentiment service out.")
sentigate.params.append(
    click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_show_version,
        help="Show the version of the project.",
    )
)
