"""The settings of the service, read once from `SENTIMENT_*` variables."""

import re
from ipaddress import ip_network
from pathlib import Path

from limits import parse_many
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.models.fetch.sources import read_sources
from service.prediction_log.redaction import KeptText

ORIGIN = re.compile(r"https?://(\*\.)?[A-Za-z0-9.-]+(:[0-9]{1,5})?")


class ServiceSettings(BaseSettings):
    """Limits and engine of one worker; frozen once read."""

    model_config = SettingsConfigDict(env_prefix="SENTIMENT_", frozen=True)

    max_text_chars: int = Field(10_000, ge=1, description="Characters in one text.")
    max_batch_texts: int = Field(256, ge=1, description="Texts in one batch request.")
    max_body_bytes: int = Field(1_000_000, ge=1, description="Bytes in one request body.")
    max_queued_texts: int = Field(1024, ge=1, description="Texts that may wait for the model before requests are shed.")
    max_texts_per_call: int = Field(32, ge=1, description="Waiting texts that share one call of the model.")
    workers: int = Field(0, ge=0, description="Worker processes; 0 for one per core that the service may use.")
    engine_threads: int = Field(2, ge=1, description="Model calls side by side in one worker.")
    timeout_seconds: int = Field(30, ge=1, description="Seconds after which a request is given up.")
    access_log: bool = Field(False, description="Write a line for each request.")
    tracing: bool = Field(False, description="Let BentoML trace requests; where to is in BentoML's own configuration.")
    api_keys: SecretStr | None = Field(None, description="Lines of a key file, separated by semicolons.")
    api_key_file: Path | None = Field(None, description="File of API keys, made by `sentigate keys add`.")
    rate_limit: str = Field("", description="Texts per key, for example 600/minute;100000/day; empty for no limit.")
    trusted_proxies: str = Field("", description="Addresses or networks whose X-Forwarded-For counts, by commas.")
    max_connections: int = Field(1000, ge=1, description="Connections that one worker keeps open.")
    cors_origins: str = Field("", description="Origins whose pages may ask, separated by commas; * for all.")
    frame_origins: str = Field("", description="Origins whose pages may show ours in a frame, separated by commas.")
    explain_max_parts: int = Field(64, ge=2, description="Parts that an explanation tells apart; words are joined.")
    explain_max_evaluations: int = Field(400, ge=1, description="Texts that the model answers for one explanation.")
    explain_max_words: int = Field(12_000, ge=1, description="Words in all these texts, about.")
    log_predictions: bool = Field(True, description="Keep every answer in the prediction log.")
    log_text: KeptText = Field("redacted", description="What of a text is kept: none, hash, redacted or full.")
    hash_key_file: Path | None = Field(None, description="Key of digests; by default one made in the state folder.")
    log_required: bool = Field(True, description="Refuse what cannot be logged; false answers, counts and warns.")
    log_sync: bool = Field(False, description="Wait for the disk: a loss of power loses nothing either.")
    log_retention_days: int = Field(90, ge=0, description="Days that a row of the log is kept; 0 for ever.")
    spool_folder: Path | None = Field(None, description="Where entries wait; by default `spool` in the state folder.")
    spool_max_bytes: int = Field(1_000_000_000, ge=1, description="Bytes that may wait there.")

    reload_sources: str = Field("", description="Folders and URIs that models may come from, separated by commas.")
    require_signature: bool = Field(False, description="Open only models that a trusted key signed.")

    shadow_model: str = Field("", description="A version, bundle folder or URI that answers silently, too.")
    shadow_share: float = Field(0.1, ge=0, le=1, description="Share of the texts that it answers.")

    @field_validator("spool_folder", "hash_key_file", mode="before")
    @classmethod
    def check_path(cls, value: object) -> object:
        """Take an empty variable for one that is not set."""
        return value or None

    @field_validator("api_key_file", mode="before")
    @classmethod
    def check_key_file(cls, value: object) -> object:
        """Refuse an empty variable: somebody wanted keys."""
        if value == "":
            raise ValueError("it is set and names no file; name one, or unset it to ask for no keys")
        return value

    @field_validator("frame_origins")
    @classmethod
    def check_origins(cls, value: str) -> str:
        """Refuse what would mean something else in the header that it goes into."""
        for origin in _split(value):
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is not an origin; wanted for example https://huggingface.co")
        return value

    @field_validator("reload_sources")
    @classmethod
    def check_sources(cls, value: str) -> str:
        """Refuse what names no place."""
        read_sources(value)
        return value

    def list_frame_origins(self) -> tuple[str, ...]:
        """Return the origins of `frame_origins`."""
        return _split(self.frame_origins)

    @field_validator("trusted_proxies")
    @classmethod
    def check_proxies(cls, value: str) -> str:
        """Refuse what names no address; `*` would let every caller say where it comes from."""
        for proxy in _split(value):
            try:
                ip_network(proxy)
            except ValueError:
                raise ValueError(f"{proxy!r} is no address or network; wanted for example 10.0.0.0/8") from None
        return value

    @field_validator("rate_limit")
    @classmethod
    def check_rate(cls, value: str) -> str:
        """Refuse what is not a rate."""
        if value:
            try:
                rates = [rate for rate in parse_many(value) if rate.amount > 0]
            except ValueError:
                rates = []
            if len(rates) != len(re.split("[,;|]", value)):
                raise ValueError(f"{value!r} is not a rate; wanted for example 600/minute or 10/second;50000/day")
        return value


def _split(origins: str) -> tuple[str, ...]:
    return tuple(origin.strip() for origin in origins.split(",") if origin.strip())
