"""API keys: made once, kept as digests, read as they were written."""

import hashlib
import json
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from sentiment.errors import ConfigError
from service.security.keys import ApiKey, find_key, make_key, read_keys, write_key

DIGEST = hashlib.sha256(b"sg_one").hexdigest()
LINE = f"dashboard predict {DIGEST}"
LAST_DAY = date(2027, 1, 31)
NEW_YORK, TOKYO = timezone(timedelta(hours=-5)), timezone(timedelta(hours=9))
NOT_A_KEY = (
    "line {} of {} is not an API key; wanted name, scopes (predict, feedback, read, admin), SHA-256 and,"
    " if it ends, its last day, as `sentigate keys add` writes them."
)
DAMAGED = {
    "one word": "marmalade",
    "no digest": "marmalade predict",
    "the key itself": "marmalade predict sg_9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b",
    "no scope": f"marmalade {DIGEST}",
    "an unknown scope": f"marmalade predict,root {DIGEST}",
    "an empty scope": f"marmalade predict, {DIGEST}",
    "one scope twice": f"marmalade predict,predict {DIGEST}",
    "a scope in capitals": f"marmalade Predict {DIGEST}",
    "scopes apart": f"marmalade predict, admin {DIGEST}",
    "a short digest": f"marmalade predict {DIGEST[:-1]}",
    "a long digest": f"marmalade predict {DIGEST}0",
    "no hexadecimal": f"marmalade predict {DIGEST[:-1]}g",
    "digits of another script": f"marmalade predict {DIGEST[:-1]}\u0667",
    "no day": f"marmalade predict {DIGEST} tomorrow",
    "a day that is none": f"marmalade predict {DIGEST} 2027-02-29",
    "a day the wrong way round": f"marmalade predict {DIGEST} 31-01-2027",
    "a time": f"marmalade predict {DIGEST} 2027-01-31T12:00",
    "a word too many": f"marmalade predict {DIGEST} 2027-01-31 really",
}


def test_a_key_is_kept_as_its_digest():
    """What is kept of a key does not let anybody in."""
    key, kept = make_key("dashboard", ["predict"], LAST_DAY)

    assert kept == ApiKey(
        "dashboard", frozenset({"predict"}), hashlib.sha256(key.encode()).hexdigest(), last_day=LAST_DAY
    )
    assert find_key([kept], kept.digest) is None


def test_a_key_is_long_and_random():
    """A key cannot be guessed: it carries 256 bits, in signs that need no quoting."""
    keys = {make_key("a", ["predict"])[0] for _ in range(50)}

    assert len(keys) == 50
    assert all(key.startswith("sg_") and len(key) == 46 and key.replace("-", "_").isidentifier() for key in keys)


@pytest.mark.parametrize("presented", ["", "sg_", "sg_one ", "SG_ONE", DIGEST, "sg_\udcff", "sg_\u00e9", "x" * 10_000])
def test_what_is_no_key_finds_none(presented):
    """Nothing but the whole key is the key."""
    assert find_key(read_keys([LINE], "a file"), presented) is None


def test_a_key_is_found_among_others():
    """The key that is presented is found wherever it stands."""
    made = [make_key(name, ["predict"]) for name in ("a", "b", "c")]

    assert [find_key([kept for _, kept in made], key).name for key, _ in made] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "key",
    [
        ApiKey("a", frozenset({"predict"}), DIGEST),
        ApiKey("b", frozenset({"admin"}), DIGEST, LAST_DAY),
        ApiKey("caf\u00e9-7", frozenset({"predict", "admin"}), DIGEST),
    ],
    ids=lambda key: key.name,
)
def test_a_line_says_all_of_a_key(key):
    """A key that was written is read back as it was."""
    assert read_keys([write_key(key)], "a file") == (key,)


def test_a_line_is_one_that_a_person_can_read():
    """The line of a key is its name, its scopes in order, its digest and its last day."""
    assert write_key(ApiKey("a", frozenset({"admin", "predict"}), DIGEST, LAST_DAY)) == (
        f"a predict,admin {DIGEST} 2027-01-31"
    )


@pytest.mark.parametrize("line", ["", "   ", "\t", "# a word", "#", "  # marmalade", f"#{LINE}"], ids=repr)
def test_empty_lines_and_comments_are_passed_over(line):
    """A key file may be laid out and commented."""
    assert [key.name for key in read_keys([line, LINE, line], "a file")] == ["dashboard"]


@pytest.mark.parametrize("line", [f"  dashboard\t predict   {DIGEST} ", f"dashboard predict {DIGEST.upper()}"])
def test_a_line_may_be_written_by_hand(line):
    """More space, or digits in capitals, are the same key."""
    assert read_keys([line], "a file") == read_keys([LINE], "a file")


@pytest.mark.parametrize("line", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_line_is_refused(line):
    """A line that is no key is named by its number, and nothing of it is repeated: it may be a key."""
    with pytest.raises(ConfigError) as refused:
        read_keys(["# keys", "", line, LINE], "keys.txt")

    assert str(refused.value) == NOT_A_KEY.format(3, "keys.txt")
    assert refused.value.__context__ is None


@pytest.mark.parametrize(
    ("now", "is_expired"),
    [
        (datetime(2027, 1, 31, 0, 0, tzinfo=UTC), False),
        (datetime(2027, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC), False),
        (datetime(2027, 2, 1, 0, 0, tzinfo=UTC), True),
        (datetime(2027, 1, 31, 18, 59, 59, tzinfo=NEW_YORK), False),
        (datetime(2027, 1, 31, 19, 0, tzinfo=NEW_YORK), True),
        (datetime(2027, 2, 1, 8, 59, 59, tzinfo=TOKYO), False),
        (datetime(2027, 2, 1, 9, 0, tzinfo=TOKYO), True),
    ],
    ids=str,
)
def test_a_key_holds_until_the_end_of_its_last_day(now, is_expired):
    """The last day of a key ends at midnight UTC, wherever the service runs."""
    assert ApiKey("a", frozenset({"predict"}), DIGEST, LAST_DAY).is_expired(now) is is_expired


def test_a_key_without_a_last_day_does_not_expire():
    """A key that does not say when it ends does not."""
    assert ApiKey("a", frozenset(), DIGEST).is_expired(datetime.max.replace(tzinfo=UTC)) is False


def test_a_key_is_not_shown_where_it_is_kept():
    """What is kept of a key can be printed."""
    key, kept = make_key("dashboard", ["predict"])

    assert key not in repr(kept)
    assert key not in json.dumps(write_key(kept))
