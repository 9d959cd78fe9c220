"""Behavioural cases: the file, and when a case of each kind is met."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from sentiment.data.datasets import find_dataset, load_dataset
from sentiment.data.text_normalization import normalise_text
from sentiment.errors import DatasetError
from sentiment.evaluation.behaviour import (
    KINDS,
    MAX_WRONG_WAY,
    BehaviourReport,
    BehaviourScore,
    Case,
    CaseKind,
    read_cases,
    run_cases,
)

LABELS = ("negative", "neutral", "positive")
HEADER = "kind,topic,text,other,expected"
EDGE = np.float32(MAX_WRONG_WAY)


class FixedPredictor:
    """Gives each text the row that it was given; like the real one, it refuses an empty list."""

    def __init__(self, rows: Mapping[str, Sequence[float]], labels: tuple[str, ...] = LABELS) -> None:
        self.labels = labels
        self.asked: list[str] = []
        self._rows = rows

    def predict_probabilities(self, texts: Sequence[str]) -> np.ndarray:
        if not texts:
            raise ValueError("no texts: wanted at least one.")
        self.asked += texts
        return np.array([self._rows[text] for text in texts], dtype=np.float32)


def make_case(kind: CaseKind, text: str = "a", other: str = "", expected: str = "", topic: str = "names") -> Case:
    return Case(kind, topic, text, other, expected)


def is_met(case: Case, **rows: Sequence[float]) -> bool:
    return not run_cases(FixedPredictor(rows), [case]).failed


def write_cases(folder: Path, *lines: str) -> Path:
    path = folder / "cases.csv"
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return path


def refuse(path: Path) -> str:
    with pytest.raises(DatasetError) as refusal:
        read_cases(path)
    return str(refusal.value)


@pytest.fixture(scope="module")
def shipped() -> list[Case]:
    return read_cases()


def test_the_shipped_cases_are_many(shipped: list[Case]):
    """There are at least 150 cases, and every kind has its share."""
    assert len(shipped) >= 150
    assert min(Counter(case.kind for case in shipped)[kind] for kind in KINDS) >= 30


def test_every_topic_has_at_least_fourteen_cases(shipped: list[Case]):
    """A rate per topic rests on more than a handful."""
    assert min(Counter(case.topic for case in shipped).values()) >= 14


def test_no_shipped_text_is_there_twice(shipped: list[Case]):
    """No text counts twice, nor in another case or spacing."""
    counts = Counter(normalise_text(case.text) for case in shipped)
    assert [text for text, count in counts.items() if count > 1] == []


def test_both_texts_of_a_shipped_pair_differ(shipped: list[Case]):
    """A pair of the same text would prove nothing."""
    assert [case for case in shipped if case.text == case.other] == []


def test_shipped_cases_expect_labels_that_there_are(shipped: list[Case]):
    """No case is left out for a label that is misspelt; a direction is one of two."""
    assert {case.expected for case in shipped if case.kind == "minimum_function"} == set(LABELS)
    assert {case.expected for case in shipped if case.kind == "direction"} == {"negative", "positive"}


def test_the_shipped_cases_are_not_in_the_bundled_data(shipped: list[Case]):
    """What a model is tested on, it was not trained on."""
    known = {normalise_text(text) for text in load_dataset(find_dataset("bundled")).frame["text"]}
    assert [case.text for case in shipped if {normalise_text(case.text), normalise_text(case.other)} & known] == []


@pytest.mark.parametrize(
    ("row", "met"),
    [((0.1, 0.2, 0.7), True), ((0.3, 0.3, 0.4), True), ((0.1, 0.5, 0.4), False), ((0.7, 0.2, 0.1), False)],
)
def test_a_minimum_function_is_met_by_its_label(row: Sequence[float], met: bool):
    """The likeliest label counts, however unlikely it is."""
    assert is_met(make_case("minimum_function", expected="positive"), a=row) is met


@pytest.mark.parametrize(
    ("other", "met"),
    [((0.6, 0.3, 0.1), True), ((0.34, 0.33, 0.33), True), ((0.45, 0.55, 0.0), False), ((0.0, 0.1, 0.9), False)],
)
def test_an_invariance_is_met_by_the_same_label(other: Sequence[float], met: bool):
    """The label may not change; how sure it is may."""
    assert is_met(make_case("invariance", other="b"), a=(0.9, 0.1, 0.0), b=other) is met


@pytest.mark.parametrize(
    ("expected", "other", "met"),
    [
        ("positive", (0.2, 0.2, 0.6), True),
        ("positive", (0.4, 0.2, 0.4), True),
        ("positive", (0.6, 0.2, 0.2), False),
        ("negative", (0.6, 0.2, 0.2), True),
        ("negative", (0.4, 0.2, 0.4), True),
        ("negative", (0.2, 0.2, 0.6), False),
    ],
)
def test_a_direction_is_met_unless_the_balance_moves_against_it(expected: str, other: Sequence[float], met: bool):
    """The right way and standing still are met, the wrong way is not."""
    assert is_met(make_case("direction", other="b", expected=expected), a=(0.4, 0.2, 0.4), b=other) is met


@pytest.mark.parametrize("expected", ["positive", "negative"])
@pytest.mark.parametrize(("slip", "met"), [(EDGE, True), (np.nextafter(EDGE, np.float32(1)), False)])
def test_a_balance_may_slip_by_a_twentieth(expected: str, slip: np.float32, met: bool):
    """A move of exactly 0.05 the wrong way is still met, the next number is not."""
    rows = {"positive": (slip, 1 - slip, 0), "negative": (0, 1 - slip, slip)}
    assert is_met(make_case("direction", other="b", expected=expected), a=(0, 1, 0), b=rows[expected]) is met


def test_a_direction_may_keep_its_label():
    """Only the balance counts in a direction: the label may stay wrong."""
    case = make_case("direction", other="b", expected="positive")
    assert is_met(case, a=(0.9, 0.1, 0.0), b=(0.8, 0.1, 0.1))


def test_a_direction_weighs_positive_against_negative():
    """Both falling by as much leaves the balance where it was."""
    case = make_case("direction", other="b", expected="positive")
    assert is_met(case, a=(0.5, 0.0, 0.5), b=(0.1, 0.8, 0.1))


@pytest.mark.parametrize("labels", [LABELS, ("positive", "neutral", "negative"), ("positive", "negative", "other")])
def test_labels_are_found_by_name(labels: tuple[str, ...]):
    """The order of a model's labels does not matter."""
    rows = {"a": np.eye(3)[labels.index("negative")], "b": np.eye(3)[labels.index("positive")]}
    cases = [
        make_case("minimum_function", "b", expected="positive"),
        make_case("direction", "a", "b", "positive"),
        make_case("direction", "b", "a", "negative"),
    ]
    assert run_cases(FixedPredictor(rows, labels), cases).failed == ()


