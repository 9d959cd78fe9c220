import importlib.util
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import onnx
import pytest
from bentoml.exceptions import NotFound
from onnx import TensorProto, helper, numpy_helper

import service.models.fetch.files
import service.models.sources
from sentiment.bundle.bundle import MODEL_FILE, WEIGHTS_FILE, Bundle, copy_bundle, open_bundle, seal_bundle
from sentiment.bundle.trial import Patience
from sentiment.bundle.verify import open_sound_model
from sentiment.errors import BundleError, ConfigError
from sentiment.governance.signatures import load_signing_key, sign_decision
from sentiment.production_pointer import ProductionPointer
from service.api.schemas import ReloadRequest
from service.models.fetch.files import fetch_files, read_local, read_remote
from service.models.fetch.sources import Sources, parse_location, read_sources
from service.models.sources import fetch_bundle, find_admitted_tag, find_model_tag, find_version_tag
from tests.conftest import enter_decision, make_card, make_tiny_bundle
from tests.support.hostile import make_huge_bundle

NAMED = "sentiment:named"
POINTED = "sentiment:pointed"
BUILT = "sentiment:built"
SECONDS = 20.0
FILES = ["card.json", "model.onnx", "tokenizer.json"]
UNFETCHED = (
    "card.json cannot be fetched from the URI ({}); wanted a folder that this service reaches with card.json,"
    " model.onnx, tokenizer.json in it."
)
UNCOPIED = (
    "'{}' is not a model bundle that can be read: {}: No such file or directory; wanted card.json, model.onnx,"
    " tokenizer.json."
)


@pytest.fixture(autouse=True)
def state_folder(tmp_path, monkeypatch) -> Path:
    """A state folder with nothing in production."""
    monkeypatch.delenv("SENTIMENT_MODEL_TAG", raising=False)
    monkeypatch.setenv("SENTIMENT_STATE_DIR", str(tmp_path))
    return tmp_path


class Stored:
    """A model of BentoML's store."""

    def __init__(self, tag: str, path: Path | None) -> None:
        self.tag = tag
        self.path = str(path or f"/store/{tag.replace(':', '/')}")


class Store:
    """Stands for BentoML's store: has the models that were put into it."""

    def __init__(self) -> None:
        self._models: list[Stored] = []

    def put(self, *tags: str, path: Path | None = None) -> None:
        self._models += [Stored(tag, path) for tag in tags]

    def get(self, tag: str) -> Stored:
        for model in self._models:
            if model.tag == tag:
                return model
        raise NotFound(f"no model {tag}")

    def list(self, name: str) -> list[Stored]:
        return [model for model in self._models if model.tag.split(":")[0] == name]


@pytest.fixture
def store(monkeypatch) -> Store:
    """A store with nothing in it."""
    made = Store()
    monkeypatch.setattr(service.models.sources.bentoml, "models", made)
    return made


class Failing(BaseHTTPRequestHandler):
    """A server that is out of order."""

    def do_GET(self) -> None:
        self.send_error(500)

    def do_HEAD(self) -> None:
        self.send_error(500)

    def log_message(self, *words: object) -> None:
        """Say nothing."""


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that says nothing."""

    folder = ""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments, directory=self.folder)

    def log_message(self, *words: object) -> None:
        """Say nothing."""


class Endless(BaseHTTPRequestHandler):
    """A server that names no size and does not stop."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        with suppress(OSError):
            while True:
                self.wfile.write(b" " * 65_536)

    def log_message(self, *words: object) -> None:
        """Say nothing."""


