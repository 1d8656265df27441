"""BIGRec: the steps put together into a recommender that is fitted, asked, saved and loaded."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.errors import BundleError, DataError
from bigrec.grounding.beams import BeamMode
from bigrec.recommender.bundle import read_manifest, write_manifest
from bigrec.recommender.factory import (
    Drawn,
    draw,
    load_cut_model,
    load_model,
    read_source,
    train_adapter,
)
from bigrec.recommender.fitted import Parts, injected_signals, learn_injected, listed, untracked
from bigrec.recommender.fusion import (
    Injected,
)
from bigrec.recommender.query_encoders import Answerer, Answers, Writer, load_answerer, make_pointer
from bigrec.recommender.training_data import direct_lessons, train_direct
from bigrec.settings import Settings
from bigrec.storage import atomic_folder, write_json
from bigrec.types import IntArray, Progress, Recommendation, Track

_SIGNALS = "signals"


class BIGRec:
    """A recommender: a language model whose answers are grounded to the items of a catalog.

    ``BIGRec(settings).fit(dataset)`` trains one and ``BIGRec.load(folder)`` opens a saved one.
    Both then recommend for any history, of a known user or a new one.

    Args:
        settings: Everything that can be chosen; the defaults by default.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._parts: Parts | None = None

    @classmethod
    def assemble(
        cls,
        settings: Settings,
        answerer: Answerer,
        *,
        catalog: Catalog,
        counts: IntArray,
        noun: str,
        injected: Injected | None = None,
    ) -> Self:
        """A recommender from its parts; see `Parts` for the arguments."""
        model = cls(settings)
        model._parts = Parts(
            settings, answerer, catalog=catalog, counts=counts, noun=noun, injected=injected
        )
        return model

    def fit(
        self,
        dataset: Dataset | str | Path,
        *,
        folder: Path | None = None,
        track: Track | None = None,
    ) -> Self:
        """Teach the language model a dataset's training split, and where the catalog's titles lie.

        Args:
            dataset: A dataset, or a folder, file or short name to load one from.
            folder: Where checkpoints go; called again with the same folder, an interrupted fit
                goes on. A temporary folder by default.
            track: Called with the name of each long step; gives what reports its progress.

        Returns:
            This recommender.

        Raises:
            BigrecError: If the data, the settings or the model cannot be used.
        """
        track = track or untracked
        if not isinstance(dataset, Dataset):
            source = self.settings.data.model_copy(update={"source": str(dataset)})
            dataset = read_source(source)
        others = [read_source(source) for source in self.settings.data.also_train_on]
        drawn = draw(dataset, self.settings, others=others)
        with tempfile.TemporaryDirectory() as temporary:
            work = folder or Path(temporary)
            fitted = self.assemble(
                self.settings,
                self._taught(dataset, drawn, folder=work, track=track),
                catalog=dataset.catalog,
                counts=drawn.counts,
                noun=dataset.noun,
            )
            if injected_signals(self.settings, n_items=dataset.catalog.n_items):
                answers = fitted.parts.answerer.answer(
                    drawn.valid_queries.histories, progress=track("validation answers")
                )
                fitted.inject(dataset, drawn, answers=answers, folder=work / "signals", track=track)
        self._parts = fitted._parts
        return self

    def _taught(self, dataset: Dataset, drawn: Drawn, *, folder: Path, track: Track) -> Answerer:
        settings = self.settings
        if settings.grounding == "direct":
            grounder = train_direct(
                direct_lessons(dataset, drawn, settings),
                settings,
                catalog=dataset.catalog,
                folder=folder / "direct",
                reading=track("index"),
                learning=track("train"),
            )
            return make_pointer(grounder, settings, catalog=dataset.catalog, counts=drawn.counts)
        lm = load_model(settings)
        train_adapter(lm, drawn, settings, folder=folder / "train", progress=track("train"))
        return Writer(
            settings,
            lm,
            catalog=dataset.catalog,
            counts=drawn.counts,
            noun=dataset.noun,
            index_parts=folder / "index-parts",
            progress=track("index"),
        )

    def inject(
        self,
        dataset: Dataset,
        drawn: Drawn,
        *,
        answers: Answers,
        folder: Path,
        track: Track | None = None,
    ) -> Self:
        """Learn the signals of the settings, and put them in as does best on validation.

        Args:
            dataset: What is recommended from.
            drawn: Its examples.
            answers: The language model's, to the validation examples.
            folder: Where networks keep what they learned.
            track: Called with the name of each network's training.
        """
        injected = learn_injected(
            self.parts,
            self.settings,
            dataset,
            drawn,
            answers=answers,
            folder=folder,
            track=track or untracked,
        )
        self.parts.bound = self.parts.bind(injected)
        return self

    @property
    def parts(self) -> Parts:
        """The fitted parts.

        Raises:
            BundleError: If the recommender is not fitted.
        """
        if self._parts is None:
            raise BundleError("this recommender is not fitted: call fit() or BIGRec.load() first.")
        return self._parts

    @property
    def catalog(self) -> Catalog:
        """What can be recommended."""
        return self.parts.catalog

    def recommend(
        self,
        history: Sequence[str],
        *,
        k: int = 10,
        exclude_seen: bool | None = None,
        beams: BeamMode | None = None,
    ) -> list[Recommendation]:
        """Recommend items for one history; see `recommend_batch`."""
        return self.recommend_batch([history], k=k, exclude_seen=exclude_seen, beams=beams)[0]

    def recommend_batch(
        self,
        histories: Sequence[Sequence[str]],
        *,
        k: int = 10,
        exclude_seen: bool | None = None,
        beams: BeamMode | None = None,
        progress: Progress | None = None,
    ) -> list[list[Recommendation]]:
        """Recommend items for many histories at once.

        Args:
            histories: Item ids or titles of each, oldest first. The model reads the last
                ``history_length`` of them; with ``exclude_seen`` none of them is recommended.
            k: Length of each list, from 1 to the number of different titles. A list is shorter
                only where fewer items are left unseen.
            exclude_seen: Leave out what is in the history; the setting by default.
            beams: Ground the first text or all; the setting by default.
            progress: Called with (histories done, histories in all).

        Returns:
            A list for each history, best first.

        Raises:
            DataError: If a history is empty or holds an item that is not in the catalog.
            ValueError: If ``k`` is out of range.
        """
        parts = self.parts
        if not 1 <= k <= parts.catalog.n_groups:
            raise ValueError(
                f"k is {k}: expected 1 to {parts.catalog.n_groups}, the number of different titles "
                "in the catalog."
            )
        seen = [self._resolve(history) for history in histories]
        if not seen:
            return []
        answers = parts.answerer.answer(seen, progress=progress)
        hide = self.settings.recommend.exclude_seen if exclude_seen is None else exclude_seen
        lists = parts.ranker.rank(
            answers.queries,
            k=k,
            beams=beams or parts.beams,
            exclude=seen if hide else None,
            fuse=parts.fuse(seen),
        )
        return [
            listed(parts.catalog, lists, query, texts=answers.texts[query])
            for query in range(len(seen))
        ]

    def update_catalog(self, catalog: Catalog, *, progress: Progress | None = None) -> Self:
        """Recommend from another catalog without training: only new titles are embedded.

        Args:
            catalog: The items from now on. Counts of items that stay are kept, new ones have none.
            progress: Called with (titles embedded, titles to embed).
        """
        parts = self.parts
        known = dict(zip(parts.catalog.item_ids, parts.counts.tolist(), strict=True))
        counts = np.array([known.get(item, 0) for item in catalog.item_ids], dtype=np.int64)
        self._parts = Parts(
            self.settings,
            parts.answerer.with_catalog(catalog, counts=counts, progress=progress),
            catalog=catalog,
            counts=counts,
            noun=parts.noun,
            injected=None if parts.bound is None else parts.bound.injected,
        )
        return self

    def save(self, folder: str | Path, *, metrics: Any = None) -> None:
        """Write everything but the base model into one folder, whole or not at all.

        Args:
            folder: The bundle. An existing one is replaced once the new one is complete.
            metrics: Measured figures to keep with it, JSON-like.

        Raises:
            StorageError: If the folder cannot be written.
            ValueError: If the folder exists and is no bundle.
        """
        folder = Path(folder)
        if folder.exists() and not (folder / "manifest.json").is_file():
            raise ValueError(f"{folder} exists and is no bundle: choose another folder.")
        parts = self.parts
        lm = parts.answerer.lm
        with atomic_folder(folder) as temporary:
            parts.answerer.save(temporary)
            parts.catalog.save(temporary / "catalog.parquet")
            pl.DataFrame({"count": parts.counts}).write_parquet(temporary / "counts.parquet")
            if parts.bound is not None:
                parts.bound.injected.save(temporary / _SIGNALS)
            self.settings.write(temporary / "settings.yaml")
            if metrics is not None:
                write_json(temporary / "metrics.json", metrics)
            write_manifest(
                temporary,
                {
                    "noun": parts.noun,
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
            folder: What `save` wrote.
            base_model: Where the base model is on this machine, if not where the settings say.
            device: Where to compute.

        Raises:
            BundleError: If the bundle is damaged or of another version, or the base model is not
                the one it was made with.
            ModelError: If the base model cannot be loaded.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        settings = Settings.read(folder / "settings.yaml")
        made_with = manifest["base_model"]
        # The index was made in this precision; another would move the queries away from it.
        update = {"device": device, "dtype": made_with["dtype"]}
        if base_model is not None:
            update["base"] = base_model
        settings = settings.model_copy(update={"model": settings.model.model_copy(update=update)})
        lm = load_cut_model(settings) if settings.grounding == "direct" else load_model(settings)
        if lm.base_fingerprint != made_with["fingerprint"]:
            raise BundleError(
                f"{folder} was made with base model {made_with['name']!r} "
                f"({made_with['fingerprint']}), but {settings.model.base!r} is another "
                f"({lm.base_fingerprint}). Pass base_model with the right one."
            )
        catalog = Catalog.load(folder / "catalog.parquet")
        counts = pl.read_parquet(folder / "counts.parquet")["count"].to_numpy()
        noun = manifest["noun"]
        return cls.assemble(
            settings,
            load_answerer(folder, settings, lm, catalog=catalog, counts=counts, noun=noun),
            catalog=catalog,
            counts=counts,
            noun=noun,
            injected=Injected.load(folder / _SIGNALS) if (folder / _SIGNALS).is_dir() else None,
        )

    def _resolve(self, history: Sequence[str]) -> IntArray:
        if isinstance(history, str) or not history:
            raise DataError(
                f"the history is {history!r}: expected a list of at least one item id or title, "
                "oldest first."
            )
        return self.catalog.resolve(history)
