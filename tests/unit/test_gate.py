"""The gate at each of its edges, and the words it says there."""

import json
from pathlib import Path

import pytest

from sentiment.evaluation import ClassScore, Evaluation
from sentiment.gate import Decision, GateRule, decide_gate, hold_decision, write_decision

# Exact binary fractions, so that an edge is an edge.
RULE = GateRule(min_f1=0.75, min_improvement=0.0, max_class_drop=0.125)


def make_evaluation(macro_f1: float, digest: str = "challenger", *, negative: float = 0.75, positive: float = 0.75):
    return Evaluation(
        bundle_digest=digest,
        dataset_digest="holdout",
        rows=200,
        accuracy=0.5,
        macro_precision=0.5,
        macro_recall=0.5,
        macro_f1=macro_f1,
        classes={
            "negative": ClassScore(0.5, 0.5, negative, 100),
            "positive": ClassScore(0.5, 0.5, positive, 100),
        },
        confusion=((50, 50), (50, 50)),
    )


def decide_against(champion_f1: float, challenger_f1: float, rule: GateRule) -> Decision:
    champion = make_evaluation(champion_f1, "champion")
    return decide_gate(make_evaluation(challenger_f1), champion, rule, champion_version="3")


def test_a_first_model_on_the_floor_passes():
    """The floor itself is high enough."""
    decision = decide_gate(make_evaluation(0.75), None, RULE)
    assert (decision.outcome, decision.passed) == ("pass", True)
    assert decision.summary == (
        "macro F1 0.750 on 200 holdout rows reaches the floor 0.750 and there is no champion yet."
    )


def test_a_first_model_just_below_the_floor_is_blocked():
    """One thousandth too low is too low."""
    decision = decide_gate(make_evaluation(0.749), None, RULE)
    assert (decision.outcome, decision.passed) == ("block", False)
    assert decision.summary == "macro F1 0.749 is below the floor 0.750; the Bento was not built."


def test_the_least_step_below_the_floor_is_blocked():
    """The floor is not rounded."""
    assert decide_gate(make_evaluation(0.75 - 2**-20), None, RULE).outcome == "block"


def test_a_better_challenger_passes():
    """More than the champion on the same rows wins."""
    decision = decide_against(0.8125, 0.875, RULE)
    assert decision.passed
    assert decision.summary == "macro F1 0.875 on 200 holdout rows against the champion's 0.812."


def test_a_worse_challenger_is_blocked():
    """Less than the champion keeps the champion."""
    decision = decide_against(0.875, 0.8125, RULE)
    assert decision.outcome == "block"
    assert decision.summary == "macro F1 0.812 is below the champion's 0.875; the Bento was not built."


def test_a_tie_passes_where_no_improvement_is_asked():
    """An equal challenger may replace the champion at an improvement of zero."""
    assert decide_against(0.875, 0.875, RULE).passed


def test_a_tie_is_blocked_where_an_improvement_is_asked():
    """An equal challenger keeps the champion at any improvement above zero."""
    decision = decide_against(0.875, 0.875, GateRule(0.75, 0.0625, 0.125))
    assert decision.outcome == "block"
    assert decision.summary == "macro F1 0.875 is below the champion's 0.875 plus 0.062; the Bento was not built."


@pytest.mark.parametrize(
    ("challenger_f1", "outcome"), [(0.8125, "pass"), (0.8125 - 2**-20, "block"), (0.8125 + 2**-20, "pass")]
)
def test_an_improvement_is_reached_at_its_very_value(challenger_f1: float, outcome: str):
    """The champion's F1 plus the improvement is enough, anything less is not."""
    assert decide_against(0.75, challenger_f1, GateRule(0.5, 0.0625, 0.125)).outcome == outcome


def test_the_floor_holds_for_a_challenger_that_beats_the_champion():
    """Better than a bad champion is not good enough."""
    decision = decide_against(0.5, 0.625, RULE)
    assert decision.outcome == "block"
    assert decision.reasons == ("macro F1 0.625 is below the floor 0.750",)


@pytest.mark.parametrize(
    ("negative", "outcome"), [(0.75, "pass"), (0.625, "pass"), (0.625 - 2**-20, "block"), (0.875, "pass")]
)
def test_a_class_may_fall_by_the_limit_and_no_more(negative: float, outcome: str):
    """A drop at the limit passes, above it blocks; a rise is no drop."""
    challenger = make_evaluation(0.875, negative=negative)
    assert decide_gate(challenger, make_evaluation(0.875, "champion"), RULE).outcome == outcome


