"""Answers from a bundle, with numpy, onnxruntime and tokenizers alone: the one path that all scoring takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sentiment.bundle.bundle import Bundle, Card, open_bundle
from sentiment.bundle.onnx_session import Floats, TextGraph
from sentiment.errors import BundleError


@dataclass(frozen=True)
class Prediction:
    """The answer for one text; `scores` are calibrated probabilities that sum to 1.

    `uncertain` says that the confidence is under the threshold of the card.
    """

    label: str
    confidence: float
    scores: Mapping[str, float]
    uncertain: bool
    tokens: int
    truncated: bool


class Predictor:
    """Predicts from one bundle; safe to share between threads.

    Raises BundleError when the graph does not run or has other labels than the card.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        self.bundle = bundle
        try:
            self._graph = TextGraph(
                bundle.model,
                bundle.tokenizer,
                max_tokens=bundle.card.max_tokens,
                texts_per_call=bundle.card.texts_per_call,
                threads=threads,
            )
            width = self._graph.run(["warm"]).outputs.shape[1]
        except Exception as error:  # tokenizers raises no other class
            raise BundleError(
                f"the graph or the tokenizer in {bundle.folder} cannot be run ({type(error).__name__});"
                " train and export it again."
            ) from error
        if width != len(bundle.card.labels):
            raise BundleError(
                f"{bundle.folder} answers {width} probabilities for {len(bundle.card.labels)} labels;"
                " train and export it again."
            )

    @property
    def labels(self) -> tuple[str, ...]:
        return self.bundle.card.labels

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one prediction per text, in order; raises ValueError when there is none."""
        answer = self._graph.run(texts)
        return [
            _to_prediction(self.bundle.card, row, tokens, truncated)
            for row, tokens, truncated in zip(answer.outputs, answer.tokens, answer.truncated, strict=True)
        ]

    def predict_probabilities(self, texts: Sequence[str]) -> Floats:
        """Return the probabilities, texts x labels, float32, each row summing to 1."""
        return self._graph.run(texts).outputs

    def cut(self, text: str) -> str:
        """Return the part of the text that decides its answer: all of it, or its beginning where it is truncated."""
        return self._graph.cut(text)


def open_predictor(folder: Path, *, threads: int = 1) -> Predictor:
    """Return a predictor for the bundle in `folder`. Raises BundleError when the bundle is not sound."""
    return Predictor(open_bundle(folder), threads=threads)


def _to_prediction(card: Card, row: Floats, tokens: int, truncated: bool) -> Prediction:
    best = int(row.argmax())
    scores = {label: round(float(score), 6) for label, score in zip(card.labels, row, strict=True)}
    label = card.labels[best]
    return Prediction(label, scores[label], scores, bool(row[best] < card.uncertain_below), tokens, truncated)
