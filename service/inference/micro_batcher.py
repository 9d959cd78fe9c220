"""Work-conserving micro-batching: an idle model answers at once; texts that arrive in the meantime share a call."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from sentiment.errors import SentimentError

Result = TypeVar("Result")


class QueueFullError(SentimentError):
    """More texts wait for the model than the settings allow."""


@dataclass(frozen=True, slots=True)
class Waiting(Generic[Result]):
    """A text, where its answer goes, and the time on the loop's clock at which it came."""

    text: str
    future: "asyncio.Future[Result]"
    since: float


class MicroBatcher(Generic[Result]):
    """Merges texts of concurrent requests into calls of `answer`, each in one of `threads` threads of its own.

    What waits is shared between the threads; the bound of a call holds for each. A call that fails is repeated text by
    text, so that a bad text fails alone. `watch` hears of each call, with the seconds that its texts have waited.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[str]], list[Result]],
        *,
        max_texts_per_call: int,
        max_queued_texts: int,
        threads: int = 1,
        watch: Callable[[Sequence[float]], None] = lambda _: None,
    ) -> None:
        self._answer = answer
        self._max_texts_per_call = max_texts_per_call
        self._max_queued_texts = max_queued_texts
        self._watch = watch
        self._waiting: deque[Waiting[Result]] = deque()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="model")
        self._max_calls = threads
        self._calling: set[asyncio.Task[None]] = set()

    async def submit(self, texts: Sequence[str]) -> list[Result]:
        """Return one result per text, in order; raises QueueFullError at once when too many wait.

        When nobody waits any number is taken, so that one large request is not refused for ever.
        """
        if self._waiting and len(self._waiting) + len(texts) > self._max_queued_texts:
            self._waiting = deque(item for item in self._waiting if not item.future.cancelled())
            if self._waiting and len(self._waiting) + len(texts) > self._max_queued_texts:
                raise QueueFullError
        loop = asyncio.get_running_loop()
        now = loop.time()
        items: list[Waiting[Result]] = [Waiting(text, loop.create_future(), now) for text in texts]
        self._waiting.extend(items)
        for _ in range(min(self._max_calls - len(self._calling), len(items))):
            self._calling.add(loop.create_task(self._work()))
        return list(await asyncio.gather(*(item.future for item in items)))

    def close(self) -> None:
        """Stop the threads once their calls are done."""
        self._threads.shutdown(wait=False)

    async def _work(self) -> None:
        try:
            while self._waiting:
                share = math.ceil(len(self._waiting) / self._max_calls)
                size = min(share, self._max_texts_per_call)
                await self._call([self._waiting.popleft() for _ in range(size)])
        finally:
            self._calling.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _call(self, batch: Sequence["Waiting[Result]"]) -> None:
        batch = [item for item in batch if not item.future.cancelled()]
        if not batch:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._watch([now - item.since for item in batch])
        results: list[Result] | Exception
        try:
            results = await loop.run_in_executor(self._threads, self._try_to_answer, [item.text for item in batch])
        except RuntimeError as error:  # the threads were closed
            results = error
        if not isinstance(results, Exception):
            for item, result in zip(batch, results, strict=True):
                if not item.future.cancelled():
                    item.future.set_result(result)
        elif len(batch) > 1:
            for item in batch:
                await self._call([item])
        else:
            _fail(batch[0].future, results)

    def _try_to_answer(self, texts: Sequence[str]) -> list[Result] | Exception:
        try:
            results = self._answer(texts)
        except Exception as error:  # noqa: BLE001 - whatever a text does to the model, its neighbours get an answer
            return RuntimeError(f"the model stopped: {error!r}") if isinstance(error, StopIteration) else error
        if len(results) != len(texts):
            return RuntimeError(f"the model gave {len(results)} answers to {len(texts)} texts")
        return results


def _fail(future: "asyncio.Future[Result]", error: Exception) -> None:
    if not future.cancelled():
        future.set_exception(error)
