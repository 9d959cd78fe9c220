"""Checks before a worker starts: one sentence, instead of workers that start again for ever."""

from bentoml.exceptions import BentoMLException
from pydantic import ValidationError

from sentiment.database.url import locate_database
from sentiment.errors import ConfigError, SentimentError
from sentiment.governance.signatures import PUBLIC_KEYS_VARIABLE, load_public_keys
from service.models.sources import find_admitted_tag
from service.prediction_log.pseudonyms import read_key
from service.security.access import open_access
from service.settings import ServiceSettings


def prepare_start() -> tuple[ServiceSettings, str]:
    """Return the settings and the tag of the model to serve.

    Raises BentoMLException, the one error of an import that `bentoml serve` prints as a sentence.
    """
    try:
        settings = check_settings()
        return settings, find_admitted_tag(signed=settings.require_signature)
    except SentimentError as error:
        raise BentoMLException(str(error)) from error


def check_settings() -> ServiceSettings:
    """Return the settings. Raises ConfigError with one sentence if one of them cannot be used."""
    try:
        settings = ServiceSettings()
        open_access(settings)
        if settings.hash_key_file:
            read_key(settings.hash_key_file)
        locate_database()
        check_keys(settings)
    except ValidationError as error:
        raise ConfigError(_describe_setting(error)) from error
    return settings


def check_keys(settings: ServiceSettings) -> None:
    """Raise ConfigError when models are to be signed and no key is trusted."""
    if settings.require_signature and not load_public_keys():
        raise ConfigError(
            "SENTIMENT_REQUIRE_SIGNATURE is on, and no key is trusted here; name a folder of public keys in"
            f" {PUBLIC_KEYS_VARIABLE}, or serve a Bento that `make train` or `make promote` built."
        )


def _describe_setting(error: ValidationError) -> str:
    mistake = error.errors(include_url=False, include_input=False)[0]
    return f"SENTIMENT_{'_'.join(str(part) for part in mistake['loc']).upper()}: {mistake['msg'].lower()}."
