"""Segments of the queries, and the metrics of every method on each of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from bigrec.evaluation.metrics import KS
from bigrec.evaluation.protocol import MethodResult, SummaryRow, summarize
from bigrec.grounding.ranks import check_range
from bigrec.types import BoolArray, FloatArray, IntArray

TARGET_COUNTS = "target's training interactions"
"""Name of the segmentation by `target_segments`."""

TARGET_GAPS = "target shares its timestamp with the item before it"
"""Name of the segmentation by `gap_segments`."""

_FEW, _WARM = 1, 10
"""Fewest training interactions of a target that is few, and of one that is warm."""


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """One segment for each query.

    Attributes:
        names: The segments, in the order in which they are shown; some may have no query.
        of_query: Index into ``names`` of each query's segment, ``[q]``.
    """

    names: tuple[str, ...]
    of_query: IntArray = field(repr=False)


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One metric of one method on the queries of one segment.

    Attributes:
        segment: The segment's name.
        queries: Number of its queries, at least 1. The interval of a handful says little, and that
            of a single one has no width.
        summary: The metric, its mean over these queries and its interval.
    """

    segment: str
    queries: int
    summary: SummaryRow


def target_segments(targets: IntArray, counts: IntArray) -> Segments:
    """``cold``, ``few`` or ``warm``: targets with 0, 1 to 9, or more training interactions.

    Args:
        targets: Title id of each query's target, ``[q]``.
        counts: How often each title occurs in the training split, ``[t]``.

    Raises:
        ValueError: If a target or a count is out of range.
    """
    check_counts(counts)
    check_range(targets, len(counts), name="targets")
    segment = np.searchsorted([_FEW, _WARM], counts[targets], side="right")
    return Segments(("cold", "few", "warm"), segment)


def gap_segments(gaps: FloatArray) -> Segments:
    """``shared`` where the target has the timestamp of the item before it, ``apart`` otherwise.

    The order of items that share a timestamp is the order of the data, not the user's.

    Args:
        gaps: Time from the item before to each query's target, ``[q]``, at least 0.

    Raises:
        ValueError: If a gap is negative.
    """
    negative = gaps[gaps < 0]
    if negative.size:
        raise ValueError(f"gaps holds {negative[0]}; expected times of at least 0.")
    return _by_mask(gaps == 0, "shared", "apart")


def user_segments(users: IntArray, counts: IntArray) -> Segments:
    """``known`` where the user has training interactions, ``new`` otherwise.

    Args:
        users: User number of each query, ``[q]``.
        counts: How many training interactions each user has, ``[u]``.

    Raises:
        ValueError: If a user or a count is out of range.
    """
    check_counts(counts)
    check_range(users, len(counts), name="users")
    return _by_mask(counts[users] > 0, "known", "new")


def popularity_segments(targets: IntArray, counts: IntArray) -> Segments:
    """``head``, ``middle`` or ``tail`` by the target's popularity in training.

    An item is head if the items more popular than it hold less than a third of the training
    interactions, middle if less than two thirds, and tail otherwise. Where no two counts are equal,
    the head is the fewest items that together hold a third, and the middle the fewest more for two
    thirds. Items of equal count share a segment; an item that never occurs is tail.

    Args:
        targets: Item number of each query's target, ``[q]``.
        counts: How often each item occurs in the training split, ``[n]``.

    Raises:
        ValueError: If a target or a count is out of range.
    """
    check_counts(counts)
    check_range(targets, len(counts), name="targets")
    values, place, items = np.unique(counts, return_inverse=True, return_counts=True)
    total = counts.sum()
    above = total - np.cumsum(values * items)
    # In whole numbers, because a third has no exact float.
    segment = (3 * above >= total).astype(np.int64) + (3 * above >= 2 * total)
    return Segments(("head", "middle", "tail"), segment[place][targets])


