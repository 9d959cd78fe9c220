"""The HTTP contract: what the description of the API says with the default settings."""

import json
import os

from service.api.openapi import describe_api
from service.settings import ServiceSettings


def test_the_description_of_the_api_stays(monkeypatch, snapshot):
    """Clients are generated from `GET /docs.json`, so that a change here is one for them; the order of keys is none."""
    for name in [name for name in os.environ if name.startswith("SENTIMENT_")]:
        monkeypatch.delenv(name)

    assert json.dumps(describe_api(ServiceSettings()), indent=2, ensure_ascii=False, sort_keys=True) == snapshot
