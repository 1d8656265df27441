"""Text mode frozen at the end of training against updated up to the time of the queries.

``python -m benchmarks.online --data ml-100k --chunks 50``
"""

import argparse
import time
from collections.abc import Sequence

import numpy as np
import polars as pl
import typer

from bigrec.data.dataset import Dataset
from bigrec.evaluation.clusters import describe_users, number_users
from bigrec.evaluation.metrics import query_values
from bigrec.evaluation.significance import paired_differences
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.fitted import FittedRecommender
from bigrec.recommender.training_data import EvalQueries, load_source, prepare_examples
from bigrec.settings import Settings
from bigrec.types import IntArray

METRIC = "ndcg@10"


def frame_of(dataset: Dataset) -> pl.DataFrame:
    """All interactions as rows."""
    table = dataset.interactions
    users = pl.Series(table.user_ids, dtype=pl.String).gather(table.users())
    items = pl.Series(dataset.catalog.item_ids, dtype=pl.String).gather(table.items)
    columns = {"user_id": users, "item_id": items, "timestamp": table.times}
    return pl.DataFrame(columns)


def ranks_of(fitted: FittedRecommender, queries: EvalQueries, positions: Sequence[int]) -> IntArray:
    """Target ranks of some of the queries by the mode's model alone, seen items excluded."""
    histories = [queries.histories[position] for position in positions]
    return fitted.encoder.ranker.target_ranks(
        fitted.encoder.encode(histories),
        queries.targets[list(positions)],
        beams="top1",
        exclude=[queries.full_histories[position] for position in positions],
    )


def main() -> None:
    """Print both figures, and the paired difference over users."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="ml-100k")
    parser.add_argument("--chunks", type=int, default=50, help="updates over the test period")
    arguments = parser.parse_args()
    overrides = ["mode=text", "fusion.signals=[]", "data.min_history=10"]
    settings = Settings.read(overrides=[*overrides, f"data.source={arguments.data}"])
    dataset = load_source(settings.data)
    if dataset.interactions.times is None:
        parser.error(f"{arguments.data} has no timestamps: expected data with times.")
    prepared = prepare_examples(dataset, settings)
    queries = prepared.test_queries
    starts = dict(zip(dataset.interactions.user_ids, dataset.interactions.user_start, strict=False))
    # A target comes right after all that its user had before.
    targets = [
        starts[user] + len(before)
        for user, before in zip(queries.user_ids, queries.full_histories, strict=True)
    ]
    times = dataset.interactions.times[targets]
    model = BIGRec(settings).fit(dataset)
    frozen = ranks_of(model.fitted, queries, range(len(queries)))
    updated = np.empty_like(frozen)
    rows = frame_of(dataset).filter(~pl.Series(prepared.train_rows))
    later = rows.sort("timestamp", maintain_order=True)
    done, seconds = 0, []
    for chunk in np.array_split(np.argsort(times, kind="stable"), arguments.chunks):
        until = int(np.searchsorted(later["timestamp"].to_numpy(), times[chunk].min()))
        if until > done:
            started = time.perf_counter()
            model.update(later[done:until], order="row")
            seconds.append(time.perf_counter() - started)
            done = until
        updated[chunk] = ranks_of(model.fitted, queries, chunk.tolist())
    values = [query_values(ranks, METRIC)[:, None] for ranks in (updated, frozen)]
    users = number_users(queries.user_ids)
    difference = paired_differences(values[0], values[1], clusters=users, seed=0)
    typer.echo(f"{dataset.name}: {describe_users(users)}")
    typer.echo(f"frozen {values[1].mean():.4f}, updated {values[0].mean():.4f} {METRIC}")
    typer.echo(
        f"difference {difference.difference[0]:+.4f} [{difference.low[0]:.4f}, "
        f"{difference.high[0]:.4f}], p = {difference.p_value[0]:.4f}"
    )
    typer.echo(
        f"{done} interactions in {len(seconds)} updates, {np.median(seconds):.2f} s each (median)"
    )


if __name__ == "__main__":
    main()
