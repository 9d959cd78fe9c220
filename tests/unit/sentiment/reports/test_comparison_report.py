"""The pages on a decision and on several models: safe to open, whole without a network, and what they say."""

from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from sentiment.bundle.bundle import Card
from sentiment.data.datasets import Dataset
from sentiment.evaluation.behaviour import BehaviourReport, BehaviourScore, Case
from sentiment.evaluation.comparison import compare_predictions, measure_interval
from sentiment.evaluation.predictions import Predictions, score_predictions
from sentiment.governance.gate import Decision, GateRule, MeasuredChallenger, decide_gate
from sentiment.reports.html import LONGEST_TEXT, Scored, Trial, render_comparison, render_evaluation
from tests.conftest import make_card

LABELS = ("negative", "neutral", "positive")
ROWS = 90
HOSTILE = "<script>alert('x')</script><img src=//evil.example/p.png onerror=\"run()\"> {{ 7 * 7 }} & so on"
FACES = "\U0001f600\U0001f1e9\U0001f1ea \u2764\ufe0f caf\u00e9 \u0645\u0631\u062d\u0628\u0627 $x^2$"
JUST_FITS, TOO_LONG = "f" * LONGEST_TEXT, "l" * LONGEST_TEXT + "!"
GAINED, LOST, WRONG = range(10), range(10, 14), range(14, 20)
RULE = GateRule(
    min_f1=0.5,
    min_recall=0.1,
    min_behaviour={"minimum_function": 0.1, "invariance": 0.1, "direction": 0.1},
    max_calibration_error=0.9,
    max_latency_ms=100.0,
    max_size_mb=50.0,
    require="not_worse",
    min_improvement=0.0,
    tolerance=0.1,
    max_class_drop=0.5,
    min_class_rows=5,
    max_decisions=10,
    confidence=0.9,
    resamples=200,
    seed=1,
)
BEHAVIOUR = BehaviourReport(
    (BehaviourScore("invariance", "quoted_speech", 3, 4), BehaviourScore("minimum_function", "irony", 1, 2)),
    (
        Case("minimum_function", "irony", "<b>great</b>, thanks", "", "negative"),
        Case("invariance", "quoted_speech", "he said no", "she said no", ""),
    ),
)


