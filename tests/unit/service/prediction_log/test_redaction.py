"""What of a text is kept."""

import time
import unicodedata

import pytest

from service.prediction_log.pseudonyms import digest_text
from service.prediction_log.redaction import keep_text, redact_text

KEY = b"k" * 32

LINKS = {
    "http": ("see http://example.com now", "see [link] now"),
    "https with a path": ("https://example.com/a/b?c=d&e=f#g", "[link]"),
    "capitals": ("HTTPS://EXAMPLE.COM", "[link]"),
    "www": ("go to www.example.com today", "go to [link] today"),
    "a port": ("http://localhost:8080/x", "[link]"),
    "credentials": ("https://ann:secret@example.com/", "[link]"),
    "an address within": ("https://example.com/?mail=ann@example.com", "[link]"),
    "a phone number within": ("https://example.com/4155552671", "[link]"),
    "other letters": ("https://пример.рф/путь ok", "[link] ok"),
    "two": ("http://a.example http://b.example", "[link] [link]"),
    "a new line after it": ("http://a.example\nfine", "[link]\nfine"),
}
EMAILS = {
    "plain": ("mail ann@example.com please", "mail [email] please"),
    "dots, a plus and dashes": ("ann.b-c+tag@mail.ex-ample.co.uk", "[email]"),
    "capitals": ("ANN@EXAMPLE.COM", "[email]"),
    "the end of a sentence": ("write to ann@example.com.", "write to [email]."),
    "brackets": ("Ann <ann@example.com>", "Ann <[email]>"),
    "a scheme": ("mailto:ann@example.com", "mailto:[email]"),
    "digits": ("12345678@qq.com", "[email]"),
    "underscore": ("ann_b@example.com", "[email]"),
    "other letters": ("jürgen@müller.de", "[email]"),
    "two": ("ann@example.com,bob@example.com", "[email],[email]"),
}
HANDLES = {
    "first": ("@ann you rock", "[handle] you rock"),
    "within": ("thanks @ann_99!", "thanks [handle]!"),
    "brackets": ("(@ann)", "([handle])"),
    "two": ("@ann @bob", "[handle] [handle]"),
    "other letters": ("@jürgen", "[handle]"),
    "a dot before it": (".@ann look", ".[handle] look"),
    "possessive": ("@ann's phone", "[handle]'s phone"),
    "a handle with a dot": ("@ann.smith is nice", "[handle] is nice"),
    "a handle with a dash": ("@ann-smith is nice", "[handle] is nice"),
    "two signs": ("@@ann", "[handle]"),
}
PHONES = {
    "United States": "+1 (415) 555-2671",
    "United States, local": "(415) 555-2671",
    "United States, dashes": "415-555-2671",
    "United States, dots": "415.555.2671",
    "United States, digits": "4155552671",
    "United States, a one": "1-415-555-2671",
    "seven digits": "555-2671",
    "E.164": "+14155552671",
    "United Kingdom": "+44 20 7946 0958",
    "United Kingdom, a zero": "+44 (0)20 7946 0958",
    "United Kingdom, mobile": "07911 123456",
    "Germany": "+49 30 12345678",
    "Germany, 00": "0049 (0)30 12345678",
    "Germany, slash": "030/12345678",
    "France": "+33 1 42 68 53 00",
    "France, pairs": "01 42 68 53 00",
    "France, dots": "06.12.34.56.78",
    "Spain": "612 345 678",
    "Italy": "+39 06 1234 5678",
    "Russia": "8 (495) 123-45-67",
    "India": "+91 98765 43210",
    "China": "+86 138 0013 8000",
    "Japan": "03-1234-5678",
    "Brazil": "+55 (11) 91234-5678",
    "Australia": "(02) 9876 5432",
    "Nigeria": "0803 123 4567",
    "Arabic digits": "+966 50 123 4567".translate({ord(str(digit)): chr(0x660 + digit) for digit in range(10)}),
}
TYPOGRAPHIC_PHONES = {
    "spaces around dashes": "415 - 555 - 2671",
    "spaces around a slash": "030 / 12345678",
    "en dashes": "415\u2013555\u20132671",
    "dashes that do not break": "415\u2011555\u20112671",
    "spaces that do not break": "06\u00a012\u00a034\u00a056\u00a078",
    "narrow spaces that do not break": "06\u202f12\u202f34\u202f56\u202f78",
}
PAIRS = {
    "after a count": "1 06 12 34 56 78",
    "after a score": "10/10 06 12 34 56 78",
    "Denmark": "22 41 63 07",
    "commas": "06,12,34,56,78",
    "slashes": "06/12/34/56/78",
    "underscores": "06_12_34_56_78",
    "digit by digit": "0 6 1 2 3 4 5 6 7 8",
    "a year before it": "2019 612 345 678",
    "stars after it": "415-555-2671 5",
    "a thousand at its end": "800 555 1000",
    "groups of three with dots": "612.345.678",
    "eight digits": "2034 5678",
    "Belgium": "0475/12 34 56",
}
DISGUISED = {
    "full-width digits": "\uff10\uff16 \uff11\uff12 \uff13\uff14 \uff15\uff16 \uff17\uff18",
    "a full-width plus": "\uff0b49 170 1234567",
    "full-width dashes": "415\uff0d555\uff0d2671",
    "mathematical digits": "".join(chr(0x1D7D8 + int(digit)) for digit in "0612345678"),
    "digits in circles": "\u2460\u2461\u2462\u2463\u2464\u2465\u2466\u2467",
    "keys": "".join(f"{digit}\ufe0f\u20e3" for digit in "0612345678"),
    "spaces of no width": "0\u200b6\u200b12\u20603456\ufeff78",
    "soft hyphens": "06\u00ad12\u00ad34\u00ad56\u00ad78",
    "a direction": "06\u202e12345678",
    "Devanagari digits": "".join(chr(0x966 + int(digit)) for digit in "0612345678"),
    "full-width Persian pairs": " ".join(
        "".join(chr(0x6F0 + int(one)) for one in pair) for pair in ("06", "12", "34", "56", "78")
    ),
}
OTHER_DETAILS = {
    "an IBAN": ("to DE89 3704 0044 0532 0130 00 please", "to [iban] please"),
    "an IBAN without spaces": ("gb82west12345698765432", "[iban]"),
    "an IBAN with letters at its end": ("FR14 2004 1010 0505 0001 3M02 606.", "[iban]."),
    "two IBANs": ("NO9386011117947, BE68 5390 0754 7034", "[iban], [iban]"),
    "a full-width IBAN": ("\uff24\uff2589370400440532013000", "[iban]"),
    "an IBAN with a slip": ("DE89 3704 0044 0532 0130 01", "DE[number]"),
    "a card": ("card 4111 1111 1111 1111!", "card [card]!"),
    "a card with dashes": ("5500-0000-0000-0004", "[card]"),
    "a card of fifteen": ("3782 822463 10005", "[card]"),
    "a card of nineteen": ("6304 0000 0000 0000 000", "[card]"),
    "a card with a slip": ("4111 1111 1111 1112", "[number]"),
    "thirty digits": ("id 123456789012345678901234567890", "id [number]"),
    "a phone number after a date": ("2024-01-15 07911 123456", "[number]"),
    "digits after letters": ("tel4155552671", "tel[phone]"),
    "a sentence after it": ("4155552671. 5 stars", "[phone]. 5 stars"),
    "a full-width at sign": ("ann\uff20example\uff0ecom", "[email]"),
    "a small at sign": ("ann\ufe6bexample.com", "[email]"),
    "an ideographic full stop": ("ann@\u4f8b\u3048\u3002\u30c6\u30b9\u30c8", "[email]"),
    "marks on letters": (
        "\u0930\u093e\u092e@\u0909\u0926\u093e\u0939\u0930\u0923.\u092d\u093e\u0930\u0924",
        "[email]",
    ),
    "a full-width link": ("\uff48\uff54\uff54\uff50\uff1a\uff0f\uff0fa.example", "[link]"),
    "a link after digits": ("0612345678www.ann.example", "[phone][link]"),
    "a handle after a handle": ("@ann@home", "[handle]"),
    "a handle after digits": ("0612345678@ann", "[phone][handle]"),
    "a full-width handle": ("\uff20ann hi", "[handle] hi"),
    "a percent sign": ("ann%home@example.com", "[email]"),
}
PHONE_PLACES = {
    "a sentence": ("call 415-555-2671, please.", "call [phone], please."),
    "a scheme": ("tel:+14155552671", "tel:[phone]"),
    "an extension": ("555-2671 x99", "[phone] x99"),
    "a full stop before it": ("Tel.4155552671", "Tel.[phone]"),
    "a comma before it": ("call me,4155552671", "call me,[phone]"),
    "an extension without a space": ("415-555-2671ext5", "[phone]ext5"),
}
ORDINARY = {
    "words": "A good film, really.",
    "price": "it costs 1,299.00 now",
    "price in dollars": "$1299.99 is too much",
    "price in euros": "12,50 €",
    "millions": "$1,000,000.00",
    "year": "best of 2024",
    "score": "3/5 stars",
    "score of ten": "8.5/10",
    "time": "at 12:30 or 18:45:10",
    "version": "version 1.2.3",
    "percent": "100%",
    "temperature": "-12.5 degrees",
    "small numbers": "1 2 3",
    "time in ISO 8601": "2024-01-15T12:30:00Z",
    "an at sign": "two @ 5 each",
    "an at sign in a word": "sh@t",
    "a sign alone": "@ home",
    "a name of a protocol": "http is not https",
    "www": "the www. is old",
    "brackets": "[link] [email] [handle] [phone]",
    "hashtag": "#1 #love",
    "emoji": "\U0001f600 3\ufe0f\u20e3",
    "empty": "",
    "spaces": " \t\n",
}
MISTAKABLE = {
    "date": "on 2024-01-15 it broke",
    "date with dots": "am 15.01.2024 war es gut",
    "date with slashes": "since 12/25/2024",
    "date and time": "2024-01-15 12:30",
    "years": "from 1999-2005",
    "season": "the 2023/2024 season",
    "two scores": "10/10 10/10",
    "score and year": "4.5/5 2024",
    "price with dots": "1.299.000,00 EUR",
    "address of a computer": "192.168.1.100",
    "long version": "Windows 10.0.26100.1234",
    "phones by their numbers": "iPhone 12 13 14 15",
    "years, counted up": "in 1999, 2001 and 2010",
    "years, by spaces": "1980 1990 2001 2007 2020",
    "years, by slashes": "1999/2000/2001",
    "years in brackets": "(1999) (2005)",
    "a price with cents": "$1,299.00",
    "prices": "19.99 29.99 39.99",
    "prices, large": "1,299.00 11,499.00",
    "a range of prices": "199.99-249.99",
    "a score": "10/10",
    "a result": "3-2",
    "results": "3-2 1-0 2-2 4-1",
    "scores": "9/10 8/10 7/10 9/10",
    "a score and a year": "2024 4.5/5",
    "ratings": "5 5 4 5 3 4 5",
    "a version": "v2.10.1",
    "versions": "2.10.1 3.11.2",
    "times": "8:30, 18:45 and 21:00",
    "views": "5 000 000 views",
    "views, exactly": "1 234 567 views",
    "views, with dots": "12.345.678 views",
    "views, without signs": "2500000 views",
    "a billion": "1,000,000,000",
    "half a star": "\u00bd \u2605\u2605\u2605\u00bd 3\u00bd",
    "stars": "\u2605\u2605\u2605\u2605\u2606 4/5",
    "small numbers, counted down": "10 9 8 7 6 5 4 3 2 1",
    "small numbers, by tens": "10 20 30 40",
    "small numbers, by commas": "1,2,3,4,5,6,7",
    "a fraction": "3.14159265",
    "a date without signs": "20240115",
    "dates": "15.01.2024 16.01.2024",
    "full-width prices": "\uff11\uff0c\uff12\uff19\uff19\uff0e\uff10\uff10",
    "signs that NFKC would change": "\u2026 \u2122 \ufb01ne \u00b2 3\ufe0f\u20e3",
    "delight": "awww...so cute",
    "disgust": "Ewww.that is bad",
}
HOSTILE = {
    "accounts": "DE89 " * 2_000,
    "accounts without spaces": "gb82west" * 1_250,
    "commas": "1," * 5_000,
    "years": "2001 " * 2_000,
    "sums": "1.5-" * 2_500,
    "versions": "1.1.1 " * 1_666,
    "thousands": "1 000 " * 1_666,
    "marks on one letter": "a" + "\u0301\u0323" * 4_999,
    "one sign that is eighteen": "\ufdfa" * 10_000,
    "spaces of no width": "1\u200b" * 5_000,
    "marks after a sign": "a@" + "\u093e" * 9_998,
    "letters": "a" * 10_000,
    "letters and dots": "a." * 5_000,
    "letters around a sign": "a" * 5_000 + "@" + "a" * 5_000,
    "plus signs": "+" * 10_000,
    "dashes": "-" * 10_000,
    "digits": "1" * 10_000,
    "digits and dashes": "1-" * 5_000,
    "digits and brackets": "1 (" * 3_333,
    "zeros and brackets": "00(1" * 2_500,
    "at signs": "@" * 10_000,
    "letters and signs": "a@" * 5_000,
    "half addresses": "a@a." * 2_500,
    "schemes": "http://" * 1_428,
    "www": "www." * 2_500,
    "underscores": "_" * 10_000,
}


