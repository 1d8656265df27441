"""Items that are like an item, by the titles."""

from collections.abc import Iterable

import numpy as np

from bigrec.data.where import Where
from bigrec.grounding.beams import EncodedQueries
from bigrec.grounding.ranks import check_length
from bigrec.recommender.candidates import Candidates
from bigrec.recommender.fitted import FittedRecommender
from bigrec.recommender.recommendations import Recommendations, to_recommendations


def similar(
    fitted: FittedRecommender,
    item: str,
    *,
    k: int,
    items: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    where: Where | None = None,
) -> Recommendations:
    """The items whose titles are nearest to that of an item; see `BIGRec.similar`.

    Raises:
        DataError: If an item is missing, or not in the catalog.
        TypeError: If an item is not text or ``k`` is not a whole number.
        ValueError: If ``k`` is below 1 or a condition does not fit the catalog.
    """
    check_length(k)
    catalog, ranker = fitted.catalog, fitted.title_ranker
    (number,) = catalog.resolve([item], name="item")
    candidates = Candidates.select(
        catalog, fitted.rising_items, items=items, exclude=exclude, where=where
    )
    title = catalog.title_ids[number]
    lists = ranker.rank(
        EncodedQueries.from_vectors(ranker.index.embeddings[[title]]),
        k=min(int(k), catalog.n_titles),
        beams="top1",
        exclude=[np.append(candidates.excluded_items, number)],
    )
    listed = to_recommendations(catalog, lists, 0, texts=(), shown=candidates.shown)
    return Recommendations(listed, source=fitted.model_source, version=fitted.version)
