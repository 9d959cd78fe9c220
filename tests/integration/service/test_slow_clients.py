"""Callers who are slow, silent or gone, beside others who are not."""

import re
import socket
import statistics
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import psutil
import pytest

from tests.support.serving import WORD, Service, make_store, run_service, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.alone]

TIMEOUT_SECONDS = 3
GIVEN_UP_SECONDS = TIMEOUT_SECONDS + 5 + 3
CONNECTIONS = 200
QUESTIONS = 150
MOST = 250
SLACK_MS = 50
MEMORY_BYTES = 40_000_000
HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
BODY = b'{"text": "I like marmalade"}'
WHOLE = HEAD + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
BATCH = b'{"texts": [' + b", ".join([b'"I like marmalade"'] * 256) + b"]}"
MANY = b"POST /batch_predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(BATCH) + BATCH


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Service]:
    """Two workers who give a request up after three seconds."""
    store = make_store(tmp_path_factory.mktemp("store"))
    variables = {
        "SENTIMENT_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
        "SENTIMENT_MAX_CONNECTIONS": str(MOST),
        "BENTOML_CONFIG_OPTIONS": "services.sentigate.workers=2",
    }
    with run_service(store, tmp_path_factory.mktemp("service"), **variables) as service:
        service.wait_for_workers(2)
        for _ in range(50):
            service.predict("warm")
        yield service


def connect(service: Service, *, buffer: int = 0) -> socket.socket:
    """Return a connection that waits a few seconds at most, with a small buffer for what comes where one is named."""
    made = socket.socket()
    if buffer:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    made.settimeout(GIVEN_UP_SECONDS)
    made.connect(("127.0.0.1", service.port))
    return made


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the other side closes."""
    said = b""
    with suppress(ConnectionResetError):
        while chunk := connection.recv(65_536):
            said += chunk
    return said


def ask_ms(service: Service) -> float:
    """Return the 95th percentile of the milliseconds of one caller's requests, every one of them answered."""
    times = []
    with httpx.Client(base_url=service.url, timeout=10, trust_env=False) as client:
        for _ in range(QUESTIONS):
            start = time.perf_counter()
            client.post("/predict", json={"text": f"I like {WORD}"}).raise_for_status()
            times.append(1000 * (time.perf_counter() - start))
    return statistics.quantiles(times, n=20)[-1]


def count_connections(service: Service) -> int:
    """Return how many connections the workers hold."""
    return sum(
        connection.status in {psutil.CONN_ESTABLISHED, psutil.CONN_CLOSE_WAIT}
        for worker in service.find_workers()
        for connection in worker.net_connections("tcp")
        if connection.raddr
    )


def count_descriptors(service: Service) -> int:
    return sum(worker.num_fds() for worker in service.find_workers())


def count_bytes(service: Service) -> int:
    return sum(worker.memory_info().rss for worker in service.find_workers())


def send_half_a_head(connection: socket.socket) -> None:
    connection.sendall(HEAD)


def send_nothing(connection: socket.socket) -> None:
    """Be there, and no more."""


def send_no_body(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"content-length: 100\r\n\r\n")


def send_half_a_chunk(connection: socket.socket) -> None:
    connection.sendall(HEAD + b'transfer-encoding: chunked\r\n\r\n64\r\n{"text": "')


def read_no_answer(connection: socket.socket) -> None:
    """Ask again and again on one connection, as far as its buffers go, and read nothing."""
    connection.setblocking(False)
    with suppress(BlockingIOError):
        for _ in range(40):
            connection.sendall(MANY)


def leave_at_once(connection: socket.socket) -> None:
    """Ask and hang up, without a goodbye."""
    connection.sendall(WHOLE)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@contextmanager
def trickle(connections: list[socket.socket]) -> Iterator[None]:
    """Send a byte each second on every connection until the block ends."""
    stop = threading.Event()

    def drip() -> None:
        for byte in WHOLE * 100:
            for connection in connections:
                with suppress(OSError):
                    connection.send(bytes([byte]))
            if stop.wait(1):
                return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    "behave",
    [send_nothing, send_half_a_head, send_no_body, send_half_a_chunk, leave_at_once],
    ids=lambda do: do.__name__,
)
def test_silent_callers_cost_the_others_nothing(service, behave, record_property):
    """Two hundred connections that say nothing slow nobody, are closed in time, and leave nothing behind."""
    check_others(service, behave, CONNECTIONS, record_property)


