"""What of a text is kept: personal details are replaced by what they were.

Every pattern takes time in proportion to the text, whatever the text is: it comes from strangers.
"""

import re
import unicodedata
from itertools import pairwise
from typing import Literal

from service.prediction_log.pseudonyms import digest_text

KeptText = Literal["none", "hash", "redacted", "full"]

# What is not seen, between signs that are: zero width, soft hyphens, directions, variants and caps of keys, tags.
HIDDEN = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20e3\ufe00-\ufe0f\ufeff\U000e0000-\U000e007f]"
)
# Letters of some scripts are followed by marks, which `\w` leaves out.
SIGN = r"\w\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u109f\u1780-\u17ff"
LINK = re.compile(r"(?<![^\W\d])(?:https?://|www\.)\S*[^\s.,!?;:)\]}'\"]", re.IGNORECASE)
EMAIL = re.compile(
    rf"(?<![{SIGN}.+'%&=~-])[{SIGN}.+'%&=~-]{{1,64}}@[{SIGN}-]{{1,63}}(?:[.\u3002][{SIGN}-]{{1,63}}){{1,8}}"
)
HANDLE = re.compile(rf"(?<![\w@])(?:@+\w(?:[{SIGN}.-]{{0,60}}[{SIGN}])?)+")

IBAN_LENGTHS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29"
    " ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20"
    " LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29"
    " PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20"
    " YE30"
)
_COUNTRIES = "|".join(rf"{one[:2]}[ -]?\d\d(?:[ -]?[A-Z\d]){{{int(one[2:]) - 4}}}" for one in IBAN_LENGTHS.split())
IBAN = re.compile(rf"(?<![A-Z\d])(?:{_COUNTRIES})(?![A-Z\d])", re.IGNORECASE | re.ASCII)
IBAN_START = re.compile(r"[A-Z]{2}[ -]?\d\d[ -]?[A-Z\d]", re.IGNORECASE | re.ASCII)

# Digits with what people put between those of a number: spaces and brackets, or one full stop, comma, slash or dash.
DASHES = re.compile("[\u2010-\u2015\u2212]")
NUMBER = re.compile(r"(?<!\d)\+?\(?\d(?:(?:[ \t()]{1,3}|[ \t]?[-/\u2010-\u2015\u2212]{1,2}[ \t]?|[.,_])?\d){6,}+")
SEVEN_DIGITS = re.compile(r"(?:\D*+\d){7}")
DIGITS = re.compile(r"\d+")
_YEAR, _DAY = r"(?:19|20)\d\d", r"(?:0?[1-9]|[12]\d|3[01])"
_SUM = r"(?:0|[1-9]\d{0,6})[.,]\d{1,2}"
# What is written like one of these is no number of a person; the first that fits is taken.
_ORDINARY = (
    rf"{_YEAR}([-/.]){_DAY}\1{_DAY}",
    rf"{_DAY}([-/.]){_DAY}\2{_YEAR}",
    rf"{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])",
    rf"{_YEAR}(?: ?[-/,] ?{_YEAR})*",
    r"(?:[1-9]\d?|\d[.,]\d)/(?:100|[1-9]\d?)",
    r"\d-\d",
    r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d{1,2})?",
    r"[1-9]\d{0,2}(?:[ .]\d{3})*[ .]000(?:,\d{1,2})?",
    r"[1-9]\d?(?:[ .]\d{3}){2}(?:,\d{1,2})?",
    r"[1-9]\d{0,3}000+",
    r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)",
    r"\d{1,3}\.(?:\d{1,3}\.)?\d(?:\.\d{1,5}){1,2}",
    r"\d(?:\.\d{1,2}){2}",
    rf"{_SUM}(?: ?[-/] ?{_SUM})*",
    r"(?:0|[1-9]\d?)\.\d{5,}",
)
_ITEM = "|".join(rf"{one}(?![.,/-]?\d)" for one in _ORDINARY)
ORDINARY = re.compile(rf"\(?(?>{_ITEM})\)?(?: ?[-/]? ?\(?(?>{_ITEM})\)?)*+(?: \d{{1,2}})?")
LONGEST_PHONE = 15
CARD_LENGTHS = range(13, 20)
PIECE = 500
LARGEST_COUNT, LARGEST_STEP, SINGLE_DIGITS = 100, 10, 9


