"""Signatures: what a trusted key signed of these very files holds, and nothing else does."""

import json
import shutil
from pathlib import Path

import pytest

from sentiment.errors import BundleError, ConfigError, SignatureError
from sentiment.governance.signatures import (
    PUBLIC_KEYS_VARIABLE,
    SIGNATURE_FILE,
    SIGNING_KEY_VARIABLE,
    load_public_keys,
    load_signing_key,
    make_signing_key,
    sign_decision,
    verify_signature,
    write_public_keys,
)

DIGEST = "d" * 64
DECIDED = {
    "digest": DIGEST,
    "verdict": "passed",
    "reason": "",
    "candidate": "svm",
    "holdout_digest": "h" * 64,
    "at": "2026-01-01T00:00:00Z",
}


@pytest.fixture
def signing(tmp_path: Path) -> Path:
    """A signing folder whose key is not made yet."""
    return tmp_path / "signing"


@pytest.fixture
def signed(tmp_path: Path, signing: Path) -> Path:
    """A folder with a signature in it."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    sign_decision(folder, DECIDED, load_signing_key(signing))
    return folder


def test_a_key_is_made_when_it_is_first_needed_and_kept_from_others(signing):
    """The private key is its owner's alone, and is the same the next time."""
    key = load_signing_key(signing)
    assert (signing.stat().st_mode & 0o777, (signing / "key.pem").stat().st_mode & 0o777) == (0o700, 0o600)
    assert load_signing_key(signing).id == key.id
    assert list(load_public_keys(signing)) == [key.id]


def test_what_was_signed_comes_back(signed, signing):
    """The statement says what was decided, when and by which key."""
    statement = verify_signature(signed, DIGEST, load_public_keys(signing)).statement
    assert (statement.digest, statement.verdict, statement.key) == (DIGEST, "passed", load_signing_key(signing).id)


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "forced"},
        {"verdict": "blocked"},
        {"reason": "because"},
        {"digest": "e" * 64},
        {"key": "0" * 16},
        {"more": "x"},
    ],
)
def test_an_altered_statement_is_told(signed, signing, change, refuses):
    """Whatever of it is another is no statement of this key."""
    file = signed / SIGNATURE_FILE
    found = json.loads(file.read_text())
    file.write_text(json.dumps(found | {"statement": found["statement"] | change}))
    with refuses(SignatureError):
        verify_signature(signed, DIGEST, load_public_keys(signing))


@pytest.mark.parametrize(
    "content", ["{", "[]", "null", '{"statement": {}}', '{"statement": 3, "signature": "x"}', "\0"]
)
def test_what_is_no_signature_is_told(signed, signing, content, refuses):
    """Neither a stack trace nor a yes."""
    (signed / SIGNATURE_FILE).write_text(content)
    with refuses(SignatureError):
        verify_signature(signed, DIGEST, load_public_keys(signing))


@pytest.mark.parametrize("signature", ["", "x", "Aa==", "\u00e9"])
def test_a_signature_that_is_none_is_told(signed, signing, signature, refuses):
    """Neither is what cannot be one."""
    file = signed / SIGNATURE_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | {"signature": signature}))
    with refuses(SignatureError):
        verify_signature(signed, DIGEST, load_public_keys(signing))


def test_files_without_a_signature_or_with_that_of_others_are_told(signed, signing, tmp_path, refuses):
    """The signature of one model says nothing of another; a SignatureError is a BundleError."""
    with refuses(BundleError):
        verify_signature(tmp_path, DIGEST, load_public_keys(signing))
    with refuses(SignatureError):
        verify_signature(signed, "e" * 64, load_public_keys(signing))


def test_another_installation_is_not_trusted(signed, tmp_path, refuses):
    """A signature by a key that is not among the trusted ones is none."""
    load_signing_key(tmp_path / "other")
    with refuses(SignatureError):
        verify_signature(signed, DIGEST, load_public_keys(tmp_path / "other"))
    with refuses(SignatureError):
        verify_signature(signed, DIGEST, {})


def test_a_new_key_leaves_what_the_old_one_signed(signed, signing, refuses):
    """After a rotation both are trusted; without the old public key its signatures are gone."""
    old = load_signing_key(signing).id
    new = make_signing_key(signing).id
    assert load_signing_key(signing).id == new != old
    assert verify_signature(signed, DIGEST, load_public_keys(signing)).statement.key == old
    (signing / "public" / f"{old}.pem").unlink()
    with refuses(SignatureError):
        verify_signature(signed, DIGEST, load_public_keys(signing))


def test_keys_come_from_variables(signed, signing, tmp_path, monkeypatch):
    """A runner has its keys from its environment: the private one as PEM, the public ones as PEM or a folder."""
    trusted = load_public_keys(signing)
    monkeypatch.setenv(SIGNING_KEY_VARIABLE, (signing / "key.pem").read_text())
    assert load_signing_key(tmp_path / "none").id in trusted
    assert set(load_public_keys(tmp_path / "none")) == set(trusted)
    monkeypatch.delenv(SIGNING_KEY_VARIABLE)
    for value in (str(signing / "public"), next((signing / "public").glob("*.pem")).read_text() * 2):
        monkeypatch.setenv(PUBLIC_KEYS_VARIABLE, value)
        assert set(load_public_keys()) == set(trusted)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        (SIGNING_KEY_VARIABLE, "x"),
        (PUBLIC_KEYS_VARIABLE, "/nowhere"),
        (PUBLIC_KEYS_VARIABLE, "-----BEGIN PUBLIC KEY-----\nx"),
    ],
)
def test_a_variable_that_holds_no_key_is_told(variable, value, monkeypatch, refuses):
    """A setting that is there and holds no key ends what needs it."""
    monkeypatch.setenv(variable, value)
    with refuses(ConfigError):
        load_public_keys()


def test_a_bento_gets_the_trusted_keys_alone(signing, tmp_path, monkeypatch):
    """What lay among them before is no key of ours."""
    key = load_signing_key(signing)
    carried = shutil.copytree(signing / "public", tmp_path / "carried")
    (carried / "another.pem").write_text("x")
    monkeypatch.setenv(PUBLIC_KEYS_VARIABLE, str(signing / "public"))
    write_public_keys(carried)
    assert [path.name for path in carried.iterdir()] == [f"{key.id}.pem"]
