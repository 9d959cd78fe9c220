"""How deployment commands say what went wrong."""

import functools
from collections.abc import Callable
from typing import ParamSpec

import click

from sentiment.errors import SentimentError

P = ParamSpec("P")


def say_in_one_sentence(command: Callable[P, None]) -> Callable[P, None]:
    """Show what a user can mend as a sentence, without a stack trace."""

    @functools.wraps(command)
    def wrapped(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            command(*arguments, **options)
        except SentimentError as error:
            raise click.ClickException(str(error)) from error

    return wrapped
