"""All stages of the modes with a language model on one device, each mode in a separate process.

``benchmarks/gpu.sh`` calls it. A mode that fails or takes too long is named; the others run.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.harness import timed
from bigrec.experiments.pipeline import Pipeline
from bigrec.experiments.stage import read_timings
from bigrec.lm.hardware import pick_device
from bigrec.recommender.bigrec import BIGRec
from bigrec.settings import Settings
from bigrec.storage import read_json, write_json

MODES: Mapping[str, tuple[str, ...]] = {
    "retrieval": ("mode=retrieval", "retrieval.epochs=1"),
    "generative": (
        *("mode=generative", "generative.finetune.epochs=1"),
        "generative.decoding.batch_size=128",
    ),
    "latent": (
        *("mode=generative", "generative.decoding.method=latent"),
        *("generative.finetune.epochs=1", "generative.truncate_layers=10"),
    ),
    "likelihood": (
        *("mode=generative", "generative.decoding.method=likelihood"),
        *("generative.finetune.softmax=trie", "generative.finetune.loss=titles"),
        *("generative.finetune.epochs=1", "generative.truncate_layers=6"),
    ),
}
_TINY_BATCH = ("generative.finetune.batch_size=4", "generative.finetune.per_device_batch_size=4")
_TINY: Mapping[str, tuple[str, ...]] = {
    "retrieval": ("retrieval.epochs=1", "retrieval.truncate_layers=1"),
    "generative": (*_TINY_BATCH, "data.max_train_examples=8", "generative.decoding.num_beams=2"),
    **dict.fromkeys(
        ("latent", "likelihood"),
        (*_TINY_BATCH, "data.max_train_examples=8", "generative.truncate_layers=1"),
    ),
}
_SIZES = {
    False: ("data.max_valid_examples=500", "data.max_test_examples=1000"),
    True: ("data.max_valid_examples=4", "data.max_test_examples=6"),
}
_SERVED = {False: (64, 20), True: (4, 2)}
"""Histories of a batch and repetitions, by whether the run is tiny."""

Row = dict[str, Any]


def settings_of(mode: str, overrides: Sequence[str], *, tiny: bool) -> Settings:
    """Settings of a mode of the matrix.

    Args:
        mode: A name of `MODES`.
        overrides: Further changes.
        tiny: A few examples, for a dry run.
    """
    small = _TINY[mode] if tiny else ()
    # Titles without a training interaction are placed by the base model: no second model is needed.
    common = ("fusion.signals=[]", "text.encoder=base", *_SIZES[tiny])
    return Settings.read(overrides=[*MODES[mode], *common, *small, *overrides])


def measure(settings: Settings, folder: Path, *, tiny: bool) -> list[Row]:
    """Run all stages of a mode, and ask its bundle.

    Args:
        settings: Of the mode.
        folder: The run directory.
        tiny: Ask few histories.

    Returns:
        For each stage its seconds, its throughput with unit, and at the end the GPU's memory.
    """
    pipeline = Pipeline(folder, settings)
    pipeline.evaluate()
    rows = _stages(folder)
    model = BIGRec.load(
        pipeline.bundle, base_model=settings.model.base, device=settings.model.device
    )
    size, times = _SERVED[tiny]
    titles = pipeline.dataset.catalog.titles
    histories = [
        [titles[item] for item in history]
        for history in pipeline.prepared.test_queries.histories[:size]
    ]
    rows.append(_served("serve, one history", lambda: model.recommend(histories[0]), 1, times))
    batch = f"serve, {len(histories)} histories"
    rows.append(
        _served(batch, lambda: model.recommend_batch(histories), len(histories), max(1, times // 4))
    )
    if pick_device(settings.model.device).type == "cuda":
        rows.append({"stage": "GPU memory", "peak_mib": torch.cuda.max_memory_allocated() >> 20})
    return rows


def _stages(folder: Path) -> list[Row]:
    """The stages of a run directory that are complete."""
    timings = read_timings(folder).items()
    return [{"stage": name.rsplit("-", 1)[0], **timing} for name, timing in timings]


def _served(name: str, ask: Callable[[], object], count: int, times: int) -> Row:
    ask()
    median = float(np.median([timed(ask)[0] for _ in range(times)]))
    return {"stage": name, "seconds": median, "unit": "histories", "per_s": count / median}


def run_matrix(
    folder: Path, options: Sequence[str], *, minutes: float, modes: Sequence[str]
) -> list[Row]:
    """Run every mode in a separate process, in equal shares of the time.

    A mode that takes longer has the stages that it completed.

    Args:
        folder: For the run directories and the rows.
        options: Options of this module for each process.
        minutes: Time for all of them.
        modes: Names of `MODES`.
    """
    rows: list[Row] = []
    for mode in modes:
        out = folder / f"{mode}.json"
        command = [sys.executable, "-m", "benchmarks.gpu", *options]
        command += ["--mode", mode, "--folder", str(folder / mode), "--json", str(out)]
        limit = 60 * minutes / len(modes)
        try:
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=limit)  # noqa: S603
        except subprocess.TimeoutExpired:
            rows += [{"mode": mode, **row} for row in _stages(folder / mode)]
            rows.append({"mode": mode, "stage": f"stopped after {limit:.0f} s"})
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or ["no message"])[-1]
            rows.append({"mode": mode, "stage": f"failed: {reason}"})
        else:
            rows += [{"mode": mode, **row} for row in read_json(out)]
    return rows


def table(rows: Sequence[Row], *, title: str) -> Table:
    """The rows as a table for the terminal."""
    drawn = Table(title=title)
    for column in ("Mode", "Stage", "Seconds", "Throughput", "Peak memory"):
        drawn.add_column(column)
    for row in rows:
        drawn.add_row(
            row["mode"],
            row["stage"],
            f"{row['seconds']:.3g}" if "seconds" in row else "",
            f"{row['per_s']:.4g} {row['unit']}/s" if "per_s" in row else "",
            f"{row['peak_mib']:,} MiB" if "peak_mib" in row else "",
        )
    return drawn


def device_name(device: str) -> str:
    """The name of the device that the matrix runs on.

    Raises:
        ModelError: If torch cannot use the device.
    """
    chosen = pick_device(device)
    return torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else str(chosen)


def main() -> None:
    """Run one mode, or the matrix."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a dry run of seconds")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--minutes", type=float, default=9.5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES))
    parser.add_argument("--mode", choices=list(MODES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.mode:
        overrides = [*arguments.set, f"model.device={arguments.device}"]
        settings = settings_of(arguments.mode, overrides, tiny=arguments.tiny)
        rows = measure(settings, arguments.folder, tiny=arguments.tiny)
        write_json(arguments.json, rows)
        return
    name = device_name(arguments.device)
    options = ["--device", arguments.device, *(["--tiny"] if arguments.tiny else [])]
    options += [part for value in arguments.set for part in ("--set", value)]
    with tempfile.TemporaryDirectory() as folder:
        rows = run_matrix(Path(folder), options, minutes=arguments.minutes, modes=arguments.modes)
    Console().print(table(rows, title=name))
    if arguments.json:
        write_json(arguments.json, {"device": name, "rows": rows})
    if any("seconds" not in row and "peak_mib" not in row for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
