"""What the serving benchmark measures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """What `wrk` saw: answers per second, median and 99th percentile in ms, answers with an error, lost connections."""

    per_second: float
    p50_ms: float
    p99_ms: float
    refused: int
    broken: int


@dataclass(frozen=True)
class Figure:
    """One measurement of one server in one round: `clients` at once, with so many `texts` in a request."""

    server: str
    round: int
    clients: int
    texts: int
    load: Load
