"""The two clients: one that blocks, one for asyncio. Their methods are the operations."""

import asyncio
import inspect
import os
import ssl
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, get_args
from urllib.parse import urlsplit

import httpx

from sentigate_client.exchange import FAILURES, Attempt, Exchange, Outcome, collect
from sentigate_client.operations import Operations, check_address
from sentigate_client.retries import Retries

__version__ = "0.1.0"

KEY_VARIABLE = "SENTIGATE_API_KEY"
KEPT_OPEN_SECONDS = 2.0  # the service closes an idle connection after 5 s, and a request in that moment would be lost

Arguments = ParamSpec("Arguments")
T = TypeVar("T")
Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)
Method = TypeVar("Method", bound=Callable[..., Any])


class Client(Generic[Http]):
    """What both clients have in common: one service, one key, connections that are kept open."""

    _kind: type[Http]

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 35.0,
        retries: Retries | None = None,
        allow_plain_http: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Open no connection yet.

        `url` is the address of a service, such as `https://sentiment.example.org`. `api_key` is `SENTIGATE_API_KEY`
        unless it is given; an empty string is no key. `timeout_seconds` bounds one attempt; the default is a little
        longer than the service takes to give up. `retries` says how often a call is sent and how long it may take.

        A key is sent over http only to this machine, or anywhere with `allow_plain_http`. `tls` replaces the
        certificate authorities that httpx trusts. No proxy and no certificate of the environment is used.

        Raises UsageError for an address or a key that cannot be used.
        """
        key = os.environ.get(KEY_VARIABLE, "") if api_key is None else api_key
        self.url = check_address(url, key, allow_plain_http=allow_plain_http)
        agent = f"sentigate-client/{__version__}"
        self._operations = Operations(self.url, key, agent, timeout_seconds, retries or Retries())
        limits = httpx.Limits(keepalive_expiry=KEPT_OPEN_SECONDS)
        # To read all authorities takes longer than a request, and http needs none.
        verify = tls or urlsplit(self.url).scheme == "https" or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._http: Http = self._kind(verify=verify, trust_env=False, follow_redirects=False, limits=limits)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"


def _show_answer(method: Method, operation: Callable[..., Any]) -> Method:
    """Return a method that `help` shows with what it returns, instead of an exchange."""
    signature = inspect.signature(operation)
    answer = get_args(signature.return_annotation)[-1]
    method.__signature__ = signature.replace(return_annotation=answer)  # type: ignore[attr-defined]
    return method


def _blocking(
    operation: Callable[Concatenate[Operations, Arguments], Exchange[T]],
) -> "Callable[Concatenate[SentigateClient, Arguments], T]":
    @wraps(operation)
    def method(client: "SentigateClient", /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> T:
        return client._run(operation(client._operations, *args, **kwargs))

    return _show_answer(method, operation)


def _awaiting(
    operation: Callable[Concatenate[Operations, Arguments], Exchange[T]],
) -> "Callable[Concatenate[AsyncSentigateClient, Arguments], Coroutine[Any, Any, T]]":
    @wraps(operation)
    async def method(client: "AsyncSentigateClient", /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> T:
        return await client._run(operation(client._operations, *args, **kwargs))

    return _show_answer(method, operation)


class SentigateClient(Client[httpx.Client]):
    """A client that blocks until the answer is there. Threads may share it.

    with SentigateClient("http://127.0.0.1:3000") as client:
        print(client.predict("what a day").label)
    """

    _kind = httpx.Client
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

    def _run(self, exchange: Exchange[T]) -> T:
        try:
            attempt = next(exchange)
            while True:
                time.sleep(attempt.pause_seconds)
                attempt = exchange.send(self._send(attempt))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # StopIteration does not say that it is T

    def _send(self, attempt: Attempt) -> Outcome:
        body, deadline = bytearray(), time.monotonic() + attempt.timeout_seconds
        try:
            response = self._http.send(attempt.request, stream=True)
            try:
                for chunk in response.iter_bytes():
                    collect(body, chunk, deadline)
            finally:
                response.close()
        except FAILURES as error:
            return error
        return response, bytes(body)


class AsyncSentigateClient(Client[httpx.AsyncClient]):
    """A client for asyncio, with the methods of `SentigateClient` as coroutines.

    async with AsyncSentigateClient("http://127.0.0.1:3000") as client:
        print((await client.predict("what a day")).label)
    """

    _kind = httpx.AsyncClient
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

    async def _run(self, exchange: Exchange[T]) -> T:
        try:
            attempt = next(exchange)
            while True:
                await asyncio.sleep(attempt.pause_seconds)
                attempt = exchange.send(await self._send(attempt))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # StopIteration does not say that it is T

    async def _send(self, attempt: Attempt) -> Outcome:
        body, deadline = bytearray(), time.monotonic() + attempt.timeout_seconds
        try:
            response = await self._http.send(attempt.request, stream=True)
            try:
                async for chunk in response.aiter_bytes():
                    collect(body, chunk, deadline)
            finally:
                await response.aclose()
        except FAILURES as error:
            return error
        return response, bytes(body)
