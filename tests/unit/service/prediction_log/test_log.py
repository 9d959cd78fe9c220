"""The prediction log as the service sees it."""

import shutil
import time
from dataclasses import replace

import pytest

from sentiment.bundle.predictor import Prediction
from service.api.context import RequestContext
from service.prediction_log.log import Answered, PredictionLog
from service.prediction_log.pseudonyms import digest_subject
from service.prediction_log.shipper import LogStatus, LogTimings
from service.prediction_log.spool import SpoolError
from tests.unit.service.prediction_log.conftest import MANY_BYTES, PREDICTION, Bench

TEXT = "Good, mail ann@example.com"
GOOD = Prediction("positive", 0.75, {"negative": 0.25, "positive": 0.75}, uncertain=True, tokens=9, truncated=False)
BAD = Prediction("negative", 0.5, {"negative": 0.5, "positive": 0.5}, uncertain=False, tokens=2, truncated=True)
KEY = b"k" * 32
NEVER = LogTimings(tick_seconds=3600.0)
LOGGER = "service.prediction_log.log"


@pytest.fixture
def open_log(bench: Bench):
    """Return what opens a log over the bench; each ships when it is closed, and not before."""
    made = []

    def open_one(**options) -> PredictionLog:
        given = {
            "kept_text": "redacted",
            "key": KEY,
            "required": True,
            "max_bytes": MANY_BYTES,
            "sync": False,
            "retention_days": 0,
            "timings": NEVER,
        }
        made.append(PredictionLog(bench.folder, f"sqlite:///{bench.database}", **{**given, **options}))
        return made[-1]

    yield open_one
    for log in made:
        log.close()


def answer(*predictions: Prediction) -> list[Answered]:
    return [Answered(text, made, "7", "d" * 64) for text, made in zip((TEXT, "bad"), predictions, strict=False)]


def ask(log: PredictionLog, *predictions: Prediction) -> list[str]:
    return log.record(answer(*predictions), RequestContext("r-1"))


def warnings(caplog) -> list[str]:
    return [record.message for record in caplog.records if record.name == LOGGER]


def test_answers_are_rows_under_the_ids_that_were_given(bench, open_log):
    """Each text of a request is a row with an id of its own and the id of the request, in order."""
    log = open_log()
    ids = ask(log, GOOD, BAD)
    log.close()

    rows = {row[0]: row[1:] for row in bench.read("id, request_id, label, confidence, tokens, uncertain, truncated")}
    assert [rows[made.replace("-", "")] for made in ids] == [
        ("r-1", "positive", 0.75, 9, 1, 0),
        ("r-1", "negative", 0.5, 2, 0, 1),
    ]


def test_an_answer_is_in_a_file_before_it_has_an_id(bench, open_log):
    """What was acknowledged lies on the disk, whatever becomes of the database."""
    (made,) = ask(open_log(), GOOD)

    assert [path.suffix for path in bench.folder.iterdir() if made.encode() in path.read_bytes()] == [".open"]


def test_a_row_names_the_model_that_answered(bench, open_log):
    """The version and the digest of the model are in each row."""
    log = open_log()
    ask(log, GOOD)
    log.close()

    assert bench.read("model_version, model_digest") == [("7", "d" * 64)]


def test_a_row_has_the_time_of_its_request(bench, open_log):
    """The latency of a row is that of the whole request, in milliseconds."""
    log, request = open_log(), RequestContext("r-1")
    request.started -= 2
    log.record(answer(GOOD), request)
    log.close()

    assert 2000 <= bench.read("latency_ms")[0] < 3000


@pytest.mark.parametrize(
    ("kept_text", "text", "has_digest"),
    [("none", None, False), ("hash", None, True), ("redacted", "Good, mail [email]", False), ("full", TEXT, False)],
)
def test_a_row_has_what_is_kept_of_a_text(bench, open_log, kept_text, text, has_digest):
    """A text is kept as the settings want it; its length is always known."""
    log = open_log(kept_text=kept_text)
    ask(log, GOOD)
    log.close()

    ((kept, digest, characters),) = bench.read("text, text_digest, characters")
    assert (kept, digest is not None, characters) == (text, has_digest, len(TEXT))


@pytest.mark.parametrize("kept_text", ["none", "hash", "redacted"])
def test_a_detail_is_nowhere_in_the_spool(bench, open_log, kept_text):
    """What is not to be kept is not written, not even for a second."""
    ask(open_log(kept_text=kept_text), GOOD)

    assert not [path for path in bench.folder.iterdir() if b"ann@example.com" in path.read_bytes()]


