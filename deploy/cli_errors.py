"""How deployment commands say what went wrong: a sentence, without a stack trace, by `sentigate` and by `python -m`."""

from typing import Any

import click

from sentiment.errors import SentimentError


class SentenceCommand(click.Command):
    """A command that shows what a user can mend as a sentence."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SentimentError as error:
            raise click.ClickException(str(error)) from error


class SentenceGroup(SentenceCommand, click.Group):
    """A group whose commands show what a user can mend as a sentence."""