def test_a_class_that_falls_too_far_is_named():
    """A better mean does not hide a class that got worse."""
    champion = make_evaluation(0.8125, "champion", positive=0.875)
    decision = decide_gate(make_evaluation(0.875, positive=0.625), champion, RULE, champion_version="3")
    assert decision.outcome == "block"
    assert decision.summary == (
        "F1 of 'positive' falls by 0.250, from 0.875 to 0.625, more than 0.125; the Bento was not built."
    )


def test_every_reason_is_said():
    """Floor, champion and both classes that fell are all in one summary."""
    champion = make_evaluation(0.875, "champion")
    decision = decide_gate(make_evaluation(0.5, negative=0.5, positive=0.25), champion, RULE, champion_version="3")
    assert decision.summary == (
        "macro F1 0.500 is below the floor 0.750; macro F1 0.500 is below the champion's 0.875;"
        " F1 of 'negative' falls by 0.250, from 0.750 to 0.500, more than 0.125;"
        " F1 of 'positive' falls by 0.500, from 0.750 to 0.250, more than 0.125; the Bento was not built."
    )


@pytest.mark.parametrize("rule", [RULE, GateRule(0.75, 0.0625, 0.125), GateRule(1.0, 0.0, 0.0)])
def test_the_model_in_production_is_not_promoted_over_itself(rule: GateRule):
    """A challenger with the champion's digest is blocked for that reason alone."""
    same = make_evaluation(0.875)
    decision = decide_gate(same, same, rule, champion_version="3")
    assert decision.outcome == "block"
    assert decision.summary == (
        "the challenger is the model already in production, version 3; the Bento was not built."
    )


def test_an_unmeasured_champion_holds():
    """Nobody is promoted over an unknown."""
    decision = hold_decision(make_evaluation(1.0), RULE, "3", "it answers a, b, the challenger answers c, d")
    assert (decision.outcome, decision.passed, decision.champion) == ("hold", False, None)
    assert decision.champion_version == "3"
    assert decision.summary == (
        "champion version 3 could not be measured: it answers a, b, the challenger answers c, d;"
        " the Bento was not built."
    )


def test_a_reason_that_is_a_sentence_reads_well_in_a_summary():
    """The full stop of an error message does not end up in the middle."""
    reason = "model.onnx was altered; fetch the bundle again from the registry."
    decision = hold_decision(make_evaluation(1.0), RULE, "3", reason)
    assert decision.summary == (
        "champion version 3 could not be measured: model.onnx was altered; fetch the bundle again from the registry;"
        " the Bento was not built."
    )


def test_a_decision_carries_what_it_rests_on():
    """Rule, both measurements and the champion's version are part of the decision."""
    challenger, champion = make_evaluation(0.875), make_evaluation(0.75, "champion")
    decision = decide_gate(challenger, champion, RULE, champion_version="3")
    assert (decision.rule, decision.challenger, decision.champion) == (RULE, challenger, champion)
    assert decision.champion_version == "3"


def test_a_written_decision_reads_back_whole(tmp_path: Path):
    """decision.json holds the outcome, the words, the rule and both measurements."""
    decision = decide_against(0.875, 0.8125, RULE)
    write_decision(decision, tmp_path / "decision.json")
    found = json.loads((tmp_path / "decision.json").read_text(encoding="utf-8"))
    assert read_evaluation(found["challenger"]) == decision.challenger
    assert read_evaluation(found["champion"]) == decision.champion
    assert GateRule(**found["rule"]) == RULE
    assert (found["outcome"], found["champion_version"]) == ("block", "3")
    assert tuple(found["reasons"]) == decision.reasons
    assert found["summary"] == "macro F1 0.812 is below the champion's 0.875; the Bento was not built."


def test_a_decision_without_a_champion_writes_none(tmp_path: Path):
    """No champion is null in the file, not an empty measurement."""
    write_decision(decide_gate(make_evaluation(0.875), None, RULE), tmp_path / "decision.json")
    found = json.loads((tmp_path / "decision.json").read_text(encoding="utf-8"))
    assert (found["champion"], found["champion_version"]) == (None, None)


def read_evaluation(found: dict) -> Evaluation:
    classes = {label: ClassScore(**score) for label, score in found["classes"].items()}
    confusion = tuple(tuple(row) for row in found["confusion"])
    return Evaluation(**{**found, "classes": classes, "confusion": confusion})
