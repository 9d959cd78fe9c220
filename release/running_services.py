"""Running services: which there are, moving each to the model in production, and trying a canary on one."""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from prometheus_client.parser import text_string_to_metric_families

from release.journal import ProductionChange
from sentigate_client import Retries, SentigateClient, SentigateError
from sentigate_client.answers import Health
from sentigate_client.errors import (
    ConnectionFailedError,
    ForbiddenError,
    PlainHttpError,
    RequestRefusedError,
    UnauthorizedError,
    UnreadableAnswerError,
    UsageError,
)
from sentigate_client.operations import check_address
from sentiment.admin_token import read_admin_token
from sentiment.errors import ServiceError
from sentiment.hosts import is_loopback
from sentiment.paths import locate_state

SERVICES_VARIABLE = "SENTIMENT_SERVICES"
KEY_VARIABLE = "SENTIMENT_SERVICES_KEY_FILE"
PLAIN_VARIABLE = "SENTIMENT_SERVICES_PLAIN_HTTP"
SWITCH_SECONDS = 25.0
CANARY_SECONDS = 60.0
PAUSE_SECONDS = 0.2
NO_ANSWERS = (RequestRefusedError, UnreadableAnswerError)
FAILURES, ANSWERS = "sentigate_canary_failures_total", "sentigate_canary_answers_total"

NO_SERVICE = "no service of this checkout runs; start one with `make serve`, or name one: URL=http://..."

logger = logging.getLogger(__name__)


def choose_services(urls: Sequence[str]) -> list[str]:
    """Return the addresses that were named, else those of `SENTIMENT_SERVICES`, else what runs from this state folder.

    Raises ServiceError for what is no address.
    """
    named = list(urls) or [url.strip() for url in os.environ.get(SERVICES_VARIABLE, "").split(",") if url.strip()]
    return [require_address(url, "") for url in named] or find_services(locate_state().serving)


def check_services(urls: Sequence[str], key_file: str) -> None:
    """Raise ServiceError before anything is moved when an address or the key file is none, or one may not have it."""
    key = read_key(key_file)
    for url in choose_services(urls):
        require_address(url, key)


def require_address(url: str, key: str) -> str:
    """Return the address of a service. Raises ServiceError when it is none.

    It is also raised when the key would go to another machine in the clear, unless the user says that it may.
    """
    try:
        return check_address(url, key, allow_plain_http=_allows_plain_http())
    except PlainHttpError as error:
        raise ServiceError(
            f"the key would go to {url} in the clear; wanted https://, or, where the network is yours alone,"
            f" {PLAIN_VARIABLE}=true."
        ) from error
    except UsageError as error:
        raise ServiceError(str(error)) from error


def open_client(url: str, key: str, seconds: float, retries: Retries | None = None) -> SentigateClient:
    """Return a client of a service that presents a key. Raises as `require_address`.

    Without a key it presents the token of this installation to a service on this machine.
    """
    require_address(url, key)
    if not key and is_loopback(urlsplit(url).hostname or ""):
        key = read_admin_token(locate_state().admin_token)
    return SentigateClient(
        url, api_key=key, timeout_seconds=seconds, retries=retries, allow_plain_http=_allows_plain_http()
    )


def _allows_plain_http() -> bool:
    return os.environ.get(PLAIN_VARIABLE) == "true"


def find_services(serving: Path) -> list[str]:
    """Return the addresses of the servers that run from this state folder on this machine.

    Each has a folder there, named by its process and start; its workers hold the socket that it listens on.
    """
    found = set()
    for folder in serving.glob("*-*"):
        pid, _, started = folder.name.partition("-")
        with suppress(psutil.Error, ValueError):
            server = psutil.Process(int(pid))
            if int(server.create_time() * 1000) == int(started):
                addresses = _list_addresses(server)
                if not addresses:
                    logger.warning(
                        "process %s serves from this checkout where it cannot be seen; name it: URL=http://...", pid
                    )
                found |= addresses
    return sorted(found)


