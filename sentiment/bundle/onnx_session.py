"""Texts through an ONNX graph: tokens, calls of like length, rows back in the order they came."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as engine
from tokenizers import Encoding, Tokenizer

MAX_PADDED_SHARE = 0.25
# The package exports no base class of its errors, of which there is one per status code:
# https://github.com/microsoft/onnxruntime/blob/v1.31.1/onnxruntime/python/onnxruntime_pybind_exceptions.cc
GRAPH_ERRORS = tuple(kind for kind in vars(engine).values() if isinstance(kind, type) and issubclass(kind, Exception))

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class GraphOutput:
    """One row of `outputs` per text, float32; tokens that the graph read; whether the text was cut."""

    outputs: Floats
    tokens: tuple[int, ...]
    truncated: tuple[bool, ...]


class TextGraph:
    """An ONNX graph from `input_ids` and `attention_mask` to one row per text, with its tokenizer.

    `threads` calls run side by side, each on one engine thread; a call takes up to `texts_per_call` texts.
    """

    def __init__(self, model: Path, tokenizer: Path, *, max_tokens: int, texts_per_call: int, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._output = self._session.get_outputs()[0].name
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(max_tokens)
        self._tokenizer.no_padding()
        self._texts_per_call = texts_per_call
        self._threads = threads

    def run(self, texts: Sequence[str]) -> GraphOutput:
        """Return the graph's answer for each text, in order; raises ValueError when there is none."""
        if not texts:
            raise ValueError("no texts: wanted at least one.")
        encodings = self._encode(texts)
        lengths = [len(encoding.ids) for encoding in encodings]
        calls = plan_calls(lengths, self._texts_per_call)
        if self._threads > 1 and len(calls) > 1:
            with ThreadPoolExecutor(self._threads) as pool:
                answers = list(pool.map(lambda call: self._call([encodings[i] for i in call]), calls))
        else:
            answers = [self._call([encodings[i] for i in call]) for call in calls]
        outputs = np.empty((len(texts), answers[0].shape[1]), dtype=np.float32)
        for call, answer in zip(calls, answers, strict=True):
            outputs[call] = answer
        return GraphOutput(outputs, tuple(lengths), tuple(bool(encoding.overflowing) for encoding in encodings))

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids that the graph reads for each text."""
        return [encoding.ids for encoding in self._encode(texts)]

    def cut(self, text: str) -> str:
        """Return the part of the text that the graph reads: all of it, or its beginning."""
        encoding = self._tokenizer.encode(_replace_surrogates(text))
        return text[: max(end for _, end in encoding.offsets)] if encoding.overflowing else text

    def _encode(self, texts: Sequence[str]) -> list[Encoding]:
        return self._tokenizer.encode_batch_fast([_replace_surrogates(text) for text in texts])

    def _call(self, encodings: Sequence[Encoding]) -> Floats:
        width = max(len(encoding.ids) for encoding in encodings)
        ids = np.zeros((len(encodings), width), dtype=np.int64)
        mask = np.zeros((len(encodings), width), dtype=np.int64)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        (answer,) = self._session.run([self._output], {"input_ids": ids, "attention_mask": mask})
        return np.asarray(answer, dtype=np.float32)


def plan_calls(lengths: Sequence[int], texts_per_call: int) -> list[list[int]]:
    """Return the positions of the texts that share a call: not too many, and little padding.

    Padding costs more than calls do, so a call ends where it would pad its shortest text by over a quarter.
    """
    calls: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        room = calls and len(calls[-1]) < texts_per_call
        if room and lengths[position] >= (1 - MAX_PADDED_SHARE) * lengths[calls[-1][0]]:
            calls[-1].append(position)
        else:
            calls.append([position])
    return calls


def _replace_surrogates(text: str) -> str:
    """Return the text with a question mark for each half of a character, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode()
