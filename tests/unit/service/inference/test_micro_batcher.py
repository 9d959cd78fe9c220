import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from service.inference.micro_batcher import MicroBatcher, QueueFullError

GUARD_SECONDS = 10


class GatedModel:
    """Answers in capitals once its gate is open; a text in `bad` makes the whole call fail."""

    def __init__(self, *, is_open: bool = False, bad: Sequence[str] = ()) -> None:
        self.calls: list[list[str]] = []
        self.threads: set[str] = set()
        self.entered = threading.Event()
        self.gate = threading.Event()
        self._bad = frozenset(bad)
        if is_open:
            self.gate.set()

    def __call__(self, texts: Sequence[str]) -> list[str]:
        self.calls.append(list(texts))
        self.threads.add(threading.current_thread().name)
        self.entered.set()
        if not self.gate.wait(GUARD_SECONDS):
            raise TimeoutError("nobody opened the gate")
        if found := self._bad.intersection(texts):
            raise ValueError(f"cannot answer {sorted(found)}")
        return [text.upper() for text in texts]


class ForgetfulModel:
    """Leaves the last text of its first call unanswered."""

    def __init__(self) -> None:
        self._is_first = True

    def __call__(self, texts: Sequence[str]) -> list[str]:
        answered, self._is_first = texts[:-1] if self._is_first else texts, False
        return [text.upper() for text in answered]


class Bench:
    """One batcher around one model, and requests that are under way."""

    def __init__(
        self, model: Callable[[Sequence[str]], list[str]], *, per_call: int = 8, queued: int = 8, threads: int = 1
    ) -> None:
        self.batcher = MicroBatcher(model, max_texts_per_call=per_call, max_queued_texts=queued, threads=threads)
        self._model = model

    async def start(self, *texts: str) -> "asyncio.Task[list[str]]":
        """Return a request whose texts are in the queue."""
        request = asyncio.create_task(self.batcher.submit(texts))
        await asyncio.sleep(0)
        return request

    async def occupy(self) -> "asyncio.Task[list[str]]":
        """Return a request whose text the model is busy with."""
        request = await self.start("first")
        assert await asyncio.to_thread(self._model.entered.wait, GUARD_SECONDS)
        return request


def run(scenario: Callable[[Bench], Awaitable[Any]], bench: Bench) -> Any:
    """Run a scenario to its end, or fail rather than hang."""
    try:
        return asyncio.run(asyncio.wait_for(scenario(bench), GUARD_SECONDS))
    finally:
        bench.batcher.close()


def test_an_idle_model_answers_at_once():
    """A text that meets an idle model goes into a call of its own without waiting for others."""
    model = GatedModel(is_open=True)

    assert run(lambda bench: bench.batcher.submit(["a"]), Bench(model)) == ["A"]
    assert model.calls == [["a"]]


def test_texts_that_arrive_while_the_model_is_busy_share_the_next_call():
    """Requests that wait for the model are answered by one call."""
    model = GatedModel()

    async def scenario(bench):
        requests = [await bench.occupy(), await bench.start("a"), await bench.start("b", "c")]
        model.gate.set()
        return await asyncio.gather(*requests)

    assert run(scenario, Bench(model)) == [["FIRST"], ["A"], ["B", "C"]]
    assert model.calls == [["first"], ["a", "b", "c"]]


def test_answers_keep_the_order_of_their_texts():
    """The answers of a request are in the order of its texts, however many calls they took."""
    texts = [f"text {number}" for number in range(7)]
    bench = Bench(GatedModel(is_open=True), per_call=3)

    assert run(lambda bench: bench.batcher.submit(texts), bench) == [text.upper() for text in texts]


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (2, [2]), (3, [2, 1]), (4, [2, 2]), (5, [2, 2, 1])], ids=str)
def test_a_call_holds_no_more_than_its_bound(count, sizes):
    """A request over the bound of a call is split into calls at the bound."""
    model = GatedModel(is_open=True)

    run(lambda bench: bench.batcher.submit(["a"] * count), Bench(model, per_call=2))

    assert [len(call) for call in model.calls] == sizes


def test_waiting_requests_are_split_at_the_bound_of_a_call():
    """A call may end in the middle of a waiting request."""
    model = GatedModel()

    async def scenario(bench):
        requests = [await bench.occupy(), await bench.start("a"), await bench.start("b", "c")]
        model.gate.set()
        await asyncio.gather(*requests)

    run(scenario, Bench(model, per_call=2))

    assert model.calls == [["first"], ["a", "b"], ["c"]]