def cases(table: dict) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("text", "redacted"), table.values(), ids=table)


@cases(LINKS)
def test_a_link_is_replaced(text, redacted):
    """Where somebody points to is not kept."""
    assert redact_text(text) == redacted


@cases(EMAILS)
def test_an_email_address_is_replaced(text, redacted):
    """How somebody is reached by mail is not kept."""
    assert redact_text(text) == redacted


@cases(HANDLES)
def test_a_handle_is_replaced(text, redacted):
    """The name of an account is not kept, nor a part of it."""
    assert redact_text(text) == redacted


@pytest.mark.parametrize("number", PHONES.values(), ids=PHONES)
def test_a_phone_number_is_replaced(number):
    """A phone number as it is written in its country is not kept, nor a digit of it."""
    assert redact_text(f"call {number} now") == "call [phone] now"


@pytest.mark.parametrize("number", TYPOGRAPHIC_PHONES.values(), ids=TYPOGRAPHIC_PHONES)
def test_a_phone_number_with_wide_signs_is_replaced(number):
    """Signs that keyboards and word processors put into a phone number do not keep it in the text."""
    assert redact_text(f"call {number} now") == "call [phone] now"


@pytest.mark.parametrize("number", [*PAIRS.values(), *DISGUISED.values()], ids=[*PAIRS, *DISGUISED])
def test_a_phone_number_is_replaced_however_it_is_written(number):
    """Neither pairs, nor what stands beside a number, nor signs of another kind keep it in the text."""
    assert redact_text(f"call {number} now") == "call [phone] now"


