"""Latent decoding as a query encoder: items at the language model's states before them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from bigrec.data.catalog import Catalog
from bigrec.data.interactions import Interactions
from bigrec.evaluation.method import MethodId
from bigrec.grounding.beams import BeamMode, EncodedQueries
from bigrec.grounding.index import ItemIndex
from bigrec.lm.model import LanguageModel
from bigrec.lm.states import NextTitleStates
from bigrec.lm.trained import save_trained
from bigrec.models.base import read_model_folder, write_model_folder
from bigrec.models.text.grounded_titles import (
    GaussianTitles,
    GroundedTitles,
    MeanTitles,
    StoredGaussian,
    StoredTitles,
)
from bigrec.recommender.factory import make_renderer
from bigrec.recommender.query_parts import STATES, compute_in_parts
from bigrec.recommender.state_query_encoder import StateContext, StateQueryEncoder
from bigrec.recommender.user_histories import USERS_FILE
from bigrec.settings import Settings
from bigrec.storage.arrays import unusable
from bigrec.types import FloatArray, IntArray, ProgressCallback

Head = Literal["l2", "gaussian"]

_LATENT = "latent"
_KINDS: Mapping[Head, str] = {"l2": "latent means", "gaussian": "latent gaussian"}


def latent_method(head: Head) -> MethodId:
    """The unfused recommender in tables."""
    return MethodId("BIGRec, latent" if head == "gaussian" else "BIGRec, latent L2")


@dataclass(frozen=True)
class StateModel:
    """The language model with its adapter, and the states that it gives.

    Attributes:
        lm: The language model.
        states: Its states before the next title.
        head: How the states are grounded.
    """

    lm: LanguageModel
    states: NextTitleStates
    head: Head


def make_state_model(lm: LanguageModel, settings: Settings, item_type: str) -> StateModel:
    """Latent decoding's states of a language model with its adapter.

    Args:
        lm: The language model.
        settings: Of prompt, history and head.
        item_type: What the prompt calls one item.
    """
    states = NextTitleStates(
        lm,
        make_renderer(lm.tokenizer, settings),
        item_type=item_type,
        max_history_length=settings.data.max_history_length,
    )
    return StateModel(lm, states, settings.head)


class LatentQueryEncoder(StateQueryEncoder):
    """Generative mode without writing: the query is the state from which a title would be written.

    Args:
        grounded: The titles at the states before them, for the catalog.
        model: Gives the states.
        context: What it is for.
    """

    def __init__(self, grounded: GroundedTitles, model: StateModel, context: StateContext) -> None:
        super().__init__(grounded, context, key=[_LATENT, model.head, model.lm.base_fingerprint])
        self.lm = model.lm
        self.methods: Mapping[BeamMode, MethodId] = {"top1": latent_method(model.head)}
        self._model = model

    def encode(
        self,
        histories: Sequence[IntArray],
        *,
        parts_folder: Path | None = None,
        progress: ProgressCallback | None = None,
    ) -> EncodedQueries:
        """See `QueryEncoder`."""
        return self._encoded(self.states(histories, parts_folder=parts_folder, progress=progress))

    def states(
        self,
        histories: Sequence[IntArray],
        *,
        parts_folder: Path | None = None,
        progress: ProgressCallback | None = None,
    ) -> FloatArray:
        """States after histories, ``[q, d]`` float32; for the arguments see `encode`."""
        return history_states(
            self._model.states,
            self._context.catalog,
            self._newest(histories),
            parts_folder=parts_folder,
            progress=progress,
        )

    def grounded_by(self, grounded: GroundedTitles) -> Self:
        """The encoder of the same model and catalog, its titles grounded by other states.

        Args:
            grounded: The titles, for the catalog.
        """
        return type(self)(grounded, self._model, self._context)

    def with_catalog(
        self,
        catalog: Catalog,
        *,
        counts: IntArray,
        embedded: ItemIndex | None = None,
        progress: ProgressCallback | None = None,
    ) -> Self:
        """See `QueryEncoder`."""
        grounded = self._grounded.with_titles(
            catalog.titles, embed=self._embed_new(catalog, embedded, progress)
        )
        context = replace(self._context, catalog=catalog, counts=counts)
        return type(self)(grounded, self._model, context)

    def updated(self, interactions: Interactions) -> Self:
        """See `QueryEncoder`. The language model stays as it is."""
        context = self._context
        histories, targets, users = context.users.followed_by(interactions, context.catalog)
        known = [place for place, history in enumerate(histories) if len(history)]
        grounded = self._grounded
        if known:
            states = self.states([histories[place] for place in known])
            grounded = grounded.updated(states, targets[known])
        return type(self)(grounded, self._model, replace(context, users=users))

    def save(self, folder: Path) -> None:
        """See `QueryEncoder`."""
        save_trained(self.lm, folder)
        self.save_states(folder)

    def save_states(self, folder: Path) -> None:
        """Write everything but the language model into a bundle's folder."""
        write_model_folder(
            folder / _LATENT,
            _KINDS[self._model.head],
            settings=self._grounded.to_settings(),
            arrays=self._grounded.to_arrays(),
        )
        self._context.users.save(folder / USERS_FILE)

    @classmethod
    def load(cls, folder: Path, model: StateModel, context: StateContext) -> Self:
        """Read what `save` wrote into a bundle's folder, but for the language model.

        Raises:
            BundleError: If a file is missing, damaged or of another version.
        """
        grounded: GroundedTitles
        place, kind = folder / _LATENT, _KINDS[model.head]
        if model.head == "gaussian":
            gaussian, arrays = read_model_folder(place, kind, StoredGaussian)
            grounded = GaussianTitles.from_stored(place, gaussian, arrays)
        else:
            titles, arrays = read_model_folder(place, kind, StoredTitles)
            grounded = MeanTitles.from_stored(place, titles, arrays)
        if grounded.statistics.dim != model.states.dim:
            raise unusable(
                place,
                f"its states have {grounded.statistics.dim} dimensions and the base model's "
                f"{model.states.dim}",
            )
        return cls(grounded, model, context)


def history_states(
    states: NextTitleStates,
    catalog: Catalog,
    histories: Sequence[IntArray],
    *,
    parts_folder: Path | None = None,
    progress: ProgressCallback | None = None,
) -> FloatArray:
    """States after histories, ``[q, d]`` float32.

    Args:
        states: Gives the states.
        catalog: The items.
        histories: Item numbers of each, oldest first.
        parts_folder: Stores states, so that an interrupted call resumes.
        progress: Called with (histories done, histories in total).
    """

    def compute(
        some: Sequence[IntArray], *, progress: ProgressCallback | None = None
    ) -> FloatArray:
        titles = [[catalog.titles[item] for item in history] for history in some]
        return states.after(titles, progress=progress)

    return compute_in_parts(compute, histories, STATES, folder=parts_folder, progress=progress)