def serve(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def endless_server() -> Iterator[str]:
    """A web server whose files have no size and no end."""
    yield from serve(Endless)


class Dripping(Endless):
    """A server that sends a byte now and then."""

    def do_GET(self) -> None:
        self.do_HEAD()
        with suppress(OSError):
            for _ in range(100):
                self.wfile.write(b" ")
                time.sleep(0.1)


@pytest.fixture
def dripping_server() -> Iterator[str]:
    """A web server that takes very long."""
    yield from serve(Dripping)


@pytest.fixture
def failing_server() -> Iterator[str]:
    """A web server that is out of order."""
    yield from serve(Failing)


@pytest.fixture
def web(tiny_bundle) -> Iterator[str]:
    """A web server that has a bundle."""
    yield from serve(type("Bundled", (Quiet,), {"folder": str(tiny_bundle.folder)}))


def fetch(wanted: ReloadRequest, folder: Path, sources: str = "/") -> tuple[Path, str]:
    """Return what is fetched where models may come from these sources and, so that a test can, the web server."""
    named = f"{sources},{wanted.uri}" if (wanted.uri or "").startswith(("http:", "hf:")) else sources
    return fetch_bundle(wanted, folder, Patience(time.monotonic() + SECONDS), read_sources(named))


def refuse(folder: Path, /, **wanted: str) -> str:
    """Return why a model cannot be fetched."""
    with pytest.raises(BundleError) as refused:
        fetch(ReloadRequest(**wanted), folder)
    return str(refused.value)


def refuse_fetch(uri: str, folder: Path) -> str:
    """Return why a URI cannot be fetched in this process."""
    with pytest.raises(BundleError) as refused:
        fetch_files(read_remote(parse_location(uri)), folder)
    return str(refused.value)


def name_wanted(folder: Path) -> ReloadRequest:
    return ReloadRequest(folder=str(folder))


def name_source(kind: str, folder: Path) -> dict[str, str]:
    return {kind: str(folder) if kind == "folder" else folder.as_uri()}


def make_odd_bundle(folder: Path, example: Bundle, *nodes: onnx.NodeProto) -> Bundle:
    """Seal a bundle with a graph of these nodes, from `ids` (float32) to `probabilities`."""
    folder.mkdir()
    copy_bundle(example, folder)
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["n", "t"]) for n in ("input_ids", "attention_mask")]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3])]
    cast = helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT)
    constants = [
        numpy_helper.from_array(np.array([-1, 3], dtype=np.int64), "shape"),
        numpy_helper.from_array(np.full((1, 3), np.nan, dtype=np.float32), "nothing"),
        numpy_helper.from_array(np.array([1], dtype=np.int64), "axis"),
    ]
    model = helper.make_model(
        helper.make_graph([cast, *nodes], "odd", inputs, outputs, constants),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 9
    onnx.save(model, folder / MODEL_FILE)
    return seal_bundle(folder, make_card())


def put_in_production(folder: Path, tag: str) -> None:
    ProductionPointer(tag, tag.replace("sentiment:", "sentigate:"), "7dfa").write(folder / "production.json")


def find_built_tag(folder: Path) -> str:
    """What the module answers from where BentoML puts it: in `src`, beside the description of the Bento."""
    module = folder / "src" / "service" / "models" / "sources.py"
    module.parent.mkdir(parents=True)
    shutil.copy(service.models.sources.__file__, module)
    (folder / "bento.yaml").write_text(f"services:\n- name: sentigate\n  models:\n  - tag: {BUILT}\n", encoding="utf-8")
    spec = importlib.util.spec_from_file_location("built_model", module)
    built = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(built)
    return built.find_model_tag()


def test_a_checkout_serves_what_is_in_production(state_folder):
    """The pointer in the state folder names the model."""
    put_in_production(state_folder, POINTED)

    assert find_model_tag() == POINTED


def test_the_pointer_is_read_anew_every_time(state_folder):
    """A service that starts after a promotion serves the promoted model."""
    put_in_production(state_folder, "sentiment:before")
    find_model_tag()
    put_in_production(state_folder, POINTED)

    assert find_model_tag() == POINTED


def test_the_variable_goes_before_the_pointer(state_folder, monkeypatch):
    """`SENTIMENT_MODEL_TAG` chooses a model whatever is in production."""
    put_in_production(state_folder, POINTED)
    monkeypatch.setenv("SENTIMENT_MODEL_TAG", NAMED)

    assert find_model_tag() == NAMED


def test_the_variable_needs_nothing_in_production(monkeypatch):
    """A model can be named where none was promoted."""
    monkeypatch.setenv("SENTIMENT_MODEL_TAG", NAMED)

    assert find_model_tag() == NAMED


def test_an_empty_variable_names_no_model(state_folder, monkeypatch):
    """A variable that is set to nothing counts as not set."""
    put_in_production(state_folder, POINTED)
    monkeypatch.setenv("SENTIMENT_MODEL_TAG", "")

    assert find_model_tag() == POINTED


def test_a_built_bento_serves_the_model_it_was_built_with(state_folder, tmp_path):
    """A Bento answers from its own model, whatever is in production where it runs."""
    put_in_production(state_folder, POINTED)

    assert find_built_tag(tmp_path / "bento") == BUILT


def test_the_variable_goes_before_the_model_of_a_bento(tmp_path, monkeypatch):
    """`SENTIMENT_MODEL_TAG` chooses another model for a built Bento."""
    monkeypatch.setenv("SENTIMENT_MODEL_TAG", NAMED)

    assert find_built_tag(tmp_path / "bento") == NAMED


@pytest.mark.parametrize("name", ["", "missing"], ids=["empty state folder", "no state folder"])
def test_nothing_in_production_is_said_in_a_sentence(name, tmp_path, monkeypatch, refuses):
    """Who serves before training reads what to do."""
    monkeypatch.setenv("SENTIMENT_STATE_DIR", str(tmp_path / name))

    with refuses(ConfigError):
        find_model_tag()


@pytest.fixture
def promoted(store, state_folder, tiny_bundle) -> Bundle:
    """A bundle in the store that passed the gate, and that the pointer names."""
    put_in_production(state_folder, "sentiment:3-7dfa")
    store.put("sentiment:3-7dfa", path=tiny_bundle.folder)
    enter_decision(tiny_bundle.card.digest)
    return tiny_bundle


def test_what_is_in_production_is_fetched(promoted, tmp_path):
    """A reload that names nothing, or production, serves what the pointer names, from the store."""
    folder = tmp_path / "r-1"
    fetched = {fetch(wanted, folder) for wanted in (ReloadRequest(), ReloadRequest(alias="production"))}

    assert (fetched, folder.exists()) == ({(promoted.folder, "3-7dfa")}, False)
    assert find_admitted_tag() == "sentiment:3-7dfa"


def test_files_that_never_passed_are_not_served_as_production(promoted, tmp_path, refuses):
    """Other files in the store under the tag of what passed are told, at the start and by a reload."""
    seal_bundle(promoted.folder, replace(promoted.card, uncertain_below=0.9))

    assert "never passed the gate, by the ledger of this installation" in refuse(tmp_path / "r-1")
    with refuses(ConfigError):
        find_admitted_tag()


def test_a_forged_ledger_admits_nothing(promoted, state_folder, tmp_path):
    """A line that the key of the installation did not sign is no decision."""
    evil = seal_bundle(promoted.folder, replace(promoted.card, uncertain_below=0.9))
    ledger = state_folder / "ledger.jsonl"
    ledger.write_text(ledger.read_text().replace(promoted.card.digest, evil.card.digest, 1))

    assert "ledger.jsonl line 1 was altered: its signature does not hold" in refuse(tmp_path / "r-1")


def test_a_model_that_is_named_is_the_operators_choice(store, monkeypatch):
    """`SENTIMENT_MODEL_TAG` is set on this machine, by whoever may run anything there."""
    monkeypatch.setenv("SENTIMENT_MODEL_TAG", NAMED)

    assert find_admitted_tag() == NAMED


@pytest.mark.parametrize("is_signed", [True, False])
def test_the_signature_comes_along_where_there_is_one(tiny_bundle, tmp_path, is_signed):
    """A bundle is fetched with what says that it passed."""
    if is_signed:
        (tiny_bundle.folder / "signature.json").write_text("{}")
    folder, _ = fetch(name_wanted(tiny_bundle.folder), tmp_path / "r-1")

    assert (folder / "signature.json").exists() == is_signed


def test_production_is_that_of_the_checkout_whatever_was_served_first(promoted, tmp_path, monkeypatch):
    """A service that was started with another model serves by a reload what is in production by now."""
    monkeypatch.setenv("SENTIMENT_MODEL_TAG", NAMED)

    assert fetch(ReloadRequest(), tmp_path / "r-1")[1] == "3-7dfa"


def test_nothing_in_production_cannot_be_fetched(store, tmp_path, sentence):
    """A reload before the first training is refused in a sentence."""
    assert refuse(tmp_path / "r-1") == sentence


def test_a_model_in_production_that_is_not_in_the_store_cannot_be_fetched(store, state_folder, tmp_path, sentence):
    """A pointer to a model that was removed is refused."""
    put_in_production(state_folder, "sentiment:3-7dfa")

    assert refuse(tmp_path / "r-1") == sentence


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": "3"}', '{"tag": "sentiment"}'], ids=repr)
def test_a_damaged_pointer_cannot_be_fetched(store, state_folder, tmp_path, content):
    """A pointer that names no model is refused, whatever is wrong with it."""
    (state_folder / "production.json").write_text(content)
    store.put("sentiment")

    assert refuse(tmp_path / "r-1")


@pytest.mark.parametrize(
    ("version", "tag"),
    [("3", "sentiment:3-7dfa"), ("3-7dfa", "sentiment:3-7dfa"), ("13", "sentiment:13-1111"), ("12", "sentiment:12")],
)
def test_a_version_is_found(store, tmp_path, version, tag):
    """A version is named by its number, or by the whole of its name."""
    store.put("sentiment:3-7dfa", "sentiment:13-1111", "sentiment:12", "sentiment:33-7dfa", "other:3")

    assert find_version_tag(version) == tag
    assert fetch(ReloadRequest(version=version), tmp_path / "r-1")[1] == tag.split(":")[1]


@pytest.mark.parametrize("version", ["4", "3", "3-", "3-7", "*", "latest", " 3-7dfa"])
def test_a_version_that_is_not_one_is_refused(store, tmp_path, version, sentence):
    """Which of several models is meant is not guessed at, and neither is one that is not there."""
    store.put("sentiment:3-7dfa", "sentiment:3-8eeb")

    assert refuse(tmp_path / "r-1", version=version) == sentence


def test_an_empty_version_is_not_production(store, state_folder, tmp_path):
    """A script whose variable is empty does not change the model to another than it meant."""
    put_in_production(state_folder, "sentiment:3-7dfa")
    store.put("sentiment:3-7dfa")

    assert refuse(tmp_path / "r-1", version="")


def test_a_refused_version_is_repeated_in_part(store, tmp_path):
    """An answer does not grow with what was sent."""
    assert len(refuse(tmp_path / "r-1", version="9" * 10_000)) < 200


@pytest.mark.parametrize("kind", ["folder", "uri"])
def test_a_bundle_elsewhere_is_copied(tiny_bundle, tmp_path, kind):
    """What is served is a copy: the folder it came from may change or go. Its version is the start of its digest."""
    folder, version = fetch(ReloadRequest(**name_source(kind, tiny_bundle.folder)), tmp_path / "deep" / "r-1")
    shutil.rmtree(tiny_bundle.folder)

    assert (folder, version) == (tmp_path / "deep" / "r-1", tiny_bundle.card.digest[:12])
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert open_sound_model(folder).bundle.card == tiny_bundle.card


@pytest.mark.parametrize("kind", ["folder", "uri"])
def test_weights_beside_the_graph_are_fetched_too(tiny_bundle, tmp_path, kind):
    """The card names them."""
    (tiny_bundle.folder / WEIGHTS_FILE).write_bytes(b"weights")
    sealed = seal_bundle(tiny_bundle.folder, tiny_bundle.card)

    folder, _ = fetch(ReloadRequest(**name_source(kind, sealed.folder)), tmp_path / "r-1")

    assert (folder / WEIGHTS_FILE).read_bytes() == b"weights"


@pytest.mark.parametrize("end", ["/", "//"])
def test_a_uri_may_end_in_a_slash(tiny_bundle, tmp_path, end):
    """A folder is a folder with or without the slash."""
    assert fetch(ReloadRequest(uri=tiny_bundle.folder.as_uri() + end), tmp_path / "r-1")


def test_a_bundle_is_fetched_over_the_web(web, tiny_bundle, tmp_path):
    """A bundle may lie on a web server."""
    assert fetch(ReloadRequest(uri=web), tmp_path / "r-1")[1] == tiny_bundle.card.digest[:12]


@pytest.mark.parametrize("missing", FILES)
def test_a_folder_without_a_file_is_refused(tiny_bundle, tmp_path, missing):
    """The file that is missing is named."""
    (tiny_bundle.folder / missing).unlink()

    assert refuse(tmp_path / "r-1", folder=str(tiny_bundle.folder)) == UNCOPIED.format(tiny_bundle.folder, missing)


@pytest.mark.parametrize("missing", FILES)
def test_a_uri_without_a_file_is_refused(tiny_bundle, web, tmp_path, missing):
    """The file that cannot be fetched is named."""
    (tiny_bundle.folder / missing).unlink()

    assert refuse(tmp_path / "r-1", uri=tiny_bundle.folder.as_uri()) == UNCOPIED.format(tiny_bundle.folder, missing)
    assert refuse(tmp_path / "r-1", uri=web) == UNFETCHED.format("HTTPStatusError").replace(
        "card.json cannot", f"{missing} cannot"
    )


@pytest.mark.parametrize("kind", ["folder", "uri"])
def test_a_folder_that_is_not_there_is_refused(tmp_path, kind):
    """A mistake in the path is a sentence."""
    said = refuse(tmp_path / "r-1", **name_source(kind, tmp_path / "no"))

    assert said == UNCOPIED.format(tmp_path / "no", "card.json")


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("", "the folder '' cannot be used: it is not absolute; wanted an absolute folder, or "),
        ("bundles/a", "the folder 'bundles/a' cannot be used: it is not absolute; wanted an absolute folder, or "),
        ("https://host/a", "the folder 'https://host/a' cannot be used: it is not absolute; wanted an absolute folder"),
        ("/a\x00b", "the folder '/a\\x00b' cannot be used: it has a NUL in it; wanted an absolute folder, or "),
        ("/" + "x" * 5000, f"'/{'x' * 198} is not a model bundle that can be read: card.json: File name too long; "),
    ],
    ids=["empty", "relative", "URI", "NUL", "long"],
)
def test_a_folder_that_cannot_be_is_refused(tmp_path, folder, said):
    """Whatever stands for a folder, what is wrong with it is the answer and no failure of the service."""
    assert refuse(tmp_path / "r-1", folder=folder).startswith(said)


