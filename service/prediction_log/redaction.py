"""What of a text is kept: personal details are replaced by what they were.

Every pattern takes time in proportion to the text, whatever the text is: it comes from strangers.
"""

import hashlib
import re
from typing import Literal

from sentiment.texts import normalise_text

KeptText = Literal["none", "hash", "redacted", "full"]

LINK = re.compile(r"(?<!\w)(?:https?://|www\.)\S*[^\s.,!?;:)\]}'\"]", re.IGNORECASE)
EMAIL = re.compile(r"(?<![\w.+'-])[\w.+'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
HANDLE = re.compile(r"(?<![\w@])@+\w(?:[\w.-]{0,60}\w)?")
# Digits with what people put between those of a number: spaces, brackets, full stops, slashes and dashes of all kinds.
NUMBER = re.compile(r"(?<!\w)\+?\(?\d(?:[\s()./\u2010-\u2015-]{0,3}\d){6,18}(?!\d)")
DIGITS = re.compile(r"\d+")
DATE = re.compile(r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})(?:\D.*)?")
YEARS = re.compile(r"(?:19|20)\d\d\D(?:19|20)\d\d")
THOUSANDS = re.compile(r"\d{1,3}(?:\.\d{3})+")
LONGEST_PHONE = 15
SHORTEST_GROUP, LONGEST_QUAD = 3, 255
QUADS = 4


def redact_text(text: str) -> str:
    """Return the text with links, e-mail addresses, handles and phone numbers replaced by their kind in brackets.

    A longer number, as of a card or an account, becomes `[number]`. What is written like a date, a sum, a version or an
    address of a machine stays.
    """
    # Most texts have none of these: to look for one sign is ten times as fast as to look for what may be around it.
    if "://" in text or "www." in text.lower():
        text = LINK.sub("[link]", text)
    if "@" in text:
        text = HANDLE.sub("[handle]", EMAIL.sub("[email]", text))
    return NUMBER.sub(_redact_number, text) if DIGITS.search(text) else text


def keep_text(text: str, kept: KeptText) -> tuple[str | None, str | None]:
    """Return what goes into the log: the text, redacted or in full, and its SHA-256; None for what does not."""
    if kept == "hash":
        return None, hashlib.sha256(normalise_text(text).encode("utf-8", "replace")).hexdigest()
    if kept == "none":
        return None, None
    storable = text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    return redact_text(storable) if kept == "redacted" else storable, None


def _redact_number(found: re.Match[str]) -> str:
    number = found.group()
    groups = DIGITS.findall(number)
    if sum(map(len, groups)) > LONGEST_PHONE:
        return "[number]"
    return "[phone]" if number.startswith(("+", "00")) or not _is_ordinary(number, groups) else number


def _is_ordinary(number: str, groups: list[str]) -> bool:
    """Return whether a number without a country code is a date, a sum, a version, or no one number."""
    if any(pattern.fullmatch(number) for pattern in (DATE, YEARS, THOUSANDS)) or number.endswith("000"):
        return True
    if len(groups) == 1:
        return False
    if len(groups) == QUADS and all(int(group) <= LONGEST_QUAD for group in groups) and "." in number:
        return True
    if any(len(group) == 1 for group in groups[1:]):
        return True
    return max(map(len, groups)) < SHORTEST_GROUP and not groups[0].startswith("0")
