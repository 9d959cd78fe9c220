"""Telling running services which model to answer from, and waiting until every worker of each does."""

import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from sentiment.admin_token import read_admin_token
from sentiment.errors import ServiceError
from sentiment.governance.promotion_rules import Move
from sentiment.hosts import is_loopback
from sentiment.state import locate_state

SERVICES_VARIABLE = "SENTIMENT_SERVICES"
KEY_VARIABLE = "SENTIMENT_SERVICES_KEY_FILE"
PLAIN_VARIABLE = "SENTIMENT_SERVICES_PLAIN_HTTP"
SWITCH_SECONDS = 25.0
PAUSE_SECONDS = 0.2
BUSY = (httpx.codes.CONFLICT, httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)

logger = logging.getLogger(__name__)


def choose_services(urls: Sequence[str]) -> list[str]:
    """Return the addresses that were named, else those of `SENTIMENT_SERVICES`, else what runs from this state folder.

    Raises ServiceError for what is no address.
    """
    named = list(urls) or [url.strip() for url in os.environ.get(SERVICES_VARIABLE, "").split(",") if url.strip()]
    for url in named:
        if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).netloc:
            raise ServiceError(f"{url!r} is not the address of a service; wanted for example http://127.0.0.1:3000.")
    return [url.rstrip("/") for url in named] or find_services(locate_state().serving)


def check_services(urls: Sequence[str], key_file: str) -> None:
    """Raise ServiceError before anything is moved when an address or the key file is none, or one may not have it."""
    key = read_key(key_file)
    for url in choose_services(urls):
        require_tls(url, key)


def require_tls(url: str, key: str) -> None:
    """Raise ServiceError when a key would go to another machine in the clear, unless the user says that it may."""
    parts = urlsplit(url)
    may = parts.scheme == "https" or is_loopback(parts.hostname or "") or os.environ.get(PLAIN_VARIABLE) == "true"
    if key and not may:
        raise ServiceError(
            f"the key would go to {url} in the clear; wanted https://, or, where the network is yours alone,"
            f" {PLAIN_VARIABLE}=true."
        )


def open_client(url: str, key: str, timeout: float) -> httpx.Client:
    """Return a client of a service that presents a key and follows no redirect. Raises as `require_tls`.

    Without a key it presents the token of this installation to a service on this machine.
    """
    require_tls(url, key)
    if not key and is_loopback(urlsplit(url).hostname or ""):
        key = read_admin_token(locate_state().admin_token)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=False, follow_redirects=False)


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


def switch_services(move: Move, urls: Sequence[str], key: str) -> None:
    """Return once every worker of every service answers from the model in production.

    All are told at once, each whatever the others say. Raises ServiceError that says which one answers from what.
    """
    if not urls:
        logger.info("no service of this checkout runs; the next one that starts serves version %s", move.version)
        return
    with ThreadPoolExecutor(len(urls)) as pool:
        complaints = [said for said in pool.map(lambda url: _switch(url, key, move), urls) if said]
    if complaints:
        raise ServiceError(
            f"version {move.version} is in production, but {'; '.join(complaints)}."
            f" Tell it again: make promote VERSION={move.version}"
        )


def _switch(url: str, key: str, move: Move) -> str:
    """Return what is wrong with one service in the end, or nothing."""
    started = time.monotonic()
    try:
        with open_client(url, key, SWITCH_SECONDS) as client:
            if refusal := _reload(client, move, started + SWITCH_SECONDS):
                return f"{url} does not take it: {refusal}; {_say_served(client)}"
            if late := _await_workers(client, move.digest, started + SWITCH_SECONDS):
                return f"{url} is late: {late}"
    except ServiceError as error:
        return str(error).rstrip(".")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{url} cannot be reached ({error or type(error).__name__}); what it answers from is not known"
    logger.info("%s answers from %s in every worker, after %.1f s", url, move.name, time.monotonic() - started)
    return ""


def _reload(client: httpx.Client, move: Move, deadline: float) -> str:
    """Return why a service does not take the model, or nothing.

    One that has not our store may fetch the files of the registry where these are not on our disk.
    """
    is_remote = "://" in move.source and not move.source.startswith("file:")
    refusal = ""
    for wanted in ({"version": move.name}, {"uri": move.source})[: 1 + is_remote]:
        answer = client.post("/reload", json=wanted)
        while answer.status_code in BUSY and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)
            answer = client.post("/reload", json=wanted)
        if answer.status_code == httpx.codes.OK:
            return ""
        refusal = refusal or _read_refusal(answer)
    return refusal


def _await_workers(client: httpx.Client, digest: str, deadline: float) -> str:
    """Return nothing once every worker answers from the model with this digest, or what is not so in the end."""
    while True:
        served = _get(client, "model").get("digest")
        workers = _get(client, "health").get("workers") or {"living": 0, "current": 0}
        if served == digest and workers["living"] == workers["current"]:
            return ""
        if time.monotonic() > deadline:
            late = workers["living"] - workers["current"]
            return f"{late} of {workers['living']} workers, and it shows the model {str(served)[:12]}"
        time.sleep(PAUSE_SECONDS)


def _say_served(client: httpx.Client) -> str:
    version = _get(client, "model").get("version")
    return f"it still answers from {version}" if version else "what it answers from is not known"


def _get(client: httpx.Client, name: str) -> dict[str, Any]:
    """Return what the service shows to its operators, empty where it shows nothing."""
    with suppress(ValueError):
        found = client.get(f"/{name}").json()
        if isinstance(found, dict):
            return found
    return {}


def _read_refusal(answer: httpx.Response) -> str:
    """Return the sentence of an answer that is none, and the way out where the service cannot know it."""
    with suppress(ValueError, AttributeError):
        body = answer.json()
        message = str(body.get("message", "")).rstrip(".")
        if body.get("code") == "bad_model":
            return f"{message}; a container has the model of its image alone: start the image of that version"
        if message and answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            return f"{message}; name the file of a key with the scope admin: KEY_FILE=..."
        if message:
            return message
    return f"it answered {answer.status_code}"


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
