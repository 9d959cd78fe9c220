"""The gate on both sides of each of its edges and on the edge, and the words it says there."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from sentiment.evaluation.behaviour import KINDS, BehaviourReport, BehaviourScore
from sentiment.evaluation.predictions import Predictions, score_predictions
from sentiment.governance.gate import Check, Decision, GateRule, MeasuredChallenger, decide_gate, format_decision

# Exact binary fractions, so that an edge is an edge.
STEP = 2**-20
RULE = GateRule(
    min_f1=0.0,
    min_recall=0.0,
    min_behaviour=dict.fromkeys(KINDS, 0.0),
    max_calibration_error=1.0,
    max_latency_ms=250.0,
    max_size_mb=512.0,
    require="not_worse",
    min_improvement=0.0,
    tolerance=1.0,
    max_class_drop=1.0,
    min_class_rows=1,
    max_decisions=20,
    confidence=0.95,
    resamples=2000,
    seed=13,
)
LABELS = ("negative", "neutral", "positive", "mixed")
MET = BehaviourReport(tuple(BehaviourScore(kind, "made", 1, 1) for kind in KINDS), ())
PERFECT = ((32, 0), (0, 32))
SWAPPED = ((0, 32), (32, 0))


def answer(confusion: Sequence[Sequence[int]], digest: str = "challenger", sure: float = 1.0) -> Predictions:
    """Return the answers that make a confusion, true labels by row, each given with the same confidence."""
    counts = np.array(confusion)
    width = len(counts)
    cells = np.repeat(np.arange(width**2), counts.ravel())
    targets, chosen = np.divmod(cells, width)
    rows = np.full((len(cells), width), (1 - sure) / max(width - 1, 1), dtype=np.float32)
    rows[np.arange(len(cells)), chosen] = sure
    return Predictions(digest, "holdout", LABELS[:width], rows, targets.astype(np.int64))


def spread(right: int, rows: int = 32) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return a confusion of two classes, each right that often: accuracy, recall and F1 are all right / rows."""
    return (right, rows - right), (rows - right, right)


def measure(confusion: Sequence[Sequence[int]], sure: float = 1.0, **changes) -> MeasuredChallenger:
    values = {"latency_p95_ms": 8.0, "size_bytes": 1_000_000, "behaviour": MET}
    return MeasuredChallenger(answer(confusion, sure=sure), **values | changes)


def make_rule(**changes) -> GateRule:
    return replace(RULE, **changes)


def decide(challenger: MeasuredChallenger, champion: Predictions | None = None, **rule) -> Decision:
    return decide_gate(challenger, champion, make_rule(**rule), champion_version="3" if champion else None)


def decide_against(before: Sequence[Sequence[int]], after: Sequence[Sequence[int]], **rule) -> Decision:
    return decide(measure(after), answer(before, "champion"), **rule)


def find_check(decision: Decision, name: str) -> Check:
    (check,) = [check for check in decision.checks if check.name.startswith(name)]
    return check


def test_a_first_model_on_the_floor_passes(sentence):
    """The floor itself is high enough, and without a champion the floors decide."""
    decision = decide(measure(spread(24)), min_f1=0.75)
    assert (decision.outcome, decision.passed, decision.comparison) == ("pass", True, None)
    assert decision.summary == sentence


def test_a_first_model_below_the_floor_is_blocked(sentence):
    """Too low is too low, with nobody to compare with."""
    decision = decide(measure(spread(20)), min_f1=0.75)
    assert (decision.outcome, decision.passed) == ("block", False)
    assert decision.summary == sentence


@pytest.mark.parametrize(
    ("floor", "outcome"), [(0.75 - STEP, "pass"), (0.75, "pass"), (0.75 + STEP, "block")], ids=["under", "on", "over"]
)
@pytest.mark.parametrize("name", ["min_f1", "min_recall"])
def test_a_floor_of_a_score_is_reached_at_its_very_value(name: str, floor: float, outcome: str):
    """Macro F1 and recall on the floor pass, the least step below it is blocked."""
    assert decide(measure(spread(24)), **{name: floor}).outcome == outcome


