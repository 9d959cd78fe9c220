"""What frameworks write down of a request: a line each, and nothing in it that its caller made up but the path."""

import logging

ACCESS_LOGGER = "bentoml.access"
TELEMETRY_LOGGER = "opentelemetry"  # warns of headers that it cannot read, in the words of the caller


class EscapePaths(logging.Filter):
    """Keeps a path from beginning a line of its own, or from colouring a terminal."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Escape what is not printable ASCII."""
        if isinstance(record.args, tuple):
            record.args = tuple(_escape(word) if isinstance(word, str) else word for word in record.args)
        return True


def keep_callers_out() -> None:
    """Escape paths in BentoML's access log, and keep headers out of the log of OpenTelemetry."""
    logging.getLogger(ACCESS_LOGGER).addFilter(EscapePaths())
    logging.getLogger(TELEMETRY_LOGGER).setLevel(logging.ERROR)


def _escape(word: str) -> str:
    return word if word.isascii() and word.isprintable() else word.encode("unicode_escape").decode()