def history_segments(lengths: IntArray, *, starts: Sequence[int] = (0, 1, 3, 5, 10)) -> Segments:
    """Buckets of the history's length, by default ``0``, ``1-2``, ``3-4``, ``5-9`` and ``10+``.

    Args:
        lengths: Items in each query's history, ``[q]``.
        starts: Smallest length of each bucket, strictly ascending, at least one.

    Raises:
        ValueError: If the starts do not ascend, or a length is below the first.
    """
    if not starts or any(low >= high for low, high in pairwise(starts)):
        raise ValueError(
            f"starts is {tuple(starts)}; expected strictly ascending lengths, at least one."
        )
    if lengths.min(initial=starts[0]) < starts[0]:
        raise ValueError(
            f"lengths holds {lengths.min()}; expected at least {starts[0]}, the first start. "
            "Begin starts with a smaller length."
        )
    names = [str(low) if high == low + 1 else f"{low}-{high - 1}" for low, high in pairwise(starts)]
    buckets = np.searchsorted(np.asarray(starts), lengths, side="right") - 1
    return Segments((*names, f"{starts[-1]}+"), buckets)


def category_segments(
    targets: IntArray, categories: Sequence[str], *, largest: int = 6
) -> Segments:
    """Category of the target: those with most queries, and ``other`` for the rest.

    Args:
        targets: Item number of each query's target, ``[q]``.
        categories: Category of each item, ``n`` of them; an empty one is ``none``.
        largest: Number of categories that become segments; ties go to the first by name.

    Raises:
        ValueError: If a target is out of range.
    """
    check_range(targets, len(categories), name="targets")
    of_query = [categories[target] or "none" for target in targets]
    queries = Counter(of_query)
    names = sorted(queries, key=lambda name: (-queries[name], name))[:largest]
    places = {name: place for place, name in enumerate(names)}
    return Segments(
        (*names, "other"),
        np.array([places.get(name, len(names)) for name in of_query], dtype=np.int64),
    )


def segment_rows(
    results: Sequence[MethodResult],
    segments: Segments,
    *,
    users: IntArray,
    seed: int,
    ks: Sequence[int] = KS,
) -> list[SegmentRow]:
    """HR@K, NDCG@K and MRR of every method on each segment, with intervals.

    Args:
        results: One for each method and protocol, over the same queries.
        segments: The segment of each query.
        users: Number of each query's user, ``[q]``; see ``number_users``.
        seed: Fixes the resamples, drawn from the users of each segment.
        ks: List lengths.

    Returns:
        Rows of ``summarize`` for one segment after another; segments without queries are omitted.

    Raises:
        ValueError: If results or users are over another number of queries than the segments, or a
            segment has no name.
    """
    q = len(segments.of_query)
    check_range(segments.of_query, len(segments.names), name="of_query")
    named = [(repr(result.method.label), len(result.ranks)) for result in results]
    for name, queries in [*named, ("users", len(users))]:
        if queries != q:
            raise ValueError(
                f"{name} has {queries} queries and the segments have {q}; expected one segment for "
                "each query."
            )
    rows = []
    for number, name in enumerate(segments.names):
        in_segment = segments.of_query == number
        queries = int(np.count_nonzero(in_segment))
        if queries:
            restricted = [
                MethodResult(result.method, result.exclude_seen, result.ranks[in_segment])
                for result in results
            ]
            summaries = summarize(restricted, users=users[in_segment], seed=seed, ks=ks)
            rows += [SegmentRow(name, queries, row) for row in summaries]
    return rows


def check_counts(counts: IntArray) -> None:
    """Refuse an array that cannot hold counts of the training split.

    Raises:
        ValueError: If ``counts`` is not ``[n]`` with at least one entry, or one is negative.
    """
    if counts.ndim != 1 or counts.size == 0:
        raise ValueError(
            f"counts has shape {counts.shape}; expected one dimension with at least one entry."
        )
    if counts.min() < 0:
        raise ValueError(f"counts holds {counts.min()}; expected counts of at least 0.")


def _by_mask(mask: BoolArray, inside: str, outside: str) -> Segments:
    return Segments((inside, outside), np.where(mask, 0, 1))