def read_key(key_file: str) -> str:
    """Return the key in a file, that of `SENTIMENT_SERVICES_KEY_FILE` where none is named, else nothing."""
    name = key_file or os.environ.get(KEY_VARIABLE, "")
    if not name:
        return ""
    try:
        return Path(name).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ServiceError(f"the key file {name!r} cannot be read: {reason}; wanted one line with the key.") from error


def switch_services(
    change: ProductionChange, urls: Sequence[str], key: str, *, seconds: float = SWITCH_SECONDS
) -> None:
    """Return once every worker of every service answers from the model in production, within so many seconds.

    All are told at once, each whatever the others say. Raises ServiceError that says which one answers from what.
    """
    if not urls:
        logger.info("no service of this checkout runs; the next one that starts serves version %s", change.version)
        return
    with ThreadPoolExecutor(len(urls)) as pool:
        complaints = [said for said in pool.map(lambda url: _switch(url, key, change, seconds), urls) if said]
    if complaints:
        raise ServiceError(
            f"version {change.version} is in production, but {'; '.join(complaints)}."
            f" Tell it again: make promote VERSION={change.version}"
        )


def _switch(url: str, key: str, change: ProductionChange, seconds: float) -> str:
    """Return what is wrong with one service in the end, or nothing."""
    started = time.monotonic()
    patience = Retries(
        attempts=1 + int(seconds / PAUSE_SECONDS),
        connect_attempts=1,
        deadline_seconds=2 * seconds,  # one attempt that begins late has its time, too
        longest_pause_seconds=PAUSE_SECONDS,
    )
    try:
        with open_client(url, key, seconds, patience) as client:
            if refusal := _reload(client, change):
                return f"{url} does not take it: {refusal}; {_describe_served(client)}"
        with open_client(url, key, seconds, Retries(attempts=1)) as client:
            if late := _await_workers(client, change.model.digest, started + seconds):
                return f"{url} is late: {late}"
    except ServiceError as error:
        return str(error).rstrip(".")
    except ConnectionFailedError as error:
        return f"{url} cannot be reached ({error.reason}); what it answers from is not known"
    logger.info("%s answers from %s in every worker, after %.1f s", url, change.model, time.monotonic() - started)
    return ""


def _reload(client: SentigateClient, change: ProductionChange) -> str:
    """Return why a service does not take the model, or nothing.

    One that has not our store may fetch the files of the registry where these are not on our disk.
    """
    is_remote = "://" in change.source and not change.source.startswith("file:")
    refusal = ""
    for wanted in ({"version": str(change.model)}, {"uri": change.source})[: 1 + is_remote]:
        try:
            client.reload(**wanted)
        except NO_ANSWERS as error:
            refusal = refusal or describe_refusal(error)
        else:
            return ""
    return refusal


def _await_workers(client: SentigateClient, digest: str, deadline: float) -> str:
    """Return nothing once every worker answers from the model with this digest, or what is not so in the end."""
    said = "what its workers answer from is not known"
    while True:
        with suppress(*NO_ANSWERS):
            served, workers = client.model().digest, client.health().workers
            if served == digest and workers.living == workers.current:
                return ""
            late = workers.living - workers.current
            said = f"{late} of {workers.living} workers, and it shows the model {served[:12]}"
        if time.monotonic() > deadline:
            return said
        time.sleep(PAUSE_SECONDS)


def _describe_served(client: SentigateClient) -> str:
    with suppress(*NO_ANSWERS):
        return f"it still answers from {client.model().version}"
    return "what it answers from is not known"


def describe_refusal(error: SentigateError) -> str:
    """Return why there is no answer, and the way out where the service cannot know it."""
    if not isinstance(error, RequestRefusedError):
        return str(error).rstrip(".")
    said = error.message.rstrip(".") or f"it answered {error.status}"
    if error.code == "bad_model":
        return f"{said}; a container has the model of its image alone: start the image of that version"
    if isinstance(error, UnauthorizedError | ForbiddenError):
        return f"{said}; name the file of a key with the scope admin: KEY_FILE=..."
    return said


