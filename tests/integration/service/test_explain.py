import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from sentiment.database.connection import open_database
from sentiment.database.schema import PREDICTIONS
from service.inference.explanations import explain_text
from tests.support.serving import Service, make_store, run_service, wait_until

pytestmark = pytest.mark.slow

TEXTS = [
    "good",
    "what a good day",
    "  spaces \t tabs\nand\r\nlines  ",
    "a family \N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL} and \N{THUMBS UP SIGN}\U0001f3ff\N{PILE OF POO} end",
    "\N{RIGHT-TO-LEFT OVERRIDE}\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 hello",
    "e\N{COMBINING ACUTE ACCENT}te\N{COMBINING ACUTE ACCENT} \N{NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}\u4f60\u597d",
    '<b>bold</b> & "quoted" \\ back \0 nul',
    "same same same",
    "\N{WHITE SMILING FACE}",
]
WORDS = "good bad so very much " * 60


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Service]:
    store = make_store(tmp_path_factory.mktemp("store"))
    with run_service(store, tmp_path_factory.mktemp("explain")) as service:
        yield service


def explain(service: Service, text: str) -> dict[str, Any]:
    return service.post("/explain", {"text": text}).raise_for_status().json()


@pytest.mark.parametrize("text", [*TEXTS, WORDS, "x" * 10_000], ids=range(len(TEXTS) + 2))
def test_the_weights_add_up(service, text):
    """The base and the weights of all words sum to the confidence."""
    answer = explain(service, text)

    assert answer["base"] + sum(word["weight"] for word in answer["words"]) == pytest.approx(
        answer["confidence"], abs=1e-4
    )


@pytest.mark.parametrize("text", [*TEXTS, WORDS], ids=range(len(TEXTS) + 1))
def test_each_weight_names_its_place(service, text):
    """Each part is what stands at its place, in order, and between them there are only spaces, as far as was read."""
    answer = explain(service, text)
    words = answer["words"]

    assert [text[word["start"] : word["end"]] for word in words] == [word["text"] for word in words]
    end = words[-1]["end"] if answer["truncated"] else len(text)
    edges = [0, *(edge for word in words for edge in (word["start"], word["end"])), end]
    assert edges == sorted(edges)
    assert not "".join(text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)).strip()


def test_a_long_text_is_told_apart_in_parts(service):
    """A text of 300 words has at most as many parts as the settings allow, with all of its words that were read."""
    words = explain(service, WORDS)["words"]

    said = " ".join(word["text"] for word in words).split()
    assert 1 < len(words) <= 64
    assert said == WORDS.split()[: len(said)]


def test_an_explanation_is_an_answer(service):
    """Besides its reasons an explanation says what a prediction of the same text says."""
    explained, predicted = explain(service, TEXTS[1]), service.post("/predict", {"text": TEXTS[1]}).json()

    ids = {"prediction_id", "request_id"}
    assert explained.keys() - predicted.keys() == {"base", "words"}
    assert {name: explained[name] for name in predicted.keys() - ids} == {
        name: predicted[name] for name in predicted.keys() - ids
    }


def test_an_explanation_is_the_same_again(service):
    """Asked twice, the weights are the same."""
    first, second = (explain(service, WORDS) for _ in range(2))

    assert (first["base"], first["words"]) == (second["base"], second["words"])


def test_an_explanation_is_one_row_of_the_log(service):
    """The texts that an explanation tries out are not logged; the answer itself is, once."""
    answer = explain(service, TEXTS[1])
    after = service.predict("a later one")

    wait_until(lambda: after in read_rows(service))
    rows = read_rows(service)
    assert [one for one, request in rows.items() if request == answer["request_id"]] == [answer["prediction_id"]]


def read_rows(service: Service) -> dict[str, str]:
    """Return the requests of the predictions in the log."""
    with open_database(f"sqlite:///{service.state}/sentigate.db") as engine, engine.connect() as log:
        return dict(log.execute(sa.select(PREDICTIONS.c.id, PREDICTIONS.c.request_id)).tuples().all())


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\N{ZERO WIDTH SPACE}", "\N{IDEOGRAPHIC SPACE}"])
def test_there_is_nothing_to_explain_in_an_empty_text(service, text):
    """A text without a word is refused as by `/predict`."""
    answer = service.post("/explain", {"text": text})

    assert (answer.status_code, answer.json()["code"]) == (422, "empty_text")


def test_words_that_were_not_read_have_no_weight(service):
    """In a text that was cut, words after the cut decide nothing, and no weight is said for them."""
    answer = explain(service, "good " * 20 + "unread " * 20)

    assert (answer["truncated"], {word["text"] for word in answer["words"]}) == (True, {"good"})


@pytest.mark.parametrize(("words", "most"), [(1, 2), (3, 8), (13, 400), (64, 400), (300, 130), (5000, 130)])
def test_an_explanation_asks_the_model_so_often_at_most(words, most, record_property):
    """However long the text, the model answers no more texts than the settings allow, two for each part at least."""
    asked: list[str] = []

    async def score(texts: Sequence[str]) -> list[float]:
        asked.extend(texts)
        return [len(text) / 1e5 for text in texts]

    asyncio.run(explain_text("word " * words, score, max_parts=64, max_evaluations=400, max_words=12_000))

    record_property("texts, words in them", [len(asked), sum(len(text.split()) for text in asked)])
    assert len(asked) <= most


def test_a_long_explanation_lets_others_through(service):
    """While a long text is explained another caller is answered in between."""
    with ThreadPoolExecutor(1) as caller:
        asked = caller.submit(explain, service, "a " * 4999)
        answered = 0
        while not asked.done():
            service.predict("good")
            answered += 1

    assert answered > 1