def test_a_score_just_below_its_floor_is_said_to_differ(sentence):
    """Where three decimals look alike, more are shown."""
    decision = decide(measure(spread(24)), min_f1=0.75 + STEP)
    assert decision.reasons == (sentence,)


def test_the_weakest_class_decides_on_recall_and_is_named(sentence):
    """One class that is seldom found blocks, however well the others are."""
    decision = decide(measure(((24, 8, 0), (0, 32, 0), (0, 0, 32))), min_recall=0.8125)
    assert decision.reasons == (sentence,)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("floor", "outcome"), [(0.75 - STEP, "pass"), (0.75, "pass"), (0.75 + STEP, "block")], ids=["under", "on", "over"]
)
def test_each_kind_of_case_has_its_own_floor(kind: str, floor: float, outcome: str):
    """Three of four cases met reach a floor of three quarters, whatever the topics are."""
    others = [score for score in MET.scores if score.kind != kind]
    behaviour = BehaviourReport((BehaviourScore(kind, "a", 2, 2), BehaviourScore(kind, "b", 1, 2), *others), ())
    floors = {**dict.fromkeys(KINDS, 1.0), kind: floor}
    assert decide(measure(PERFECT, behaviour=behaviour), min_behaviour=floors).outcome == outcome


def test_a_kind_of_case_that_falls_short_is_named(sentence):
    """The share of cases met stands beside its floor."""
    behaviour = BehaviourReport((BehaviourScore("invariance", "names", 1, 2),), ())
    decision = decide(measure(PERFECT, behaviour=behaviour), min_behaviour=dict.fromkeys(KINDS, 0.75))
    assert decision.reasons == (sentence,)


def test_cases_that_were_not_run_ask_for_nothing():
    """A model without positive and negative has no behavioural cases, and is not blocked for that."""
    decision = decide(measure(PERFECT, behaviour=BehaviourReport((), ())), min_behaviour=dict.fromkeys(KINDS, 1.0))
    assert decision.outcome == "pass"
    assert not [check for check in decision.checks if "cases" in check.name]


@pytest.mark.parametrize(
    ("limit", "outcome"), [(0.25 - STEP, "block"), (0.25, "pass"), (0.25 + STEP, "pass")], ids=["under", "on", "over"]
)
def test_the_calibration_error_may_reach_its_limit(limit: float, outcome: str):
    """Always quite sure and right in three of four cases is an error of one quarter."""
    assert decide(measure(spread(24)), max_calibration_error=limit).outcome == outcome


def test_a_model_as_often_right_as_it_is_sure_has_no_calibration_error():
    """Three quarters sure, three quarters right: a limit of zero is met."""
    decision = decide(measure(spread(24), sure=0.75), max_calibration_error=0.0)
    assert decision.outcome == "pass"
    assert find_check(decision, "calibration error").value == "0.000"


def test_a_calibration_error_over_its_limit_is_said(sentence):
    """The limit that was passed is named."""
    decision = decide(measure(spread(24)), max_calibration_error=0.125)
    assert decision.reasons == (sentence,)


@pytest.mark.parametrize(
    ("latency", "outcome"), [(250 - STEP, "pass"), (250.0, "pass"), (250 + STEP, "block")], ids=["under", "on", "over"]
)
def test_the_latency_may_reach_its_limit(latency: float, outcome: str):
    """The 95th percentile on the limit passes, above it blocks."""
    assert decide(measure(PERFECT, latency_p95_ms=latency)).outcome == outcome


@pytest.mark.parametrize(
    ("size", "outcome"), [(511_999_999, "pass"), (512_000_000, "pass"), (512_000_001, "block")], ids=str
)
def test_the_size_may_reach_its_limit(size: int, outcome: str):
    """A megabyte is a million bytes; one byte more than the limit is too large."""
    assert decide(measure(PERFECT, size_bytes=size)).outcome == outcome


def test_latency_and_size_are_said_with_their_units(sentence):
    """Milliseconds and megabytes are named on both sides."""
    decision = decide(measure(PERFECT, latency_p95_ms=300.25, size_bytes=600_500_000))
    assert decision.reasons == (
        sentence,
        sentence,
    )


def test_a_latency_just_over_its_limit_is_said_with_its_unit(sentence):
    """More digits are still milliseconds."""
    decision = decide(measure(PERFECT, latency_p95_ms=250.04))
    assert decision.reasons == (sentence,)


