"""An encoder with a classification head, as transformers loads it, and its tokenizer with the clean-up it wants."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors import SafetensorError
from tokenizers import Regex
from tokenizers.normalizers import Normalizer, Replace
from tokenizers.normalizers import Sequence as NormalizerSequence
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from sentiment.errors import EncoderError

# What cardiffnlp's Twitter models saw in training (their model cards): handles and links without their names.
TWITTER_CLEAN_UP = ((r"(?<!\S)@\w\S*", "@user"), (r"(?<!\S)https?\S*", "http"))
LOADING_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    TypeError,
    KeyError,
    AttributeError,
    EOFError,
    UnpicklingError,
    SafetensorError,
)
TWITTER_MODELS = "cardiffnlp/twitter-"


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters in every linear layer (Hu et al. 2021), with a learning rate of their own."""

    rank: int
    alpha: int
    dropout: float
    learning_rate: float


class TextClassifier(torch.nn.Module):
    """Token ids and mask (int64, texts x tokens) to logits (float32, texts x classes)."""

    def __init__(self, origin: Path, classes: int, lora: LoraSettings | None = None) -> None:
        super().__init__()
        with quieten_transformers():
            try:
                model, loading = AutoModelForSequenceClassification.from_pretrained(
                    origin, num_labels=classes, ignore_mismatched_sizes=True, output_loading_info=True
                )
            except LOADING_ERRORS as error:
                raise EncoderError(
                    f"the base model in {origin} cannot be loaded ({type(error).__name__}); its files are damaged or of"
                    " a kind that cannot classify text: fetch it again, or name another in training.transformer.source."
                ) from error
        _require_weights(origin, model, loading)
        if lora is not None:
            fresh = {name.split(".")[0] for name in loading["missing_keys"]} - {model.base_model_prefix}
            config = LoraConfig(
                r=lora.rank,
                lora_alpha=lora.alpha,
                lora_dropout=lora.dropout,
                task_type="SEQ_CLS",
                target_modules="all-linear",
                modules_to_save=sorted(fresh & {name for name, _ in model.named_children()}) or None,
            )
            model = get_peft_model(model, config)
        self.model: Any = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits

    def merge_adapters(self) -> "TextClassifier":
        """Return the same model with its adapters folded into the weights they adapt."""
        if hasattr(self.model, "merge_and_unload"):
            self.model = self.model.merge_and_unload()
        return self

    @property
    def max_tokens(self) -> int | None:
        """How many tokens the model has positions for; None where it has no such limit."""
        config = self.model.config
        positions = getattr(config, "max_position_embeddings", None)
        if positions is None or positions <= 0:
            return None
        offset = (config.pad_token_id or 0) + 1 if "roberta" in config.model_type else 0
        return int(positions - offset)

    @property
    def token_embeddings(self) -> torch.Tensor:
        """The table of token embeddings, vocabulary x dimensions, float32."""
        table: torch.Tensor = self.model.get_input_embeddings().weight.detach().float()
        return table

    def prepare_export(self) -> "TextClassifier":
        """Return the same model with the attention that ONNX export can trace."""
        self.model.set_attn_implementation("eager")
        return self.eval()


def _require_weights(origin: Path, model: Any, loading: dict[str, Any]) -> None:
    """Raise EncoderError when weights of the encoder itself, beyond its pooler and the head, were not in its files."""
    mismatched = [item if isinstance(item, str) else item[0] for item in loading.get("mismatched_keys") or ()]
    prefix = f"{model.base_model_prefix}."
    lacking = [
        name for name in (*loading["missing_keys"], *mismatched) if name.startswith(prefix) and "pooler" not in name
    ]
    if lacking:
        raise EncoderError(
            f"the weights in {origin} do not fit its config.json: {len(lacking)} of the encoder's are missing or of"
            f" another shape, {min(lacking)} for one; fetch it again, or name another in training.transformer.source."
        )


def load_tokenizer(origin: Path, source: str) -> Any:
    """Return the tokenizer in `origin`; for models made on tweets it replaces handles and links first.

    The clean-up is part of its tokenizer.json, so that it holds wherever the bundle answers.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(origin)
        backend = tokenizer.backend_tokenizer
        vocabulary = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)
        if not vocabulary:
            raise ValueError("no vocabulary")
    except LOADING_ERRORS as error:
        raise EncoderError(
            f"the tokenizer in {origin} cannot be loaded ({type(error).__name__}); wanted a tokenizer.json,"
            " or files that transformers can turn into one."
        ) from error
    if source.startswith(TWITTER_MODELS):
        steps: list[Normalizer] = [Replace(Regex(pattern), by) for pattern, by in TWITTER_CLEAN_UP]
        backend.normalizer = NormalizerSequence([*steps, *([backend.normalizer] if backend.normalizer else [])])
    return tokenizer


@contextmanager
def quieten_transformers() -> Iterator[None]:
    """Keep transformers' notes on missing heads and callbacks, and its progress bars, out of the log."""
    before, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
        if bars:
            transformers_logging.enable_progress_bar()