def test_a_uri_that_nobody_answers_is_refused(tmp_path):
    """What is wrong with a URI is the answer and no failure of the service."""
    assert refuse(tmp_path / "r-1", uri="http://127.0.0.1:1/a") == UNFETCHED.format("ConnectError")


def test_a_hub_that_cannot_be_reached_is_refused(tmp_path, monkeypatch):
    """The errors of huggingface_hub when it gets no connection are none of the operating system's."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)

    assert refuse_fetch("hf://ada/sentiment@1", tmp_path) == UNFETCHED.format("ConnectError")


def test_a_server_that_is_out_of_order_is_refused(failing_server, tmp_path):
    """An error of the server that has the bundle is the answer and no failure of the service."""
    assert refuse(tmp_path / "r-1", uri=f"{failing_server}/bundle").startswith("card.json cannot be fetched from the")


def test_a_refused_uri_is_not_repeated(tmp_path):
    """A URI may hold a password."""
    with pytest.raises(BundleError) as refused:
        fetch_bundle(ReloadRequest(uri="https://ann:marmalade@host/a"), tmp_path, Patience(0), Sources())
    assert "marmalade" not in str(refused.value)


@pytest.mark.parametrize("kind", ["folder", "uri"])
@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_bundle_that_was_altered_is_refused(tiny_bundle, tmp_path, kind, name):
    """A bundle is checked against its digests before any worker sees it."""
    with (tiny_bundle.folder / name).open("ab") as file:
        file.write(b" ")

    assert refuse(tmp_path / "r-1", **name_source(kind, tiny_bundle.folder)).startswith(
        f"{name} in {tmp_path}/r-1 was altered: its digest is "
    )


def test_a_card_that_is_none_is_refused(tiny_bundle, tmp_path, sentence):
    """A folder with another file of that name is no bundle."""
    (tiny_bundle.folder / "card.json").write_text("[]")

    assert refuse(tmp_path / "r-1", folder=str(tiny_bundle.folder)) == sentence


@pytest.mark.parametrize("margin", [-1, 0])
def test_the_files_are_bounded_together(tiny_bundle, tmp_path, margin, refuses):
    """A bundle does not fill the disk, however many files it has."""
    size = tiny_bundle.tokenizer.stat().st_size
    others = (tiny_bundle.folder / "card.json").stat().st_size + tiny_bundle.model.stat().st_size
    read = read_local(tiny_bundle.folder, tiny_bundle.folder, lambda: True)
    if margin == 0:
        fetch_files(read, tmp_path, max_bytes=size + others)
        assert open_bundle(tmp_path).card == tiny_bundle.card
        return

    with refuses(BundleError):
        fetch_files(read, tmp_path, max_bytes=size + others + margin)


def test_a_file_of_unknown_size_is_fetched_up_to_the_limit(endless_server, tmp_path, monkeypatch, sentence):
    """A server that names no size does not fill the disk either."""
    assert refuse(tmp_path / "r-1", uri=endless_server) == sentence
    assert not (tmp_path / "r-1").exists()


def test_a_bundle_leaves_room_on_the_disk(tiny_bundle, tmp_path, refuses):
    """The log of predictions does not lose its disk to a bundle."""
    read = read_local(tiny_bundle.folder, tiny_bundle.folder, lambda: True)
    with refuses(BundleError):
        fetch_files(read, tmp_path, free_bytes=10**15)


@pytest.mark.parametrize("kind", ["folder", "uri"])
def test_a_fetch_ends_when_its_time_is_over(tmp_path, dripping_server, kind):
    """One deadline holds for the card and for all files, whether a byte comes now and then or none."""
    started = time.monotonic()
    if kind == "uri":
        sources, wanted = read_sources(dripping_server), ReloadRequest(uri=dripping_server)
        said = "fetching the bundle was not done after 2 s; name a smaller or nearer bundle."
    else:
        sources, wanted = read_sources("/"), ReloadRequest(folder=str(make_huge_bundle(tmp_path / "huge")))
        said = "model.onnx has over 2,000,000,000 bytes, the limit; name another bundle."
    with pytest.raises(BundleError) as refused:
        fetch_bundle(wanted, tmp_path / "r-1", Patience(started + 2), sources)

    assert str(refused.value) == said
    assert time.monotonic() - started < SECONDS / 2
    assert not (tmp_path / "r-1").exists()


def test_reading_a_folder_ends_when_its_time_is_over(tiny_bundle, tmp_path, refuses):
    """A disk that is slow holds up no reload for ever."""
    with refuses(BundleError):
        fetch_bundle(name_wanted(tiny_bundle.folder), tmp_path / "r-1", Patience(0), read_sources("/"))


def test_a_folder_elsewhere_wants_a_signature(tiny_bundle, tmp_path, refuses):
    """Without sources a bundle of this machine is loaded where a trusted key signed these files, and not else."""
    patience = Patience(time.monotonic() + SECONDS)
    wanted = name_wanted(tiny_bundle.folder)
    with refuses(BundleError):
        fetch_bundle(wanted, tmp_path / "r-1", patience, Sources())
    decided = {"verdict": "passed", "reason": "", "candidate": "svm", "holdout_digest": "h", "at": "2026"}
    sign_decision(tiny_bundle.folder, {**decided, "digest": tiny_bundle.card.digest}, load_signing_key())
    folder, version = fetch_bundle(wanted, tmp_path / "r-2", patience, Sources())
    copy_bundle(make_tiny_bundle(tmp_path / "other", slope=0.2), tiny_bundle.folder)
    with refuses(BundleError):
        fetch_bundle(wanted, tmp_path / "r-3", patience, Sources())

    assert (version, (folder / "signature.json").is_file()) == (tiny_bundle.card.digest[:12], True)
    assert not (tmp_path / "r-1").exists()
    assert not (tmp_path / "r-3").exists()


def test_a_uri_is_not_even_fetched_without_a_source(web, endless_server, tmp_path, refuses):
    """Nothing goes out for an address that no operator named, be it to look for a signature."""
    for sources in ("", "/", f"{web}/deeper", endless_server):
        with refuses(BundleError):
            fetch_bundle(ReloadRequest(uri=web), tmp_path / "r-1", Patience(0), read_sources(sources))


@pytest.mark.parametrize("name", FILES)
def test_a_link_that_leads_out_is_not_followed(tiny_bundle, tmp_path, name, refuses):
    """Neither out of a place that was named, nor out of a folder that is signed; within the place it may lead."""
    secret = tmp_path / "secret"
    (tiny_bundle.folder / name).rename(secret)
    (tiny_bundle.folder / name).symlink_to(secret)

    with refuses(BundleError):
        fetch(name_wanted(tiny_bundle.folder), tmp_path / "r-1", str(tiny_bundle.folder))
    assert fetch(name_wanted(tiny_bundle.folder), tmp_path / "r-2", str(tmp_path))


def test_a_redirect_is_not_followed(web, tmp_path, sentence):
    """A server that is trusted does not lead to one that is not."""

    class Elsewhere(Quiet):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("location", f"{web}{self.path}")
            self.end_headers()

    with contextmanager(serve)(Elsewhere) as address:
        said = refuse(tmp_path / "r-1", uri=address)

    assert said == sentence


def test_a_sound_model_has_answered(tiny_bundle):
    """A model that is handed out is warm."""
    predictor = open_sound_model(tiny_bundle.folder)

    assert [prediction.label for prediction in predictor.predict(["good"])] == ["positive"]


def test_a_model_that_answers_short_texts_alone_is_not_sound(tiny_bundle, tmp_path):
    """A model that fails over a longer text is refused in a sentence before it is served."""
    nodes = [helper.make_node("Reshape", ["ids", "shape"], ["probabilities"])]
    bundle = make_odd_bundle(tmp_path / "odd", tiny_bundle, *nodes)

    with pytest.raises(BundleError):
        open_sound_model(bundle.folder)


def test_a_model_that_answers_no_numbers_is_not_sound(tiny_bundle, tmp_path):
    """A model whose probabilities are none is refused before it is served: no answer could be made of it."""
    nodes = [
        helper.make_node("ReduceSum", ["ids", "axis"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "nothing"], ["probabilities"]),
    ]
    bundle = make_odd_bundle(tmp_path / "odd", tiny_bundle, *nodes)

    with pytest.raises(BundleError):
        open_sound_model(bundle.folder)
