"""How our own records' PostgreSQL is reached, and by whom: a real server with TLS, and roles that may not do all."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from sqlalchemy.engine import make_url

from sentiment.database.__main__ import main
from sentiment.database.connection import create_engine, open_database
from sentiment.database.evaluations import append_evaluations, read_evaluations
from sentiment.database.schema import METADATA
from sentiment.errors import DatabaseError
from tests.support.postgres import PASSWORD, Postgres, run_postgres
from tests.unit.sentiment.database.test_evaluations import RECORD

pytestmark = pytest.mark.postgres

NAME = "db.example.org"  # which leads to loopback by `hostaddr`, as an entry of /etc/hosts would let it
ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
WAY_OUT = "name the authority of its certificate, ?sslrootcert=/path/ca.pem"


@dataclass(frozen=True)
class Server:
    """A server that speaks TLS, and the certificate that proves it."""

    postgres: Postgres
    certificate: Path

    def name_url(self, database: str, host: str = NAME, **query: str) -> str:
        """Return a URL that leads there by a name."""
        url = make_url(self.postgres.name_url(database)).set(host=host)
        return url.update_query_dict({"hostaddr": "127.0.0.1", **query}).render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with run_postgres() as postgres:
        yield Server(postgres, postgres.encrypt(NAME))


def is_encrypted(url: str) -> bool:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return bool(connection.scalar(sa.text(ENCRYPTED)))
    finally:
        engine.dispose()


def test_the_certificate_of_the_very_name_opens(server):
    """The authority is named in the URL."""
    assert is_encrypted(server.name_url("postgres", sslrootcert=str(server.certificate)))


@pytest.mark.parametrize("root", [{}, {"sslrootcert": "system"}], ids=["nothing said", "system"])
def test_the_authorities_of_this_machine_are_those_of_python(server, monkeypatch, root):
    """libpq of psycopg's wheel looks for them in a folder of its builders."""
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
    assert is_encrypted(server.name_url("postgres", **root))


@pytest.mark.parametrize("place", ["PGSSLROOTCERT", "HOME"])
def test_an_authority_that_libpq_is_told_of_counts(server, monkeypatch, tmp_path, place):
    """By a variable, or in the folder of the user."""
    known = tmp_path / ".postgresql" / "root.crt"
    known.parent.mkdir()
    known.write_bytes(server.certificate.read_bytes())
    monkeypatch.setenv(place, str(known if place == "PGSSLROOTCERT" else tmp_path))
    assert is_encrypted(server.name_url("postgres"))


def test_a_user_without_a_home_has_the_authorities_of_this_machine(server, monkeypatch):
    """As in a container that runs as a user whom nobody made."""
    monkeypatch.delenv("HOME")
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
    assert is_encrypted(server.name_url("postgres"))


@pytest.mark.parametrize("host", ["other.example.org", "127.0.0.2", "db.example.org.evil.org"])
def test_a_certificate_of_another_name_is_refused(server, host):
    url = server.name_url("postgres", host, sslrootcert=str(server.certificate), hostaddr="127.0.0.1")
    if host == "127.0.0.2":  # an address beside a name: libpq connects to hostaddr, and checks for host
        url = server.name_url("postgres", "10.0.0.2", sslrootcert=str(server.certificate))
    with pytest.raises(DatabaseError, match=r"does not prove who it is \(server certificate for .* does not match"):
        is_encrypted(url)


@pytest.mark.parametrize("sslmode", ["", "verify-full", "verify-ca"])
def test_a_certificate_that_nobody_signed_is_refused(server, sslmode):
    """One sentence says the way out, without a password."""
    with pytest.raises(DatabaseError) as refused:
        is_encrypted(server.name_url("postgres", sslmode=sslmode))
    assert WAY_OUT in str(refused.value)
    assert "tangerine" not in str(refused.value)


def test_the_environment_does_not_turn_the_check_off(server, monkeypatch):
    """Only the URL does; a variable may be anybody's."""
    monkeypatch.setenv("PGSSLMODE", "disable")
    with pytest.raises(DatabaseError):
        is_encrypted(server.name_url("postgres"))