def redact_text(text: str) -> str:
    """Return the text with each link, e-mail address, handle, IBAN, card and phone number as its kind in brackets.

    A number longer than those of phones becomes `[number]`. What is written like a date, a sum, a score, a version or
    an address of a machine stays. A text with a detail is returned in its form NFKC, any other as it was.
    """
    plain = text if text.isascii() else _normalise(text)
    redacted = plain
    # Most texts have none of these: to look for one sign is ten times as fast as to look for what may be around it.
    if "://" in redacted or "www." in redacted.lower():
        redacted = LINK.sub("[link]", redacted)
    if "@" in redacted:
        redacted = HANDLE.sub("[handle]", EMAIL.sub("[email]", redacted))
    if SEVEN_DIGITS.match(redacted):
        if IBAN_START.search(redacted):
            redacted = IBAN.sub(_redact_account, redacted)
        redacted = HANDLE.sub("[handle]", NUMBER.sub(_redact_number, redacted))
    return text if redacted == plain else redacted


def keep_text(text: str, kept: KeptText, key: bytes) -> tuple[str | None, str | None]:
    """Return what goes into the log: the text, redacted or in full, and its digest by `key`; None for what does not."""
    if kept == "hash":
        return None, digest_text(text, key)
    if kept == "none":
        return None, None
    storable = text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    return redact_text(storable) if kept == "redacted" else storable, None


def _normalise(text: str) -> str:
    """Return the form NFKC without what is not seen; by pieces, for many marks on one letter take quadratic time."""
    pieces = (text[start : start + PIECE] for start in range(0, len(text), PIECE))
    return HIDDEN.sub("", "".join(unicodedata.normalize("NFKC", piece) for piece in pieces))


def _redact_account(found: re.Match[str]) -> str:
    """Replace an IBAN whose check digits are right: with its first four signs last, and A as 10, it is 1 modulo 97."""
    signs = [sign for sign in found.group() if sign not in " -"]
    number = int("".join(str(int(sign, 36)) for sign in [*signs[4:], *signs[:4]]))
    return "[iban]" if number % 97 == 1 else found.group()


def _redact_number(found: re.Match[str]) -> str:
    number = DASHES.sub("-", found.group())
    if not number.isascii():
        number = "".join(str(unicodedata.digit(sign, sign)) for sign in number)
    groups = DIGITS.findall(number)
    digits = "".join(groups)
    if not number.startswith(("+", "00")) and (ORDINARY.fullmatch(number) or _is_list(groups)):
        return found.group()
    if len(digits) in CARD_LENGTHS and _passes_luhn(digits):
        return "[card]"
    return "[number]" if len(digits) > LONGEST_PHONE else "[phone]"


def _is_list(groups: list[str]) -> bool:
    """Return whether small numbers count up or down, or are too few digits, one by one, to be those of a phone."""
    if any(len(group) > 1 and group.startswith("0") for group in groups) or max(map(len, groups)) > len(
        str(LARGEST_COUNT)
    ):
        return False
    counts = [int(group) for group in groups]
    if max(counts) > LARGEST_COUNT or counts[0] == 0:
        return False
    steps = [second - first for first, second in pairwise(counts)]
    counting = any(all(0 <= sign * step <= LARGEST_STEP for step in steps) for sign in (1, -1))
    return bool(steps) and (counting or (max(counts) <= LARGEST_STEP and len(groups) < SINGLE_DIGITS))


def _passes_luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0
