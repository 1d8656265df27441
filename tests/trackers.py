"""What trackers wrote, read back."""

from pathlib import Path


def tracked_figures(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of every curve in TensorBoard's files below a folder."""
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )

    curves: dict[str, list[tuple[int, float]]] = {}
    for file in sorted(folder.rglob("events.out.tfevents.*")):
        accumulator = EventAccumulator(str(file), size_guidance={"scalars": 0})
        accumulator.Reload()
        for name in accumulator.Tags()["scalars"]:
            points = [(event.step, event.value) for event in accumulator.Scalars(name)]
            curves.setdefault(name, []).extend(points)
    return curves
