"""The running service that a canary is tried on: what it says of it, and what it is asked to do."""

import logging
from contextlib import suppress
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from release.running_services import choose_services, open_client, read_key
from sentiment.errors import ServiceError

START_SECONDS = 60.0
FAILURES, ANSWERS = "sentigate_canary_failures_total", "sentigate_canary_answers_total"
KEY_HINT = "; name the file of a key with the scope admin: KEY_FILE=..."

logger = logging.getLogger(__name__)


class CanaryService:
    """One service, by its address; what it refuses is a ServiceError that says so in its own words."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self._client = open_client(url, key, START_SECONDS)

    def require_ready(self) -> str:
        """Return the version that answers. Raises ServiceError when a canary is on, or answers are not kept."""
        health = self._read("/health")
        if health["prediction_log"] == "off":
            raise ServiceError(
                f"{self.url} keeps no prediction log, whose figures decide on a canary; start it without"
                " SENTIMENT_LOG_PREDICTIONS=false."
            )
        if health["canary"] != "off" and health["canary"]["status"] == "on":
            raise ServiceError(
                f"{self.url} tries {health['canary']['model_version']} already; wait for that, or end it:"
                f" curl -X DELETE {self.url}/canary"
            )
        return str(health["model_version"])

    def start(self, name: str, share: float, minutes: float) -> None:
        """Let a version of BentoML's store answer a share of the requests; it ends by itself after so many minutes."""
        self._ask("POST", "/canary", json={"version": name, "share": share, "minutes": minutes})

    def stop(self, name: str) -> None:
        """Let the champion answer alone, unless the canary is another by now."""
        canary = self._read("/health")["canary"]
        if canary == "off" or canary["model_version"] in (name, None):
            self._ask("DELETE", "/canary")

    def find_end(self, name: str) -> str:
        """Return why the service does not ask the canary any more; nothing while it does."""
        canary = self._read("/health")["canary"]
        if canary == "off":
            return "the service was started again"
        if canary["status"] == "ended":
            return str(canary["reason"])
        return "" if canary["model_version"] == name else f"{canary['model_version']} is tried instead of it"

    def count(self, name: str, **labels: str) -> int:
        """Return the sum of a counter over all workers."""
        answer = self._ask("GET", "/metrics")
        samples = (one for family in text_string_to_metric_families(answer.text) for one in family.samples)
        return int(sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items()))

    def _read(self, path: str) -> Any:
        return self._ask("GET", path).json()

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, path, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServiceError(
                f"{self.url} cannot be reached ({str(error) or type(error).__name__}); start a service with"
                " `make serve`, or name another: URL=http://..."
            ) from error
        if answer.status_code != httpx.codes.OK:
            raise ServiceError(f"{self.url} refuses {method} {path}: {_say_refusal(answer)}.")
        return answer


def choose_service(url: str, key_file: str) -> CanaryService:
    """Return the service at an address, else the one that runs from this state folder. Raises ServiceError."""
    found = choose_services([url] if url else [])
    if not found:
        raise ServiceError("no service of this checkout runs; start one with `make serve`, or name one: URL=http://...")
    if len(found) > 1:
        raise ServiceError(
            f"several services run here; name the one to try a canary on: URL= one of {', '.join(found)}."
        )
    return CanaryService(found[0], read_key(key_file))


def _say_refusal(answer: httpx.Response) -> str:
    said = ""
    with suppress(ValueError, AttributeError):
        said = str(answer.json().get("message", "")).rstrip(".")
    hint = KEY_HINT if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN} else ""
    return (said or f"it answered {answer.status_code}") + hint