@cases(OTHER_DETAILS)
def test_accounts_cards_and_disguised_details_are_replaced(text, redacted):
    """Accounts and cards are told by their check digits, and a detail in signs that look alike is found."""
    assert redact_text(text) == redacted


@cases(PHONE_PLACES)
def test_a_phone_number_is_found_where_it_stands(text, redacted):
    """What stands around a phone number stays, and does not hide it."""
    assert redact_text(text) == redacted


@pytest.mark.parametrize("text", ORDINARY.values(), ids=ORDINARY)
def test_an_ordinary_text_stays(text):
    """What is no personal detail is kept as it was written."""
    assert redact_text(text) == text


@pytest.mark.parametrize("text", MISTAKABLE.values(), ids=MISTAKABLE)
def test_what_only_looks_like_a_detail_stays(text):
    """Dates, scores, prices, addresses of computers and sighs are kept as they were written."""
    assert redact_text(text) == text


def test_a_text_with_a_detail_is_kept_in_its_plain_form():
    """What is stored is the text that was searched: nothing of a detail is left beside its place."""
    text = "\uff2dail ann\uff20example.com\u2026 3\ufe0f\u20e3"

    assert redact_text(text) == unicodedata.normalize("NFKC", "Mail [email]... 3")


def test_all_kinds_are_replaced_in_one_text():
    """Each detail is replaced by what it was, and the words between them stay."""
    text = "@ann: mail ann@example.com, call +1 415-555-2671 or see https://example.com/ann !"

    assert redact_text(text) == "[handle]: mail [email], call [phone] or see [link] !"


