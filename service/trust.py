"""Which models a service may open: those that a trusted key signed, where the settings say so."""

from pathlib import Path

from sentiment.predictor import Predictor
from sentiment.soundness import open_sound_model
from service.model import check_signed
from service.opening import OpenModel
from service.settings import ServiceSettings


def choose_opener(settings: ServiceSettings) -> OpenModel:
    """Return what opens a bundle, whichever way it came: at the start, by a reload, as a canary or in the shadow."""
    return open_signed_model if settings.require_signature else open_sound_model


def open_signed_model(folder: Path) -> Predictor:
    """Return a predictor that is warm and has answered. Raises SignatureError when nobody who is trusted signed it."""
    return open_sound_model(folder, check_signed)