class PageReader(HTMLParser):
    """Collects the tags, the addresses, the words and the tables of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.tables: list[list[list[str]]] = []
        self._words: list[str] = []
        self._inside = False
        self.feed(page)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self._words).split())

    def find_row(self, name: str, column: str) -> dict[str, str]:
        """Return the cells by column of the row with this first cell, in the first table that has both."""
        tables = [table for table in self.tables if column in table[0] and name in [row[0] for row in table[1:]]]
        (row, *_) = [row for row in tables[0][1:] if row[0] == name]
        return dict(zip(tables[0][0], row, strict=True))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "action", "srcset"}]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in {"td", "th"}

    def handle_data(self, data: str) -> None:
        self._words.append(data)
        if self._inside:
            self.tables[-1][-1][-1] = (self.tables[-1][-1][-1] + data).strip()


def make_dataset(name: str = "made") -> Dataset:
    texts = [f"text number {row}" for row in range(ROWS)]
    texts[0], texts[1], texts[2], texts[10], texts[14] = HOSTILE, JUST_FITS, FACES, TOO_LONG, FACES + TOO_LONG
    return Dataset(name, pd.DataFrame({"text": texts, "label": [LABELS[row % 3] for row in range(ROWS)]}))


def make_predictions(digest: str, wrong: Sequence[int], labels: tuple[str, ...] = LABELS) -> Predictions:
    targets = np.arange(ROWS) % 3
    chosen = targets.copy()
    chosen[list(wrong)] = (targets[list(wrong)] + 1) % 3
    probabilities = np.full((ROWS, 3), 0.1, dtype=np.float32)
    probabilities[np.arange(ROWS), chosen] = 0.8
    return Predictions(digest, make_dataset().digest, labels, probabilities, targets)


CHAMPION = make_predictions("champion", [*GAINED, *WRONG])
CHALLENGER = make_predictions("challenger", [*LOST, *WRONG])


def make_scored(
    name: str, predictions: Predictions, card: Card | None = None, behaviour: BehaviourReport = BEHAVIOUR
) -> Scored:
    interval = measure_interval(predictions, resamples=200, confidence=0.9, seed=1)
    card = replace(card or make_card(predictions.labels), digest=predictions.bundle_digest, candidate=name)
    return Scored(name, card, predictions, score_predictions(predictions), interval, behaviour)


def decide(predictions: Predictions = CHALLENGER, champion: Predictions | None = None, **changes) -> Decision:
    rule = changes.pop("rule", RULE)
    measured = MeasuredChallenger(predictions, 12.0, 30_000_000, BEHAVIOUR)
    return decide_gate(measured, champion, rule, champion_version="3" if champion else None, **changes)


def render(decision: Decision, champion: Predictions | None = None, candidates: Sequence[Scored] = ()) -> str:
    entries = candidates or [make_scored("tfidf", make_predictions("other", WRONG)), make_scored("svm", CHALLENGER)]
    return render_comparison(entries, make_dataset(), Trial(decision, CHALLENGER, champion), make_dataset())


@pytest.fixture(scope="module")
def first() -> str:
    return render(decide())


@pytest.fixture(scope="module")
def against() -> str:
    return render(decide(champion=CHAMPION), CHAMPION)


@pytest.fixture(scope="module")
def hostile() -> str:
    """A page on which every name, label and reason that a user may choose is markup."""
    labels = ("<i>bad</i>", "<u>$a$</u>", "</td><b>good</b>")
    champion, challenger = replace(CHAMPION, labels=labels), replace(CHALLENGER, labels=labels)
    card = replace(make_card(labels), dataset="</title><b>d</b>")
    force = "<script>because</script>"
    decision = decide(challenger, champion, notes=("<b>note</b>",), force=force, rule=replace(RULE, min_f1=0.99))
    entries = [make_scored("<em>$svm$</em>", challenger, card)]
    return render_comparison(entries, make_dataset(), Trial(decision, challenger, champion), make_dataset())


@pytest.fixture(scope="module")
def models() -> list[Scored]:
    card = replace(
        make_card(),
        size_bytes=87_600_000,
        latency_ms={"p50": 4.26, "p95": 12.04},
        metrics={"training_seconds": 3725.4, "validation_macro_f1_int8": 0.8125, "texts_per_second_int8": 99.6},
    )
    return [make_scored("champion", CHAMPION, card), make_scored("svm", CHALLENGER)]


@pytest.fixture(scope="module")
def evaluation(models: list[Scored]) -> str:
    comparison = compare_predictions(CHAMPION, CHALLENGER, resamples=200, confidence=0.9, seed=1)
    return render_evaluation(models, make_dataset("<b>rows</b>"), [("svm", comparison)])


@pytest.mark.parametrize("page", ["first", "against", "evaluation", "hostile"])
def test_a_page_asks_nothing_of_the_network(page: str, request: pytest.FixtureRequest):
    """Pictures are inside the page; there is no script, style sheet, font, link or form."""
    text = request.getfixturevalue(page)
    reader = PageReader(text)
    assert all(address.startswith("data:image/png;base64,iVBOR") for address in reader.addresses)
    assert not {"link", "script", "iframe", "object", "base", "a", "form"} & set(reader.tags)
    assert not [sign for sign in ("http:", "https:", "url(", "@import") if sign in text]


@pytest.mark.parametrize(("page", "pictures"), [("first", 3), ("against", 4), ("evaluation", 3)])
def test_a_page_has_its_pictures(page: str, pictures: int, request: pytest.FixtureRequest):
    """Intervals, confusions and reliability; against a champion, the difference too."""
    assert len(PageReader(request.getfixturevalue(page)).addresses) == pictures


@pytest.mark.parametrize("page", ["first", "against", "evaluation", "hostile"])
def test_a_page_closes_what_it_opens(page: str, request: pytest.FixtureRequest):
    """Whatever the data holds, tables and cells end where they should."""
    text = request.getfixturevalue(page)
    for tag in ("table", "tr", "td", "th", "p", "details", "title", "body", "html"):
        assert text.count(f"<{tag}>") + text.count(f"<{tag} ") == text.count(f"</{tag}>"), tag


@pytest.mark.parametrize("page", ["first", "against", "evaluation", "hostile"])
def test_every_row_of_a_table_is_as_wide_as_its_head(page: str, request: pytest.FixtureRequest):
    """No column is without a name and no value under the wrong one."""
    for table in PageReader(request.getfixturevalue(page)).tables:
        assert {len(row) for row in table} == {len(table[0])}


def test_markup_in_a_text_is_shown_and_not_run(against: str):
    """A script, a picture and a template in a text are words on the page."""
    reader = PageReader(against)
    assert "script" not in reader.tags
    assert HOSTILE in reader.words


def test_an_address_in_a_text_is_no_link(models: list[Scored]):
    """A text that names a page elsewhere is words, so that nobody is led there."""
    rows = make_dataset()
    rows.frame.loc[15, "text"] = "see https://evil.example/?a=1&b=2"
    reader = PageReader(render_evaluation(models, rows, []))
    assert reader.find_row("see https://evil.example/?a=1&b=2", "confidence")
    assert "a" not in reader.tags
    assert all(address.startswith("data:") for address in reader.addresses)


def test_markup_in_names_labels_and_reasons_is_shown_and_not_run(hostile: str):
    """What users name is escaped everywhere, in the title too."""
    reader = PageReader(hostile)
    assert not {"b", "i", "u", "script"} & set(reader.tags)
    assert reader.tags.count("em") == 2
    for name in ("<em>$svm$</em>", "</title><b>d</b>", "<b>note</b>", "</td><b>good</b>", "<script>because</script>"):
        assert name in reader.words


def test_markup_in_a_behavioural_case_is_shown_and_not_run(first: str):
    """The cases that were not met are escaped as texts are."""
    assert PageReader(first).find_row("minimum function", "wanted")["text"] == "<b>great</b>, thanks"


def test_markup_in_the_name_of_a_dataset_is_shown_and_not_run(evaluation: str):
    """The page on several models escapes the name in the title and the heading."""
    assert evaluation.count("&lt;b&gt;rows&lt;/b&gt;") == 2
    assert "<b>" not in evaluation


def test_emoji_accents_and_other_scripts_are_shown_as_they_are(against: str):
    """A text comes out as it went in, and is UTF-8."""
    assert FACES in PageReader(against).words
    assert FACES.encode() in against.encode("utf-8")


def test_a_long_text_is_clipped(against: str):
    """300 characters are shown whole, of 301 the first 300."""
    reader = PageReader(against)
    assert reader.find_row(JUST_FITS, "champion")
    assert reader.find_row("l" * LONGEST_TEXT + " ...", "champion")
    assert TOO_LONG not in against


def test_a_first_model_has_no_champion_beside_it(first: str):
    """Without a champion there is no comparison and no change to tell of."""
    words = PageReader(first).words
    assert "Yes. Macro F1 0.889 on 90 holdout rows reaches the floor 0.500 and there is no champion yet." in words
    assert not [part for part in ("Against the champion", "What changes for people", "McNemar") if part in words]


def test_a_better_model_is_shown_against_the_champion(against: str):
    """Both models with their scores, and the version that was beaten."""
    reader = PageReader(against)
    assert "Against the champion, version 3" in reader.words
    assert reader.find_row("champion", "macro F1")["macro F1"] == "0.822"
    assert reader.find_row("challenger", "macro F1")["macro F1"] == "0.889"


def test_the_rows_that_change_are_counted_and_listed(against: str):
    """Ten rows gained, four lost, with the label, the old answer and the new one."""
    reader = PageReader(against)
    assert "Wrong before, right now: 10 rows" in reader.words
    assert "Right before, wrong now: 4 rows" in reader.words
    changed = {"text": "text number 4", "is": "neutral", "champion": "positive", "challenger": "neutral"}
    assert reader.find_row("text number 4", "champion") == changed
    assert "right on 10 rows that the champion gets wrong, and wrong on 4 that it gets right" in reader.words
    assert "(exact McNemar test: p 0.18)" in reader.words


def test_only_twenty_changes_are_listed():
    """The number is the whole one, the list is short."""
    champion = make_predictions("champion", range(21, 60))
    challenger = make_predictions("challenger", ())
    decision = decide(challenger, champion)
    page = render_comparison(
        [make_scored("svm", challenger)], make_dataset(), Trial(decision, challenger, champion), make_dataset()
    )
    assert "Wrong before, right now: 39 rows" in page
    assert page.count('<td class="text">text number') == 20


@pytest.mark.parametrize(
    ("changes", "verdict", "word"),
    [
        ({}, "Yes.", "pass"),
        ({"rule": replace(RULE, min_f1=0.95)}, "No.", "block"),
        ({"rule": replace(RULE, min_class_rows=31)}, "Not decided.", "hold"),
        ({"rule": replace(RULE, min_f1=0.95), "force": "a demo"}, "Yes, because a person said so.", "forced"),
    ],
    ids=["passed", "blocked", "held", "forced"],
)
def test_the_verdict_comes_first(changes: dict, verdict: str, word: str):
    """The answer to the question in the heading, and the reasons."""
    decision = decide(**changes)
    page = render(decision)
    assert decision.outcome == word
    assert f'<p class="verdict {word}"><strong>{verdict}</strong>' in page
    assert f"May svm go into production? {verdict} {decision.summary[0].upper()}" in PageReader(page).words


def test_a_blocked_model_shows_which_rule_it_missed():
    """Every rule has its value, what was wanted and whether it was met."""
    reader = PageReader(render(decide(rule=replace(RULE, min_f1=0.95))))
    assert list(reader.find_row("macro F1", "wanted").values()) == ["macro F1", "0.889", "at least 0.950", "missed"]
    latency = list(reader.find_row("p95 latency", "wanted").values())
    assert latency == ["p95 latency", "12.0 ms", "at most 100.0 ms", "met"]


def test_a_champion_that_cannot_answer_is_told():
    """The gate holds, and the page has the challenger alone."""
    decision = decide(unmeasured="its model.onnx was altered")
    words = PageReader(render(decision)).words
    assert "could not be measured: its model.onnx was altered" in words
    assert "Against the champion" not in words


@pytest.mark.parametrize(
    ("earlier", "said"), [(0, "made 0 decisions before"), (1, "made 1 decision before"), (9, "made 9 decisions before")]
)
def test_earlier_decisions_on_the_holdout_are_counted(earlier: int, said: str):
    """A reader sees how often the same rows have decided."""
    words = PageReader(render(decide(earlier_decisions=earlier))).words
    assert said in words
    assert "Note:" not in words


def test_a_worn_holdout_is_a_note():
    """From the tenth decision on the page warns."""
    words = PageReader(render(decide(earlier_decisions=10))).words
    assert "Note: this holdout" in words
    assert "add new labelled rows." in words


def test_slices_are_shown_for_both_models(against: str):
    """Each slice has its rows, the champion's score, the challenger's and its accuracy."""
    row = PageReader(against).find_row("emoji", "rows")
    assert list(row.values())[1:] == ["2", "0.000", "0.667", "0.500"]


def test_the_worst_errors_are_those_on_validation(first: str):
    """Text, label, wrong answer and how sure it was."""
    row = PageReader(first).find_row("text number 15", "confidence")
    assert row == {"text": "text number 15", "is": "negative", "answered": "neutral", "confidence": "80%"}


@pytest.mark.parametrize("column", ["training", "p50", "p95", "F1 in fp32", "F1 in int8", "texts/s in fp32"])
def test_what_was_not_measured_is_empty(first: str, column: str):
    """A card without latencies and without figures per precision shows no nought."""
    assert PageReader(first).find_row("svm", column)[column] == ""


def test_measurements_have_their_units(evaluation: str):
    """Size, latency and training time are rounded for people."""
    row = PageReader(evaluation).find_row("champion", "p50")
    assert [row[column] for column in ("size", "p50", "p95", "training")] == ["88 MB", "4.3 ms", "12.0 ms", "3,725 s"]
    assert (row["F1 in int8"], row["texts/s in int8"]) == ("0.812", "100")


def test_kinds_of_cases_that_were_not_run_say_so(first: str):
    """A rate for each kind, words for a kind without cases."""
    row = PageReader(first).find_row("svm", "invariance")
    assert row == {"model": "svm", "minimum function": "50%", "invariance": "75%", "direction": "not run"}


def test_a_model_without_behavioural_cases_is_shown():
    """Labels of one's own make no behavioural cases."""
    scored = make_scored("svm", CHALLENGER, behaviour=BehaviourReport((), ()))
    row = PageReader(render(decide(), candidates=[scored])).find_row("svm", "invariance")
    assert list(row.values()) == ["svm", *["not run"] * 3]


