"""One point of a grid: SASRec of RecTools is trained and scores the validation and test queries.

It is called as ``python tune_rectools.py DATA OUT POINT``, the point as JSON. It writes
``OUT-valid.npy`` and ``OUT-test.npy`` with scores ``[q, n]``, and ``OUT.json``.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
import rectools_sasrec
import side


def main() -> None:
    """Train the point of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("point", type=json.loads)
    arguments = parser.parse_args()
    data = side.read(arguments.data)
    curve = side.Curve(data.valid.targets, budget_s=float("inf"))
    started = time.process_time()
    trained = rectools_sasrec.train(data, curve, **arguments.point)
    seconds = time.process_time() - started
    for part, queries in (("valid", data.valid), ("test", data.test)):
        np.save(f"{arguments.out}-{part}.npy", trained.scores(queries.histories))
    figures = {"seconds": seconds, "epochs": len(curve.points)}
    Path(f"{arguments.out}.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
