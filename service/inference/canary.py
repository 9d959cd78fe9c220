"""The canary: its share of the requests, and the fallback to the champion if it fails."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from sentiment.bundle.predictor import Prediction
from sentiment.errors import SentimentError
from service.inference.micro_batcher import MicroBatcher
from service.models.desired_state import DesiredCanary
from service.models.loaded import Canary, LoadedModel
from service.models.switch import ModelSwitch
from service.settings import ServiceSettings

MAX_FAILURES = 3
HASH_BYTES = 4
HASH_RANGE = 256**HASH_BYTES

Results = list[tuple[Prediction, LoadedModel]]


@dataclass(frozen=True)
class CanaryTimings:
    """How long a request waits for the canary before the champion answers it."""

    seconds: float = 2.0
    seconds_per_text: float = 0.05


TIMINGS = CanaryTimings()


class CanaryEndedError(SentimentError):
    """There is no canary any more."""


class CanaryCaller:
    """Calls the canary of a switch in threads of its own, so that a slow canary delays no text of the champion.

    After a few requests that it fails or is late with, and that the champion answers, the canary is given up.
    """

    def __init__(
        self,
        switch: ModelSwitch,
        settings: ServiceSettings,
        watch: Callable[[Sequence[float]], None],
        timings: CanaryTimings = TIMINGS,
    ) -> None:
        self._switch = switch
        self._settings = settings
        self._watch = watch
        self._timings = timings
        self._asked: DesiredCanary | None = None
        self._failures: list[str] = []
        self._batcher: MicroBatcher[tuple[Prediction, LoadedModel]] | None = None

    async def try_to_answer(self, texts: Sequence[str], canary: Canary) -> Results | str:
        """Return the answers, or what kept the canary from them in a word; empty where it only has ended."""
        patience = self._timings.seconds + self._timings.seconds_per_text * len(texts)
        try:
            async with asyncio.timeout(min(patience, self._settings.timeout_seconds / 2)):
                return await self._open_batcher(canary.desired).submit(texts)
        except CanaryEndedError:
            return ""
        except Exception as error:  # noqa: BLE001 - whatever it is, the champion answers
            return type(error).__name__  # not the error itself: it may hold what a user wrote

    def note_failure(self, canary: Canary, reason: str) -> None:
        """Count a request that the champion could answer and the canary could not; give it up after a few."""
        if self._switch.canary is not canary:
            return
        self._failures.append(reason)
        if len(self._failures) >= MAX_FAILURES:
            reasons = ", ".join(sorted(set(self._failures)))
            self._switch.give_up_canary(canary.desired, f"it failed {len(self._failures)} requests ({reasons})")

    def close(self) -> None:
        """Take no more texts; calls under way end."""
        if self._batcher is not None:
            self._batcher.close()

    def _open_batcher(self, desired: DesiredCanary) -> MicroBatcher[tuple[Prediction, LoadedModel]]:
        """Return the batcher of this canary; what waits for an earlier one is nobody's burden."""
        if self._batcher is None or self._asked != desired:
            self.close()
            self._asked, self._failures = desired, []
            self._batcher = MicroBatcher(
                self._predict,
                max_texts_per_call=self._settings.max_texts_per_call,
                max_queued_texts=self._settings.max_queued_texts,
                threads=self._settings.engine_threads,
                watch=self._watch,
            )
        return self._batcher

    def _predict(self, texts: Sequence[str]) -> Results:
        canary = self._switch.canary
        if canary is None:
            raise CanaryEndedError
        return [(prediction, canary.model) for prediction in canary.model.predictor.predict(texts)]


def is_chosen(request_id: str, canary: DesiredCanary) -> bool:
    """Return whether the canary answers a request, which its id and the version of the canary alone decide.

    So a request that is repeated under its id has its answer from the same model, and whoever a smaller share
    chose a larger one chooses, too.
    """
    digest = blake2b(f"{canary.version} {request_id}".encode(), digest_size=HASH_BYTES).digest()
    return bool(int.from_bytes(digest) < canary.share * HASH_RANGE)
