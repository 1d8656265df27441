"""The side of RecTools: SASRec, EASE and ItemKNN through its own datasets."""

import warnings
from collections.abc import Sequence

import numpy as np
import side
from implicit.nearest_neighbours import CosineRecommender
from rectools.dataset import Dataset, IdMap, Interactions
from rectools.models import EASEModel, ImplicitItemKNNWrapperModel
from rectools_frame import frame


def recommender(model, dataset: Dataset, *, known: np.ndarray) -> side.Recommend:
    """Lists for histories as users of a dataset with the same items."""

    def recommend(histories: Sequence[np.ndarray]) -> np.ndarray:
        kept = [history[known[history]] for history in histories]
        rows = np.repeat(np.arange(len(kept)), [len(history) for history in kept])
        # One user more, with the last item, because the matrix ends at the last item that occurs.
        users = IdMap.from_values(np.arange(len(kept) + 1))
        items = np.append(np.concatenate(kept), dataset.item_id_map.external_ids[-1])
        new = Interactions.from_raw(
            frame(np.append(rows, len(kept)), items), users, dataset.item_id_map
        )
        queries = Dataset(users, dataset.item_id_map, new)
        found = model.recommend(np.unique(rows), queries, k=side.K, filter_viewed=True)
        lists = np.full((len(kept), side.K), -1)
        lists[found["user_id"].to_numpy(), found["rank"].to_numpy() - 1] = found["item_id"]
        return lists

    return recommend


def fit_closed_form(make) -> side.Fit:
    """A fit of a model in closed form."""

    def fit(data: side.Data, _: float):
        distinct = frame(data.users, data.items).drop_duplicates(["user_id", "item_id"])
        dataset = Dataset.construct(distinct)
        model = make().fit(dataset)
        return recommender(model, dataset, known=data.known), []

    return fit


def fit_sasrec(data: side.Data, budget: float):
    """A fit of SASRec with the settings that all sides have."""
    import rectools_sasrec  # noqa: PLC0415 - torch takes seconds, for this model alone

    curve = side.Curve(data.valid.targets, budget)
    trained = rectools_sasrec.train(
        data,
        curve,
        hidden_size=side.HIDDEN_SIZE,
        dropout=side.DROPOUT,
        learning_rate=side.LEARNING_RATE,
        max_length=side.MAX_LENGTH,
    )
    return recommender(trained.model, trained.dataset, known=data.known), curve.points


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    side.main(
        {
            "SASRec": fit_sasrec,
            "EASE": fit_closed_form(lambda: EASEModel(num_threads=1, recommend_n_threads=1)),
            "ItemKNN": fit_closed_form(
                lambda: ImplicitItemKNNWrapperModel(CosineRecommender(num_threads=1))
            ),
        }
    )
