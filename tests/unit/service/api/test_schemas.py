from itertools import combinations

import pytest
from pydantic import ValidationError

from service.api.schemas import (
    Answer,
    BatchAnswer,
    BatchEntry,
    BatchPredictRequest,
    Explanation,
    FeedbackAnswer,
    FeedbackRequest,
    PredictRequest,
    Problem,
    ReloadAnswer,
    ReloadRequest,
    WordWeight,
)

ID = "01890a5d-ac96-774b-bcce-b302099a8057"

ANSWER = {
    "label": "positive",
    "confidence": 0.75,
    "scores": {"negative": 0.25, "positive": 0.75},
    "tokens": 5,
    "uncertain": False,
    "truncated": False,
    "model_version": "7",
    "model_digest": "abc",
    "prediction_id": ID,
    "request_id": "r-1",
}
SOURCES = {"alias": "production", "version": "3", "folder": "/bundles/a", "uri": "s3://bucket/a"}
PAIRS = list(combinations(SOURCES, 2))
NO_IDS = {
    "nothing": "",
    "a word": "prediction",
    "capitals": ID.upper(),
    "no dashes": ID.replace("-", ""),
    "brackets": f"{{{ID}}}",
    "a prefix": f"urn:uuid:{ID}",
    "a digit less": ID[:-1],
    "a digit more": ID + "0",
    "a space": ID + " ",
    "a new line": ID + "\n",
    "two": f"{ID}\n{ID}",
    "NUL": ID + "\x00",
    "a letter after f": ID[:-1] + "g",
    "digits of another script": ID[:-1] + "\u0667",
    "dashes elsewhere": "01890a5da-c96-774b-bcce-b302099a8057",
}


@pytest.mark.parametrize("text", [1, 1.5, True, None, ["good"], {"text": "good"}, b"good"], ids=repr)
def test_a_text_is_a_string_and_nothing_else(text):
    """Nothing but a string is taken for a text."""
    with pytest.raises(ValidationError, match="valid string"):
        PredictRequest(text=text)


@pytest.mark.parametrize("texts", ["good", {"good": 1}, ("good",), None, ["good", 1], [["good"]]], ids=repr)
def test_texts_are_a_list_of_strings_and_nothing_else(texts):
    """Nothing but a list of strings is taken for texts."""
    with pytest.raises(ValidationError):
        BatchPredictRequest(texts=texts)


@pytest.mark.parametrize(("shape", "content"), [(PredictRequest, "a"), (BatchPredictRequest, ["a"])])
def test_an_unknown_key_is_refused(shape, content):
    """A request with a key that the service does not know is refused rather than half read."""
    (name,) = shape.model_fields

    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        shape(**{name: content, "language": "en"})


@pytest.mark.parametrize("prediction_id", [ID, ID.replace("7", "0"), "0" * 8 + "-0000" * 3 + "-" + "f" * 12])
def test_feedback_names_a_prediction(prediction_id):
    """Any id as a prediction answers with is taken."""
    assert FeedbackRequest(prediction_id=prediction_id, label="positive").prediction_id == prediction_id


@pytest.mark.parametrize("prediction_id", NO_IDS.values(), ids=NO_IDS)
def test_feedback_names_a_prediction_as_it_was_named(prediction_id):
    """An id that no prediction answered with is refused before it comes near the log."""
    with pytest.raises(ValidationError, match="String should match pattern"):
        FeedbackRequest(prediction_id=prediction_id, label="positive")


@pytest.mark.parametrize("values", [{"prediction_id": 7}, {"prediction_id": None}, {"label": 1}, {"label": ["good"]}])
def test_feedback_is_strings_and_nothing_else(values):
    """Nothing but a string is taken for an id or a label."""
    with pytest.raises(ValidationError, match="valid string"):
        FeedbackRequest(**{"prediction_id": ID, "label": "positive", **values})


@pytest.mark.parametrize("key", ["prediction_id", "label"])
def test_feedback_is_whole(key):
    """Feedback says which prediction and what it should have been."""
    with pytest.raises(ValidationError, match="Field required"):
        FeedbackRequest(**{name: value for name, value in {"prediction_id": ID, "label": "x"}.items() if name != key})


def test_feedback_with_an_unknown_key_is_refused():
    """Feedback with a key that the service does not know is refused rather than half read."""
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        FeedbackRequest(prediction_id=ID, label="positive", comment="no")


def test_an_answer_to_feedback_names_three_ids():
    """Feedback, its prediction and its request can each be found again."""
    answer = FeedbackAnswer(feedback_id="f", prediction_id=ID, request_id="r-1")

    assert answer.model_dump() == {"feedback_id": "f", "prediction_id": ID, "request_id": "r-1"}


@pytest.mark.parametrize("shape", [PredictRequest, BatchPredictRequest])
def test_a_request_without_its_key_is_refused(shape):
    """A request has no default text."""
    with pytest.raises(ValidationError, match="Field required"):
        shape()


def test_a_problem_without_a_limit_does_not_mention_one():
    """The key `limit` is absent where no limit was passed."""
    assert Problem(code="malformed", message="not JSON").model_dump() == {"code": "malformed", "message": "not JSON"}


