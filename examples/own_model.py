"""Compare with your own model: its scores as a file, beside baselines, alone and fused.

``python examples/own_model.py`` takes half a minute on the sample data. "My model" counts which
film follows which.
"""

from pathlib import Path

import numpy as np
import yaml

import bigrec

folder = Path("runs/own_model")
folder.mkdir(parents=True, exist_ok=True)
dataset = bigrec.Dataset.sample()
items = dataset.interactions.items

# The split and the histories that bigrec evaluates on.
split = bigrec.split(
    dataset.interactions, method="global_time", max_history_length=10, min_history=1
)

# My model: counts of "film b was watched right after film a", in the training part alone.
follows = np.zeros((dataset.catalog.n_items, dataset.catalog.n_items), dtype=np.float32)
for history, target in zip(split.train.histories(), split.train.targets, strict=True):
    follows[history[-1], target] += 1

# Scores [examples, items], higher is better, in the order of the split's examples.
np.save(folder / "valid.npy", follows[split.valid.histories()[:, -1]])
np.save(folder / "test.npy", follows[split.test.histories()[:, -1]])

settings = {
    "mode": "text",
    "data": {"source": "sample", "split_method": "global_time"},
    "compare": {
        "baselines": ["popularity", "co-occurrence", "EASE"],
        "precomputed": [
            {
                "name": "mine",
                "valid": str(folder / "valid.npy"),
                "test": str(folder / "test.npy"),
            }
        ],
        "fusions": ["mine", "mine & co-occurrence"],
        "few_shot": False,
        "shuffle_history": False,
    },
}
(folder / "settings.yaml").write_text(yaml.safe_dump(settings))

comparison = bigrec.compare(bigrec.Settings.read(str(folder / "settings.yaml")), run_dir=folder)
for row in comparison.report.rows:
    if row.metric == "ndcg@10" and row.exclude_seen:
        print(f"{row.method.label:40} {row.value:.3f} [{row.low:.3f}, {row.high:.3f}]")
