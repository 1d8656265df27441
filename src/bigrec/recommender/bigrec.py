"""BIGRec: a recommender that is fitted, queried, saved and loaded."""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from bigrec.data.arguments import check_type
from bigrec.data.catalog import Catalog
from bigrec.data.columns import Frame
from bigrec.data.dataset import Dataset
from bigrec.data.where import Where
from bigrec.errors import NotFittedError
from bigrec.grounding.beams import BeamMode
from bigrec.recommender.answering import Request, answer
from bigrec.recommender.bundle import BaseModelRecord, is_bundle, write_manifest
from bigrec.recommender.candidates import OnUnknown
from bigrec.recommender.explaining import Explanation, explain
from bigrec.recommender.fit_store import FolderStore
from bigrec.recommender.fitted import FittedRecommender
from bigrec.recommender.fitted_files import save_fitted
from bigrec.recommender.later_interactions import read_later
from bigrec.recommender.loading import SETTINGS, Access, load_fitted, stored_settings
from bigrec.recommender.recommendations import Recommendations
from bigrec.recommender.similar import similar
from bigrec.recommender.training_data import load_source
from bigrec.settings import Settings
from bigrec.storage import atomic_folder, write_json
from bigrec.storage.locks import exclusive
from bigrec.types import ProgressCallback, ProgressFactory, no_progress