def test_no_texts_get_no_answers():
    """A request without texts is answered without the model."""
    model = GatedModel()

    assert run(lambda bench: bench.batcher.submit([]), Bench(model)) == []
    assert model.calls == []


def test_the_model_runs_in_one_thread_of_its_own():
    """Every call runs in the same thread, which is not the one of the event loop."""
    model = GatedModel(is_open=True)

    run(lambda bench: bench.batcher.submit(["a", "b", "c"]), Bench(model, per_call=1))

    assert model.threads == {"model_0"}


def test_a_bad_text_fails_alone():
    """The neighbours of a text that the model cannot answer are answered."""
    model = GatedModel(bad=["bad"])

    async def scenario(bench):
        requests = [await bench.occupy(), *[await bench.start(text) for text in ("a", "bad", "c")]]
        model.gate.set()
        return await asyncio.gather(*requests, return_exceptions=True)

    first, left, bad, right = run(scenario, Bench(model))

    assert (first, left, right) == (["FIRST"], ["A"], ["C"])
    assert str(bad) == "cannot answer ['bad']"


def test_a_request_with_a_bad_text_raises_what_the_model_raised():
    """A request fails with the error of the model when one of its texts cannot be answered."""
    model = GatedModel(is_open=True, bad=["bad"])

    with pytest.raises(ValueError, match=r"^cannot answer \['bad'\]$"):
        run(lambda bench: bench.batcher.submit(["a", "bad"]), Bench(model))


def test_a_failed_call_leaves_the_next_request_whole():
    """The request after one that failed is answered."""
    model = GatedModel(is_open=True, bad=["bad"])

    async def scenario(bench):
        with pytest.raises(ValueError):
            await bench.batcher.submit(["bad"])
        return await bench.batcher.submit(["good"])

    assert run(scenario, Bench(model)) == ["GOOD"]


def test_a_model_that_answers_too_few_texts_does_not_stop_the_next_request():
    """Nobody waits for ever on an answer that a call left out, and the request after it is answered."""

    async def scenario(bench):
        request = await bench.start("a", "b")
        done, _ = await asyncio.wait([request], timeout=1)
        assert done == {request}
        return await bench.batcher.submit(["c"])

    assert run(scenario, Bench(ForgetfulModel())) == ["C"]


def test_a_full_queue_refuses_at_once():
    """A text over the bound of the queue is refused while the model is still busy."""
    model = GatedModel()

    async def scenario(bench):
        requests = [await bench.occupy(), await bench.start("a", "b")]
        with pytest.raises(QueueFullError):
            await bench.batcher.submit(["c"])
        assert model.calls == [["first"]]
        model.gate.set()
        await asyncio.gather(*requests)

    run(scenario, Bench(model, queued=2))


def test_a_full_queue_leaves_the_waiting_texts_whole():
    """Texts that waited before a refusal are answered, and no text of the refused request reaches the model."""
    model = GatedModel()

    async def scenario(bench):
        requests = [await bench.occupy(), await bench.start("a")]
        with pytest.raises(QueueFullError):
            await bench.batcher.submit(["b", "c"])
        model.gate.set()
        return await asyncio.gather(*requests)

    assert run(scenario, Bench(model, queued=2)) == [["FIRST"], ["A"]]
    assert model.calls == [["first"], ["a"]]


def test_a_queue_takes_texts_up_to_its_bound():
    """A request that fills the queue to its bound is answered; texts inside the model take no place."""
    model = GatedModel()

    async def scenario(bench):
        requests = [await bench.occupy(), await bench.start("a", "b")]
        model.gate.set()
        return await asyncio.gather(*requests)

    assert run(scenario, Bench(model, queued=2)) == [["FIRST"], ["A", "B"]]


def test_a_queue_takes_texts_again_after_a_refusal():
    """A queue that was full takes texts again once the model caught up."""
    model = GatedModel()

    async def scenario(bench):
        requests = [await bench.occupy(), await bench.start("a")]
        with pytest.raises(QueueFullError):
            await bench.batcher.submit(["b"])
        model.gate.set()
        await asyncio.gather(*requests)
        return await bench.batcher.submit(["b"])

    assert run(scenario, Bench(model, queued=1)) == ["B"]


