"""The smoke test against small servers that are wrong in one thing each."""

import ast
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.smoke import main
from release.running_services import require_address
from sentiment.errors import ServiceError
from sentiment.paths import CHECKOUT
from tests.support.deploy.stand_in import (
    DIGEST,
    EMPTY,
    KEY,
    LABELS,
    MISSING,
    Asked,
    Reply,
    Server,
    answer_soundly,
    answer_text,
    serve,
)

SCRIPT = CHECKOUT / "deploy" / "smoke.py"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    return file


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.smoke.SECONDS_FOR_THE_LOG", 0.2)
    monkeypatch.setattr("deploy.smoke.SECONDS_BETWEEN_TRIES", 0.05)


def run(url: str, *options: object) -> int:
    return main([url, "--wait", "0.3", "--timeout", "2", *map(str, options)])


def test_a_sound_service_passes_with_one_line_per_check(capsys):
    with serve(Server()) as server:
        assert run(server.url, "--version", "5", "--digest", DIGEST[:12]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert len(said.out.splitlines()) == 13
    assert all(line.startswith("ok  ") for line in said.out.splitlines())


def test_a_sound_service_with_keys_passes_and_probes_get_no_key(key_file, capsys):
    with serve(Server(key=KEY)) as server:
        assert run(server.url, "--key-file", key_file, "--require-keys") == 0
    assert KEY not in "".join(capsys.readouterr())
    assert {asked.path for asked in server.seen if not asked.key} == {
        "/readyz", "/livez", "/", "/model", "/reload", "/dashboard/predictions",
    }  # fmt: skip


def test_asking_never_changes_the_model(key_file):
    with serve(Server(key=KEY)) as server:
        run(server.url, "--key-file", key_file)
    reloads = [asked for asked in server.seen if asked.path == "/reload"]
    assert [(asked.key, len(asked.body)) for asked in reloads] == [("", 2)]  # two sources are refused for any caller


def at(path: str, *reply: Any, of: Callable[[Asked], bool] = lambda asked: True) -> Callable[[Asked], Reply | None]:
    return lambda asked: reply if asked.path == path and of(asked) else None


def altered(path: str, **changes: Any) -> Callable[[Asked], Reply | None]:
    def alter(asked: Asked) -> Reply | None:
        if asked.path != path:
            return None
        status, content, *headers = answer_soundly(asked)
        return (status, {**content, **changes}, *headers) if status == 200 else None

    return alter


def turn_answers(asked: Asked) -> Reply | None:
    """A model whose labels were mixed up."""
    if asked.path != "/predict" or not asked.body["text"].strip():
        return None
    found = answer_text("" if "hate" in asked.body["text"] else "hate", asked.request_id)
    return 200, found, {"x-request-id": asked.request_id}


def forget_the_id(asked: Asked) -> Reply | None:
    return (200, answer_text(asked.body["text"], asked.request_id)) if asked.path == "/predict" else None


def spoil_the_batch(asked: Asked) -> Reply | None:
    return (422, EMPTY) if asked.path == "/batch_predict" else None


def answer_from_two_models() -> Callable[[Asked], Reply | None]:
    asks = iter(range(100))

    def alternate(asked: Asked) -> Reply | None:
        if asked.path != "/predict" or not asked.body["text"].strip() or next(asks) < 5:
            return None
        found = {**answer_text("", asked.request_id), "model_version": "4-ffffffffffff"}
        return 200, found, {"x-request-id": asked.request_id}

    return alternate


WRONG = {
    "one model": (altered("/model", version="4-ffffffffffff"), "came version 4-ffffffffffff, wanted 5"),
    "one digest": (altered("/model", digest="f" * 64), "came the model with digest ffffffffffff, wanted 0a1b2c3d4e5f"),
    "old replica": (answer_from_two_models(), "came version 4-ffffffffffff, wanted 5"),
    "no card": (at("/model", 200, {"labels": []}), "wanted a card with labels and a version"),
    "a page as card": (at("/model", 200, "<html>welcome</html>"), "<html>welcome</html>; wanted a JSON object"),
    "turned": (turn_answers, "wanted positive for 'I love this, thank you so much!'"),
    "unknown label": (altered("/predict", label="joy"), "wanted a label of the card: negative, neutral, positive"),
    "scores": (altered("/predict", scores=dict.fromkeys(LABELS, 0.9)), "wanted scores that sum to 1"),
    "null scores": (altered("/predict", scores=dict.fromkeys(LABELS)), "wanted scores that sum to 1"),
    "fewer scores": (altered("/predict", scores={"positive": 1.0}), "wanted a score for each label of the card"),
    "confidence": (altered("/predict", confidence=0.2), "wanted the highest score as the confidence"),
    "no confidence": (altered("/predict", confidence=None), "wanted the highest score as the confidence"),
    "id": (forget_the_id, "wanted the request id smoke-"),
    "empty answered": (
        at("/predict", 200, answer_text("", ""), of=lambda asked: not asked.body["text"].strip()),
        'wanted 422 with {"code": "empty_text", "message": "..."}',
    ),
    "other shape": (
        at("/predict", 422, {"detail": "empty"}, of=lambda asked: not asked.body["text"].strip()),
        'wanted 422 with {"code": "empty_text", "message": "..."}',
    ),
    "failing": (at("/predict", 500, {"code": "internal", "message": "it failed."}), "answered 500"),
    "slow down": (at("/predict", 429, {"code": "too_many_requests"}), "the rate limit of this key is too low"),
    "batch refused": (spoil_the_batch, "/batch_predict answered 422"),
    "batch short": (altered("/batch_predict", predictions=[]), "wanted 3 predictions"),
    "batch of nothing": (altered("/batch_predict", predictions=[None] * 3), "wanted a label of the card"),
    "degraded": (
        altered("/health", status="degraded"),
        '"prediction_log": {"database": "ok", "shipped": 3}}; wanted status ok, and a database that answers',
    ),
    "no database": (altered("/health", prediction_log={"database": "unknown"}), "a database that answers"),
    "no metrics": (at("/metrics", 403, {"code": "scope"}), "wanted 200, or 404 where they are hidden"),
    "no counters": (at("/metrics", 200, "up 1\n"), "wanted counters, sentigate_model_info among them"),
    "no page": (at("/", 404, "nothing"), "/ answered 404 nothing; wanted 200"),
    "no headers": (at("/", 200, "a page", {}), "wanted the header content-security-policy"),
    "probe refused": (at("/readyz", 401, MISSING[1]), "a probe needs no key"),
    "redirect": (at("/readyz", 301, "", {"location": "https://x.example.org/"}), "it points to https://x.example.org/"),
}  # fmt: skip


@pytest.mark.parametrize(("wrong", "sentence"), WRONG.values(), ids=WRONG)
def test_the_first_thing_that_is_wrong_is_said_in_one_sentence(wrong, sentence, capsys):
    with serve(Server(wrong)) as server:
        assert run(server.url, "--version", "5", "--digest", DIGEST[:12]) == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert said.startswith("smoke test failed: GET http" if "GET http" in said else "smoke test failed: POST http")
    assert said.count("\n") == 1


@pytest.mark.parametrize("path", ["/reload", "/dashboard/predictions"])
def test_an_admin_path_that_is_open_to_strangers_is_told(path, key_file, capsys):
    with serve(Server(at(path, 200, {}), key=KEY)) as server:
        assert run(server.url, "--key-file", key_file) == 1
    assert f"{path} answered 200 {{}}; wanted 401, 403 or 404 for a caller without a key." in capsys.readouterr().err


def test_a_key_that_is_missing_unknown_or_not_enough_is_told_apart(key_file, tmp_path, capsys):
    other = tmp_path / "other"
    other.write_text("sg_some-other-key")
    with serve(Server(key=KEY)) as server:
        assert run(server.url) == 1
        assert run(server.url, "--key-file", other) == 1
    missing, unknown = capsys.readouterr().err.splitlines()
    assert "the service asks for a key; name a file that holds one with --key-file" in missing
    assert "the key is missing, unknown or expired there" in unknown
    scope = at("/model", 403, {"code": "scope", "message": "no."}, of=lambda asked: asked.key == KEY)
    with serve(Server(scope, key=KEY)) as server:
        assert run(server.url, "--key-file", key_file) == 1
    assert "the key needs the scopes predict and read" in capsys.readouterr().err


def test_a_key_that_comes_back_in_an_answer_is_not_shown(key_file, capsys):
    echo = at("/predict", 500, {"code": "internal", "message": f"cannot take {KEY}"})
    with serve(Server(echo, key=KEY)) as server:
        assert run(server.url, "--key-file", key_file) == 1
    said = capsys.readouterr().err
    assert "cannot take ***" in said
    assert KEY not in said


def test_keys_may_be_required_and_metrics_hidden(capsys):
    with serve(Server()) as server:
        assert run(server.url, "--require-keys") == 1
        assert run(server.url, "--metrics-hidden") == 1
        server.wrong = at("/metrics", 403, "")
        assert run(server.url, "--metrics-hidden") == 0
    said = capsys.readouterr()
    assert "because --require-keys was given" in said.err
    assert "because --metrics-hidden was given" in said.err
    assert "hidden, 403" in said.out


def test_a_proxy_may_hide_what_is_for_operators(key_file, capsys):
    """The nginx of the stack answers 404 for the counters and for what wants the scope admin."""

    def hide(asked: Asked) -> Reply | None:
        hidden = ("/metrics", "/reload", "/dashboard/predictions")
        return (404, {"code": "not_found", "message": "no."}) if asked.path in hidden else None

    with serve(Server(hide, key=KEY)) as server:
        assert run(server.url, "--key-file", key_file) == 0
        assert run(server.url, "--key-file", key_file, "--metrics-hidden") == 0
    assert "hidden by what stands before the service, 404" in capsys.readouterr().out


def test_a_gateway_may_want_the_key_for_everything(key_file, capsys):
    """BentoCloud lets nobody pass without a token, and has errors of its own."""

    def guard(asked: Asked) -> Reply | None:
        return (401, "token required") if asked.key != KEY else None

    with serve(Server(guard)) as server:
        assert run(server.url, "--key-file", key_file, "--require-keys") == 0
    assert "with the key: a gateway before it wants one" in capsys.readouterr().out


def test_a_service_that_starts_late_is_waited_for(capsys):
    ready_at = time.monotonic() + 0.5

    def start_late(asked: Asked) -> Reply | None:
        return (503, {"code": "not_ready"}) if asked.path == "/readyz" and time.monotonic() < ready_at else None

    with serve(Server(start_late)) as server:
        assert main([server.url, "--wait", "5"]) == 0
        assert main([server.url, "--wait", "5"]) == 0


def test_what_is_waited_for_is_said_while_waiting(monkeypatch, capsys):
    monkeypatch.setattr("deploy.smoke.SECONDS_BETWEEN_WORDS", 0.1)
    with serve(Server(at("/readyz", 503, {"code": "not_ready"}))) as server:
        assert run(server.url) == 1
    *waiting, last = capsys.readouterr().err.splitlines()
    assert waiting
    assert all(line.startswith("waiting, 0 s of 0.3: GET http://127.0.0.1") for line in waiting)
    assert last.endswith("/readyz answers 503; wanted 200.")


def test_nobody_there_no_http_silence_and_no_such_host_are_told_apart(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert run(f"http://127.0.0.1:{taken.getsockname()[1]}") == 1
    assert "nothing listens there (connection refused)" in capsys.readouterr().err
    assert run("http://nobody.invalid") == 1
    assert "the name of the host is not known" in capsys.readouterr().err
    with listen(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")) as port:
        assert run(f"http://127.0.0.1:{port}") == 1
    assert "what listens there does not speak HTTP" in capsys.readouterr().err
    with listen(lambda connection: time.sleep(1)) as port:
        assert main([f"http://127.0.0.1:{port}", "--wait", "0", "--timeout", "0.2"]) == 1
    assert "no whole answer within 0.2 s" in capsys.readouterr().err
    with listen(lambda connection: None) as port:
        assert run(f"http://127.0.0.1:{port}") == 1
    assert "the connection was closed without a whole answer" in capsys.readouterr().err


@contextmanager
def listen(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A listener that is no service."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)
        ended = threading.Event()

        def accept() -> None:
            while not ended.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(1)
                    connection.recv(4096)
                    answer(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        ended.set()
        thread.join()


@pytest.mark.parametrize("endless", [True, False], ids=["endless", "trickling"])
def test_an_answer_that_does_not_end_is_given_up(endless, capsys):
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            for _ in range(200):
                connection.sendall(b"x" * (1_000_000 if endless else 1))
                time.sleep(0 if endless else 0.05)
        except OSError:
            pass

    with listen(drip) as port:
        started = time.monotonic()
        assert main([f"http://127.0.0.1:{port}", "--wait", "0", "--timeout", "0.5"]) == 1
        assert time.monotonic() - started < 3
    assert ("over 4,000,000 bytes" if endless else "no whole answer within 0.5 s") in capsys.readouterr().err


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that signed itself, and a server that shows it."""
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "cert.pem", folder / "key.pem"
    name = ["-subj", "/CN=sentigate", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *name]
    subprocess.run([*command, "-out", made, "-keyout", key], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return made, context


def test_a_certificate_must_be_trusted_and_made_for_the_host(certificate, key_file, capsys):
    made, context = certificate
    with serve(Server(key=KEY), tls=context) as server:
        url = f"https://127.0.0.1:{server.port}"
        assert run(url, "--key-file", key_file) == 1
        assert "the certificate is not trusted (self-signed certificate)" in capsys.readouterr().err
        assert run(url.replace("127.0.0.1", "localhost"), "--key-file", key_file, "--ca-file", made) == 1
        assert "Hostname mismatch" in capsys.readouterr().err
        assert server.seen == []
        assert run(url, "--key-file", key_file, "--ca-file", made) == 0


def test_https_to_a_plain_port_is_told(capsys):
    with serve(Server()) as server:
        assert run(server.url.replace("http:", "https:")) == 1
    assert "no TLS could be agreed on" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_proxy_of_the_environment_never_sees_what_goes_to_this_machine(host, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serve(Server()) as server:
        assert run(f"http://{host}:{server.port}") == 0


@pytest.mark.parametrize("host", ["10.0.0.7", "0.0.0.0", "127.0.0.1.example.org", "[fd00::2]", "localhost.example.org"])
def test_what_is_beside_this_machine_is_another_one(host, key_file, capsys, refuses):
    """As for every other command that presents a key."""
    assert run(f"http://{host}:3000", "--key-file", key_file) == 1
    assert f"the key would go to http://{host}:3000 in the clear" in capsys.readouterr().err
    with refuses(ServiceError):
        require_address(f"http://{host}:3000", "sg_any")


def test_a_key_goes_to_another_machine_in_the_clear_only_when_told(key_file, capsys):
    assert run("http://nobody.invalid", "--key-file", key_file) == 1
    assert "the key would go to http://nobody.invalid in the clear" in capsys.readouterr().err
    assert run("http://nobody.invalid", "--key-file", key_file, "--plain-http") == 1
    assert "the name of the host is not known" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "is not the address of a service"),
        ("127.0.0.1:3000", "is not the address of a service"),
        ("ftp://host", "is not the address of a service"),
        ("http://", "is not the address of a service"),
        ("http://host:99999", "is not the address of a service"),
        ("http://[::1", "is not the address of a service"),
        ("http://host/a path", "is not the address of a service"),
        ("http://host\r\nx: y", "is not the address of a service"),
        ("http://me:secret@host", "the address holds a password, a query or a fragment"),
        ("http://host/?key=secret", "the address holds a password, a query or a fragment"),
    ],
)
def test_an_address_that_is_none_is_told_without_its_password(url, sentence, capsys):
    assert run(url) == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert "secret" not in said


@pytest.mark.parametrize("content", ["", "ci predict 9f86d081884c7d65", "a\nb", "kürz-aber-lang-genug"])
def test_a_key_file_without_one_key_is_told_without_what_it_holds(content, tmp_path, capsys):
    file = tmp_path / "key"
    file.write_text(content)
    assert run("http://127.0.0.1:9", "--key-file", file) == 1
    said = capsys.readouterr().err
    assert "does not hold one key on one line" in said
    assert not content or content not in said


def test_bad_options_are_told(tmp_path, capsys):
    url = "http://127.0.0.1:9"
    assert run(url, "--key-file", tmp_path / "none") == 1
    assert run(url, "--digest", "sha256:0a1b") == 1
    assert run("https://127.0.0.1:9", "--ca-file", SCRIPT) == 1
    assert run("https://127.0.0.1:9", "--ca-file", tmp_path / "none") == 1
    assert run(url, "--ca-file", tmp_path / "none") == 1
    assert run(url, "--timeout", "0") == 1
    said = capsys.readouterr().err.splitlines()
    assert [line.partition("failed: ")[2][:30] for line in said] == [
        f"the key file {tmp_path}"[:30], "'sha256:0a1b' is not the diges", f"the CA file {SCRIPT}"[:30],
        f"the CA file {tmp_path}"[:30], "--ca-file is for https, and ht", "--timeout wants more than 0 se",
    ]  # fmt: skip


def test_it_runs_alone_on_an_old_python(tmp_path):
    """From another folder, without site-packages; the grammar is that of Python 3.9."""
    ast.parse(SCRIPT.read_text(), feature_version=(3, 9))
    command = [sys.executable, "-I", "-S", str(SCRIPT), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "--require-keys" in done.stdout


def test_the_make_verb_hands_its_variables_on(key_file):
    with serve(Server(key=KEY)) as server:
        variables = [f"URL={server.url}", f"KEY_FILE={key_file}", "VERSION=5", f"DIGEST={DIGEST}", "SMOKE=--wait 1"]
        command = ["make", "-s", "smoke", *variables]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "8 of 8 answers from 5-0a1b2c3d4e5f" in done.stdout