def test_feedback_is_a_row_under_the_id_that_was_given(bench, open_log):
    """Feedback has an id of its own, and names its prediction and its request."""
    log = open_log()
    made = log.record_feedback(PREDICTION.id, "neutral", RequestContext("r-2"))
    log.close()

    assert bench.read("id, prediction_id, label, request_id", "feedback") == [
        (made.replace("-", ""), PREDICTION.id.replace("-", ""), "neutral", "r-2")
    ]


def test_no_answers_leave_nothing(bench, open_log):
    """A request without texts is no row."""
    log = open_log()

    assert ask(log) == []
    log.close()
    assert bench.list_sealed() == []


def test_a_required_log_refuses_what_it_cannot_keep(bench, open_log, caplog, sentence):
    """Neither an answer nor feedback goes out that is not in the log, and the operator reads why."""
    log = open_log(required=True)
    shutil.rmtree(bench.folder)

    with pytest.raises(SpoolError):
        ask(log, GOOD, BAD)
    with pytest.raises(SpoolError):
        log.record_feedback(PREDICTION.id, "neutral", RequestContext("r-2"))
    assert warnings(caplog) == [sentence]


def test_a_log_that_is_not_required_lets_answers_go_out(bench, open_log, caplog, sentence):
    """Where the log is not required an answer has its id all the same, and the operator reads what is missing."""
    log = open_log(required=False)
    shutil.rmtree(bench.folder)

    assert len(set(ask(log, GOOD, BAD))) == 2
    assert log.record_feedback(PREDICTION.id, "neutral", RequestContext("r-2"))
    assert warnings(caplog) == [sentence]


def test_what_is_missing_is_said_again_after_a_while(bench, open_log, caplog, sentence):
    """The count of what is missing goes on, and is said once a minute rather than at each request."""
    log = open_log(required=False, timings=replace(NEVER, seconds_between_warnings=1.0))
    shutil.rmtree(bench.folder)
    for _ in range(3):
        ask(log, GOOD)
    time.sleep(1.0)
    ask(log, GOOD)

    assert [message.split("; ")[1] for message in warnings(caplog)] == [
        sentence,
        sentence,
    ]


def test_a_log_takes_answers_again_when_it_can(bench, open_log):
    """A refusal leaves nothing behind: the next answer is kept, and the refused one is not."""
    log = open_log()
    shutil.rmtree(bench.folder)
    with pytest.raises(SpoolError):
        ask(log, GOOD)
    bench.folder.mkdir()
    ask(log, BAD)
    log.close()

    assert bench.read("label") == ["negative"]


def test_a_log_says_how_it_is_doing(bench, open_log):
    """The status counts what is in the database."""
    log = open_log()
    first = log.read_status()
    ask(log, GOOD, BAD)
    log.close()

    assert first == LogStatus()
    assert log.read_status() == LogStatus("ok", lag_seconds=0.0, shipped=2, rejected=0)


def test_a_log_that_starts_ships_what_an_earlier_one_left(bench, open_log):
    """What waited when the service stopped is in the database after the next one."""
    bench.store(PREDICTION)
    open_log().close()

    assert bench.read() == ["good"]


def test_two_workers_share_a_spool(bench, open_log):
    """Every answer of every worker is a row, whoever ships."""
    first, second = open_log(), open_log()
    ids = [*ask(first, GOOD, BAD), *ask(second, GOOD)]
    second.close()
    first.close()
    open_log().close()

    assert bench.read("id") == sorted(made.replace("-", "") for made in ids)


@pytest.mark.parametrize(("subject", "kept"), [("ann@example.com", digest_subject("ann@example.com", KEY)), ("", None)])
def test_a_row_says_whom_its_text_is_from_by_a_digest(bench, open_log, subject, kept):
    """The id of a person is in the rows of answers and feedback as its HMAC alone; without one there is nothing."""
    log, request = open_log(), RequestContext("r-1", subject=subject)
    ids = log.record(answer(GOOD, BAD), request)
    log.record_feedback(ids[0], "negative", request)
    spooled = b"".join(path.read_bytes() for path in bench.folder.iterdir())
    log.close()

    assert (bench.read("subject"), bench.read("subject", "feedback")) == ([kept, kept], [kept])
    assert b"ann@" not in spooled
