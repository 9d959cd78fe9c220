"""An empty database of either kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from sentiment.database.connection import open_database
from tests.support.postgres import Postgres, run_postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with run_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def engine(request, tmp_path: Path) -> Iterator[sa.Engine]:
    """An empty database of either kind."""
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").create_database()
    else:
        url = f"sqlite:///{tmp_path}/records.db"
    with open_database(url) as engine:
        yield engine
