"""A dataset: interactions, their catalog, and the repairs made in both."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from bigrec.data.catalog import Catalog
from bigrec.data.columns import Frame
from bigrec.data.interactions import Interactions
from bigrec.data.repairs import Repairs
from bigrec.errors import BundleError
from bigrec.storage import atomic_folder, check_format, read_json, write_json
from bigrec.storage.forks import check_threads

_FORMAT = 2
_INTERACTIONS = "interactions.parquet"
_CATALOG = "catalog.parquet"
_ABOUT = "dataset.json"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Interactions and their catalog.

    Attributes:
        name: Name of the dataset in tables.
        item_type: Name of one item in the prompt, such as "movie".
        interactions: Interactions of users with items.
        catalog: Every item that can be recommended.
        repairs: The checks of both when they were read.
    """

    name: str
    item_type: str
    interactions: Interactions
    catalog: Catalog
    repairs: Repairs

    @classmethod
    def from_frames(
        cls,
        interactions: Frame,
        items: Frame,
        *,
        name: str = "dataset",
        item_type: str = "item",
        user_id: str = "user_id",
        item_id: str = "item_id",
        time: str | None = "timestamp",
        order: str | None = None,
        rating: str | None = "rating",
        split: str | None = "split",
        min_rating: float | None = None,
        tie_seed: int = 0,
        title: str = "title",
        category: str | None = None,
        year: str | None = None,
        item_columns: Sequence[str] = (),
        decode_html: bool = True,
        article_first: bool = False,
    ) -> Self:
        """Read interactions and catalog from polars frames, lazy or not, or pandas frames.

        Args:
            interactions: One row for each interaction.
            items: One row for each item.
            name: Name of the dataset in tables.
            item_type: Name of one item in the prompt, such as "movie".
            user_id: Column of the user. For this and the next seven options see
                `Interactions.from_frame`.
            item_id: Column of the item id, in both frames.
            time: Column of the timestamp.
            order: Column of the position in the user's history.
            rating: Column of the rating.
            split: Column of the split.
            min_rating: Drop interactions with a lower rating or none.
            tie_seed: Seed of the order of interactions that tie in time.
            title: Column of the title. For this and the next five options see
                `Catalog.from_frame`.
            category: Column of the category.
            year: Column of the year.
            item_columns: Further columns of the items to keep.
            decode_html: Turn ``&amp;`` in titles into ``&``.
            article_first: Turn "Matrix, The (1999)" into "The Matrix (1999)".

        Raises:
            DataError: If a frame is unusable.
        """
        check_threads()
        repairs = Repairs()
        catalog = Catalog.from_frame(
            items,
            item_id=item_id,
            title=title,
            category=category,
            year=year,
            columns=item_columns,
            decode_html=decode_html,
            article_first=article_first,
            repairs=repairs,
        )
        table = Interactions.from_frame(
            interactions,
            catalog,
            user_id=user_id,
            item_id=item_id,
            time=time,
            order=order,
            rating=rating,
            split=split,
            min_rating=min_rating,
            tie_seed=tie_seed,
            repairs=repairs,
        )
        return cls(name, item_type, table, catalog, repairs)

    @staticmethod
    def sample() -> "Dataset":
        """The sample data that ships with bigrec: what an invented film club watched.

        8,000 interactions of 320 members with 240 films over three years; the same as
        ``load_dataset("sample")``. The columns ``genre``, ``year`` and ``in_stock`` of the films
        are kept.
        """
        from bigrec.data.sources import load_dataset  # noqa: PLC0415 - it makes datasets

        return load_dataset("sample")

    def reading(self, columns: Sequence[str]) -> Self:
        """The same dataset with other texts of titles; see `Catalog.reading`."""
        return replace(self, catalog=self.catalog.reading(columns))

    def save(self, folder: Path) -> None:
        """Write a folder, whole or not at all.

        Args:
            folder: Where to. An existing dataset is replaced.

        Raises:
            StorageError: If the folder cannot be written.
            ValueError: If the folder exists and holds something else.
        """
        if not (folder / _ABOUT).is_file() and folder.is_dir() and any(folder.iterdir()):
            raise ValueError(f"{folder} exists and is no dataset: choose another folder.")
        about = {
            "format": _FORMAT,
            "name": self.name,
            "item_type": self.item_type,
            "repairs": self.repairs.to_json(),
        }
        with atomic_folder(folder) as temporary:
            self.interactions.save(temporary / _INTERACTIONS)
            self.catalog.save(temporary / _CATALOG)
            write_json(temporary / _ABOUT, about)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: If a file is missing, damaged or of another format version.
        """
        about = read_json(folder / _ABOUT)
        cure = "Write the dataset again with the command that made it."
        check_format(about, _FORMAT, what=str(folder / _ABOUT), cure=cure)
        try:
            name, item_type = str(about["name"]), str(about["item_type"])
            repairs = Repairs.from_json(about["repairs"])
        except (KeyError, TypeError) as error:
            raise BundleError(
                f"{folder / _ABOUT} is damaged: {error!r} while reading it. {cure}"
            ) from None
        interactions = Interactions.load(folder / _INTERACTIONS)
        catalog = Catalog.load(folder / _CATALOG)
        if len(interactions) and int(interactions.items.max()) >= catalog.n_items:
            raise BundleError(
                f"{folder / _INTERACTIONS} names item {interactions.items.max()}, but "
                f"{folder / _CATALOG} holds {catalog.n_items} items: the two do not belong "
                f"together. {cure}"
            )
        return cls(name, item_type, interactions, catalog, repairs)
