"""`python -m benchmarks.serving`: our service beside what people would serve the same model with.

The rounds go over all servers, one at a time, each started anew, so that a noisy machine is noisy for all of them. The
load comes from `wrk`, which costs little of the two cores that the servers share with it. Look at the ratios.
"""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import httpx
import psutil

from benchmarks.servers.contenders import HOST, SCRIPTS, Contender, list_contenders
from benchmarks.servers.figures import Figure, Load
from benchmarks.servers.plot import plot_serving
from benchmarks.splits import split_named
from release.bento_store import READY_SECONDS, find_free_port
from release.mlflow_registry import find_bundle
from sentiment.bundle.predictor import Predictor
from sentiment.errors import SentimentError
from sentiment.paths import CHECKOUT

LOAD = Path(__file__).with_name("servers") / "load.lua"
LIST_SIZE = 32
LIST_CLIENTS = 4
TEXTS = 2000
TAG = "sentiment:benchmark"
MLFLOW = "benchmarks.servers.mlflow_bundle"
STORE = f"""
import sys
from pathlib import Path
from sentiment.bundle.bundle import open_bundle
from release.bento_store import store_model
store_model(open_bundle(Path(sys.argv[1])), {TAG!r})
"""
WARM_SECONDS = 3
BURST_CLIENTS = 64
PAIR_CLIENTS = 32
SETTLE_SECONDS = 5


@dataclass(frozen=True)
class Start:
    """How a server came up in one round, and the memory that it and its processes take after the load, in MB.

    `proportional_mb` counts a page that processes share once, `resident_mb` once for each of them.
    """

    server: str
    round: int
    ready_seconds: float
    proportional_mb: float
    resident_mb: float


@contextmanager
def run_server(contender: Contender, environment: dict[str, str], folder: Path) -> Iterator[tuple[str, int, float]]:
    """Yield the address, the process id and the seconds until it was ready; every process of it is ended after."""
    port = find_free_port()
    state = folder / f"state-{port}"
    with (folder / f"{port}.log").open("w") as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            contender.command(port),
            cwd=CHECKOUT,
            env={**environment, **contender.environment, "SENTIMENT_STATE_DIR": str(state)},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        address = f"http://{HOST}:{port}"
        try:
            wait_until_answering(f"{address}{contender.ready}", process)
            yield address, process.pid, time.perf_counter() - started
        except TimeoutError as error:
            raise RuntimeError(f"{contender.name}: {error}: {Path(said.name).read_text()[-2000:]}") from error
        finally:
            family = list_family(process.pid) if process.poll() is None else []
            process.terminate()
            _, left = psutil.wait_procs(family, timeout=10)
            for one in left:
                with suppress(psutil.NoSuchProcess):
                    one.send_signal(signal.SIGKILL)
            process.wait()
            shutil.rmtree(state, ignore_errors=True)


