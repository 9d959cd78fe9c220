"""The two clients: one that blocks, one for asyncio. Their methods are the operations."""

import asyncio
import inspect
import os
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, get_args

import httpx

from sentigate_client.address import open_address
from sentigate_client.exchange import Attempt, Exchange, Failure, Reply
from sentigate_client.operations import Operations
from sentigate_client.retries import Retries

__version__ = "0.1.0"

KEY_VARIABLE = "SENTIGATE_API_KEY"
MOST_BYTES = 64_000_000
KEPT_OPEN_SECONDS = 2.0  # the service closes an idle connection after 5 s, and a request in that moment would be lost
NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)

Arguments = ParamSpec("Arguments")
T = TypeVar("T")
Method = TypeVar("Method", bound=Callable[..., Any])


class Client(ABC):
    """What both clients have in common: one service, one key, connections that are kept open."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 35.0,
        retries: Retries | None = None,
        allow_plain_http: bool = False,
        trust_env: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Open no connection yet.

        `url` is the address of a service, such as `https://sentiment.example.org`. `api_key` is `SENTIGATE_API_KEY`
        unless it is given; an empty string is no key. `timeout_seconds` bounds one attempt; the default is a little
        longer than the service takes to give up. `retries` says how often a call is sent and how long it may take.

        A key is sent over http only to this machine, or anywhere with `allow_plain_http`. `trust_env` lets requests to
        other machines go through the proxy that the environment names. `tls` replaces the certificate authorities that
        httpx trusts.

        Raises UsageError for an address or a key that cannot be used.
        """
        key = os.environ.get(KEY_VARIABLE, "") if api_key is None else api_key
        address = open_address(url, key, allow_plain_http=allow_plain_http)
        self._operations = Operations(address, f"sentigate-client/{__version__}", timeout_seconds, retries or Retries())
        self._open(
            follow_redirects=False,
            trust_env=trust_env and not address.is_loopback,
            verify=tls or True,
            limits=httpx.Limits(keepalive_expiry=KEPT_OPEN_SECONDS),
        )

    @property
    def url(self) -> str:
        """The address of the service, without a slash at its end."""
        return self._operations.address.url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @abstractmethod
    def _open(self, **options: Any) -> None:
        """Make the client of httpx."""


def _show_answer(method: Method, operation: Callable[..., Any]) -> Method:
    """Return a method that `help` shows with what it returns, instead of an exchange."""
    signature = inspect.signature(operation)
    answer = get_args(signature.return_annotation)[-1]
    method.__signature__ = signature.replace(return_annotation=answer)  # type: ignore[attr-defined]
    return method


