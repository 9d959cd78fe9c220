"""The service and the registry that tests of production start from; each module says in `started` which versions."""

import pytest

from tests.support.checkout_copy import Snapshot
from tests.support.production_moves import Production, return_to_start
from tests.support.serving import Service


@pytest.fixture
def production(started: tuple[Production, Service, Snapshot]) -> Production:
    """The registry, the ledger and the service as they were before the first test."""
    return_to_start(*started)
    return started[0]


@pytest.fixture
def service(started: tuple[Production, Service, Snapshot]) -> Service:
    """The service that runs in that checkout, with two workers."""
    return started[1]