@pytest.mark.parametrize("what", ["probability", "latency"])
def test_a_measurement_that_is_no_number_is_blocked(what: str):
    """A graph that answers NaN for a row has no calibration error; that is not a good one."""
    challenger = measure(PERFECT)
    if what == "latency":
        challenger = replace(challenger, latency_p95_ms=float("nan"))
    else:
        challenger.predictions.probabilities[0] = np.nan
    assert decide(challenger, max_calibration_error=0.125).outcome == "block"


def test_a_better_challenger_passes(sentence):
    """More than the champion on the same rows wins, and the interval is said."""
    decision = decide_against(SWAPPED, PERFECT)
    assert (decision.outcome, decision.champion_version) == ("pass", "3")
    assert decision.summary == sentence


def test_a_worse_challenger_is_blocked(sentence):
    """Less than the champion keeps the champion, whatever the tolerance of the interval."""
    decision = decide_against(spread(28), spread(26))
    assert decision.outcome == "block"
    assert decision.summary == sentence


def test_a_tie_passes_where_no_improvement_is_asked():
    """An equal challenger may replace the champion at an improvement of zero."""
    assert decide_against(spread(28), spread(28)).outcome == "pass"


def test_a_tie_is_blocked_where_an_improvement_is_asked(sentence):
    """An equal challenger keeps the champion at any improvement above zero."""
    decision = decide_against(spread(28), spread(28), min_improvement=0.0625)
    assert decision.outcome == "block"
    assert decision.summary == sentence


@pytest.mark.parametrize(("improvement", "outcome"), [(0.125 - STEP, "pass"), (0.125, "pass"), (0.125 + STEP, "block")])
def test_an_improvement_is_reached_at_its_very_value(improvement: float, outcome: str):
    """The champion's F1 plus the improvement is enough, anything less is not."""
    assert decide_against(spread(24), spread(28), min_improvement=improvement).outcome == outcome


def test_a_small_margin_is_said(sentence):
    """Who asks for four ten-thousandths reads that, not a demand for nothing."""
    decision = decide_against(spread(28), spread(28), min_improvement=0.0004)
    assert decision.reasons == (sentence,)


def test_the_improvement_is_not_decided_by_floating_point():
    """Seven tenths beat six tenths by one tenth."""
    assert decide_against(spread(6, 10), spread(7, 10), min_improvement=0.1).outcome == "pass"


def test_the_floor_holds_for_a_challenger_that_beats_the_champion(sentence):
    """Better than a bad champion is not good enough."""
    decision = decide_against(spread(16), spread(20), min_f1=0.75)
    assert (decision.outcome, decision.reasons) == ("block", (sentence,))


# Where every row of a class has the same two predictions, each resample is the holdout itself: the interval is a point.
FOUR = tuple(tuple(32 * (row == column) for column in range(4)) for row in range(4))
HALF = ((32, 0, 0, 0), (0, 32, 0, 0), (0, 0, 0, 32), (0, 0, 32, 0))


@pytest.mark.parametrize(
    ("tolerance", "met"), [(0.5 - STEP, False), (0.5, False), (0.5 + STEP, True)], ids=["under", "on", "over"]
)
def test_not_worse_wants_the_interval_strictly_above_the_tolerance(tolerance: float, met: bool):
    """A lower end on minus the tolerance is not above it."""
    decision = decide_against(FOUR, HALF, tolerance=tolerance)
    difference = decision.comparison.difference
    assert (difference.low, difference.value, difference.high) == (-0.5, -0.5, -0.5)
    assert find_check(decision, "difference").met == met


@pytest.mark.parametrize(
    ("before", "after", "met"),
    [(FOUR, HALF, False), (HALF, HALF, False), (HALF, FOUR, True)],
    ids=["below", "on-zero", "above"],
)
def test_better_wants_the_interval_strictly_above_zero(before, after, met: bool):
    """A challenger that answers alike is not better, whatever the tolerance."""
    assert find_check(decide_against(before, after, require="better"), "difference").met == met