def test_a_cancelled_request_never_reaches_the_model():
    """Texts whose caller left while they waited are dropped, their neighbours are answered."""
    model = GatedModel()

    async def scenario(bench):
        requests = [await bench.occupy(), await bench.start("a"), await bench.start("gone"), await bench.start("c")]
        requests.pop(2).cancel()
        await asyncio.sleep(0)
        model.gate.set()
        return await asyncio.gather(*requests)

    assert run(scenario, Bench(model)) == [["FIRST"], ["A"], ["C"]]
    assert model.calls == [["first"], ["a", "c"]]


@pytest.mark.parametrize("bad", [[], ["first"]], ids=["good text", "bad text"])
def test_a_request_cancelled_inside_the_model_does_not_stop_the_next(bad):
    """A caller who leaves during a call takes nobody along, whether that call fails or not."""
    model = GatedModel(bad=bad)

    async def scenario(bench):
        first, second = await bench.occupy(), await bench.start("a")
        first.cancel()
        await asyncio.sleep(0)
        model.gate.set()
        return await second

    assert run(scenario, Bench(model)) == ["A"]


@pytest.mark.parametrize("bad", [[], ["gone"], ["a"]], ids=["no bad text", "bad text gone", "bad text left"])
def test_a_request_cancelled_during_a_shared_call_does_not_spoil_its_neighbours(bad):
    """Whoever leaves a shared call, and whether it fails or not, the others get their own answers."""
    model = GatedModel(bad=bad)

    async def scenario(bench):
        gone, left, right = [asyncio.create_task(bench.batcher.submit([text])) for text in ("gone", "a", "c")]
        assert await asyncio.to_thread(model.entered.wait, GUARD_SECONDS)
        gone.cancel()
        await asyncio.sleep(0)
        model.gate.set()
        return await asyncio.gather(left, right, return_exceptions=True)

    left, right = run(scenario, Bench(model))

    assert model.calls[0] == ["gone", "a", "c"]
    assert right == ["C"]
    assert isinstance(left, ValueError) if "a" in bad else left == ["A"]


def test_a_queue_of_cancelled_requests_leaves_the_batcher_whole():
    """After everybody who waited has left, the next request is answered."""
    model = GatedModel()

    async def scenario(bench):
        first, gone = await bench.occupy(), await bench.start("gone", "lost")
        gone.cancel()
        await asyncio.sleep(0)
        model.gate.set()
        await first
        return await bench.batcher.submit(["a"])

    assert run(scenario, Bench(model)) == ["A"]
    assert model.calls == [["first"], ["a"]]


def test_a_batcher_works_again_after_being_idle():
    """A request that comes after the queue ran empty is answered."""

    async def scenario(bench):
        return [await bench.batcher.submit([text]) for text in ("a", "b")]

    assert run(scenario, Bench(GatedModel(is_open=True))) == [["A"], ["B"]]


def test_a_closed_batcher_fails_rather_than_hangs():
    """A request that comes after the service stopped gets an error."""

    async def scenario(bench):
        bench.batcher.close()
        await bench.batcher.submit(["a"])

    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        run(scenario, Bench(GatedModel(is_open=True)))


def test_closing_lets_the_call_under_way_finish():
    """A text that the model is busy with is answered although the service stops."""
    model = GatedModel()

    async def scenario(bench):
        request = await bench.occupy()
        bench.batcher.close()
        model.gate.set()
        return await request

    assert run(scenario, Bench(model)) == ["FIRST"]


def test_two_threads_answer_side_by_side():
    """With two threads, a second text does not wait for the first."""
    model = GatedModel()

    async def scenario(bench):
        requests = [await bench.start(text) for text in ("a", "b")]
        while len(model.calls) < 2:
            await asyncio.sleep(0.001)
        model.gate.set()
        return await asyncio.gather(*requests)

    assert run(scenario, Bench(model, threads=2)) == [["A"], ["B"]]
    assert model.calls == [["a"], ["b"]]


def test_a_list_is_shared_between_the_threads():
    """A lone request with many texts keeps every thread busy."""
    model = GatedModel(is_open=True)

    answers = run(lambda bench: bench.batcher.submit(["a", "b", "c", "d"]), Bench(model, threads=2))

    assert answers == ["A", "B", "C", "D"]
    assert model.calls[0] == ["a", "b"]


def test_threads_that_were_idle_work_again():
    """Each of many short bursts is answered, whichever thread was the last to end."""
    model = GatedModel(is_open=True)

    async def scenario(bench):
        return [await asyncio.gather(*(bench.batcher.submit([text]) for text in "abcde")) for _ in range(50)]

    assert run(scenario, Bench(model, threads=2)) == [[["A"], ["B"], ["C"], ["D"], ["E"]]] * 50
