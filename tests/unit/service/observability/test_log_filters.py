"""What stands in the log of a request."""

import logging

import pytest

from service.observability.log_filters import ACCESS_LOGGER, TELEMETRY_LOGGER, EscapePaths, keep_callers_out

LINE = "%s (%s) (%s) %.3fms"


@pytest.fixture
def access_log():
    """BentoML's access log, as it was before."""
    logger, telemetry = logging.getLogger(ACCESS_LOGGER), logging.getLogger(TELEMETRY_LOGGER)
    before = list(logger.filters), logger.level, telemetry.level
    logger.setLevel(logging.INFO)
    yield logger
    logger.filters[:], logger.level, telemetry.level = before


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/predict", "/predict"),
        ("/a\nforged", r"/a\nforged"),
        ("/a\r\x1b[31m", r"/a\r\x1b[31m"),
        ("/\u2028\ufffd", r"/\u2028\ufffd"),
    ],
)
def test_a_path_stays_in_its_line(access_log, caplog, path, said):
    """What a caller asks for cannot look like another line of the log."""
    keep_callers_out()
    access_log.info(LINE, "127.0.0.1:1", f"path={path}", "status=404", 0.25)

    assert caplog.messages == [f"127.0.0.1:1 (path={said}) (status=404) 0.250ms"]


def test_telemetry_does_not_repeat_headers(access_log, caplog):
    """A header that OpenTelemetry cannot read is not written down."""
    keep_callers_out()
    logging.getLogger(f"{TELEMETRY_LOGGER}.baggage").warning("marmalade")

    assert caplog.messages == []


@pytest.mark.parametrize("arguments", [(), {"one": "a\n"}])
def test_a_line_without_words_is_left_alone(arguments):
    """A line of another kind is written as it is."""
    record = logging.LogRecord(ACCESS_LOGGER, logging.INFO, __file__, 1, "started", (arguments,), None)
    before = record.args

    assert EscapePaths().filter(record)
    assert record.args == before
