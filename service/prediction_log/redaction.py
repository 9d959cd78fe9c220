"""What of a text is kept: personal details are replaced by what they were."""

import hashlib
import re
from typing import Literal

from sentiment.texts import normalise_text

KeptText = Literal["none", "hash", "redacted", "full"]

LINK = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
HANDLE = re.compile(r"(?<![\w@])@\w+")
# From seven digits on, with the signs that people put between them; a date or a price has fewer, or other signs.
PHONE = re.compile(r"(?<![\w.,])(?:\+|00)?\(?\d(?:[ ()/.-]{0,2}\d){6,14}(?![\w])")
REPLACEMENTS = ((LINK, "[link]"), (EMAIL, "[email]"), (HANDLE, "[handle]"), (PHONE, "[phone]"))


def redact_text(text: str) -> str:
    """Return the text with links, e-mail addresses, handles and phone numbers replaced by their kind in brackets."""
    for pattern, name in REPLACEMENTS:
        text = pattern.sub(name, text)
    return text


def keep_text(text: str, kept: KeptText) -> tuple[str | None, str | None]:
    """Return what goes into the log: the text, redacted or in full, and its SHA-256; None for what does not."""
    if kept == "hash":
        return None, hashlib.sha256(normalise_text(text).encode("utf-8", "replace")).hexdigest()
    if kept == "none":
        return None, None
    storable = text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    return redact_text(storable) if kept == "redacted" else storable, None
