"""Trust: with `SENTIMENT_REQUIRE_SIGNATURE`, the service opens only models that a trusted key signed."""

from pathlib import Path

from sentiment.bundle.bundle import open_bundle
from sentiment.bundle.predictor import Predictor
from sentiment.bundle.trial import Patience, try_bundle
from sentiment.bundle.verify import open_sound_model
from service.models.loaded import OpenModel, TryBundle
from service.models.sources import check_signed
from service.settings import ServiceSettings


def choose_opener(settings: ServiceSettings) -> OpenModel:
    """Return the function that opens every bundle: at the start, by a reload, as a canary or as the shadow model."""
    return open_signed_model if settings.require_signature else open_sound_model


def open_signed_model(folder: Path) -> Predictor:
    """Return a predictor that is warm and has answered. Raises SignatureError if no trusted key signed it."""
    return open_sound_model(folder, check_signed)


def choose_trial(settings: ServiceSettings) -> TryBundle:
    """Return the function that tries a bundle before any worker opens it; it does not try one without a signature."""
    return try_signed_bundle if settings.require_signature else try_bundle


def try_signed_bundle(folder: Path, patience: Patience, *, copies: int) -> tuple[str, str]:
    """Return what `try_bundle` returns. Raises SignatureError if no trusted key signed the bundle."""
    check_signed(open_bundle(folder))
    return try_bundle(folder, patience, copies=copies)