def test_cases_for_a_label_that_a_model_lacks_are_left_out():
    """A model of two classes is not asked for neutral, and the case counts on neither side."""
    rows = {"a": (0.1, 0.9), "b": (0.2, 0.8)}
    cases = [
        make_case("minimum_function", "neutral text", expected="neutral"),
        make_case("minimum_function", "a", expected="positive"),
        make_case("invariance", "a", "b"),
    ]
    predictor = FixedPredictor(rows, ("negative", "positive"))
    scores = run_cases(predictor, cases).scores
    assert [(score.kind, score.passed, score.cases) for score in scores] == [
        ("invariance", 1, 1),
        ("minimum_function", 1, 1),
    ]
    assert "neutral text" not in predictor.asked


@pytest.mark.parametrize("labels", [("bad", "good"), ("negative", "neutral"), ("neutral", "positive")])
def test_a_model_without_positive_and_negative_is_not_asked(labels: tuple[str, ...], shipped: list[Case]):
    """Cases about two sides say nothing of a model that lacks one."""
    predictor = FixedPredictor({}, labels)
    assert run_cases(predictor, shipped) == BehaviourReport((), ())
    assert (run_cases(predictor, shipped).rates, predictor.asked) == ({}, [])


@pytest.mark.parametrize(
    "cases", [[], [make_case("minimum_function", expected="neutral")]], ids=["no-cases", "none-for-these-labels"]
)
def test_no_cases_make_an_empty_report(cases: list[Case]):
    """Nothing to run is no error."""
    assert run_cases(FixedPredictor({}, ("negative", "positive")), cases) == BehaviourReport((), ())


def test_scores_are_kept_per_kind_and_topic():
    """Each kind and topic has its own tally, the rates are per kind."""
    rows = {"a": (1, 0, 0), "b": (0, 0, 1)}
    cases = [
        make_case("minimum_function", "a", expected="negative", topic="irony"),
        make_case("minimum_function", "b", expected="negative", topic="irony"),
        make_case("minimum_function", "b", expected="positive", topic="emoji"),
        make_case("invariance", "a", "b", topic="irony"),
    ]
    report = run_cases(FixedPredictor(rows), cases)
    assert report.scores == (
        BehaviourScore("invariance", "irony", 0, 1),
        BehaviourScore("minimum_function", "emoji", 1, 1),
        BehaviourScore("minimum_function", "irony", 1, 2),
    )
    assert report.rates == {"minimum_function": pytest.approx(2 / 3), "invariance": 0.0}


def test_cases_that_were_not_met_are_listed_in_their_order():
    """A report names each failure whole, and no success."""
    rows = {"a": (1, 0, 0), "b": (0, 0, 1)}
    wrong = [make_case("invariance", "b", "a"), make_case("minimum_function", "a", expected="positive")]
    cases = [wrong[0], make_case("invariance", "a", "a"), wrong[1]]
    assert run_cases(FixedPredictor(rows), cases).failed == tuple(wrong)


