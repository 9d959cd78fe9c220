"""Which texts are the same, where a text lies, and what a digest notices."""

import pytest

from sentiment.data.text_normalization import digest_rows, normalise_text, place_text


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Great Video", "great video"),
        ("  great \t\n video ", "great video"),
        ("great\u00a0video", "great video"),
        ("\uff27\uff52\uff45\uff41\uff54 video", "great video"),
        ("cafe\u0301", "caf\u00e9"),
        ("STRASSE", "stra\u00dfe"),
        ("\ufb01ne", "fine"),
    ],
)
def test_spelling_variants_are_the_same_text(text, same):
    """Case, spaces, full width, composed accents and ligatures do not make a new text."""
    assert normalise_text(text) == normalise_text(same)


@pytest.mark.parametrize(
    ("text", "other"),
    [("great", "great!"), ("not bad", "bad"), ("great \U0001f600", "great \U0001f621"), ("greatvideo", "great video")],
)
def test_words_marks_and_emoji_make_another_text(text, other):
    """A word, a mark, an emoji or a space between words more or less is another text."""
    assert normalise_text(text) != normalise_text(other)


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u00a0\u3000"])
def test_white_space_alone_is_the_empty_text(text):
    """A text of white space alone is empty."""
    assert normalise_text(text) == ""


def test_a_normalised_text_stays_as_it_is():
    """Normalising twice changes nothing."""
    once = normalise_text("  \u0130STANBUL \ufb01ne  \u1e9e ")
    assert normalise_text(once) == once


@pytest.mark.parametrize(("salt", "first_bytes"), [("side", "23c84d20505a7e20"), ("sample", "c282c1db0f0230ff")])
def test_a_text_keeps_its_place_between_releases(salt, first_bytes):
    """The place of a text is the head of the SHA-256 of salt, NUL and normalised text, for ever."""
    assert place_text("  GREAT video", salt) == int(first_bytes, 16) / 2**64


def test_the_salt_gives_a_text_another_place():
    """Two salts place one text independently."""
    assert place_text("great video", "side") != place_text("great video", "sample")


def test_places_are_spread_over_zero_to_one():
    """A thousand texts fill every tenth of [0, 1)."""
    tenths = {int(place_text(f"text {number}", "side") * 10) for number in range(1000)}
    assert tenths == set(range(10))


def test_a_lone_surrogate_has_a_place_and_a_digest():
    """Half a character, as scraped text has it, breaks neither place nor digest."""
    assert 0 <= place_text("a\ud800", "side") < 1
    assert len(digest_rows([("a\ud800", "positive")])) == 64


def test_a_digest_keeps_its_value_between_releases():
    """The digest of rows is the SHA-256 of each cell behind its length in eight bytes, for ever."""
    assert digest_rows([("a", "b")]) == "3c9d591045bc8876f9d0399bbfb05c6a412096e906f73278f98406cd5dca86df"


@pytest.mark.parametrize(
    "rows",
    [
        [("c", "d"), ("a", "b")],
        [("a", "b")],
        [("a", "b"), ("c", "d"), ("e", "f")],
        [("a", "b"), ("c", "D")],
        [("a ", "b"), ("c", "d")],
        [("ab", ""), ("c", "d")],
    ],
    ids=["order", "row less", "row more", "label", "space", "cell border"],
)
def test_a_digest_notices_every_change(rows):
    """Order, rows, cells and the borders between cells all count."""
    assert digest_rows(rows) != digest_rows([("a", "b"), ("c", "d")])


def test_no_rows_have_a_digest_too():
    """The digest of nothing is the SHA-256 of nothing."""
    assert digest_rows([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
