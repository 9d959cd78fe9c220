"""A setting that cannot be used is one sentence, before any worker starts."""

import os
import subprocess
import sys

import pytest

from sentiment.errors import ConfigError
from sentiment.governance.signatures import make_signing_key
from sentiment.paths import CHECKOUT
from service.startup import check_settings
from tests.support.serving import TAG, make_store


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for variable in ("DATABASE_URL", "DATABASE_URL_FILE", "SENTIMENT_API_KEY_FILE", "SENTIMENT_API_KEYS"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SENTIMENT_WORKERS", "-1"),
        ("SENTIMENT_API_KEY_FILE", "/nowhere/keys"),
        ("DATABASE_URL_FILE", "/nowhere/url"),
    ],
)
def test_what_cannot_be_used_is_named(monkeypatch, variable, value, refuses):
    """The sentence names the setting or the file that is wrong."""
    monkeypatch.setenv(variable, value)
    with refuses(ConfigError):
        check_settings()


def test_signatures_want_a_key_to_trust(monkeypatch, tmp_path, refuses):
    """A service that would refuse every model does not start; with a key it does, and with a bad one it does not."""
    monkeypatch.setenv("SENTIMENT_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("SENTIMENT_REQUIRE_SIGNATURE", "true")
    with refuses(ConfigError):
        check_settings()
    make_signing_key(tmp_path / "signing")
    assert check_settings().require_signature
    monkeypatch.setenv("SENTIMENT_PUBLIC_KEYS", str(tmp_path / "nowhere"))
    with refuses(ConfigError):
        check_settings()


def test_what_can_be_used_is_returned(monkeypatch):
    """Sound settings pass."""
    monkeypatch.setenv("SENTIMENT_WORKERS", "3")
    assert check_settings().workers == 3


@pytest.mark.slow
def test_a_server_whose_model_nobody_signed_ends_with_a_sentence(tmp_path, monkeypatch):
    """In a process of its own, as a container starts it: no worker opens the model, again and again."""
    make_signing_key(tmp_path / "state" / "signing")
    environment = {
        **os.environ,
        "BENTOML_HOME": str(make_store(tmp_path)),
        "SENTIMENT_MODEL_TAG": TAG,
        "SENTIMENT_STATE_DIR": str(tmp_path / "state"),
        "SENTIMENT_REQUIRE_SIGNATURE": "true",
    }
    done = serve(environment)
    assert done.returncode == 1
    assert f"{TAG} is not served: the model " in done.stderr
    assert "has no signature.json, so that nobody said that it passed the gate" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def serve(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "bentoml", "serve", str(CHECKOUT), "--host", "127.0.0.1"],
        env=environment,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
def test_a_server_that_cannot_work_ends_with_a_sentence():
    """It does not start workers that fail again and again."""
    environment = {**os.environ, "SENTIMENT_MODEL_TAG": "sentiment:none", "DATABASE_URL_FILE": "/nowhere/url"}
    done = serve(environment)
    assert done.returncode == 1
    assert "DATABASE_URL_FILE names '/nowhere/url', which cannot be read" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