@pytest.mark.parametrize(("sslmode", "encrypted"), [("require", True), ("disable", False)])
def test_the_url_may_say_otherwise(server, sslmode, encrypted):
    assert is_encrypted(server.name_url("postgres", sslmode=sslmode)) is encrypted


def test_a_server_without_tls_is_refused_by_name_alone():
    """On loopback and over a socket nothing is asked; elsewhere nothing goes in the clear, the password neither."""
    with run_postgres() as postgres:
        plain = Server(postgres, Path())
        assert is_encrypted(postgres.name_url("postgres")) is False
        socket = (
            make_url(postgres.name_url("postgres")).set(host=None).update_query_dict({"host": str(postgres.folder)})
        )
        assert is_encrypted(socket.render_as_string(hide_password=False)) is False
        with pytest.raises(DatabaseError, match="server does not support SSL, but SSL was required"):
            is_encrypted(plain.name_url("postgres"))


@pytest.fixture
def roles(server) -> dict[str, str]:
    """A new database with an owner, and the URLs of owner and service; the service may connect and no more."""
    database = server.postgres.create_database().rpartition("/")[2]
    urls = {}
    with psycopg.connect(server.postgres.name_url(database), autocommit=True) as connection:
        for role in ("keeper", "visitor"):
            name = f"{role}_{database[-8:]}"
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
            urls[role] = make_url(server.postgres.name_url(database)).set(username=name)
        connection.execute(f"ALTER DATABASE {database} OWNER TO {urls['keeper'].username}")
        connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    return {role: url.render_as_string(hide_password=False) for role, url in urls.items()}


def migrate_as_owner(roles: dict[str, str]) -> None:
    visitor = make_url(roles["visitor"]).username
    done = CliRunner().invoke(main, ["--role", visitor], env={"DATABASE_URL": roles["keeper"]})
    assert (done.exit_code, done.output) == (
        0,
        f"the database has the newest schema; {visitor} may read and write its tables\n",
    )


def test_a_service_that_may_not_migrate_says_who_does(roles):
    """Before the owner did it is one sentence; afterwards it works, and a second time changes nothing."""
    with pytest.raises(DatabaseError, match="may not change or read it; run `make migrate` with the DATABASE_URL of"):
        read_evaluations(roles["visitor"])
    for _ in range(2):
        migrate_as_owner(roles)
    append_evaluations(roles["visitor"], [RECORD])
    assert read_evaluations(roles["visitor"]) == [RECORD]


def test_a_schema_of_before_is_named_to_a_service_that_may_not_change_it(roles):
    migrate_as_owner(roles)
    with open_database(roles["keeper"]) as engine, engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(DatabaseError, match="has not the schema of this version"):
        read_evaluations(roles["visitor"])


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE mine (id int)", "CREATE SCHEMA mine", "ALTER TABLE predictions ADD COLUMN mine int"]
    + [f"DROP TABLE {name}" for name in METADATA.tables]
    + ["UPDATE alembic_version SET version_num = 'x'", "DELETE FROM alembic_version"],
)
def test_the_role_of_the_service_changes_no_schema(roles, statement):
    migrate_as_owner(roles)
    engine = create_engine(roles["visitor"])
    with (
        engine.connect() as connection,
        pytest.raises(sa.exc.ProgrammingError, match=r"permission denied|must be owner"),
    ):
        connection.exec_driver_sql(statement)
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///{folder}/records.db", "SQLite has no roles; wanted postgresql://owner:password@host/name"),
        ("{keeper}", "the server has no role 'nobody'; make it: CREATE ROLE nobody LOGIN PASSWORD"),
        ("postgresql://ann:tangerine@127.0.0.1:1/name", "the database of DATABASE_URL does not answer as wanted: "),
    ],
)
def test_what_cannot_be_granted_is_one_sentence(roles, tmp_path, url, said):
    done = CliRunner().invoke(
        main, ["--role", "nobody"], env={"DATABASE_URL": url.format(folder=tmp_path, keeper=roles["keeper"])}
    )
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: {said}")
    assert done.output.count("\n") == 1
    assert "tangerine" not in done.output
