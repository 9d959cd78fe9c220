"""A blocking call in a daemon thread."""

import subprocess
import sys
import threading

import pytest

from sentiment.paths import CHECKOUT
from service.background.daemon_call import call_in_daemon

GUARD_SECONDS = 10
HANG = """
import threading
from service.background.daemon_call import call_in_daemon
call_in_daemon("hangs", threading.Event().wait)
"""


def test_the_result_of_a_call_is_in_its_future():
    """The action runs in a thread of this name, and its result is returned."""
    future = call_in_daemon("reads", lambda: threading.current_thread().name)

    assert future.result(GUARD_SECONDS) == "reads"


def test_the_error_of_a_call_is_raised_where_its_result_is_read():
    """An error ends the call and not the thread of whoever made it."""

    def fail() -> None:
        raise OSError(5, "Input/output error")

    future = call_in_daemon("fails", fail)

    with pytest.raises(OSError, match="Input/output error"):
        future.result(GUARD_SECONDS)


def test_a_call_that_hangs_cannot_be_cancelled_and_is_waited_for_as_long_as_wanted():
    """Its thread goes on, so a place that it holds stays taken."""
    released = threading.Event()
    future = call_in_daemon("hangs", released.wait)

    with pytest.raises(TimeoutError):
        future.result(0.01)
    assert future.cancel() is False
    released.set()
    assert future.result(GUARD_SECONDS) is True


def test_a_call_that_hangs_does_not_keep_the_process_up():
    """A service ends when it should, whatever its database does."""
    subprocess.run([sys.executable, "-c", HANG], cwd=CHECKOUT, timeout=GUARD_SECONDS, check=True)
