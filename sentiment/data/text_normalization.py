"""What makes two texts the same, and the digest of many; nothing here knows labels or files."""

import hashlib
import unicodedata
from collections.abc import Iterable

INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u2060\ufeff"))


def normalise_text(text: str) -> str:
    """Return the form under which two texts count as the same: NFKC, case folded, single spaces, no zero width."""
    return " ".join(unicodedata.normalize("NFKC", text).translate(INVISIBLE).casefold().split())


def place_text(text: str, salt: str) -> float:
    """Return a number in [0, 1) that depends on the normalised text and the salt alone."""
    digest = hashlib.sha256(f"{salt}\x00{normalise_text(text)}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def digest_rows(rows: Iterable[tuple[str, ...]]) -> str:
    """Return the SHA-256 hex digest of the rows in their order."""
    digest = hashlib.sha256()
    for row in rows:
        for cell in row:
            encoded = cell.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "big"))
            digest.update(encoded)
    return digest.hexdigest()