def wait_until_answering(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Return when a server answers 200 at an address. Raises TimeoutError when it ends before, or takes a minute."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(url, timeout=10, trust_env=False).status_code == httpx.codes.OK:
                return
        time.sleep(0.1)
    raise TimeoutError(f"not ready, exit code {process.poll()}")


def list_family(process: int) -> list[psutil.Process]:
    """Return a process and all that it started."""
    return [psutil.Process(process), *psutil.Process(process).children(recursive=True)]


def write_bodies(contender: Contender, requests: Sequence[Sequence[str]], folder: Path) -> tuple[str, Path]:
    """Write a body per line; return the path that takes them, and the file."""
    asked = [contender.ask(texts) for texts in requests]
    file = folder / f"{len(requests[0])}-{'-'.join(contender.name.split())}.jsonl"
    file.write_text("".join(f"{body}\n" for _, body in asked))
    return asked[0][0], file


def press(address: str, path: str, bodies: Path, clients: int, seconds: int) -> Load:
    """Return what so many clients saw that each ask as soon as they were answered."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "-s", str(LOAD), f"{address}{path}", "--", str(bodies)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout.strip().splitlines()[-1])
    return Load(seen["requests"] / seen["seconds"], seen["p50_ms"], seen["p99_ms"], seen["refused"], seen["broken"])


def measure_memory(process: int) -> tuple[float, float]:
    """Return the proportional and the resident memory of a process and its children in MB."""
    family = list_family(process)
    proportional = sum(one.memory_full_info().pss for one in family)
    return proportional / 1e6, sum(one.memory_info().rss for one in family) / 1e6


def measure_bare(predictor: Predictor, singles: Sequence[str], lists: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Return the median ms of one text in one thread, and lists per second in two threads, without any server."""
    times = []
    for text in singles[:500]:
        started = time.perf_counter()
        predictor.predict([text])
        times.append(time.perf_counter() - started)
    with ThreadPoolExecutor(2) as pool:
        started = time.perf_counter()
        list(pool.map(predictor.predict, lists))
        rate = len(lists) / (time.perf_counter() - started)
    return statistics.median(times) * 1e3, rate


def say(kind: str, **values: object) -> None:
    """Print a JSON line."""
    click.echo(json.dumps({"kind": kind, **values}))


@click.command()
@click.option("--model", default="production", show_default=True, help="Version, alias or folder of the bundle.")
@click.option("--dataset", default="youtube", show_default=True, help="Its holdout is what clients send.")
@click.option("--clients", default="1,8,32,64", show_default=True, help="Clients with single texts, by commas.")
@click.option("--only", default="", help="Servers by name, by semicolons; all when empty.")
@click.option("--seconds", default=6, show_default=True, help="Seconds of one measurement.")
@click.option("--rounds", default=2, show_default=True)
@click.option("--pair", default=0, help="Only alternate this often between ours with its log and without, both up.")
@click.option("--soak", default=0, show_default=True, help="Then so many requests of our service for its memory.")
@click.option("--plot", type=click.Path(path_type=Path), help="Where to draw the picture.")
def main(
    model: str,
    dataset: str,
    clients: str,
    only: str,
    seconds: int,
    rounds: int,
    pair: int,
    soak: int,
    plot: Path | None,
) -> None:
    """Print a JSON line per measurement."""
    if shutil.which("wrk") is None:
        raise click.ClickException("wrk is not on this machine; install it, for example `apt-get install wrk`.")
    try:
        bundle = find_bundle(model)[0]
        texts = list(split_named(dataset).holdout.frame["text"])[:TEXTS]
    except SentimentError as error:
        raise click.ClickException(str(error)) from error
    predictor = Predictor(bundle)
    singles = [[text] for text in texts]
    lists = [texts[start : start + LIST_SIZE] for start in range(0, len(texts) - LIST_SIZE + 1, LIST_SIZE)]
    counts = [int(count) for count in clients.split(",")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {
            **os.environ,
            "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",  # where `mlflow models serve` looks for uvicorn
            "PYTHONPATH": str(CHECKOUT),
            "BENTOML_HOME": str(folder / "bentoml"),
            "BENTOML_DO_NOT_TRACK": "True",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "BENCHMARK_BUNDLE": str(bundle.folder),
            "SENTIMENT_MODEL_TAG": TAG,
        }
        saved = folder / "mlflow"
        for command in (["-c", STORE, str(bundle.folder)], ["-m", MLFLOW, str(bundle.folder), str(saved)]):
            subprocess.run([sys.executable, *command], env=environment, check=True, capture_output=True)
        wanted = [part.strip() for part in only.split(";") if part.strip()]
        contenders = [one for one in list_contenders(saved) if not wanted or one.name in wanted]
        if pair:
            compare_logs(contenders, environment, folder, (singles, lists), seconds, pair)
            return
        figures: list[Figure] = []
        for number in range(rounds):
            bare_ms, bare_lists = measure_bare(predictor, texts, lists)
            say("bare", round=number, p50_ms=round(bare_ms, 2), lists_per_second=round(bare_lists, 2))
            for contender in contenders:
                path, single_bodies = write_bodies(contender, singles, folder)
                list_path, list_bodies = write_bodies(contender, lists, folder)
                with run_server(contender, environment, folder) as (address, process, ready_seconds):
                    first = press(address, path, single_bodies, 8, 10)
                    say("first ten seconds, 8 clients", server=contender.name, **asdict(first))
                    for count in counts:
                        load = press(address, path, single_bodies, count, seconds)
                        figures.append(Figure(contender.name, number, count, 1, load))
                        say("single", **asdict(figures[-1]))
                    press(address, path, single_bodies, BURST_CLIENTS, WARM_SECONDS)
                    after = press(address, path, single_bodies, 1, SETTLE_SECONDS)
                    say("one client after a burst", server=contender.name, **asdict(after))
                    load = press(address, list_path, list_bodies, LIST_CLIENTS, seconds)
                    figures.append(Figure(contender.name, number, LIST_CLIENTS, LIST_SIZE, load))
                    say("lists", **asdict(figures[-1]))
                    proportional, resident = measure_memory(process)
                    start = Start(contender.name, number, round(ready_seconds, 2), proportional, resident)
                    say("start and memory", **asdict(start))
        if soak:
            soak_service(contenders[0], environment, folder, singles, soak)
    if plot is not None:
        plot_serving(figures, plot)


def compare_logs(
    contenders: Sequence[Contender],
    environment: dict[str, str],
    folder: Path,
    requests: tuple[Sequence[Sequence[str]], Sequence[Sequence[str]]],
    seconds: int,
    turns: int,
) -> None:
    """Print what the log costs: rates with it in shares of those without, single texts and lists, turn by turn."""
    with_log, without = contenders[:2]
    with (
        run_server(with_log, environment, folder) as (logging, _, _),
        run_server(without, environment, folder) as (silent, _, _),
    ):
        for asked, clients in zip(requests, (PAIR_CLIENTS, LIST_CLIENTS), strict=True):
            path, bodies = write_bodies(with_log, asked, folder)
            shares = []
            for turn in range(turns):
                order = (logging, silent) if turn % 2 else (silent, logging)
                rates = {address: press(address, path, bodies, clients, seconds).per_second for address in order}
                shares.append(round(rates[logging] / rates[silent], 3))
            say("log", texts=len(asked[0]), clients=clients, median_share=statistics.median(shares), shares=shares)


def soak_service(
    contender: Contender, environment: dict[str, str], folder: Path, requests: Sequence[Sequence[str]], total: int
) -> None:
    """Print the memory after each tenth of so many requests."""
    path, bodies = write_bodies(contender, requests, folder)
    with run_server(contender, environment, folder) as (address, process, _):
        done = 0.0
        tenth = 1
        while done < total:
            load = press(address, path, bodies, 32, 10)
            done += load.per_second * 10
            if done >= total * tenth / 10:
                tenth = int(done * 10 / total) + 1
                proportional, resident = measure_memory(process)
                say("soak", requests=round(done), proportional_mb=proportional, resident_mb=resident, **asdict(load))


if __name__ == "__main__":
    main()