def read_healths(urls: Sequence[str], key_file: str) -> dict[str, Health]:
    """Return what works in each service that is named, else in each that runs here. Raises ServiceError."""
    key, found = read_key(key_file), choose_services(urls)
    if not found:
        raise ServiceError(NO_SERVICE)
    healths = {}
    for url in found:
        with open_client(url, key, CANARY_SECONDS) as client, _reporting(url):
            healths[url] = client.health()
    return healths


class CanaryService:
    """One service that a canary is tried on. Everything here raises ServiceError where it refuses."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self._client = open_client(url, key, CANARY_SECONDS)

    def require_ready(self) -> str:
        """Return the version that answers. Raises ServiceError when a canary is on, or answers are not kept."""
        health = self._read_health()
        if health.prediction_log is None:
            raise ServiceError(
                f"{self.url} keeps no prediction log, whose figures decide on a canary; start it without"
                " SENTIMENT_LOG_PREDICTIONS=false."
            )
        if health.canary is not None and health.canary.status == "on":
            raise ServiceError(
                f"{self.url} tries {health.canary.model_version} already; wait for that, or end it:"
                f" curl -X DELETE {self.url}/canary"
            )
        return health.model_version

    def start(self, name: str, share: float, minutes: float) -> None:
        """Let a version of BentoML's store answer a share of the requests; it ends by itself after so many minutes."""
        with _reporting(self.url):
            self._client.start_canary(share, minutes, version=name)

    def stop(self, name: str) -> None:
        """Let the champion answer alone, unless the canary is another by now."""
        canary = self._read_health().canary
        if canary is None or canary.model_version in (name, None):
            with _reporting(self.url):
                self._client.stop_canary()

    def find_end(self, name: str) -> str:
        """Return why the service does not ask the canary any more; nothing while it does."""
        canary = self._read_health().canary
        if canary is None:
            return "the service was started again"
        if canary.status == "ended":
            return canary.reason
        return "" if canary.model_version == name else f"{canary.model_version} is tried instead of it"

    def count(self, name: str, **labels: str) -> int:
        """Return the sum of a counter over all workers."""
        with _reporting(self.url):
            text = self._client.metrics()
        samples = (one for family in text_string_to_metric_families(text) for one in family.samples)
        return int(sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items()))

    def _read_health(self) -> Health:
        with _reporting(self.url):
            return self._client.health()


def choose_canary_service(url: str, key_file: str) -> CanaryService:
    """Return the service at an address, else the one that runs from this state folder. Raises ServiceError."""
    found = choose_services([url] if url else [])
    if not found:
        raise ServiceError(NO_SERVICE)
    if len(found) > 1:
        raise ServiceError(
            f"several services run here; name the one to try a canary on: URL= one of {', '.join(found)}."
        )
    return CanaryService(found[0], read_key(key_file))


@contextmanager
def _reporting(url: str) -> Iterator[None]:
    try:
        yield
    except ConnectionFailedError as error:
        raise ServiceError(
            f"{url} cannot be reached ({error.reason}); start a service with `make serve`, or name another:"
            " URL=http://..."
        ) from error
    except RequestRefusedError as error:
        raise ServiceError(f"{error.asked} was refused: {describe_refusal(error)}.") from error
    except SentigateError as error:
        raise ServiceError(str(error)) from error


def _list_addresses(server: psutil.Process) -> set[str]:
    connections = []
    for worker in server.children():
        with suppress(psutil.Error):
            connections += worker.net_connections("tcp")
    addresses = set()
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN:
            host = ip_address(connection.laddr.ip)
            if host.is_unspecified:
                host = ip_address("127.0.0.1" if host.version == 4 else "::1")  # noqa: PLR2004 - of the protocol
            name = f"[{host}]" if host.version == 6 else str(host)  # noqa: PLR2004
            addresses.add(f"http://{name}:{connection.laddr.port}")
    return addresses
