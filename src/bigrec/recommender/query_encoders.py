"""How the language model answers a history: it writes titles, or it points at them.

Either way an answer lies among the catalog's titles, and what follows is the same: all of them,
ranked by distance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from bigrec.data.catalog import Catalog
from bigrec.errors import SettingsError
from bigrec.grounding.beams import BeamMode, Queries
from bigrec.grounding.cold_items import Likes
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.ranker import Ranker
from bigrec.lm.generation.transformers import TransformersGenerator
from bigrec.lm.model import LanguageModel
from bigrec.models.llm import DIRECT, DirectGrounder
from bigrec.recommender.factory import make_embedder, make_generator, make_renderer
from bigrec.settings import Settings
from bigrec.types import BoolArray, GeneratedText, IntArray, Progress

WRITTEN: Mapping[BeamMode, str] = {"first": "BIGRec, first beam", "all": "BIGRec, all beams"}
"""What a recommender that writes is called in tables, by the texts that count."""

POINTED: Mapping[BeamMode, str] = {"first": DIRECT}
"""What a recommender that points is called: there is one answer to a history."""

_ADAPTER, _INDEX, _NETWORK = "adapter", "index", "direct"


@dataclass(frozen=True, eq=False)
class Answers:
    """What the language model answered to ``q`` histories.

    Attributes:
        queries: The answers as points.
        texts: What it wrote for each history, most probable first; nothing where it points.
    """

    queries: Queries = field(repr=False)
    texts: Sequence[Sequence[GeneratedText]] = field(repr=False)


class Answerer(Protocol):
    """A language model that answers histories with points among a catalog's titles.

    Attributes:
        lm: The language model.
        names: What the recommender is called in tables, by the beam modes that it has.
        ranker: Ranks the catalog by distance to the points.
    """

    lm: LanguageModel
    names: Mapping[BeamMode, str]
    ranker: Ranker

    def answer(self, histories: Sequence[IntArray], *, progress: Progress | None = None) -> Answers:
        """Answer histories.

        Args:
            histories: Item numbers of each, oldest first, all that is known; it reads as many as
                the settings say.
            progress: Called with (histories done, histories in all).
        """
        ...

    def with_catalog(
        self, catalog: Catalog, *, counts: IntArray, progress: Progress | None = None
    ) -> Self:
        """The same for another catalog: only titles that are new cost anything."""
        ...

    def likes(self, known: BoolArray) -> Likes | None:
        """For titles that signals do not know, those they know that are most like them.

        Args:
            known: Which titles signals know, ``[g]``.

        Returns:
            None where the model's space says too little about it.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write into a bundle's folder what was learned and where the titles lie."""
        ...


class Writer:
    """Writes titles, and embeds what it wrote (published).

    Args:
        settings: Of prompts, generation and embedding.
        lm: The language model with its adapter.
        catalog: What can be recommended.
        counts: How often each item occurs in the training split, ``[n]``.
        noun: What the prompt calls a title.
        index: Embeddings made before. One of another catalog or space is brought up to date, one
            of another embedder is made anew.
        index_parts: Folder that lets an interrupted embedding go on.
        progress: Called with (titles embedded, titles to embed).
    """

    def __init__(
        self,
        settings: Settings,
        lm: LanguageModel,
        *,
        catalog: Catalog,
        counts: IntArray,
        noun: str,
        index: ItemIndex | None = None,
        index_parts: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.lm = lm
        self.names = WRITTEN
        self.embedder = make_embedder(lm, settings)
        self.renderer = make_renderer(lm.tokenizer, settings)
        self.generator = make_generator(lm, self.renderer, catalog.group_titles, settings=settings)
        titles, space = catalog.group_titles, settings.embed.space
        if index is None or not index.belongs_to(self.embedder, titles, space=space):
            index = ItemIndex.build(
                titles,
                self.embedder,
                space=space,
                previous=index,
                parts=index_parts,
                progress=progress,
            )
        self.index = index
        self.ranker = Ranker(index, catalog.group, counts=counts)
        self._settings = settings
        self._catalog = catalog
        self._noun = noun

    def write(
        self, histories: Sequence[IntArray], *, progress: Progress | None = None
    ) -> list[list[GeneratedText]]:
        """What the language model writes for histories of item numbers, best first."""
        titles = self._catalog.titles
        length = self._settings.data.history_length
        prompts = [
            self.renderer.prompt_ids([titles[item] for item in history[-length:]], self._noun)
            for history in histories
        ]
        generator = self.generator
        if self._settings.generate.titles == "unseen" and isinstance(
            generator, TransformersGenerator
        ):
            seen = [[titles[item] for item in history] for history in histories]
            return generator.generate(prompts, excluded=seen, progress=progress)
        return generator.generate(prompts, progress=progress)

    def ground(
        self, texts: Sequence[Sequence[GeneratedText]], *, progress: Progress | None = None
    ) -> Answers:
        """Embed what was written; ``progress`` counts texts."""
        return Answers(self.ranker.queries(texts, self.embedder, progress=progress), texts)

    def answer(self, histories: Sequence[IntArray], *, progress: Progress | None = None) -> Answers:
        """See `Answerer`."""
        return self.ground(self.write(histories, progress=progress))

    def with_catalog(
        self, catalog: Catalog, *, counts: IntArray, progress: Progress | None = None
    ) -> Self:
        """See `Answerer`."""
        return type(self)(
            self._settings,
            self.lm,
            catalog=catalog,
            counts=counts,
            noun=self._noun,
            index=self.index,
            progress=progress,
        )

    def likes(self, known: BoolArray) -> None:
        """None: where only the published space is at hand, signals stay as published."""

    def save(self, folder: Path) -> None:
        """See `Answerer`."""
        self.lm.save_adapter(folder / _ADAPTER)
        self.index.save(folder / _INDEX)


class Pointer:
    """Points at titles (`bigrec.models.llm`).

    Args:
        grounder: Trained on titles, for a catalog.
        catalog: What can be recommended, of the grounder's groups.
        counts: How often each item occurs in the training split, ``[n]``.
        history_length: Most items of a history that are read, the newest ones.
    """

    def __init__(
        self,
        grounder: DirectGrounder,
        *,
        catalog: Catalog,
        counts: IntArray,
        history_length: int,
    ) -> None:
        self.lm = grounder.lm
        self.names = POINTED
        self.grounder = grounder
        self.ranker = Ranker(grounder.item_index(), catalog.group, counts=counts)
        self._history_length = history_length

    def answer(self, histories: Sequence[IntArray], *, progress: Progress | None = None) -> Answers:
        """See `Answerer`."""
        points = self.grounder.points([history[-self._history_length :] for history in histories])
        if progress is not None:
            progress(len(histories), len(histories))
        return Answers(Queries.of_points(points), [[] for _ in histories])

    def with_catalog(
        self, catalog: Catalog, *, counts: IntArray, progress: Progress | None = None
    ) -> Self:
        """See `Answerer`."""
        return type(self)(
            self.grounder.with_catalog(catalog, progress=progress),
            catalog=catalog,
            counts=counts,
            history_length=self._history_length,
        )

    def likes(self, known: BoolArray) -> Likes:
        """By the part of a point in which like titles are near each other."""
        return self.grounder.likes(known)

    def save(self, folder: Path) -> None:
        """See `Answerer`."""
        self.grounder.save(folder / _NETWORK)
        self.grounder.index.save(folder / _INDEX)


def make_pointer(
    grounder: DirectGrounder, settings: Settings, *, catalog: Catalog, counts: IntArray
) -> Pointer:
    """What points, as the settings say."""
    return Pointer(
        grounder, catalog=catalog, counts=counts, history_length=settings.data.history_length
    )


def load_answerer(
    folder: Path,
    settings: Settings,
    lm: LanguageModel,
    *,
    catalog: Catalog,
    counts: IntArray,
    noun: str,
) -> Answerer:
    """What ``save`` wrote into a bundle's folder, on the base model that it was learned on.

    Args:
        folder: The bundle.
        settings: What it was made with.
        lm: The base model; for direct grounding as `load_cut_model` gives it.
        catalog: The bundle's.
        counts: How often each item occurs in the training split, ``[n]``.
        noun: What the prompt calls a title.

    Raises:
        BundleError: If a file is missing, damaged, of another version or of another model.
        StaleIndexError: If the titles' places were made with another model or catalog.
    """
    index = ItemIndex.load(folder / _INDEX)
    if settings.grounding == "direct":
        grounder = DirectGrounder.load(folder / _NETWORK, lm=lm, index=index, group=catalog.group)
        return make_pointer(grounder, settings, catalog=catalog, counts=counts)
    lm.load_adapter(folder / _ADAPTER)
    index.check(make_embedder(lm, settings), catalog.group_titles, space=settings.embed.space)
    return Writer(settings, lm, catalog=catalog, counts=counts, noun=noun, index=index)


def writer_of(answerer: Answerer) -> Writer:
    """The answerer as one that writes.

    Raises:
        SettingsError: If it points.
    """
    if not isinstance(answerer, Writer):
        raise SettingsError(
            "this recommender points at titles and writes none: set grounding to 'written' for "
            "texts."
        )
    return answerer
