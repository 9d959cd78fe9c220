"""A service that is told to opens what a trusted key signed, and nothing else, whichever way it comes."""

import threading
from dataclasses import replace
from functools import partial

import pytest

from sentiment.bundle.bundle import seal_bundle
from sentiment.bundle.trial import Patience
from sentiment.errors import BundleError, SignatureError
from sentiment.governance.signatures import make_signing_key
from sentiment.paths import locate_state
from service.models import trust
from service.models.desired_state import DesiredState
from service.models.shadow import open_shadow_model
from service.models.switch import ModelSwitch, SwitchError
from service.models.trust import choose_opener, choose_trial
from service.settings import ServiceSettings
from tests.conftest import let_pass, make_tiny_bundle


@pytest.fixture(autouse=True)
def state_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SENTIMENT_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def opener():
    return choose_opener(ServiceSettings(require_signature=True))


def test_a_signed_bundle_is_opened(opener, tiny_bundle):
    """What passed the gate answers."""
    assert opener(let_pass(tiny_bundle).folder).labels == tiny_bundle.card.labels


def test_without_the_setting_any_sound_bundle_is_opened(tiny_bundle):
    """A checkout opens what it is told to."""
    assert choose_opener(ServiceSettings())(tiny_bundle.folder).labels == tiny_bundle.card.labels


def damage(bundle, how, tmp_path):
    """Make files that never passed of what passed, as whoever may write to a registry can."""
    signature = bundle.folder / "signature.json"
    if how == "unsigned":
        signature.unlink()
    elif how == "other files, the same card":
        other = make_tiny_bundle(tmp_path / "other", slope=-3.0)
        (bundle.folder / "model.onnx").write_bytes(other.model.read_bytes())
    elif how == "other files":
        seal_bundle(bundle.folder, replace(bundle.card, uncertain_below=0.9))
    elif how == "other files, their digest in the signature":
        digest = seal_bundle(bundle.folder, replace(bundle.card, uncertain_below=0.9)).card.digest
        signature.write_text(signature.read_text().replace(bundle.card.digest, digest))


def pass_trial(folder, patience, *, copies):
    """Find every bundle sound, as far as it goes."""
    return "", ""


DAMAGES = ["unsigned", "other files, the same card", "other files", "other files, their digest in the signature"]


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("way", ["start", "reload", "canary", "shadow"])
def test_files_that_never_passed_are_opened_in_no_way(opener, tmp_path, how, way, refuses):
    """Start, reload, canary and shadow refuse them in a sentence, and what answered goes on."""
    good = let_pass(make_tiny_bundle(tmp_path / "good"))
    bad = let_pass(make_tiny_bundle(tmp_path / "bad", slope=0.2))
    damage(bad, how, tmp_path)
    if way == "shadow":
        with refuses(BundleError):
            open_shadow_model(str(bad.folder), tmp_path, opener)
        return
    if way == "start":
        with refuses(BundleError):
            ModelSwitch(tmp_path / "server", DesiredState("", str(bad.folder), "bad"), opener, pass_trial)
        return
    switch = ModelSwitch(tmp_path / "server", DesiredState("", str(good.folder), "good"), opener, pass_trial)
    switch.start()
    try:
        change = switch.reload if way == "reload" else partial(switch.start_canary, share=0.5, seconds=60.0)
        with refuses(SwitchError):
            change(lambda *_: (bad.folder, "bad"), given_up=threading.Event())
        assert (switch.current.version, switch.canary) == ("good", None)
    finally:
        switch.close()


def test_a_model_of_another_installation_is_refused(opener, tiny_bundle, refuses):
    """Its signature holds, and its key is not trusted here."""
    let_pass(tiny_bundle)
    for key in (locate_state().signing / "public").iterdir():
        key.unlink()
    make_signing_key(locate_state().signing)
    with refuses(SignatureError):
        opener(tiny_bundle.folder)


@pytest.mark.parametrize("how", DAMAGES)
def test_files_that_never_passed_are_not_even_tried(tiny_bundle, tmp_path, monkeypatch, how, refuses):
    """No process reads the graph of what nobody signed."""
    tried = []
    monkeypatch.setattr(trust, "try_bundle", lambda folder, *_, **__: tried.append(folder) or ("", ""))
    let_pass(tiny_bundle)
    try_it = choose_trial(ServiceSettings(require_signature=True))
    try_it(tiny_bundle.folder, Patience(0), copies=1)
    damage(tiny_bundle, how, tmp_path)

    with refuses(BundleError):
        try_it(tiny_bundle.folder, Patience(0), copies=1)
    assert tried == [tiny_bundle.folder]
