"""A blocking call in a thread that ends with the process, so a database that hangs does not keep the service up."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


def call_in_daemon(name: str, action: Callable[[], Result]) -> Future[Result]:
    """Return the future of an action that runs in a daemon thread; it cannot be cancelled."""
    future: Future[Result] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(action())
        except Exception as error:  # noqa: BLE001 - it is raised where the result is read
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
