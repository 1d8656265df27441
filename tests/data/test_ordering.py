import logging
from typing import Any

import numpy as np
import polars as pl
import pytest

from bigrec.data.catalog import Catalog
from bigrec.data.interactions import Interactions
from bigrec.data.repairs import Repair, Repairs

N_USERS, N_TIED = 30, 8
CATALOG = Catalog.from_frame(
    pl.DataFrame({"item_id": [str(n) for n in range(40)], "title": [f"T{n}" for n in range(40)]})
)


def frame(item_ids: Any, *, days: int = 1, **more: Any) -> pl.DataFrame:
    """``N_USERS`` users with ``N_TIED`` items at one time on every day."""
    per_user = N_TIED * days
    return pl.DataFrame(
        {
            "user_id": np.repeat([f"u{n}" for n in range(N_USERS)], per_user),
            "item_id": item_ids,
            "timestamp": np.tile(np.repeat(np.arange(days), N_TIED), N_USERS),
            **more,
        }
    )


def sorted_items(seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    drawn = (np.sort(rng.choice(40, N_TIED, replace=False)) for _ in range(N_USERS))
    return [str(item) for items in drawn for item in items]


def read(rows: pl.DataFrame, **options: Any) -> tuple[Interactions, dict[str, Repair]]:
    repairs = Repairs()
    made = Interactions.from_frame(rows, CATALOG, repairs=repairs, **options)
    return made, {row.name: row for row in repairs.as_rows()}


def ascending(made: Interactions) -> float:
    steps = np.diff(made.items)[np.diff(made.users()) == 0]
    return float((steps > 0).mean())


def test_ties_of_a_file_sorted_by_item_are_shuffled_and_told() -> None:
    made, checks = read(frame(sorted_items()))
    assert 0.35 < ascending(made) < 0.65
    tied = checks["interactions tied in time"]
    assert (tied.count, tied.total) == (N_USERS * N_TIED, N_USERS * N_TIED)
    assert tied.done == "In a random order (tie_seed 0), not that of the file."
    follow = checks["ties in item order"]
    assert (follow.count, follow.total) == (N_USERS * (N_TIED - 1), N_USERS * (N_TIED - 1))
    assert follow.done.startswith("The file is sorted by item where times tie, so the order")


@pytest.mark.parametrize("reverse", [False, True])
def test_an_order_that_is_given_is_kept_and_warned_of(
    caplog: pytest.LogCaptureFixture, reverse: bool
) -> None:
    items = sorted_items()[:: -1 if reverse else 1]
    with caplog.at_level(logging.WARNING):
        made, checks = read(frame(items), order="row")
    assert [CATALOG.item_ids[item] for item in made.items] == items
    assert checks["interactions tied in time"].done == "In the order of their positions."
    assert "a sequential model learns the sorting" in (checks["ties in item order"].done)
    assert "210 of 210 interactions that tie with the one before" in caplog.text


def test_ties_in_no_order_of_the_items_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    items = np.random.default_rng(1).permuted(np.reshape(sorted_items(), (N_USERS, -1)), axis=1)
    _, checks = read(frame(items.ravel()), order="row")
    follow = checks["ties in item order"]
    assert 0.5 <= follow.share < 0.6
    assert follow.done == "About half is chance."
    assert not caplog.records


def test_numbers_are_compared_as_numbers_and_other_ids_as_text() -> None:
    ids = ["9", "10", "100", "8"]
    for written in (ids, [f"x{number}" for number in ids]):
        catalog = Catalog.from_frame(pl.DataFrame({"item_id": written, "title": written}))
        order = sorted(written, key=int) if written is ids else sorted(written)
        rows = {
            "user_id": np.repeat(np.arange(20), 4),
            "item_id": order * 20,
            "timestamp": [1] * 80,
        }
        repairs = Repairs()
        Interactions.from_frame(pl.DataFrame(rows), catalog, repairs=repairs)
        follow = next(row for row in repairs.as_rows() if row.name.startswith("ties in item"))
        assert (follow.count, follow.total) == (60, 60)


def test_the_seed_decides_and_the_same_seed_gives_the_same_order() -> None:
    rows = frame(sorted_items())
    first, second, other = (read(rows, tie_seed=seed)[0].items.tolist() for seed in (0, 0, 1))
    assert first == second
    assert first != other


def test_times_stay_in_order_and_users_are_shuffled_by_themselves() -> None:
    items = [str(n) for n in range(40)] * N_USERS
    made, _ = read(frame(items, days=5))
    per_user = made.items.reshape(N_USERS, 5, N_TIED)
    np.testing.assert_array_equal(
        np.sort(per_user), np.arange(40).reshape(5, N_TIED)[None].repeat(N_USERS, 0)
    )
    assert len({tuple(row) for row in per_user[:, 0].tolist()}) > N_USERS // 2


def test_training_rows_come_first_in_a_tie() -> None:
    splits = ["train"] * (N_TIED - 2) + ["valid", "test"]
    made, _ = read(frame(sorted_items(), split=splits * N_USERS))
    assert made.splits is not None
    np.testing.assert_array_equal(made.splits.reshape(N_USERS, -1)[:, -2:], [[1, 2]] * N_USERS)
    assert 0.35 < ascending(made) < 0.65


def test_of_tied_repeats_the_first_row_stays() -> None:
    rows = pl.DataFrame(
        {
            "user_id": ["u"] * 40,
            "item_id": ["1", "2"] * 20,
            "timestamp": [1] * 40,
            "rating": range(40),
        }
    )
    made, checks = read(rows)
    assert made.ratings is not None
    assert dict(zip(made.items.tolist(), made.ratings.tolist(), strict=True)) == {1: 0, 2: 1}
    assert checks["duplicate interactions"].count == 38


def test_ties_of_positions_without_times_are_shuffled() -> None:
    rows = frame(sorted_items()).rename({"timestamp": "p"})
    made, checks = read(rows, order="p")
    assert 0.35 < ascending(made) < 0.65
    tied = checks["interactions tied in their position"]
    assert tied.count == N_USERS * N_TIED
    assert tied.done.startswith("In a random order")