def test_not_worse_without_tolerance_wants_more_than_a_tie():
    """With a tolerance of zero, a lower end of zero is not above it."""
    assert decide_against(FOUR, FOUR, tolerance=0.0).outcome == "block"
    assert decide_against(FOUR, FOUR, tolerance=STEP).outcome == "pass"


def test_no_tolerance_is_said_without_a_sign():
    """Nothing below zero is asked for."""
    assert find_check(decide_against(FOUR, FOUR, tolerance=0.0), "difference").wanted == "interval above +0.000"


def test_better_is_not_proven_by_a_few_rows():
    """One row more of sixty-four is no proof, although the score is higher; the sentence says what it would take."""
    decision = decide_against(spread(28), ((29, 3), (4, 28)), require="better")
    difference, detectable = decision.comparison.difference, decision.comparison.detectable
    assert difference.low <= 0 < difference.value
    assert decision.reasons == (
        f"better is not proven: the difference in macro F1 is {difference.value:+.3f},"
        f" 95% interval {difference.low:+.4f} to {difference.high:+.4f}, wanted above +0.000;"
        f" 64 rows show no difference below {detectable:.3f}",
    )


def test_worse_is_not_ruled_out_where_the_rows_are_few():
    """An equal score with other errors may hide a loss, and the sentence says so."""
    champion = answer(spread(24), "champion")
    turned = replace(answer(spread(24)), probabilities=answer(spread(24)).probabilities[::-1].copy())
    decision = decide(replace(measure(spread(24)), predictions=turned), champion, tolerance=0.03125, max_class_drop=1.0)
    assert decision.outcome == "block"
    assert any(reason.startswith("worse is not ruled out: ") for reason in decision.reasons)
    assert "wanted above -0.031; 64 rows show no difference below" in decision.summary


@pytest.mark.parametrize(("confidence", "said"), [(0.9, "90% interval"), (0.95, "95% interval")])
def test_the_confidence_of_the_interval_is_said(confidence: float, said: str):
    """A reader knows how sure the interval is."""
    assert said in decide_against(HALF, FOUR, confidence=confidence).summary


def test_no_interval_is_said_to_be_certain():
    """A confidence of 0.999 is not one of 100%."""
    assert "(99.9% interval" in decide_against(HALF, FOUR, confidence=0.999).summary


def test_the_interval_of_a_decision_is_the_same_every_time():
    """The seed is in the rule: deciding twice gives the same sentence."""
    first, second = (decide_against(spread(24), spread(25)) for _ in range(2))
    assert first == second
    assert first.comparison.difference.low < first.comparison.difference.high


# From PLUS to MINUS the first two classes fall by an eighth and the other two rise from nothing to all.
PLUS = ((28, 4, 0, 0), (4, 28, 0, 0), (0, 0, 0, 32), (0, 0, 32, 0))
MINUS = ((24, 8, 0, 0), (8, 24, 0, 0), (0, 0, 32, 0), (0, 0, 0, 32))


@pytest.mark.parametrize(
    ("limit", "outcome"),
    [(0.125 - STEP, "block"), (0.125, "pass"), (0.125 + STEP, "pass")],
    ids=["under", "on", "over"],
)
def test_a_class_may_fall_by_the_limit_and_no_more(limit: float, outcome: str):
    """A drop at the limit passes, above it blocks; a third class that rises carries the mean."""
    assert decide_against(PLUS, MINUS, max_class_drop=limit).outcome == outcome


def test_a_class_that_falls_too_far_is_named(sentence):
    """A better mean does not hide a class that got worse."""
    decision = decide_against(PLUS, MINUS, max_class_drop=0.0625)
    assert decision.challenger.macro_f1 > decision.champion.macro_f1
    assert decision.reasons == (
        sentence,
        sentence,
    )


def test_a_class_that_rises_has_not_fallen():
    """A limit of zero asks of no class to stay as it was."""
    assert decide_against(spread(24), spread(28), max_class_drop=0.0).outcome == "pass"


def test_every_reason_is_said(sentence):
    """Floors, champion and both classes that fell are all in one summary, floors first."""
    decision = decide_against(spread(28), spread(16), min_f1=0.75, min_recall=0.625, max_class_drop=0.125)
    assert decision.summary == sentence


