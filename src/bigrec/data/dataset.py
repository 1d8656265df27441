"""A dataset: interactions, the catalog they are with, and what was repaired in both."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bigrec.data.catalog import Catalog
from bigrec.data.columns import Frame
from bigrec.data.interactions import Interactions
from bigrec.data.repairs import Repairs
from bigrec.errors import BundleError
from bigrec.storage import atomic_folder, read_json, write_json

_FORMAT_VERSION = 1
_INTERACTIONS = "interactions.parquet"
_CATALOG = "catalog.parquet"
_ABOUT = "dataset.json"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Interactions and their catalog.

    Attributes:
        name: What the dataset is called in tables.
        noun: What one title is called in the prompt, such as "movie".
        interactions: Who interacted with what.
        catalog: Every item that can be recommended.
        repairs: The checks made while both were read.
    """

    name: str
    noun: str
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
        noun: str = "item",
        user_id: str = "user_id",
        item_id: str = "item_id",
        time: str | None = "timestamp",
        order: str | None = None,
        rating: str | None = "rating",
        split: str | None = "split",
        min_rating: float | None = None,
        title: str = "title",
        category: str | None = None,
        year: str | None = None,
        decode_html: bool = True,
        article_first: bool = False,
    ) -> Self:
        """Read both parts from polars or pandas frames.

        Args:
            interactions: One row for each interaction.
            items: One row for each item.
            name: What the dataset is called in tables.
            noun: What one title is called in the prompt.
            user_id: See `Interactions.from_frame`, as for the five that follow.
            item_id: Column of the item, in both frames.
            time: Column of the timestamp.
            order: Column of the position in the user's history.
            rating: Column of the rating.
            split: Column of the split.
            min_rating: Leave out interactions rated lower.
            title: See `Catalog.from_frame`, as for the four that follow.
            category: Column of the category.
            year: Column of the year.
            decode_html: Turn ``&amp;`` in titles into ``&``.
            article_first: Turn "Matrix, The (1999)" into "The Matrix (1999)".

        Raises:
            DataError: If one of the frames cannot be used.
        """
        repairs = Repairs()
        catalog = Catalog.from_frame(
            items,
            item_id=item_id,
            title=title,
            category=category,
            year=year,
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
            repairs=repairs,
        )
        return cls(name, noun, table, catalog, repairs)

    def save(self, folder: Path) -> None:
        """Write a folder, whole or not at all."""
        about = {
            "format_version": _FORMAT_VERSION,
            "name": self.name,
            "noun": self.noun,
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
            BundleError: If a file is missing, damaged or of another version.
        """
        about = read_json(folder / _ABOUT)
        version = about.get("format_version") if isinstance(about, dict) else None
        if version != _FORMAT_VERSION:
            raise BundleError(
                f"{folder / _ABOUT} has format version {version!r}; this bigrec reads version "
                f"{_FORMAT_VERSION}. Write the dataset again with this version of bigrec."
            )
        try:
            name, noun = str(about["name"]), str(about["noun"])
            repairs = Repairs.from_json(about["repairs"])
        except (KeyError, TypeError) as error:
            raise BundleError(
                f"{folder / _ABOUT} is damaged: {error!r} while reading it. Write the dataset "
                "again with the command that made it."
            ) from None
        interactions = Interactions.load(folder / _INTERACTIONS)
        catalog = Catalog.load(folder / _CATALOG)
        if len(interactions) and int(interactions.items.max()) >= len(catalog):
            raise BundleError(
                f"{folder / _INTERACTIONS} names item {interactions.items.max()}, but "
                f"{folder / _CATALOG} holds {len(catalog)} items: the two do not belong together. "
                "Write the dataset again with the command that made it."
            )
        return cls(name, noun, interactions, catalog, repairs)
