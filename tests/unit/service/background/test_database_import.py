"""Loading what speaks to the database."""

import subprocess
import sys

from sentiment.paths import CHECKOUT

RACE = """
import threading
from service.background.database_import import load_database
failed = []
def load(start):
    start.wait()
    try:
        load_database()
        import sqlalchemy
        sqlalchemy.exc, sqlalchemy.create_engine
    except Exception as error:
        failed.append(repr(error))
start = threading.Barrier(6)
threads = [threading.Thread(target=load, args=(start,)) for _ in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(failed)
"""


def test_threads_that_load_at_once_do_not_break_each_other():
    """The shipper, the dashboard and the counters may all need the database in the first second of a worker."""
    done = subprocess.run([sys.executable, "-c", RACE], cwd=CHECKOUT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
