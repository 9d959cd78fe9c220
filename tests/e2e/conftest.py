"""The service that tests which move production ask; each module says in which `copy` of the checkout it runs."""

from collections.abc import Iterator

import pytest

from benchmarks.copying import CheckoutCopy
from tests.support.production_moves import act
from tests.support.serving import Service


@pytest.fixture(scope="module")
def service(copy: CheckoutCopy) -> Iterator[Service]:
    """The service of that checkout with two workers, answering from version 1."""
    act(copy, "promote", "--version", "1")
    environment = {name: value for name, value in copy.environment.items() if name != "SENTIMENT_MODEL_TAG"}
    service = Service(copy.folder, environment | {"SENTIMENT_WORKERS": "2"}, checkout=copy.folder)
    try:
        service.start()
        service.wait_for_workers(2)
        yield service
    finally:
        service.kill()