def test_every_shipped_case_is_run(shipped: list[Case]):
    """A model that always says neutral meets the neutral, the steady and the unmoved cases, and no other."""
    texts = {text for case in shipped for text in (case.text, case.other)}
    report = run_cases(FixedPredictor(dict.fromkeys(texts, (0, 1, 0))), shipped)
    assert sum(score.cases for score in report.scores) == len(shipped)
    neutral = sum(case.expected == "neutral" for case in shipped)
    assert sum(score.passed for score in report.scores) == len(shipped) - len(report.failed)
    assert report.rates == {
        "minimum_function": pytest.approx(neutral / sum(case.kind == "minimum_function" for case in shipped)),
        "invariance": 1.0,
        "direction": 1.0,
    }


def test_a_file_is_read_case_by_case(tmp_path: Path):
    """Commas, quotes, emoji and words that look like nothing stay as they are."""
    path = write_cases(
        tmp_path,
        'minimum_function,names,"meh, ""NA"" \U0001f612",,negative',
        "invariance,typos,NA,null,",
        "direction,irony,1.0, None ,positive",
    )
    assert read_cases(path) == [
        Case("minimum_function", "names", 'meh, "NA" \U0001f612', "", "negative"),
        Case("invariance", "typos", "NA", "null", ""),
        Case("direction", "irony", "1.0", " None ", "positive"),
    ]


def test_a_file_saved_by_a_spreadsheet_is_read(tmp_path: Path):
    """A mark of the byte order and line ends with a return are no part of the cases."""
    path = tmp_path / "cases.csv"
    path.write_bytes(f"\ufeff{HEADER}\r\ninvariance,typos,a,b,\r\n".encode())
    assert read_cases(path) == [Case("invariance", "typos", "a", "b", "")]


def test_an_unknown_kind_is_refused(tmp_path: Path, sentence):
    """The sentence has the line, the kind and the kinds that there are."""
    path = write_cases(tmp_path, "invariance,typos,a,b,", "invarianse,typos,a,b,")
    assert refuse(path) == sentence


@pytest.mark.parametrize(
    "line",
    [
        "minimum_function,names,a,b,positive",
        "minimum_function,names,a,,",
        "invariance,names,a,,",
        "invariance,names,a,b,positive",
        "direction,names,a,,positive",
        "direction,names,a,b,",
    ],
)
def test_a_case_has_the_cells_of_its_kind(tmp_path: Path, line: str, sentence):
    """A cell too many or too few is told by line and kind."""
    assert refuse(write_cases(tmp_path, line)) == sentence


@pytest.mark.parametrize(
    "header",
    [
        "kind,topic,text,other",
        "kind,topic,text,expected,other",
        "Kind,topic,text,other,expected",
        "kind;topic;text;other;expected",
    ],
    ids=["one-missing", "another-order", "capital", "semicolons"],
)
def test_a_file_with_other_columns_is_refused(tmp_path: Path, header: str, sentence):
    """The sentence has the columns that are there and those that are wanted."""
    path = tmp_path / "cases.csv"
    path.write_text(header + "\n", encoding="utf-8")
    assert refuse(path) == sentence


@pytest.mark.parametrize(
    "content",
    [HEADER.encode() + b'\ninvariance,names,"a,b,\n', HEADER.encode() + b"\ninvariance,x,caf\xe9,b,\n"],
    ids=["open-quote", "latin-1"],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes, sentence):
    """What is no table in UTF-8 makes one sentence with the path."""
    path = tmp_path / "cases.csv"
    path.write_bytes(content)
    assert refuse(path) == sentence


@pytest.mark.parametrize("content", ["", "\n\n"], ids=["empty", "blank"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str, sentence):
    """A file without a header has no columns."""
    path = tmp_path / "cases.csv"
    path.write_text(content, encoding="utf-8")
    assert refuse(path) == sentence


@pytest.mark.parametrize("name", ["none.csv", "."], ids=["missing", "folder"])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, name: str, sentence):
    """A missing file and a folder make the same sentence."""
    assert refuse(tmp_path / name) == sentence


@pytest.mark.parametrize(
    "before", [("", "invariance,names,a,b,"), ('invariance,names,"a', 'c",b,')], ids=["blank-line", "break-in-a-cell"]
)
def test_the_line_of_a_mistake_is_that_of_the_file(tmp_path: Path, before: Sequence[str]):
    """A reader finds the mistake on the line that is named."""
    assert refuse(write_cases(tmp_path, *before, "invarianse,names,a,b,")).startswith("cases.csv line 4:")


def test_a_cell_too_many_in_the_first_row_is_refused_for_what_it_is(tmp_path: Path):
    """A comma without quotes is not told as an unknown kind."""
    assert "the kind is" not in refuse(write_cases(tmp_path, "minimum_function,names,well, fine,,positive"))


@pytest.mark.parametrize("expected", ["neutral", "postive", "Positive"])
def test_a_direction_expects_positive_or_negative(tmp_path: Path, expected: str):
    """There is no third way to move; a misspelt one is a mistake and no case to leave out."""
    assert "line 2" in refuse(write_cases(tmp_path, f"direction,names,a,b,{expected}"))


@pytest.mark.parametrize("line", ["minimum_function,names,,,positive", "invariance,names,,b,"])
def test_a_case_has_a_text(tmp_path: Path, line: str):
    """Nothing said is no case."""
    assert "line 2" in refuse(write_cases(tmp_path, line))