def _blocking(
    operation: Callable[Concatenate[Operations, Arguments], Exchange[T]],
) -> "Callable[Concatenate[SentigateClient, Arguments], T]":
    """Return the method that runs an operation to its end."""

    @wraps(operation)
    def method(client: "SentigateClient", /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> T:
        return client._run(operation(client._operations, *args, **kwargs))

    return _show_answer(method, operation)


def _awaiting(
    operation: Callable[Concatenate[Operations, Arguments], Exchange[T]],
) -> "Callable[Concatenate[AsyncSentigateClient, Arguments], Coroutine[Any, Any, T]]":
    """Return the coroutine function that runs an operation to its end."""

    @wraps(operation)
    async def method(client: "AsyncSentigateClient", /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> T:
        return await client._run(operation(client._operations, *args, **kwargs))

    return _show_answer(method, operation)


class SentigateClient(Client):
    """A client that blocks until the answer is there. Threads may share it.

    with SentigateClient("http://127.0.0.1:3000") as client:
        print(client.predict("what a day").label)
    """

    predict = _blocking(Operations.predict)
    predict_batch = _blocking(Operations.predict_batch)
    explain = _blocking(Operations.explain)
    feedback = _blocking(Operations.feedback)
    health = _blocking(Operations.health)
    ready = _blocking(Operations.ready)
    model = _blocking(Operations.model)
    metrics = _blocking(Operations.metrics)
    reload = _blocking(Operations.reload)
    start_canary = _blocking(Operations.start_canary)
    stop_canary = _blocking(Operations.stop_canary)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> "SentigateClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, **options: Any) -> None:
        self._http = httpx.Client(**options)

    def _run(self, exchange: Exchange[T]) -> T:
        try:
            attempt = next(exchange)
            while True:
                if attempt.pause_seconds:
                    time.sleep(attempt.pause_seconds)
                attempt = exchange.send(self._send(attempt))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # of T, which StopIteration does not say

    def _send(self, attempt: Attempt) -> Reply | Failure:
        body = _Body(attempt.timeout_seconds)
        try:
            with self._http.stream(**_describe_request(attempt)) as response:
                for chunk in response.iter_bytes():
                    body.add(chunk)
                return Reply(response.status_code, _name_headers(response), body.content)
        except httpx.HTTPError as error:
            return _explain(error, attempt)


class AsyncSentigateClient(Client):
    """A client for asyncio, with the methods of `SentigateClient` as coroutines.

    async with AsyncSentigateClient("http://127.0.0.1:3000") as client:
        print((await client.predict("what a day")).label)
    """

    predict = _awaiting(Operations.predict)
    predict_batch = _awaiting(Operations.predict_batch)
    explain = _awaiting(Operations.explain)
    feedback = _awaiting(Operations.feedback)
    health = _awaiting(Operations.health)
    ready = _awaiting(Operations.ready)
    model = _awaiting(Operations.model)
    metrics = _awaiting(Operations.metrics)
    reload = _awaiting(Operations.reload)
    start_canary = _awaiting(Operations.start_canary)
    stop_canary = _awaiting(Operations.stop_canary)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> "AsyncSentigateClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _open(self, **options: Any) -> None:
        self._http = httpx.AsyncClient(**options)

    async def _run(self, exchange: Exchange[T]) -> T:
        try:
            attempt = next(exchange)
            while True:
                if attempt.pause_seconds:
                    await asyncio.sleep(attempt.pause_seconds)
                attempt = exchange.send(await self._send(attempt))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # of T, which StopIteration does not say

    async def _send(self, attempt: Attempt) -> Reply | Failure:
        body = _Body(attempt.timeout_seconds)
        try:
            async with self._http.stream(**_describe_request(attempt)) as response:
                async for chunk in response.aiter_bytes():
                    body.add(chunk)
                return Reply(response.status_code, _name_headers(response), body.content)
        except httpx.HTTPError as error:
            return _explain(error, attempt)


class _Body:
    """Collects a body; one that trickles or does not end is given up."""

    def __init__(self, timeout_seconds: float) -> None:
        self.content = b""
        self._deadline = time.monotonic() + timeout_seconds

    def add(self, chunk: bytes) -> None:
        """Take one piece. Raises httpx.ReadTimeout past the deadline, httpx.DecodingError past all sense."""
        self.content += chunk
        if time.monotonic() > self._deadline:
            raise httpx.ReadTimeout("")
        if len(self.content) > MOST_BYTES:
            raise httpx.DecodingError(f"the answer is over {MOST_BYTES:,} bytes")


def _describe_request(attempt: Attempt) -> dict[str, Any]:
    request = attempt.request
    return {
        "method": request.method,
        "url": request.url,
        "headers": request.headers,
        "content": request.body,
        "timeout": attempt.timeout_seconds,
    }


def _name_headers(response: httpx.Response) -> Mapping[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _explain(error: httpx.HTTPError, attempt: Attempt) -> Failure:
    """Return why there is no answer, in words of the caller."""
    is_late = isinstance(error, httpx.TimeoutException)
    said = f"it did not come within {attempt.timeout_seconds:.3g} s" if is_late else str(error).strip().rstrip(".")
    return Failure(said or type(error).__name__, not isinstance(error, NOT_SENT), is_late)
