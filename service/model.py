"""Which model this service answers from, and where its bundle lies."""

import json
import os
from pathlib import Path

import yaml
from bentoml.exceptions import BentoMLException

from sentiment.state import MODEL_TAG_VARIABLE, locate_state

PROJECT = Path(__file__).resolve().parents[1]


def find_model_tag() -> str:
    """Return the exact tag of the model in BentoML's store.

    A built Bento names the one it was built with; a checkout serves what is in production there;
    `SENTIMENT_MODEL_TAG` goes before both. Raises BentoMLException when nothing is in production.
    """
    if named := os.environ.get(MODEL_TAG_VARIABLE):
        return named
    bento = PROJECT.parent / "bento.yaml"
    if bento.is_file():
        (service,) = yaml.safe_load(bento.read_text(encoding="utf-8"))["services"]
        return str(service["models"][0]["tag"])
    pointer = locate_state().production
    if not pointer.is_file():
        raise BentoMLException(
            "no model is in production in this checkout; train one with `make train`,"
            f" or name one from `bentoml models list` in {MODEL_TAG_VARIABLE}."
        )
    try:
        return str(json.loads(pointer.read_text(encoding="utf-8"))["tag"])
    except (ValueError, KeyError, TypeError) as error:
        raise BentoMLException(
            f"the pointer to the model in production, {pointer}, cannot be read; train again with `make train`,"
            f" or name a model from `bentoml models list` in {MODEL_TAG_VARIABLE}."
        ) from error
