"""Further catalogs that a retriever is trained on, beside the one that it ranks."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from bigrec.data.interactions import Interactions
from bigrec.errors import DataError
from bigrec.grounding.index import ItemIndex
from bigrec.models.base import training_rows
from bigrec.models.llm.network import TwoTowerNetwork
from bigrec.models.neural.arguments import default_n_negatives
from bigrec.models.neural.dataset import check_trainable
from bigrec.models.neural.source import TrainingSource
from bigrec.types import BoolArray, IntArray


@dataclass(frozen=True, eq=False)
class ExtraCatalog:
    """A catalog with training interactions.

    Attributes:
        name: Name of the dataset in messages.
        index: Text features of the catalog's titles.
        interactions: All interactions, ``m`` of them.
        train: Mask of the training interactions, ``[m]``.
        title_ids: Title id of every item, ``[n]``.
    """

    name: str
    index: ItemIndex = field(repr=False)
    interactions: Interactions = field(repr=False)
    train: BoolArray = field(repr=False)
    title_ids: IntArray = field(repr=False)


def extra_sources(
    network: TwoTowerNetwork, catalogs: Sequence[ExtraCatalog], *, seed: int
) -> list[TrainingSource]:
    """The training sequences of catalogs, each with a network that shares weights with another.

    Args:
        network: The other one.
        catalogs: The catalogs.
        seed: Seed of the ID embeddings.

    Raises:
        DataError: If no user of a catalog has two training interactions, or it has a single title.
    """
    sources = []
    # Drawn on the CPU, so that every device starts from the same weights.
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        for catalog in catalogs:
            n_titles = len(catalog.index.titles)
            try:
                users, items = training_rows(
                    catalog.interactions, catalog.train, n_items=len(catalog.title_ids)
                )
                check_trainable(users, n_items=n_titles)
            except DataError as error:
                raise DataError(f"{catalog.name} of data.extra_train_sources: {error}") from error
            features = torch.from_numpy(catalog.index.embeddings.copy())
            sources.append(
                TrainingSource(
                    network.for_catalog(features),
                    users,
                    catalog.title_ids[items],
                    default_n_negatives(n_titles),
                )
            )
    return sources