def test_connections_beyond_the_bound_are_closed(service):
    """Each of the two workers keeps so many and closes the others unread; who was there before is answered."""
    with httpx.Client(base_url=service.url, trust_env=False) as early, ExitStack() as stack:
        early.get("/livez").raise_for_status()
        connections = [stack.enter_context(connect(service)) for _ in range(2 * MOST + 100)]
        time.sleep(0.5)
        closed = sum(map(is_closed, connections))
        answered = early.post("/predict", json={"text": WORD}).status_code

    assert (answered, 100 <= closed <= 100 + MOST) == (200, True)
    wait_until(lambda: httpx.get(f"{service.url}/livez", trust_env=False).is_success)


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_callers_who_do_not_read_cost_the_others_nothing(service, record_property):
    """Connections that ask and never read their answers are closed in time, too."""
    check_others(service, read_no_answer, 20, record_property, alone_for=TIMEOUT_SECONDS, buffer=4096)


def check_others(
    service: Service,
    behave: Callable[[socket.socket], None],
    connections: int,
    record_property: Callable[[str, object], None],
    *,
    alone_for: float = 0,
    buffer: int = 0,
) -> None:
    """See that others are answered as before beside so many connections, and that all is as before after them."""
    before, descriptors, used = ask_ms(service), count_descriptors(service), count_bytes(service)
    with ExitStack() as stack:
        for _ in range(connections):
            behave(stack.enter_context(connect(service, buffer=buffer)))
        time.sleep(alone_for)
        beside = ask_ms(service)
        wait_until(
            lambda: not count_connections(service), lambda: f"{count_connections(service)} stay", GIVEN_UP_SECONDS
        )
    after = ask_ms(service)
    wait_until(lambda: count_descriptors(service) <= descriptors + 4, lambda: f"{count_descriptors(service)} are open")

    record_property("ms", f"{before:.1f} before, {beside:.1f} beside, {after:.1f} after")
    assert max(beside, after) < 2 * before + SLACK_MS
    assert count_bytes(service) - used < MEMORY_BYTES
    assert "Traceback" not in service.log


def test_a_byte_a_second_is_given_up(service):
    """Whoever trickles a request is told so after the time that a request has, or cut off within its head."""
    with ExitStack() as stack:
        heads = [stack.enter_context(connect(service)) for _ in range(20)]
        bodies = [stack.enter_context(connect(service)) for _ in range(20)]
        for connection in bodies:
            send_no_body(connection)
        with trickle([*heads, *bodies]):
            said = [read_all(connection) for connection in bodies]
            assert {read_all(connection) for connection in heads} == {b""}

    assert all(re.match(rb"HTTP/1.1 408 ", answer) and b'"code": "late_body"' in answer for answer in said)
    assert service.predict("still there")


def test_half_a_body_is_never_answered(service):
    """A caller who leaves in the middle of a body has asked nothing: nothing of it is logged, in either log."""
    for _ in range(20):
        with connect(service) as connection:
            connection.sendall(HEAD + b"content-length: 100\r\nx-request-id: half\r\n\r\n" + BODY)
    last = service.predict("the last")

    from tests.integration.prediction_log.test_prediction_log import read_rows

    database = f"sqlite:///{service.state}/sentigate.db"
    rows = wait_until(lambda: (rows := read_rows(database)) and last in rows and rows)
    assert "half" not in {row["request_id"] for row in rows.values()}
    assert WORD not in service.log


def test_a_full_answer_reaches_who_reads_slowly(service):
    """A caller on a slow line gets the whole of a large answer, as long as it keeps reading."""
    with connect(service, buffer=4096) as connection:
        connection.sendall(MANY.replace(b"host: x", b"host: x\r\nconnection: close"))
        said = b""
        while chunk := connection.recv(16_384):
            said += chunk
            time.sleep(0.1)

    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.count(b"prediction_id") == 256
