"""What may go into production, and what production goes back to, by the ledger alone."""

import pytest

from sentiment.errors import PromotionError
from sentiment.governance.ledger import LedgerEntry
from sentiment.governance.promotion_rules import (
    check_production,
    check_promotion,
    choose_return,
    choose_waiting,
    find_previous,
    find_promoted,
    list_objections,
    read_stack,
    require_decision,
)

DAY = "2026-01-02"


def enter(event: str, version: str | None = None, by: str = "", reason: str = "", **details: object) -> LedgerEntry:
    return LedgerEntry(f"{DAY}T00:00:00Z", event, "sentiment", version, "said", details, by, reason)


def decide(digest: str, champion: str | None, outcome: str = "pass") -> LedgerEntry:
    return enter("decision", digest=digest, champion_version=champion, outcome=outcome)


def tell(story: str) -> list[LedgerEntry]:
    """Return the lines of a story of promotions and rollbacks: `+3` puts version 3 into production, `-2` goes back."""
    events = {"+": "promotion", "-": "rollback"}
    return [enter(events[word[0]], word[1:]) for word in story.split()]


@pytest.mark.parametrize(
    ("story", "stack"),
    [
        ("", ""),
        ("+1", "1"),
        ("+1 +2 +3", "1 2 3"),
        ("+1 +2 +3 -2", "1 2"),
        ("+1 +2 +3 -2 -1", "1"),
        ("+1 +2 +3 -1", "1"),
        ("+1 +2 +3 -2 +4", "1 2 4"),
        ("+3 +5 +3 -5 -3", "3"),
        ("+1 +2 -1 +2", "1 2"),
        ("-4", "4"),
        ("+1 +2 -2", "1 2"),
    ],
)
def test_what_was_rolled_back_from_is_never_gone_back_to(story, stack):
    """The stack holds what was put into production and not rolled back from."""
    assert " ".join(read_stack(tell(story))) == stack


@pytest.mark.parametrize(
    ("story", "back", "previous"),
    [("+1 +2 +3", "2", "1"), ("+1 +2 +3 -2", "1", None), ("+1 +2 +3 -2 +4", "2", "1"), ("+3 +5 +3", "5", "3")],
)
def test_a_rollback_goes_to_the_one_before(story, back, previous):
    """A second rollback goes one further back, and `previous` never is the version that was left."""
    entries = tell(story)
    assert choose_return(entries, read_stack(entries)[-1], "") == back
    assert find_previous(entries, back) == previous


def test_a_rollback_may_name_an_earlier_version():
    """A version further back is taken where it is named, and what lay above it is left."""
    assert choose_return(tell("+1 +2 +3"), "3", "1") == "1"


def test_without_a_ledger_nothing_is_gone_back_to(refuses):
    """Aliases alone, which whoever may write to the registry moves, are no way into production."""
    with refuses(PromotionError):
        choose_return([], "3", "")


@pytest.mark.parametrize(
    ("story", "production", "wanted"),
    [
        ("", None, ""),
        ("+1", "1", ""),
        ("+1 +2 +3", "3", "9"),
        ("+1 +2", "7", ""),
        ("+1 +2", None, ""),
    ],
    ids=["nothing", "first", "unknown", "by hand", "nowhere"],
)
def test_a_rollback_to_nowhere_is_told(story, production, wanted, refuses):
    """Where there is no way back, one sentence says so and names the way out."""
    with refuses(PromotionError):
        choose_return(tell(story), production, wanted)


def test_an_alias_moved_by_hand_leaves_a_way_back():
    """The version that the ledger put into production can be named."""
    assert choose_return(tell("+1 +2"), "7", "2") == "2"
    assert choose_return(tell("+1 +2"), None, "2") == "2"


@pytest.mark.parametrize("outcome", ["pass", "forced"])
def test_a_version_that_passed_against_the_champion_may_go_in(outcome):
    """Nothing speaks against a version that the gate compared with what is in production."""
    assert list_objections([decide("d", "5", outcome)], "7", "d", "5") == ()
    check_promotion([decide("d", "5", outcome)], "7", "d", "5")


