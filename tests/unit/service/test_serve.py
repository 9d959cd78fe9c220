import socket
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from sentiment.admin_token import read_admin_token
from service import serve as module
from service.serve import main, require_free_port

HOST = "127.0.0.1"
LINE = f"dashboard predict {'0' * 64}"
EXPOSED = (
    "warning: this service answers on {}, beyond this machine, and asks for no key: whoever reaches it may use it;"
    " make a key with `sentigate keys add NAME --file keys.txt` and set SENTIMENT_API_KEY_FILE=keys.txt.\n"
)


@pytest.fixture(autouse=True)
def nothing_in_production(tmp_path, monkeypatch):
    monkeypatch.delenv("SENTIMENT_MODEL_TAG", raising=False)
    monkeypatch.setenv("SENTIMENT_STATE_DIR", str(tmp_path))
    for name in ("API_KEYS", "API_KEY_FILE", "RATE_LIMIT"):
        monkeypatch.delenv(f"SENTIMENT_{name}", raising=False)


@pytest.fixture
def served(monkeypatch) -> list[list[str]]:
    """A model to serve, and the commands that would serve it."""
    commands: list[list[str]] = []
    monkeypatch.setenv("SENTIMENT_MODEL_TAG", "sentiment:3")
    monkeypatch.setattr(module.os, "execv", lambda path, command: commands.append(command))
    return commands


@pytest.fixture
def busy_port() -> Iterator[int]:
    """A port on loopback that somebody listens on."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def start(*arguments: object):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_port_in_use_is_said_in_a_sentence(busy_port):
    """Who starts a second service on a port reads which port it is and how to choose another."""
    assert start("--port", busy_port).output == (
        f"Error: 127.0.0.1:{busy_port} cannot be used (Address already in use); end what listens there,"
        f" or choose another port, for example PORT={busy_port + 1}.\n"
    )


def test_a_port_in_use_ends_the_start(busy_port):
    """A service that cannot listen says so to whoever started it."""
    assert start("--port", busy_port).exit_code == 1


def test_a_port_in_use_on_one_address_is_in_use_on_all(busy_port):
    """A service that would listen on every address does not take a port from one of them."""
    with pytest.raises(click.ClickException, match=rf"^0\.0\.0\.0:{busy_port} "):
        require_free_port("0.0.0.0", busy_port)


def test_an_address_of_another_machine_is_said_in_a_sentence(free_port):
    """An address that cannot be listened on is named in the refusal, with the reason."""
    result = start("--host", "192.0.2.1", "--port", free_port)

    assert result.exit_code == 1
    assert result.output.startswith(f"Error: 192.0.2.1:{free_port} cannot be used (Cannot assign requested address)")


def test_a_look_at_a_free_port_leaves_it_free(free_port):
    """The port can be listened on after it was looked at."""
    require_free_port(HOST, free_port)

    with socket.socket() as listener:
        listener.bind((HOST, free_port))
        listener.listen()


def test_a_port_is_free_again_after_its_listener_ended(free_port):
    """A port whose last connection is still winding down can be used, as after a restart."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, free_port))
        listener.listen()
        with socket.create_connection((HOST, free_port)):
            # The side that closes first is the one that keeps the port in TIME_WAIT.
            listener.accept()[0].close()

    require_free_port(HOST, free_port)


@pytest.mark.parametrize("port", [0, 65536, -1, "http"])
def test_a_port_that_is_none_is_refused(port):
    """A port is a number from 1 to 65535."""
    result = start("--port", port)

    assert result.exit_code == 2
    assert "Invalid value for '--port'" in result.output


def test_nothing_in_production_is_said_in_a_sentence(free_port, sentence):
    """Who starts a service before training reads what to do, without a stack trace."""
    result = start("--port", free_port)

    assert result.exit_code == 1
    assert result.output == sentence


def test_a_service_is_served_where_it_was_asked_for(served, free_port, tmp_path):
    """The address and the port go to the server, and the model is said."""
    result = start("--port", free_port)

    address = f"http://127.0.0.1:{free_port}"
    dashboard = f"{address}/dashboard#token={read_admin_token(tmp_path / 'admin_token')}"
    wanted = f"serving sentiment:3; try it on {address}/, see how it does on {dashboard}; Ctrl-C stops it\n"
    assert result.output == wanted
    assert [command[-4:] for command in served] == [["--host", HOST, "--port", str(free_port)]]


def test_a_service_without_keys_beyond_this_machine_is_warned_of(served, free_port):
    """Who opens a service to others reads that it asks for no key, and how to make one; it is served all the same."""
    result = start("--host", "0.0.0.0", "--port", free_port)

    assert (result.exit_code, len(served)) == (0, 1)
    assert result.stderr == EXPOSED.format("0.0.0.0")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost"])
def test_a_service_on_this_machine_needs_no_keys(served, free_port, host):
    """A service that nobody else reaches is not warned of."""
    assert (start("--host", host, "--port", free_port).stderr, len(served)) == ("", 1)


@pytest.mark.parametrize("kept", ["API_KEYS", "API_KEY_FILE"])
def test_a_service_that_asks_for_keys_is_not_warned_of(served, free_port, kept, tmp_path, monkeypatch):
    """Keys in a variable or a file are keys."""
    (tmp_path / "keys.txt").write_text(LINE)
    monkeypatch.setenv(f"SENTIMENT_{kept}", LINE if kept == "API_KEYS" else str(tmp_path / "keys.txt"))

    assert (start("--host", "0.0.0.0", "--port", free_port).stderr, len(served)) == ("", 1)


def test_a_key_file_that_is_missing_is_said_in_a_sentence(served, free_port, tmp_path, monkeypatch, sentence):
    """A service that was told to ask for keys does not start without them."""
    monkeypatch.setenv("SENTIMENT_API_KEY_FILE", str(tmp_path / "keys.txt"))
    result = start("--port", free_port)

    assert (result.exit_code, served) == (1, [])
    assert result.output == sentence


def test_a_damaged_key_is_said_in_a_sentence(served, free_port, monkeypatch, sentence):
    """A key that cannot be read stops the start, and is not repeated."""
    monkeypatch.setenv("SENTIMENT_API_KEYS", f"{LINE};marmalade")
    result = start("--port", free_port)

    assert (result.exit_code, served) == (1, [])
    assert result.output == sentence


def test_a_key_of_digests_that_is_missing_is_said_in_a_sentence(served, free_port, tmp_path, monkeypatch, sentence):
    """A key file that is named and not there stops the start: none is made in its place."""
    monkeypatch.setenv("SENTIMENT_HASH_KEY_FILE", f"{tmp_path}/hash.key")
    result = start("--port", free_port)

    assert (result.exit_code, served, list(tmp_path.glob("hash.key"))) == (1, [], [])
    assert result.output == sentence


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("MAX_TEXT_CHARS", "0", "input should be greater than or equal to 1."),
        ("LOG_TEXT", "all", "input should be 'none', 'hash', 'redacted' or 'full'."),
        (
            "RATE_LIMIT",
            "fast",
            "value error, 'fast' is not a rate; wanted for example 600/minute or 10/second;50000/day.",
        ),
    ],
)
def test_a_setting_that_cannot_be_used_is_said_in_a_sentence(served, free_port, name, value, sentence, monkeypatch):
    """A mistake in a setting stops the start, by the name of its variable and without a stack trace."""
    monkeypatch.setenv(f"SENTIMENT_{name}", value)
    result = start("--port", free_port)

    assert (result.exit_code, served) == (1, [])
    assert result.output == f"Error: SENTIMENT_{name}: {sentence}\n"