def test_every_rule_is_a_check_whether_met_or_not():
    """Who reads the record sees what was measured and wanted, rule by rule."""
    decision = decide_against(spread(24), spread(28))
    assert [check.name for check in decision.checks] == [
        "macro F1",
        "recall of 'negative'",
        *(f"pass rate of {kind} cases" for kind in KINDS),
        "calibration error",
        "p95 latency",
        "bundle size",
        "another model",
        "macro F1 against the champion's",
        "difference in macro F1",
        "fall of F1 of 'negative'",
        "fall of F1 of 'neutral'",
    ]
    assert all(check.met for check in decision.checks)


def test_a_check_says_what_was_measured_and_wanted():
    """The numbers of a rule stand side by side."""
    decision = decide_against(spread(24), spread(28), min_f1=0.5, min_improvement=0.0625)
    assert (find_check(decision, "macro F1 against").value, find_check(decision, "macro F1 against").wanted) == (
        "0.875",
        "at least 0.750 plus 0.0625",
    )
    assert (find_check(decision, "p95").value, find_check(decision, "p95").wanted) == ("8.0 ms", "at most 250.0 ms")


def test_the_model_in_production_is_not_promoted_over_itself(sentence):
    """A challenger with the champion's digest is blocked for that reason alone."""
    decision = decide(measure(spread(28)), answer(spread(28)))
    assert decision.outcome == "block"
    assert decision.summary == sentence


def test_another_model_with_the_same_answers_is_another_model():
    """The digest decides what a model is, not its answers."""
    assert find_check(decide_against(spread(28), spread(28)), "another model").met


def test_an_unmeasured_champion_holds(sentence):
    """Nobody is promoted over an unknown, however good."""
    reason = "it answers a, b, the challenger answers c, d"
    decision = decide_gate(measure(PERFECT), None, RULE, champion_version="3", unmeasured=reason)
    assert (decision.outcome, decision.passed, decision.champion) == ("hold", False, None)
    assert decision.champion_version == "3"
    assert decision.summary == sentence


def test_a_reason_that_is_a_sentence_reads_well_in_a_summary(sentence):
    """The full stop of an error message does not end up in the middle."""
    reason = "model.onnx was altered; fetch the bundle again from the registry."
    decision = decide_gate(measure(PERFECT), None, RULE, champion_version="3", unmeasured=reason)
    assert decision.summary == sentence


@pytest.mark.parametrize(("wanted", "outcome"), [(9, "pass"), (10, "pass"), (11, "hold")], ids=str)
def test_a_class_has_the_rows_that_a_verdict_needs(wanted: int, outcome: str):
    """Ten rows are enough for a rule that asks for ten."""
    assert decide(measure(((10, 0), (0, 32))), min_class_rows=wanted).outcome == outcome


def test_a_holdout_of_ten_rows_holds(sentence):
    """Few rows decide nothing, not even a block, and the sentence says what to do."""
    decision = decide(measure(((2, 3), (1, 4))), min_class_rows=20, min_f1=1.0)
    assert decision.outcome == "hold"
    assert decision.summary == sentence


def test_a_holdout_of_one_class_holds():
    """A class that the holdout lacks cannot be judged, with a champion or without."""
    one_class = ((40, 0), (0, 0))
    assert "the holdout has 0 rows of 'neutral' among 40" in decide(measure(one_class)).summary
    assert decide_against(one_class, one_class).outcome == "hold"


def test_a_champion_with_its_labels_in_another_order_is_compared_label_by_label():
    """The order on the card is a matter of the card: the same answers make a difference of nothing."""
    challenger = measure(((30, 2, 0), (8, 24, 0), (4, 4, 24)))
    champion = replace(challenger.predictions, bundle_digest="champion").reorder(("positive", "negative", "neutral"))
    decision = decide(challenger, champion, max_class_drop=0.0, tolerance=STEP)
    assert decision.outcome == "pass"
    assert decision.champion.labels == decision.challenger.labels == LABELS[:3]
    assert (decision.comparison.difference.value, decision.comparison.only_champion_right) == (0.0, 0)
    assert decision.champion.confusion == decision.challenger.confusion


REASON = "the champion leaks names and must go today."