@pytest.mark.parametrize(
    ("entries", "objection"),
    [
        ([], "it never passed the gate"),
        ([decide("d", "5", "block")], "it never passed the gate"),
        ([decide("other", "5")], "it never passed the gate"),
        ([decide("d", "4")], "the gate compared it with version 4, and version 5 is in production by now"),
        ([decide("d", None)], "the gate compared it with no version, and version 5 is in production by now"),
        (
            [decide("d", "5"), enter("rejection", "7", "mia", "it is rude")],
            f"mia rejected it on {DAY} because it is rude",
        ),
        (
            [decide("d", "5"), enter("rollback", "5", "mia", "it was slow", replaced="7")],
            f"mia rolled it back on {DAY} because it was slow",
        ),
    ],
    ids=["no decision", "blocked", "another model", "another champion", "no champion", "rejected", "rolled back"],
)
def test_what_speaks_against_a_promotion_is_told(entries, objection, refuses):
    """The gate, a person, a rollback and another champion speak against a promotion, unless it is forced."""
    assert list_objections(entries, "7", "d", "5") == (objection,)
    with refuses(PromotionError):
        check_promotion(entries, "7", "d", "5")
    check_promotion(entries, "7", "d", "5", "the others are worse")


def test_a_version_that_was_promoted_since_is_forgiven():
    """A promotion after a rejection or a rollback clears it."""
    story = [decide("d", "5"), enter("rejection", "7"), enter("promotion", "7"), enter("promotion", "5")]
    assert list_objections(story, "7", "d", "5") == ()


def test_a_force_without_a_reason_is_told(refuses):
    """A word is no reason."""
    with refuses(PromotionError):
        check_promotion([], "7", "d", "5", "yes")


def test_only_what_waits_can_be_approved(refuses):
    """Approval is of the version at `staging`, named or not."""
    assert choose_waiting("7", "") == choose_waiting("7", "7") == "7"
    with refuses(PromotionError):
        choose_waiting("7", "6")
    with refuses(PromotionError):
        choose_waiting(None, "7")


MOVED = [enter("promotion", "1", digest="a"), enter("promotion", "2", digest="b"), enter("rollback", "1", digest="c")]


def test_a_number_is_known_by_the_digest_that_went_into_production_under_it_last():
    """A number of the registry may be given to other files; what the ledger has of it counts."""
    assert [find_promoted(MOVED, number) for number in ("1", "2", "3")] == ["c", "b", None]


@pytest.mark.parametrize(
    ("version", "digest"),
    [
        ("2", "b"),
        (None, None),
        ("1", "a"),
        ("1", None),
    ],
)
def test_production_is_what_the_ledger_put_there(version, digest, refuses):
    """An alias or a tag that somebody moved is told with both, and the way back."""
    check_production(MOVED, "1", "c")
    with refuses(PromotionError):
        check_production(MOVED, version, digest)


def test_an_alias_that_no_promotion_set_is_told(refuses):
    """Before the first promotion nothing is in production."""
    check_production([], None, None)
    with refuses(PromotionError):
        check_production([], "1", "a")


@pytest.mark.parametrize("outcome", ["pass", "forced", "blocked", "hold", "passed", None])
def test_only_what_passed_or_was_forced_is_decided(outcome, refuses):
    """Whatever else a gate said is no leave."""
    decision = decide("a", None, outcome=outcome)
    if outcome in {"pass", "forced"}:
        assert require_decision([decision], "a") == decision
        return
    with refuses(PromotionError):
        require_decision([decision, decide("b", None)], "a")


def test_what_is_forced_speaks_against_a_rejection(sentence):
    """A reason on the record, after a no, is the last word; before it, it is not."""
    rejected, forced = enter("rejection", "2", by="ann", reason="it is rude"), decide("b", None, outcome="forced")
    assert list_objections([decide("b", None), rejected, forced], "2", "b", None) == ()
    assert list_objections([decide("b", None), forced, rejected], "2", "b", None) == (sentence,)
    assert list_objections([decide("b", None), rejected, decide("c", None, outcome="forced")], "2", "b", None)


def test_objections_come_back_where_they_are_forced(sentence):
    """Who forces hears what spoke against it, for the record."""
    reason = "the law asks for it"
    assert check_promotion([], "4", "d", None, reason) == (sentence,)
    assert check_promotion([decide("d", None)], "4", "d", None, reason) == ()