def test_a_problem_with_a_limit_names_it():
    """The limit that was passed is a number of its own."""
    problem = Problem(code="text_too_long", message="too long", limit=10)

    assert problem.model_dump() == {"code": "text_too_long", "message": "too long", "limit": 10}


@pytest.mark.parametrize("confidence", [-0.01, 1.01, float("nan")])
def test_a_confidence_is_a_probability(confidence):
    """An answer with a confidence outside 0 to 1 cannot be made."""
    with pytest.raises(ValidationError, match="confidence"):
        Answer(**{**ANSWER, "confidence": confidence})


@pytest.mark.parametrize("confidence", [0.0, 1.0])
def test_a_confidence_may_be_certain(confidence):
    """Both ends of the range are probabilities."""
    assert Answer(**{**ANSWER, "confidence": confidence}).confidence == confidence


@pytest.mark.parametrize("key", ANSWER)
def test_an_answer_is_whole(key):
    """An answer without one of its fields cannot be made; whether it is uncertain is always said."""
    with pytest.raises(ValidationError, match="Field required"):
        Answer(**{name: value for name, value in ANSWER.items() if name != key})


def test_an_entry_has_the_fields_of_an_answer_and_an_error():
    """What is said of one text is said of a text in a batch."""
    assert set(BatchEntry.model_fields) == {*Answer.model_fields, "error"}


@pytest.mark.parametrize("uncertain", [True, False])
def test_an_entry_says_whether_it_is_uncertain(uncertain):
    """No is said as well, and not left out with what there is not."""
    assert BatchEntry(**{**ANSWER, "uncertain": uncertain}).model_dump()["uncertain"] is uncertain


def test_a_batch_answer_keeps_refused_texts_in_their_place():
    """A refused text leaves as its error, between the answers of its neighbours."""
    refused = BatchEntry(error=Problem(code="empty_text", message="empty"))

    batch = BatchAnswer(predictions=[BatchEntry(**ANSWER), refused, BatchEntry(**ANSWER)])

    assert batch.model_dump(mode="json") == {
        "predictions": [ANSWER, {"error": {"code": "empty_text", "message": "empty"}}, ANSWER]
    }


@pytest.mark.parametrize("name", SOURCES)
def test_a_reload_names_one_source(name):
    """A model is named by an alias, a version, a folder or a URI; the others are not there."""
    request = ReloadRequest(**{name: SOURCES[name]})

    assert request.model_dump() == {**dict.fromkeys(SOURCES), name: SOURCES[name]}


def test_a_reload_may_name_nothing():
    """Without a source the model is the one in production."""
    assert ReloadRequest().model_dump() == dict.fromkeys(SOURCES)


@pytest.mark.parametrize("names", [*PAIRS, tuple(SOURCES)], ids="+".join)
def test_a_reload_that_names_two_sources_is_refused(names):
    """Which of two models is meant is not guessed at."""
    with pytest.raises(ValidationError, match="more than one source"):
        ReloadRequest(**{name: SOURCES[name] for name in names})


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_of_null_is_none(name):
    """A source that is null is not there, beside another too."""
    other = "folder" if name == "version" else "version"

    assert ReloadRequest(**{name: None, other: SOURCES[other]}).model_dump()[name] is None


@pytest.mark.parametrize("alias", ["staging", "Production", "", "production ", 1], ids=repr)
def test_production_is_the_one_alias(alias):
    """No other alias is served."""
    with pytest.raises(ValidationError, match="Input should be 'production'"):
        ReloadRequest(alias=alias)


@pytest.mark.parametrize("name", ["version", "folder", "uri"])
@pytest.mark.parametrize("value", [3, ["3"], True, b"3"], ids=repr)
def test_a_source_is_a_string_and_nothing_else(name, value):
    """A version is text, as the registry says it."""
    with pytest.raises(ValidationError, match="valid string"):
        ReloadRequest(**{name: value})


def test_a_reload_with_an_unknown_key_is_refused():
    """A reload with a key that the service does not know changes nothing."""
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        ReloadRequest(tag="sentiment:3")


def test_an_answer_to_a_reload_names_the_model_and_its_workers():
    """Who asked for a model reads which one answers, and in how many workers."""
    values = {"model_version": "3", "model_digest": "abc", "workers": 2, "request_id": "r-1"}

    assert ReloadAnswer(**values).model_dump() == values


def test_an_explanation_is_an_answer_and_its_reasons():
    """An explanation has all that an answer has, what there is without a word, and a weight for each word."""
    word = {"text": "good", "start": 0, "end": 4, "weight": 0.5}
    explanation = Explanation(**ANSWER, base=0.25, words=[WordWeight(**word)])

    assert explanation.model_dump() == {**ANSWER, "base": 0.25, "words": [word]}


def test_an_explanation_may_be_of_no_words():
    """A text of signs that are no words has no weights."""
    assert Explanation(**ANSWER, base=0.75, words=[]).words == []


@pytest.mark.parametrize("key", ["base", "words", "confidence"])
def test_an_explanation_is_whole(key):
    """An explanation without a part of it cannot be made."""
    values = {**ANSWER, "base": 0.25, "words": []}

    with pytest.raises(ValidationError, match="Field required"):
        Explanation(**{name: value for name, value in values.items() if name != key})
