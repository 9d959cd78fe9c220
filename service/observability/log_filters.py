"""Filters for the logs of frameworks: one line per request, with nothing from its caller but the path."""

import logging

# BentoML has no setting for what a line says; the path is in its arguments.
# https://github.com/bentoml/BentoML/blob/v1.4.39/src/bentoml/_internal/server/http/access.py#L133
ACCESS_LOGGER = "bentoml.access"
TELEMETRY_LOGGER = "opentelemetry"  # its warnings repeat headers that it cannot read


class EscapePaths(logging.Filter):
    """Keeps a path from starting another line or colouring a terminal."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Escape all but printable ASCII."""
        if isinstance(record.args, tuple):
            record.args = tuple(_escape(word) if isinstance(word, str) else word for word in record.args)
        return True


def keep_callers_out() -> None:
    """Escape paths in BentoML's access log, and silence warnings of OpenTelemetry."""
    logging.getLogger(ACCESS_LOGGER).addFilter(EscapePaths())
    logging.getLogger(TELEMETRY_LOGGER).setLevel(logging.ERROR)


def _escape(word: str) -> str:
    return word if word.isascii() and word.isprintable() else word.encode("unicode_escape").decode()
