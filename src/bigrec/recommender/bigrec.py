"""BIGRec: a recommender that is fitted, queried, saved and loaded."""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.errors import BundleError, DataError, NotFittedError
from bigrec.grounding.beams import BeamMode
from bigrec.grounding.ranks import check_length
from bigrec.recommender.bundle import MANIFEST, read_manifest, write_manifest
from bigrec.recommender.factory import load_encoder_model
from bigrec.recommender.fit_store import FolderStore
from bigrec.recommender.fitted import FittedRecommender, load_catalog, load_fusion
from bigrec.recommender.fitting import Fitting, no_progress
from bigrec.recommender.query_encoders import load_query_encoder
from bigrec.recommender.recommendations import Candidates, Recommendations, to_recommendations
from bigrec.recommender.training_data import load_source, prepare_examples
from bigrec.settings import Settings
from bigrec.storage import atomic_folder, write_json
from bigrec.types import IntArray, ProgressCallback, ProgressFactory

_SETTINGS = "settings.yaml"


class BIGRec:
    """A recommender: a language model whose output is grounded to the items of a catalog.

    ``BIGRec(settings).fit(dataset)`` trains one and ``BIGRec.load(folder)`` opens a saved one.
    Both then recommend for any history, of a known user or a new one.

    Args:
        settings: Everything that can be chosen; the defaults by default.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._fitted: FittedRecommender | None = None

    @classmethod
    def of(cls, fitted: FittedRecommender) -> Self:
        """A recommender that is fitted already."""
        model = cls(fitted.settings)
        model._fitted = fitted
        return model

    def fit(
        self,
        dataset: Dataset | str | Path,
        *,
        folder: Path | None = None,
        progress_factory: ProgressFactory = no_progress,
    ) -> Self:
        """Train the language model on a dataset's training split and fit the fused signals.

        Args:
            dataset: A dataset, or a folder, file or short name to load one from.
            folder: Holds checkpoints; called again with the same folder, dataset and settings, an
                interrupted fit resumes. A temporary folder by default.
            progress_factory: Called with the name of each long step; gives its progress callback.

        Returns:
            This recommender.

        Raises:
            BigrecError: If the data, the settings or the model cannot be used.
        """
        if not isinstance(dataset, Dataset):
            source = self.settings.data.model_copy(update={"source": str(dataset)})
            dataset = load_source(source)
        prepared = prepare_examples(dataset, self.settings)
        with tempfile.TemporaryDirectory() as temporary:
            self._fitted = Fitting(
                dataset,
                prepared,
                self.settings,
                store=FolderStore(folder or Path(temporary)),
                progress_factory=progress_factory,
            ).tested.fitted
        return self

    @property
    def fitted(self) -> FittedRecommender:
        """The fitted parts.

        Raises:
            NotFittedError: If the recommender is not fitted.
        """
        if self._fitted is None:
            raise NotFittedError(
                "this recommender is not fitted: call fit() or BIGRec.load() first."
            )
        return self._fitted

    @property
    def catalog(self) -> Catalog:
        """The items that can be recommended."""
        return self.fitted.catalog

    def recommend(
        self,
        history: Iterable[str],
        *,
        k: int = 10,
        exclude_seen: bool | None = None,
        items: Iterable[str] | None = None,
        exclude: Iterable[str] = (),
        beams: BeamMode | None = None,
    ) -> Recommendations:
        """Recommend items for one history; see `recommend_batch`."""
        return self._recommend(
            {"the history": history},
            k=k,
            exclude_seen=exclude_seen,
            items=items,
            exclude=exclude,
            beams=beams,
        )[0]

    def recommend_batch(
        self,
        histories: Iterable[Iterable[str]],
        *,
        k: int = 10,
        exclude_seen: bool | None = None,
        items: Iterable[str] | None = None,
        exclude: Iterable[str] = (),
        beams: BeamMode | None = None,
        progress: ProgressCallback | None = None,
    ) -> list[Recommendations]:
        """Recommend items for many histories at once.

        Histories, items and exclusions are any iterables of text, each read once: lists,
        generators, arrays, series.

        Args:
            histories: Item ids or titles of each, oldest first. The model reads the newest
                ``max_history_length``; `exclude_seen` excludes all of them.
            k: Length of each list, at least 1. A list is shorter only if fewer candidates are
                left, at most one for each different title.
            exclude_seen: Exclude the history, with all items of its titles; the setting by default.
            items: Ids or titles of the only items to recommend; None for the whole catalog.
            exclude: Ids or titles of items that are never recommended.
            beams: Generative mode without fusion: ground the top beam or all; the setting by
                default.
            progress: Called with (histories done, histories in total).

        Returns:
            A list for each history, best first.

        Raises:
            NotFittedError: If the recommender is not fitted.
            DataError: If a history is empty, or an item is missing or not in the catalog.
            TypeError: If a history is a set, which has no order, an item is not text, or ``k`` is
                not a whole number.
            ValueError: If ``k`` is below 1, or ``beams`` has no effect.
        """
        if isinstance(histories, str | bytes) or not isinstance(histories, Iterable):
            raise TypeError(f"histories is {histories!r}: expected a list of histories.")
        named = {f"histories[{place}]": history for place, history in enumerate(histories)}
        return self._recommend(
            named,
            k=k,
            exclude_seen=exclude_seen,
            items=items,
            exclude=exclude,
            beams=beams,
            progress=progress,
        )

    def _recommend(
        self,
        histories: Mapping[str, Iterable[str]],
        *,
        k: int,
        exclude_seen: bool | None,
        items: Iterable[str] | None,
        exclude: Iterable[str],
        beams: BeamMode | None,
        progress: ProgressCallback | None = None,
    ) -> list[Recommendations]:
        """Lists for histories by the names that messages give them."""
        fitted = self.fitted
        check_length(k)
        if beams is not None and (fitted.fusion is not None or beams not in fitted.encoder.methods):
            raise ValueError(
                f"beams is {beams!r}, which has no effect here: expected None unless generative "
                "mode is used without fusion. A fusion rule grounds the beams it was selected for."
            )
        seen = [self._resolve(history, name=name) for name, history in histories.items()]
        if not seen:
            return []
        candidates = Candidates.select(fitted.catalog, fitted.counts, items=items, exclude=exclude)
        encoded = fitted.encoder.encode(seen, progress=progress)
        if exclude_seen is None:
            exclude_seen = self.settings.recommend.exclude_seen
        lists = fitted.rank(
            encoded,
            seen,
            k=min(int(k), fitted.catalog.n_titles),
            exclude_seen=exclude_seen,
            exclude=[candidates.excluded_items] * len(seen),
            beams=beams,
        )
        return [
            to_recommendations(
                fitted.catalog, lists, query, texts=encoded.texts[query], shown=candidates.shown
            )
            for query in range(len(seen))
        ]

    def update_catalog(self, catalog: Catalog, *, progress: ProgressCallback | None = None) -> Self:
        """Recommend from another catalog without training: only new titles are embedded.

        Args:
            catalog: The items. Counts of items that stay are kept; new items have none.
            progress: Called with (titles embedded, titles to embed).

        Raises:
            NotFittedError: If the recommender is not fitted.
        """
        self._fitted = self.fitted.with_catalog(catalog, progress=progress)
        return self

    def save(self, folder: str | Path, *, metrics: Any = None) -> None:
        """Write everything but the base model into one folder, whole or not at all.

        Args:
            folder: The bundle. An existing one is replaced once the new one is complete.
            metrics: Measured figures to keep with it, JSON-like.

        Raises:
            NotFittedError: If the recommender is not fitted.
            StorageError: If the folder cannot be written.
            ValueError: If the folder exists and is no bundle.
        """
        folder, fitted = Path(folder), self.fitted
        if folder.exists() and not (folder / MANIFEST).is_file():
            raise ValueError(f"{folder} exists and is no bundle: choose another folder.")
        lm = fitted.encoder.lm
        with atomic_folder(folder) as temporary:
            fitted.save(temporary)
            self.settings.write(temporary / _SETTINGS)
            if metrics is not None:
                write_json(temporary / "metrics.json", metrics)
            write_manifest(
                temporary,
                {
                    "item_type": fitted.item_type,
                    "base_model": {
                        "name": lm.source.origin,
                        "fingerprint": lm.base_fingerprint,
                        "dtype": str(lm.model.dtype).removeprefix("torch."),
                    },
                },
            )

    @classmethod
    def load(
        cls, folder: str | Path, *, base_model: str | None = None, device: str = "auto"
    ) -> Self:
        """Open a bundle.

        Args:
            folder: Written by `save`.
            base_model: Location of the base model on this machine, if not the settings'.
            device: Device to compute on.

        Raises:
            BundleError: If the bundle is damaged or of another version, or the base model is not
                the one it was made with.
            ModelError: If the base model cannot be loaded.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        settings = Settings.read(folder / _SETTINGS)
        made_with = manifest["base_model"]
        # The index was made in this precision; another would move the queries away from it.
        update = {"device": device, "dtype": made_with["dtype"]}
        if base_model is not None:
            update["base"] = base_model
        settings = settings.model_copy(update={"model": settings.model.model_copy(update=update)})
        lm = load_encoder_model(settings)
        if lm.base_fingerprint != made_with["fingerprint"]:
            raise BundleError(
                f"{folder} was made with base model {made_with['name']!r} "
                f"({made_with['fingerprint']}), but {settings.model.base!r} is another "
                f"({lm.base_fingerprint}). Pass base_model with the right one."
            )
        catalog, counts = load_catalog(folder)
        item_type = manifest["item_type"]
        encoder = load_query_encoder(
            folder, settings, lm, catalog=catalog, counts=counts, item_type=item_type
        )
        return cls.of(
            FittedRecommender(
                settings,
                encoder,
                catalog=catalog,
                counts=counts,
                item_type=item_type,
                fusion=load_fusion(folder),
            )
        )

    def _resolve(self, history: Iterable[str], *, name: str) -> IntArray:
        if isinstance(history, set | frozenset):
            raise TypeError(
                f"{name} is a set, which has no order: expected a list of item ids or titles, "
                "oldest first."
            )
        numbers = self.catalog.resolve(history, name=name)
        if not len(numbers):
            raise DataError(
                f"{name} is empty: expected a list of at least one item id or title, oldest first."
            )
        return numbers
