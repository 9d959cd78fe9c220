"""What champion and canary answered side by side, and what follows from it."""

from dataclasses import replace

import numpy as np
import pytest

from sentiment.governance.canary_rule import CanaryRule, Figures, find_difference, find_half_width, judge_canary

RULE = CanaryRule(
    min_answers=500,
    max_minutes=30,
    confidence=0.95,
    max_failures=0,
    max_uncertain_rise=0.05,
    max_confidence_drop=0.05,
    max_label_shift=0.10,
    max_latency_ratio=1.5,
    max_slow_rise=0.05,
    max_accuracy_drop=0.05,
    min_feedback=50,
)


def make_figures(answers: int, **values: object) -> Figures:
    """Return figures of requests with one text each, a fifth of which are uncertain."""
    sums = {
        "requests": answers,
        "answers": answers,
        "squared_sizes": answers,
        "uncertain": answers // 5,
        "confidence_sum": 0.8 * answers,
        "confidence_squares": 0.65 * answers,
        "labels": {"negative": answers // 2, "positive": answers // 2},
        "p95_ms": 20.0,
        "slow": answers // 100,
    }
    return Figures(**{**sums, **values})


CHAMPION = make_figures(18_000)


def judge(canary: Figures, *, champion: Figures = CHAMPION, failures: int = 0, minutes: float = 5, **rule: object):
    return judge_canary(champion, canary, failures, minutes, replace(RULE, **rule))


def test_a_canary_that_answers_alike_is_promoted(sentence):
    """Enough answers with no figure worse than it may be are enough."""
    verdict = judge(make_figures(2000))

    assert verdict.outcome == "promote"
    assert verdict.summary == sentence


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"uncertain": 800}, "uncertain share: 0.400 against the champion's 0.200"),
        ({"confidence_sum": 1300.0, "confidence_squares": 1000.0}, "mean confidence: 0.650"),
        ({"slow": 400}, "share of slow requests: 0.200 against the champion's 0.010"),
        ({"labels": {"negative": 1600, "positive": 400}}, "share of 'negative': 0.800 against the champion's 0.500"),
        ({"labels": {"negative": 400, "positive": 1600}}, "share of 'negative': 0.200 against the champion's 0.500"),
        ({"feedback": 400, "right": 200}, "accuracy: 0.500 against the champion's 0.900"),
    ],
)
def test_a_canary_that_is_worse_is_backed_out(values, said):
    """Harm that is proven backs a canary out, and the figure is named."""
    champion = replace(CHAMPION, feedback=1000, right=900)
    verdict = judge(make_figures(2000, **values), champion=champion)

    assert verdict.outcome == "back out"
    assert said in verdict.summary


def test_a_better_canary_is_no_harm():
    """Fewer uncertain answers and a higher confidence speak for a canary."""
    better = make_figures(2000, uncertain=100, confidence_sum=1900.0, confidence_squares=1810.0, slow=0)
    assert judge(better).outcome == "promote"


def test_one_text_without_an_answer_is_enough(sentence):
    """A canary that fails is backed out before anything else is looked at."""
    verdict = judge(Figures(), failures=1)
    assert (verdict.outcome, verdict.summary) == ("back out", sentence)
    assert judge(make_figures(2000), failures=2, max_failures=2).outcome == "promote"


@pytest.mark.parametrize(("minutes", "outcome"), [(5, "wait"), (30, "back out")])
def test_too_few_answers_say_nothing(minutes, outcome):
    """Before there are enough answers the canary waits, and at the end of its time it goes."""
    verdict = judge(make_figures(499, uncertain=499), minutes=minutes)

    assert verdict.outcome == outcome
    assert "the canary gave 499 answers and the champion 18,000, in 499 and 18,000 requests: too few" in verdict.summary


def test_a_champion_that_nobody_asks_is_no_comparison():
    """A canary that answers everything has nothing to be compared with."""
    assert judge(make_figures(5000), champion=Figures(), minutes=30).outcome == "back out"


def test_worse_that_is_not_ruled_out_waits_for_more_answers(sentence):
    """A small rise may be chance: more answers tell, and without them the canary goes at the end."""
    doubtful = make_figures(600, uncertain=135)

    assert judge(doubtful).outcome == "wait"
    ended = judge(doubtful, minutes=30)
    assert (ended.outcome, ended.reasons[0]) == ("back out", sentence)


def test_the_texts_of_one_request_are_one_witness():
    """Ten requests with a hundred texts each are worth ten answers."""
    batches = make_figures(1000, requests=10, squared_sizes=10 * 100**2)

    assert batches.independent == 10
    assert judge(batches).outcome == "wait"


def test_too_little_feedback_does_not_count():
    """Little feedback neither backs a canary out nor keeps it from production."""
    champion = replace(CHAMPION, feedback=1000, right=900)
    assert judge(make_figures(2000, feedback=49, right=0), champion=champion).outcome == "promote"


def test_shares_at_the_edge_have_an_interval():
    """Nothing in 500 answers does not prove that it never is."""
    _, error = find_difference((0.0, 500), (0.0, 500))
    assert 0.002 < error < 0.01


def test_looking_often_does_not_promote_a_worse_canary(record_property):
    """A canary just as much worse as it may not be is promoted at some of 90 looks in fewer than 1 of 20 trials."""
    rng = np.random.default_rng(7)
    trials, looks, step = 300, 100, 50
    after = np.cumsum(rng.binomial(step, 0.25, (trials, looks)), axis=1)
    before = np.cumsum(rng.binomial(9 * step, 0.20, (trials, looks)), axis=1)
    wrong = naive = 0
    for k in range(trials):
        seen = [(9 * step * (i + 1), step * (i + 1), before[k, i], after[k, i]) for i in range(looks)]
        ends = [
            (value, error, find_half_width(n * m / (n + m) / 500, 0.95))
            for n, m, x, y in seen
            if m >= 500
            for value, error in [find_difference((x / n, n), (y / m, m))]
        ]
        wrong += any(value + half_width * error <= 0.05 for value, error, half_width in ends)
        naive += any(value + 1.96 * error <= 0.05 for value, error, _ in ends)
    record_property("promoted wrongly, and with the usual interval", (wrong / trials, naive / trials))

    assert wrong / trials < 0.05 < naive / trials
