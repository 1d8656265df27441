"""Full-ranking evaluation of a recommender beside popularity and a random order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bigrec.data.catalog import Catalog
from bigrec.evaluation.protocol import (
    MethodResult,
    SummaryRow,
    random_ranks,
    score_ranks,
    summarise,
    text_shares,
)
from bigrec.evaluation.query_table import QueryTable
from bigrec.evaluation.reports.evaluation import ReportExample
from bigrec.grounding.beams import Queries as Embedded
from bigrec.models.popularity import Popularity
from bigrec.models.title_groups import group_scores
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.factory import Queries
from bigrec.recommender.fitted import Parts, listed
from bigrec.recommender.query_encoders import Answers
from bigrec.types import FloatArray, GeneratedText, IntArray

POPULARITY = "popularity"
RANDOM = "random"

_LIST_LENGTH = 10


@dataclass(frozen=True, eq=False)
class Measured:
    """What an evaluation found.

    Attributes:
        table: Every query with every method's target rank.
        rows: HR, NDCG and MRR with 95 % intervals.
        shares: What the generated texts are like.
        nearest: Distance of each query's first answer to the nearest title, ``[q]``.
        examples: Some queries, with the list recommended for each.
    """

    table: QueryTable
    rows: list[SummaryRow]
    shares: dict[str, float]
    nearest: FloatArray
    examples: list[ReportExample]


def measure(
    model: BIGRec,
    test: Queries,
    *,
    answers: Answers,
    n_examples: int = 3,
) -> Measured:
    """Rank the whole catalog for every test example.

    Every way of using the answers, popularity (counted on the training split) and a random order,
    each with all that the user had before kept in the ranking (published) and left out of it.

    Args:
        model: The recommender.
        test: Histories and their targets, ``q`` of them.
        answers: The language model's.
        n_examples: Queries to show in full.
    """
    parts = model.parts
    catalog, seen, names = parts.catalog, test.full_histories, parts.answerer.names
    queries, texts = answers.queries, answers.texts
    k = min(_LIST_LENGTH, catalog.n_groups)
    found = parts.ranker.evaluate(queries, test.targets, k=k, exclude=seen, modes=list(names))
    results = [MethodResult(names[one.beams], one.exclude_seen, one.ranks) for one in found]
    results += _injected(parts, queries, test)
    results += _baselines(parts.counts, test, catalog)
    table = _table(catalog, test, texts)
    for result in results:
        table = table.with_ranks(result)
    titles = [[catalog.titles[item] for item in items] for items in test.histories]
    chosen = model.settings.recommend
    first = next(one for one in found if one.beams == "first" and not one.exclude_seen)
    some = min(n_examples, len(test))
    shown = parts.ranker.rank(
        queries.first(some),
        k=k,
        beams=parts.beams,
        exclude=seen[:some] if chosen.exclude_seen else None,
        fuse=parts.fuse(test.full_histories[:some]),
    )
    return Measured(
        table=table,
        rows=summarise(results, seed=0),
        shares=shares_of(texts, catalog, histories=test.histories),
        nearest=first.lists.distances[:, 0],
        examples=[
            ReportExample(
                history=titles[query],
                target=catalog.titles[test.targets[query]],
                texts=[text.text for text in texts[query]],
                recommendations=listed(catalog, shown, query, texts=texts[query]),
            )
            for query in range(some)
        ],
    )


def shares_of(
    texts: Sequence[Sequence[GeneratedText]], catalog: Catalog, *, histories: Sequence[IntArray]
) -> dict[str, float]:
    """What the generated texts are like; nothing where the model wrote none."""
    if not any(texts):
        return {}
    return text_shares(
        [[text.text for text in beams] for beams in texts],
        set(catalog.group_titles),
        histories=[[catalog.titles[item] for item in items] for items in histories],
    )


def _injected(parts: Parts, queries: Embedded, test: Queries) -> list[MethodResult]:
    """The recommender with its signals, if it has any."""
    if parts.bound is None:
        return []
    return [
        MethodResult(
            parts.bound.injected.name,
            hide,
            parts.ranker.target_ranks(
                queries,
                test.targets,
                beams=parts.beams,
                exclude=test.full_histories if hide else None,
                fuse=parts.fuse(test.full_histories),
            ),
        )
        for hide in (False, True)
    ]


def _baselines(counts: IntArray, test: Queries, catalog: Catalog) -> list[MethodResult]:
    targets = catalog.group[test.targets]
    gone = [np.unique(catalog.group[items]) for items in test.full_histories]
    popular = group_scores(
        Popularity.fit(counts).scores(test.histories[:1]), catalog.group, n_groups=catalog.n_groups
    )
    # A target that was seen before cannot be found by a ranking without what was seen.
    repeated = np.array([target in groups for target, groups in zip(targets, gone, strict=True)])
    n_groups = catalog.n_groups
    sizes = np.minimum([len(groups) for groups in gone], n_groups - 1)
    shuffled = random_ranks(n_groups, len(test), seed=0)
    shuffled_unseen = random_ranks(n_groups, len(test), seed=0, excluded_counts=sizes)
    return [
        MethodResult(POPULARITY, False, score_ranks(popular, targets)),
        MethodResult(POPULARITY, True, score_ranks(popular, targets, exclude=gone)),
        MethodResult(RANDOM, False, shuffled),
        MethodResult(RANDOM, True, np.where(repeated, n_groups, shuffled_unseen)),
    ]


def _table(catalog: Catalog, test: Queries, texts: Sequence[Sequence[GeneratedText]]) -> QueryTable:
    return QueryTable.build(
        user_ids=test.user_ids,
        histories=[[catalog.item_ids[item] for item in items] for items in test.histories],
        targets=[catalog.item_ids[item] for item in test.targets],
        target_titles=[catalog.titles[item] for item in test.targets],
        texts=texts,
    )
