"""Ids of requests, predictions and everything else that is kept."""

import secrets
import time
import uuid

RANDOM_BITS = 74
MILLISECOND_NS = 1_000_000


def make_id() -> str:
    """Return a UUID of version 7: unique, and in the order of time, which keeps the index of a database small.

    From Python 3.14 on, `uuid.uuid7` does the same.
    """
    milliseconds = time.time_ns() // MILLISECOND_NS
    random = secrets.randbits(RANDOM_BITS)
    number = milliseconds << 80 | 7 << 76 | (random >> 62) << 64 | 0b10 << 62 | (random & (1 << 62) - 1)
    return str(uuid.UUID(int=number))