@pytest.mark.parametrize(
    "text", [*(text for text, _ in {**LINKS, **EMAILS, **OTHER_DETAILS}.values()), *PHONES.values(), *PAIRS.values()]
)
def test_redacting_twice_changes_nothing(text):
    """What is left after redaction holds nothing to redact."""
    assert redact_text(redact_text(text)) == redact_text(text)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_text_takes_no_time(text):
    """A text of the longest length is redacted in less time than the model takes for it."""
    started = time.process_time()
    redact_text(text)

    assert time.process_time() - started < 0.05


@pytest.mark.parametrize("text", ["good", "", "call 415-555-2671", "a\x00b", "\ud83d"])
def test_none_keeps_nothing(text):
    """Nothing of a text is kept where nothing is to be."""
    assert keep_text(text, "none", KEY) == (None, None)


def test_hash_keeps_the_digest_of_the_normalised_text():
    """A digest is that of the text without its capitals and spaces, by the key, and comes without the text."""
    assert keep_text("  Good\n DAY ", "hash", KEY) == (None, digest_text("good day", KEY))


def test_hash_tells_texts_apart():
    """Other texts have other digests."""
    assert keep_text("good", "hash", KEY) != keep_text("bad", "hash", KEY)


@pytest.mark.parametrize("text", ["\ud83d", "good \ude00", "\x00", ""], ids=ascii)
def test_hash_takes_any_text(text):
    """A text that UTF-8 cannot hold has a digest too."""
    kept, digest = keep_text(text, "hash", KEY)

    assert (kept, len(digest)) == (None, 64)


