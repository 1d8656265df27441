"""BIGRec: the steps put together into a recommender that is fitted, asked, saved and loaded."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from bigrec.bundle import read_manifest, write_manifest
from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.errors import BundleError, DataError
from bigrec.files import atomic_folder, write_json
from bigrec.grounding.beams import BeamMode
from bigrec.grounding.index import ItemIndex
from bigrec.lm.generate import TransformersGenerator
from bigrec.lm.model import LanguageModel
from bigrec.parts import Parts, learn_injected, listed, untracked
from bigrec.settings import Settings
from bigrec.statistics import (
    BoundSignals,
    Injected,
)
from bigrec.steps import (
    Drawn,
    draw,
    load_model,
    make_embedder,
    read_source,
    train_adapter,
)
from bigrec.types import GeneratedText, IntArray, Progress, Recommendation, Track

_SIGNALS = "signals"


class BIGRec:
    """A recommender that writes titles and grounds them to the items of a catalog.

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
        *,
        lm: LanguageModel,
        catalog: Catalog,
        counts: IntArray,
        noun: str,
        index: ItemIndex | None = None,
        index_parts: Path | None = None,
        injected: Injected | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """A recommender from its parts.

        Args:
            settings: What the parts were made with.
            lm: The language model with its adapter.
            catalog: What can be recommended.
            counts: How often each item occurs in the training split, ``[n]``.
            noun: What the prompt calls a title.
            index: Embeddings made before. One of another catalog or space is brought up to date,
                one of another embedder is made anew.
            index_parts: Folder that lets an interrupted embedding go on.
            injected: Signals to put into the distances, and how.
            progress: Called with (titles embedded, titles to embed).
        """
        embedder = make_embedder(lm, settings)
        titles = catalog.group_titles
        if index is None or not index.belongs_to(embedder, titles, space=settings.embed.space):
            index = ItemIndex.build(
                titles,
                embedder,
                space=settings.embed.space,
                previous=index,
                parts=index_parts,
                progress=progress,
            )
        model = cls(settings)
        model._parts = Parts(
            settings,
            lm,
            catalog=catalog,
            counts=counts,
            noun=noun,
            index=index,
            injected=injected,
        )
        return model

    def fit(
        self,
        dataset: Dataset | str | Path,
        *,
        folder: Path | None = None,
        track: Track | None = None,
    ) -> Self:
        """Fine-tune on a dataset's training split and index its catalog.

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
        lm = load_model(self.settings)
        with tempfile.TemporaryDirectory() as temporary:
            work = folder or Path(temporary)
            train_adapter(lm, drawn, self.settings, folder=work / "train", progress=track("train"))
            fitted = self.assemble(
                self.settings,
                lm=lm,
                catalog=dataset.catalog,
                counts=drawn.counts,
                noun=dataset.noun,
                index_parts=work / "index-parts",
                progress=track("index"),
            )
            if self.settings.recommend.inject:
                texts = fitted.write_texts(
                    drawn.valid_queries.histories, progress=track("validation texts")
                )
                fitted.inject(dataset, drawn, texts=texts, folder=work / "signals", track=track)
        self._parts = fitted._parts
        return self

    def inject(
        self,
        dataset: Dataset,
        drawn: Drawn,
        *,
        texts: Sequence[Sequence[GeneratedText]],
        folder: Path,
        track: Track | None = None,
    ) -> Self:
        """Learn the signals of the settings, and put them in as does best on validation.

        Args:
            dataset: What is recommended from.
            drawn: Its examples.
            texts: What the model wrote for the validation examples.
            folder: Where networks keep what they learned.
            track: Called with the name of each network's training.
        """
        injected = learn_injected(
            self.parts,
            self.settings,
            dataset,
            drawn,
            texts=texts,
            folder=folder,
            track=track or untracked,
        )
        self.parts.bound = BoundSignals(injected, self.catalog)
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
        texts = self.write_texts(seen, progress=progress)
        hide = self.settings.recommend.exclude_seen if exclude_seen is None else exclude_seen
        lists = parts.ranker.rank(
            parts.ranker.queries(texts, parts.embedder),
            k=k,
            beams=beams or parts.beams,
            exclude=seen if hide else None,
            fuse=parts.fuse(seen),
        )
        return [
            listed(parts.catalog, lists, query, texts=texts[query]) for query in range(len(seen))
        ]

    def write_texts(
        self, histories: Sequence[IntArray], *, progress: Progress | None = None
    ) -> list[list[GeneratedText]]:
        """What the language model writes for histories of item numbers, best first."""
        parts = self.parts
        length = self.settings.data.history_length
        prompts = [
            parts.renderer.prompt_ids(
                [parts.catalog.titles[item] for item in history[-length:]], parts.noun
            )
            for history in histories
        ]
        generator = parts.generator
        if self.settings.generate.titles == "unseen" and isinstance(
            generator, TransformersGenerator
        ):
            titles = [[parts.catalog.titles[item] for item in seen] for seen in histories]
            return generator.generate(prompts, excluded=titles, progress=progress)
        return generator.generate(prompts, progress=progress)

    def update_catalog(self, catalog: Catalog, *, progress: Progress | None = None) -> Self:
        """Recommend from another catalog without training: only new titles are embedded.

        Args:
            catalog: The items from now on. Counts of items that stay are kept, new ones have none.
            progress: Called with (titles embedded, titles to embed).
        """
        parts = self.parts
        known = dict(zip(parts.catalog.item_ids, parts.counts.tolist(), strict=True))
        self._parts = self.assemble(
            self.settings,
            lm=parts.lm,
            catalog=catalog,
            counts=np.array([known.get(item, 0) for item in catalog.item_ids], dtype=np.int64),
            noun=parts.noun,
            index=parts.index,
            injected=None if parts.bound is None else parts.bound.injected,
            progress=progress,
        )._parts
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
        with atomic_folder(folder) as temporary:
            parts.lm.save_adapter(temporary / "adapter")
            parts.index.save(temporary / "index")
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
                        "name": parts.lm.source.origin,
                        "fingerprint": parts.lm.base_fingerprint,
                        "dtype": str(parts.lm.model.dtype).removeprefix("torch."),
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
        lm = load_model(settings)
        if lm.base_fingerprint != made_with["fingerprint"]:
            raise BundleError(
                f"{folder} was made with base model {made_with['name']!r} "
                f"({made_with['fingerprint']}), but {settings.model.base!r} is another "
                f"({lm.base_fingerprint}). Pass base_model with the right one."
            )
        lm.load_adapter(folder / "adapter")
        catalog = Catalog.load(folder / "catalog.parquet")
        index = ItemIndex.load(folder / "index")
        index.check(make_embedder(lm, settings), catalog.group_titles, space=settings.embed.space)
        return cls.assemble(
            settings,
            lm=lm,
            catalog=catalog,
            counts=pl.read_parquet(folder / "counts.parquet")["count"].to_numpy(),
            noun=manifest["noun"],
            index=index,
            injected=Injected.load(folder / _SIGNALS) if (folder / _SIGNALS).is_dir() else None,
        )

    def _resolve(self, history: Sequence[str]) -> IntArray:
        if isinstance(history, str) or not history:
            raise DataError(
                f"the history is {history!r}: expected a list of at least one item id or title, "
                "oldest first."
            )
        return self.catalog.resolve(history)