def test_each_model_has_its_slices_and_errors(evaluation: str):
    """The page on several models has a part for each of them."""
    words = PageReader(evaluation).words
    assert "2 models on <b>rows</b> 90 rows, digest" in words
    for name in ("champion", "svm"):
        assert f"Where {name} finds it hard" in words
        assert f"The worst errors of {name}" in words


def test_further_models_are_compared_with_the_first(evaluation: str):
    """Difference with its interval, rows gained and lost, and the p."""
    row = list(PageReader(evaluation).find_row("svm", "exact McNemar p").values())
    assert (row[1], row[3:]) == ("+0.067", ["10", "4", "0.18"])


def test_one_model_alone_has_a_page(models: list[Scored]):
    """A single model is compared with none."""
    words = PageReader(render_evaluation(models[:1], make_dataset(), [])).words
    assert "1 model on made" in words
    assert "Against champion" not in words


def test_seven_models_have_a_page(models: list[Scored]):
    """More models than fit in a row of pictures are all there."""
    many = [replace(models[1], name=f"model {number}") for number in range(7)]
    reader = PageReader(render_evaluation(many, make_dataset(), []))
    assert all(reader.find_row(item.name, "calibration error") for item in many)


@pytest.mark.parametrize("turned", [False, True], ids=["three-then-two", "two-then-three"])
def test_models_that_know_other_labels_share_a_table(turned: bool):
    """A model of two classes beside one of three: each figure stands under its name."""
    rows = np.arange(ROWS) % 3 != 1
    frame = make_dataset().frame[rows].reset_index(drop=True)
    three = replace(CHALLENGER, probabilities=CHALLENGER.probabilities[rows], targets=CHALLENGER.targets[rows])
    two = replace(
        three, labels=("negative", "positive"), probabilities=three.probabilities[:, [0, 2]], targets=three.targets // 2
    )
    pair = [make_scored("three", three), make_scored("two", two)]
    page = render_evaluation(pair[::-1] if turned else pair, Dataset("made", frame), [])
    reader = PageReader(page)
    for item in pair:
        named = reader.find_row(item.name, "calibration error")
        assert named["calibration error"] == f"{item.evaluation.calibration_error:.3f}"
        assert named["F1 positive"] == f"{item.evaluation.classes['positive'].f1:.3f}"


def test_labels_in_another_order_share_a_table(models: list[Scored]):
    """Each class keeps its column, whatever the order in which a model knows it."""
    turned = make_scored("turned", CHALLENGER.reorder(("positive", "neutral", "negative")))
    reader = PageReader(render_evaluation([models[0], turned], make_dataset(), []))
    named = reader.find_row("turned", "F1 negative")
    assert named["F1 negative"] == f"{turned.evaluation.classes['negative'].f1:.3f}"
