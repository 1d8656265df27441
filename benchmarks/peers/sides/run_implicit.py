"""The side of implicit: item-item by cosine and ALS, with their default settings."""

from collections.abc import Sequence

import numpy as np
import side
from implicit.cpu.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender
from scipy.sparse import csr_matrix


def binary(users: np.ndarray, items: np.ndarray, *, shape: tuple[int, int]) -> csr_matrix:
    """Which user has which item."""
    matrix = csr_matrix((np.ones(len(items), dtype=np.float32), (users, items)), shape=shape)
    matrix.data[:] = 1
    return matrix


def fit(make, *, recalculate: bool) -> side.Fit:
    """A fit of a model; histories are users that it folds in."""

    def fit_model(data: side.Data, _: float):
        _, users = np.unique(data.users, return_inverse=True)
        shape = (int(users.max()) + 1, data.n_items)
        model = make()
        model.fit(binary(users, data.items, shape=shape), show_progress=False)

        def recommend(histories: Sequence[np.ndarray]) -> np.ndarray:
            rows = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
            shape = (len(histories), data.n_items)
            user_items = binary(rows, np.concatenate(histories), shape=shape)
            lists, _ = model.recommend(
                np.arange(len(histories)), user_items, N=side.K, recalculate_user=recalculate
            )
            return np.asarray(lists, dtype=np.int64)

        return recommend, []

    return fit_model


if __name__ == "__main__":
    side.main(
        {
            "item-item": fit(lambda: CosineRecommender(num_threads=1), recalculate=False),
            "ALS": fit(
                lambda: AlternatingLeastSquares(num_threads=1, random_state=0), recalculate=True
            ),
        }
    )
