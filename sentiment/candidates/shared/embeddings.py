"""Sentence embeddings of a dataset, computed once per content and encoder, then read from disk."""

import logging
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from sentiment.atomic_files import write_atomically
from sentiment.bundle.onnx_session import Floats
from sentiment.candidates.shared.encoder import Encoder
from sentiment.candidates.shared.progress import Progress
from sentiment.data.text_normalization import digest_rows

TEXTS_PER_CHUNK = 512

logger = logging.getLogger(__name__)


def embed_texts(texts: Sequence[str], encoder: Encoder, precision: str, store: Path) -> Floats:
    """Return unit-length embeddings, texts x dimensions, by the exported encoder in `fp32` or `int8`."""
    file = _name_file(texts, encoder, precision, store)
    if file.is_file():
        return _read(file)
    graph = encoder.open_graph(precision)
    progress = Progress(logger, f"embedding texts in {precision}", len(texts))
    chunks = []
    for start in range(0, len(texts), TEXTS_PER_CHUNK):
        chunks.append(graph.run(texts[start : start + TEXTS_PER_CHUNK]).outputs)
        progress.reach(start + len(chunks[-1]))
    return _write(file, np.concatenate(chunks))


def embed_reference(texts: Sequence[str], encoder: Encoder, store: Path) -> Floats:
    """Return the embeddings that sentence-transformers computes with the original weights."""
    file = _name_file(texts, encoder, "reference", store)
    if file.is_file():
        return _read(file)
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(encoder.origin), device="cpu")
    model.max_seq_length = encoder.max_tokens
    return _write(
        file,
        np.asarray(model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False), dtype=np.float32),
    )


def _name_file(texts: Sequence[str], encoder: Encoder, kind: str, store: Path) -> Path:
    digest = digest_rows((text,) for text in texts)[:24]
    return store / f"{encoder.digest}-{kind}" / f"{digest}.npy"


def _read(file: Path) -> Floats:
    found: Floats = np.load(file)
    return found


def _write(file: Path, embeddings: Floats) -> Floats:
    file.parent.mkdir(parents=True, exist_ok=True)
    content = BytesIO()
    np.save(content, embeddings)
    write_atomically(file, content.getvalue())
    return embeddings