def test_redacted_keeps_the_text_without_details():
    """The redacted text is kept, without a digest by which the whole one could be guessed."""
    assert keep_text("Good, @ann!", "redacted", KEY) == ("Good, [handle]!", None)


@pytest.mark.parametrize("text", ["Good,  @ann!\n", "call 415-555-2671", "", "\U0001f600\u2028\u05e9\u05dc"], ids=ascii)
def test_full_keeps_the_text(text):
    """The whole text is kept as it came."""
    assert keep_text(text, "full", KEY) == (text, None)


@pytest.mark.parametrize("kept", ["redacted", "full"])
@pytest.mark.parametrize(
    ("text", "storable"),
    [("a\x00b", "a\ufffdb"), ("good \ud83d", "good ?"), ("\ude00\ud83d", "??")],
    ids=["NUL", "high surrogate", "swapped surrogates"],
)
def test_what_a_database_cannot_hold_is_replaced(text, storable, kept):
    """A character that PostgreSQL refuses does not keep its text out of the log."""
    assert keep_text(text, kept, KEY) == (storable, None)


def test_a_character_that_cannot_be_stored_hides_no_detail():
    """Details are found beside what was replaced."""
    assert keep_text("\x00ann@example.com\x00", "redacted", KEY) == ("\ufffd[email]\ufffd", None)
