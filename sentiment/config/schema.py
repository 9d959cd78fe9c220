"""The strict shape of `zenml_config.yaml`: a key that is not here is a mistake, told before a run starts.

Thresholds have no default in code; the file is the one place for them.
"""

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sentiment.data.datasets import NAMED
from sentiment.errors import describe_unknown
from sentiment.evaluation.behaviour import KINDS
from sentiment.governance.ledger import MIN_REASON_WORDS

if TYPE_CHECKING:
    from sentiment.governance.canary_rule import CanaryRule
    from sentiment.governance.gate import GateRule

Approval = Literal["none", "manual"]
Candidate = Literal["tfidf", "svm", "svm_smote", "transformer", "lora", "cascade"]
CANDIDATES: tuple[Candidate, ...] = get_args(Candidate)
LIKENESS = 0.7

Share = Annotated[float, Field(gt=0, lt=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Score = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """One section of the file: frozen, every key known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DatasetSection(Section):
    """A dataset by name or file; columns, labels and encoding are read for files only."""

    name: str = Field(min_length=1)
    text_column: str = "text"
    label_column: str = "label"
    labels: dict[str, str] = {}
    encoding: str = "utf-8"
    train_fraction: Fraction = 1.0

    @model_validator(mode="before")
    @classmethod
    def _read_labels_as_text(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("labels"), dict):
            return {**values, "labels": {str(key): value for key, value in values["labels"].items()}}
        return values


class SplitSection(Section):
    """Shares of the rows; the rest trains."""

    validation_share: Share
    holdout_share: Share

    @model_validator(mode="after")
    def _leave_rows_to_train(self) -> "SplitSection":
        if self.validation_share + self.holdout_share >= 1:
            raise ValueError(
                f"validation_share {self.validation_share} and holdout_share {self.holdout_share}"
                " leave no rows to train on; wanted a sum below 1"
            )
        return self


class EncoderSection(Section):
    """The sentence encoder; `precision` auto takes int8 where it holds against fp32."""

    name: str
    source: str = Field(min_length=1)
    max_tokens: Annotated[int, Field(ge=8, le=512)]
    precision: Literal["auto", "int8", "fp32"]
    max_int8_loss: Score


class SvmSection(Section):
    """How `svm` and `svm_smote` are fitted."""

    c: Annotated[float, Field(gt=0)]
    gamma: Literal["scale", "auto"] | Annotated[float, Field(gt=0)]
    smote_neighbours: Annotated[int, Field(ge=1)]


class TfidfSection(Section):
    """How `tfidf` is fitted; `c` is the inverse strength of the regularisation."""

    c: Annotated[float, Field(gt=0)]


class CascadeSection(Section):
    """The first stage of `cascade`: convolutions over the transformer's own token embeddings.

    Its answers may cost `max_loss` macro F1 on validation.
    """

    epochs: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=8)]
    channels: Annotated[int, Field(ge=8)]
    learning_rate: Annotated[float, Field(gt=0)]
    max_loss: Score


class TransformerSection(Section):
    """How `transformer` and `lora` are fine-tuned, and what `cascade` builds on.

    `class_weight` 0 leaves the loss alone, 1 weighs each class by the inverse of its share. `averaging` is the
    decay of the moving average of the weights per step, 0 for none. `batch_size` is in texts. Small data are gone
    over more often than `epochs` says, until `min_steps`. The weights of several `runs` are averaged.
    """

    source: str = Field(min_length=1)
    runs: Annotated[int, Field(ge=1)]
    epochs: Annotated[float, Field(gt=0)]
    min_steps: Annotated[int, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    warmup: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    class_weight: Score
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    focal: Annotated[float, Field(ge=0)]
    averaging: Annotated[float, Field(ge=0, lt=1)]
    patience: Annotated[int, Field(ge=1)]
    max_tokens: Annotated[int, Field(ge=8, le=512)]


class LoraSection(Section):
    """The low-rank adapters of `lora`; the rest of its settings are those of `transformer`."""

    rank: Annotated[int, Field(ge=1)]
    alpha: Annotated[int, Field(ge=1)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    learning_rate: Annotated[float, Field(gt=0)]


class TrainingSection(Section):
    """How the candidates are fitted; `uncertain_precision` is what answers above the threshold reach on validation."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    uncertain_precision: Score
    tfidf: TfidfSection
    svm: SvmSection
    transformer: TransformerSection
    lora: LoraSection
    cascade: CascadeSection


class GateSection(Section):
    """The rule of the gate; `min_f1` is a floor per dataset, `default` for those not named."""

    min_f1: dict[str, Score]
    min_recall: Score
    min_behaviour: dict[str, Score]
    max_calibration_error: Score
    max_latency_ms: Annotated[float, Field(gt=0)]
    max_size_mb: Annotated[float, Field(gt=0)]
    require: Literal["not_worse", "better"]
    min_improvement: Score
    tolerance: Score
    max_class_drop: Score
    min_class_rows: Annotated[int, Field(ge=1)]
    max_decisions: Annotated[int, Field(ge=1)]
    confidence: Share
    resamples: Annotated[int, Field(ge=2000)]
    strict: bool
    force: str = ""

    @field_validator("min_behaviour")
    @classmethod
    def _name_every_kind(cls, floors: dict[str, float]) -> dict[str, float]:
        for kind in floors:
            if kind not in KINDS:
                raise ValueError(describe_unknown("kind", kind, KINDS).rstrip("."))
        missing = [kind for kind in KINDS if kind not in floors]
        if missing:
            raise ValueError(f"no floor for {missing[0]!r}; 0 asks for nothing")
        return floors

    @field_validator("force")
    @classmethod
    def _give_a_reason(cls, reason: str) -> str:
        if reason and len(reason.split()) < MIN_REASON_WORDS:
            raise ValueError("a forced promotion needs a reason of three words or more, for the ledger")
        return reason

    @model_validator(mode="after")
    def _have_a_default(self) -> "GateSection":
        if "default" not in self.min_f1:
            raise ValueError("min_f1 has no 'default'; name the floor for datasets that are not listed")
        return self

    def rule_for(self, dataset: str, seed: int) -> "GateRule":
        """Return the rule for a dataset."""
        from sentiment.governance.gate import GateRule

        settings = self.model_dump(exclude={"min_f1", "strict", "force"})
        return GateRule(min_f1=self.min_f1.get(dataset, self.min_f1["default"]), seed=seed, **settings)


class PromotionSection(Section):
    """What happens to a version that passed: `manual` waits for `make approve`."""

    approval: Approval


class CanarySection(Section):
    """How a canary is tried, and what it must show; rises, drops and shifts are of shares and means in [0, 1]."""

    share: Share
    max_minutes: Annotated[float, Field(gt=0, le=24 * 60)]
    look_seconds: Annotated[float, Field(ge=1)]
    min_answers: Annotated[int, Field(ge=30)]
    confidence: Share
    max_failures: Annotated[int, Field(ge=0)]
    max_uncertain_rise: Score
    max_confidence_drop: Score
    max_label_shift: Score
    max_latency_ratio: Annotated[float, Field(ge=1)]
    max_slow_rise: Score
    max_accuracy_drop: Score
    min_feedback: Annotated[int, Field(ge=30)]

    def rule(self) -> "CanaryRule":
        """Return what a canary must show."""
        from sentiment.governance.canary_rule import CanaryRule

        return CanaryRule(**self.model_dump(exclude={"share", "look_seconds"}))


class TrainingConfig(Section):
    """The parameters of the training pipeline, section by section."""

    dataset: DatasetSection
    split: SplitSection
    encoder: EncoderSection
    candidates: tuple[Candidate, ...] = Field(min_length=1)
    training: TrainingSection
    gate: GateSection
    promotion: PromotionSection

    @field_validator("candidates")
    @classmethod
    def _name_each_once(cls, candidates: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(candidates)) < len(candidates):
            raise ValueError("a candidate is named twice; name each once")
        return candidates

    @model_validator(mode="after")
    def _know_every_floor(self) -> "TrainingConfig":
        known = list(dict.fromkeys(("default", *NAMED, Path(self.dataset.name).stem)))
        for name in self.gate.min_f1:
            if name not in known and difflib.get_close_matches(name, known, n=1, cutoff=LIKENESS):
                raise ValueError(describe_unknown("dataset under gate.min_f1", name, known).rstrip("."))
        return self


class EvaluationConfig(Section):
    """The parameters of the evaluation pipeline; `sample` 0 takes every row."""

    models: tuple[str, ...] = Field(min_length=1)
    datasets: tuple[DatasetSection, ...] = Field(min_length=1)
    rows: Literal["all", "holdout"]
    sample: Annotated[int, Field(ge=0)]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    split: SplitSection


class PromoteConfig(Section):
    """The parameters of the promotion pipeline: a version or an alias, and why."""

    version: str = "staging"
    reason: str = ""
    force: str = ""
    approve: bool = False
    services: tuple[str, ...] = ()
    key_file: str = ""


class CanaryConfig(Section):
    """The parameters of the canary pipeline: which version on which service, and how.

    `watch_only` judges what others send their share to, and changes nothing.
    """

    canary: CanarySection
    version: str = "staging"
    service: str = ""
    key_file: str = ""
    force: str = ""
    watch_only: bool = False


class RollbackConfig(Section):
    """The parameters of the rollback pipeline: why, and the version where it is not the previous one."""

    reason: str = Field(min_length=1)
    version: str = ""
    services: tuple[str, ...] = ()
    key_file: str = ""
