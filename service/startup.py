"""What an operator has set, checked before a worker starts: a sentence, instead of workers that start for ever."""

from bentoml.exceptions import BentoMLException
from pydantic import ValidationError

from sentiment.database.url import locate_database
from sentiment.errors import ConfigError
from sentiment.governance.signatures import PUBLIC_KEYS_VARIABLE, load_public_keys
from service.prediction_log.pseudonyms import read_key
from service.security.access import open_access
from service.settings import ServiceSettings


def check_settings() -> ServiceSettings:
    """Return the settings. Raises BentoMLException with one sentence when one of them cannot be used."""
    try:
        settings = ServiceSettings()
        open_access(settings)
        if settings.hash_key_file:
            read_key(settings.hash_key_file)
        locate_database()
        check_keys(settings)
    except (ConfigError, ValidationError) as error:
        raise BentoMLException(say_settings(error)) from error
    return settings


def check_keys(settings: ServiceSettings) -> None:
    """Raise ConfigError when models are to be signed and no key is trusted."""
    if settings.require_signature and not load_public_keys():
        raise ConfigError(
            "SENTIMENT_REQUIRE_SIGNATURE is on, and no key is trusted here; name a folder of public keys in"
            f" {PUBLIC_KEYS_VARIABLE}, or serve a Bento that `make train` or `make promote` built."
        )


def say_settings(error: ConfigError | ValidationError) -> str:
    """Return one sentence on a setting that cannot be used."""
    if isinstance(error, ConfigError):
        return str(error)
    mistake = error.errors(include_url=False, include_input=False)[0]
    return f"SENTIMENT_{'_'.join(str(part) for part in mistake['loc']).upper()}: {mistake['msg'].lower()}."