class BIGRec:
    """A recommender: a language model whose output is grounded to the items of a catalog.

    ``BIGRec(settings).fit(dataset)`` trains one and ``BIGRec.load(folder)`` opens a saved one.
    Both then recommend for any history, of a known user or a new one.

    Args:
        settings: Everything that can be chosen; the defaults by default.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        if settings is not None:
            check_type(settings, Settings, name="settings", cure="Settings.read reads a file.")
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
            BigrecError: If the data, the settings or the model cannot be used, or another process
                fits in the folder.
            TypeError: If the dataset is of another type.
        """
        from bigrec.recommender.example_scores import prepare_scored_examples  # noqa: PLC0415
        from bigrec.recommender.fitting import Fitting  # noqa: PLC0415 - torch, seconds

        if not isinstance(dataset, Dataset):
            if not isinstance(dataset, str | Path):
                raise TypeError(
                    f"dataset is of type {type(dataset).__name__}; expected Dataset, or a folder, "
                    "a file or a short name. Dataset.from_frames makes one of frames."
                )
            source = self.settings.data.model_copy(update={"source": str(dataset)})
            dataset = load_source(source)
        dataset = dataset.reading(self.settings.data.text_columns)
        with tempfile.TemporaryDirectory() as temporary:
            place = folder or Path(temporary)
            with exclusive(place):
                store = FolderStore(place)
                self._fitted = Fitting(
                    dataset,
                    prepare_scored_examples(
                        dataset, self.settings, store=store, progress_factory=progress_factory
                    ),
                    self.settings,
                    store=store,
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

    @property
    def version(self) -> str:
        """Identifies the fitted model and its catalog; changes with `update`, `update_catalog`.

        It stays when the recommender is saved and loaded.
        """
        return self.fitted.version

    @property
    def signals(self) -> Mapping[str, float]:
        """Gammas of the fused signals by their names, for the setting's ``exclude_seen``."""
        fusion = self.fitted.fusion
        if fusion is None:
            return {}
        return fusion.gammas(exclude_seen=self.settings.recommend.exclude_seen)

    def recommend(
        self,
        history: Iterable[str],
        *,
        k: int = 10,
        exclude_seen: bool | None = None,
        items: Iterable[str] | None = None,
        exclude: Iterable[str] = (),
        where: Where | None = None,
        unknown: OnUnknown = "error",
        gammas: Mapping[str, float] | None = None,
        beams: BeamMode | None = None,
    ) -> Recommendations:
        """Recommend items for one history; see `recommend_batch`."""
        request = Request(k, exclude_seen, items, exclude, where, unknown, gammas, beams)
        return answer(self.fitted, {"the history": history}, request)[0]

    def recommend_batch(
        self,
        histories: Iterable[Iterable[str]],
        *,
        k: int = 10,
        exclude_seen: bool | None = None,
        items: Iterable[str] | None = None,
        exclude: Iterable[str] = (),
        where: Where | None = None,
        unknown: OnUnknown = "error",
        gammas: Mapping[str, float] | None = None,
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
            where: Conditions on the catalog's columns that every recommended item satisfies, such
                as ``{"in_stock": True, "price": {"lt": 20}}``; see `bigrec.data.where.matching`.
            unknown: What becomes of items that the catalog lacks. ``skip`` ignores and reports
                them, and answers a history of which nothing is left by popularity.
            gammas: Other gammas of some fused signals than the selected ones, by their names, at
                least 0.
            beams: Generative mode without fusion: ground the top beam or all; the setting by
                default.
            progress: Called with (histories done, histories in total).

        Returns:
            A list for each history, best first.

        Raises:
            NotFittedError: If the recommender is not fitted.
            DataError: If a history is empty or an item is not in the catalog, unless these are
                skipped, or an item is missing.
            TypeError: If a history is a set, which has no order, an item is not text, or ``k`` is
                not a whole number, or ``exclude_seen`` not a bool.
            ValueError: If ``k`` is below 1, a condition does not fit the catalog, a signal is not
                fused, or ``beams`` has no effect.
        """
        if isinstance(histories, str | bytes) or not isinstance(histories, Iterable):
            raise TypeError(f"histories is {histories!r}: expected a list of histories.")
        named = {f"histories[{place}]": history for place, history in enumerate(histories)}
        request = Request(k, exclude_seen, items, exclude, where, unknown, gammas, beams)
        return answer(self.fitted, named, request, progress=progress)

    def similar(
        self,
        item: str,
        *,
        k: int = 10,
        items: Iterable[str] | None = None,
        exclude: Iterable[str] = (),
        where: Where | None = None,
    ) -> Recommendations:
        """The items whose titles are nearest to that of an item, by L2 distance.

        Text mode and latent decoding compare titles by their sentence vectors, scaled to length 1;
        the other modes by the points of the item index, among which a history is placed. Neither
        the item itself is listed nor others of its title.

        Args:
            item: Id or title.
            k: Length of the list, at least 1. See `recommend_batch` for this and the following.
            items: Ids or titles of the only items to list; None for the whole catalog.
            exclude: Ids or titles of items that are not listed.
            where: Conditions on the catalog's columns.

        Raises:
            NotFittedError: If the recommender is not fitted.
            DataError: If an item is missing, or not in the catalog.
            TypeError: If an item is not text or ``k`` is not a whole number.
            ValueError: If ``k`` is below 1 or a condition does not fit the catalog.
        """
        return similar(self.fitted, item, k=k, items=items, exclude=exclude, where=where)

    def explain(
        self,
        history: Iterable[str],
        item: str,
        *,
        exclude_seen: bool | None = None,
        unknown: OnUnknown = "error",
        gammas: Mapping[str, float] | None = None,
    ) -> Explanation:
        """Why an item is where it is in the ranking for a history.

        Args:
            history: Item ids or titles, oldest first. See `recommend_batch` for this and the other
                options.
            item: Id or title of the item, in a list or not.
            exclude_seen: Whether the list excludes the history.
            unknown: What becomes of items of the history that the catalog lacks.
            gammas: Other gammas of some fused signals than the selected ones.

        Raises:
            NotFittedError: If the recommender is not fitted.
            DataError: If an item is missing or not in the catalog, or the history is empty.
            TypeError: If an item is not text.
            ValueError: If a signal is not fused or a gamma is out of range.
        """
        request = Request(exclude_seen=exclude_seen, unknown=unknown, gammas=gammas)
        return explain(self.fitted, history, item, request)

    def update_catalog(self, catalog: Catalog, *, progress: ProgressCallback | None = None) -> Self:
        """Recommend from another catalog without training: only new titles are embedded.

        Args:
            catalog: The items, with the columns of ``data.text``. An item of the fitted catalog has
                all that was learned of it, its title's text included, also if it was absent in
                between.
            progress: Called with (titles embedded, titles to embed).

        Raises:
            NotFittedError: If the recommender is not fitted.
            DataError: If the catalog lacks a column of ``data.text``.
            TypeError: If it is no catalog.
        """
        fitted = self.fitted
        check_type(
            catalog, Catalog, name="catalog", cure="Make one of a frame with Catalog.from_frame."
        )
        self._fitted = fitted.with_catalog(catalog, progress=progress)
        return self

    def update(
        self,
        interactions: Frame,
        *,
        user_id: str = "user_id",
        item_id: str = "item_id",
        time: str | None = "timestamp",
        order: str | None = None,
    ) -> Self:
        """Add later interactions to what the model was fitted to, at once and without another fit.

        The result is as if the model had been fitted to all of them; its hyperparameters, the
        fusion rules and the signals stay as they are. Users continue where the training data, or
        the last update, ended; a user may be new.

        Args:
            interactions: One row for each interaction, of items in the catalog, later than all
                that was fitted of their users.
            user_id: Column of the user. For this and the next three options see
                `Interactions.from_frame`.
            item_id: Column of the item id.
            time: Column of the timestamp.
            order: Column of the position in the user's history.

        Raises:
            NotFittedError: If the recommender is not fitted.
            DataError: If a column is missing, or a row cannot be used. Nothing is added then.
            ValueError: If the recommender is neither of text mode nor of latent decoding.
        """
        table = read_later(
            interactions, self.catalog, user_id=user_id, item_id=item_id, time=time, order=order
        )
        self._fitted = self.fitted.updated(table)
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
        if folder.exists() and not is_bundle(folder):
            raise ValueError(f"{folder} exists and is no bundle: choose another folder.")
        lm = fitted.encoder.lm
        with atomic_folder(folder) as temporary:
            save_fitted(fitted, temporary)
            stored_settings(self.settings).write(temporary / SETTINGS)
            if metrics is not None:
                write_json(temporary / "metrics.json", metrics)
            write_manifest(
                temporary,
                item_type=fitted.item_type,
                base_model=None if lm is None else BaseModelRecord.of(lm),
                title_encoder=fitted.title_encoder.used,
            )

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        base_model: str | None = None,
        text_encoder: str | None = None,
        device: str = "auto",
        trust_remote_code: bool = False,
        base_url: str | None = None,
        verify_key: str | Path | None = None,
        trust_index: bool = False,
    ) -> Self:
        """Open a bundle, of anybody: no code of it is run, and everything is checked first.

        Args:
            folder: Written by `save`.
            base_model: Location of the base model on this machine, if not the settings'.
            text_encoder: Location of the encoder of titles, if not the settings'. It is loaded when
                a new title needs it.
            device: Device to compute on.
            trust_remote_code: Run code that comes with the base model. The bundle's setting does
                not count. Only for authors you trust.
            base_url: Address of the server that writes titles, for a bundle that uses one. None
                takes the variable ``OPENAI_BASE_URL``; the bundle's own is never used.
            verify_key: File of a public key, PEM or OpenSSH. A bundle that was not signed with its
                private key is refused.
            trust_index: Map the bundle's graph of titles (``index.backend``), which could omit
                titles on purpose. Without it the graph is built anew, unless the bundle is
                signed.

        Raises:
            BundleError: If the bundle is damaged, of another version or not signed as asked, brings
                its own model, or the base model is not the one it was made with.
            ModelError: If the base model cannot be loaded.
            ValueError: If an address is given and the bundle uses no server.
        """
        access = Access(
            base_model=base_model,
            text_encoder=text_encoder,
            device=device,
            trust_remote_code=trust_remote_code,
            base_url=base_url,
            verify_key=None if verify_key is None else Path(verify_key),
            trust_index=trust_index,
        )
        return cls.of(load_fitted(Path(folder), access))