def test_force_passes_a_block_on_the_record(sentence):
    """A person may overrule the gate; the summary says who was overruled, why, and what spoke against it."""
    decision = decide_gate(measure(spread(16)), None, make_rule(min_f1=0.75), force=REASON)
    assert (decision.outcome, decision.passed, decision.force) == ("forced", True, REASON)
    assert decision.summary == sentence
    assert not find_check(decision, "macro F1").met


def test_force_passes_a_hold_on_the_record(sentence):
    """An unmeasured champion can be replaced by a person."""
    decision = decide_gate(measure(PERFECT), None, RULE, champion_version="3", unmeasured="it is gone.", force=REASON)
    assert (decision.outcome, decision.passed) == ("forced", True)
    assert decision.reasons == (
        sentence,
        sentence,
    )


def test_force_has_no_effect_on_a_pass():
    """What passes by itself was not forced."""
    decision = decide_gate(measure(PERFECT), None, RULE, force=REASON)
    plain = decide_gate(measure(PERFECT), None, RULE)
    assert (decision.outcome, decision.summary) == ("pass", plain.summary)


def test_a_forced_reason_from_a_block_of_yaml_reads_well(sentence):
    """A reason that ends in a line break, as `|` in YAML leaves it, stays inside its sentence."""
    decision = decide_gate(measure(spread(16)), None, make_rule(min_f1=0.75), force=f"{REASON}\n")
    assert decision.reasons[0] == sentence


@pytest.mark.parametrize(("earlier", "worn"), [(0, False), (19, False), (20, True), (21, True)])
def test_a_holdout_that_decided_often_is_worn(earlier: int, worn: bool):
    """At the limit of decisions a warning begins, and the outcome stays."""
    decision = decide_gate(measure(PERFECT), None, RULE, earlier_decisions=earlier)
    assert (decision.outcome, decision.earlier_decisions, bool(decision.warnings)) == ("pass", earlier, worn)


def test_the_warning_names_the_holdout_and_the_way_out(sentence):
    """A reader learns why a worn holdout proves little."""
    decision = decide_gate(measure(PERFECT), None, RULE, earlier_decisions=25)
    assert decision.warnings == (sentence,)


def test_notes_become_warnings():
    """What a reader should know of the champion is on the record, before the wear, and decides nothing."""
    notes = ("the champion was gated on another holdout", "another dataset")
    decision = decide_gate(measure(PERFECT), None, RULE, notes=notes, earlier_decisions=20)
    assert (decision.outcome, decision.warnings[:2], len(decision.warnings)) == ("pass", notes, 3)


def test_a_decision_carries_what_it_rests_on():
    """Rule, both measurements, the behaviour and the champion's version are part of the decision."""
    challenger, champion = measure(spread(28)), answer(spread(24), "champion")
    decision = decide(challenger, champion)
    assert (decision.rule, decision.behaviour, decision.champion_version) == (RULE, MET, "3")
    assert decision.challenger == score_predictions(challenger.predictions)
    assert decision.champion == score_predictions(champion)
    assert decision.comparison.champion.value == decision.champion.macro_f1
    assert decision.comparison.challenger.value == decision.challenger.macro_f1


def test_a_written_decision_reads_back_whole():
    """decision.json holds the outcome, the words, the checks, the rule and both measurements."""
    decision = decide_against(spread(28), spread(26))
    found = json.loads(format_decision(decision))
    assert (found["outcome"], found["champion_version"], found["summary"]) == ("block", "3", decision.summary)
    assert GateRule(**found["rule"]) == RULE
    assert tuple(Check(**check) for check in found["checks"]) == decision.checks
    assert found["challenger"]["classes"]["neutral"] == {
        "precision": 0.8125,
        "recall": 0.8125,
        "f1": 0.8125,
        "rows": 32,
    }
    assert found["champion"]["confusion"] == [[28, 4], [4, 28]]
    assert found["comparison"]["difference"]["low"] == decision.comparison.difference.low


def test_a_decision_without_a_champion_writes_none():
    """No champion is null in the file, not an empty measurement."""
    found = json.loads(format_decision(decide(measure(PERFECT))))
    assert (found["champion"], found["champion_version"], found["comparison"]) == (None, None, None)
