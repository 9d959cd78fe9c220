import socket
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from service.start import main, require_free_port

HOST = "127.0.0.1"


@pytest.fixture(autouse=True)
def nothing_in_production(tmp_path, monkeypatch):
    monkeypatch.delenv("SENTIMENT_MODEL_TAG", raising=False)
    monkeypatch.setenv("SENTIMENT_STATE_DIR", str(tmp_path))


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
    with pytest.raises(click.ClickException, match=rf"^0\.0\.0\.0:{busy_port} cannot be used"):
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


def test_nothing_in_production_is_said_in_a_sentence(free_port):
    """Who starts a service before training reads what to do, without a stack trace."""
    result = start("--port", free_port)

    assert result.exit_code == 1
    assert result.output == (
        "Error: no model is in production in this checkout; train one with `make train`,"
        " or name one from `bentoml models list` in SENTIMENT_MODEL_TAG.\n"
    )
