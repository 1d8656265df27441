"""Language models, prompts, embedders and generators made as the settings say."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from bigrec.errors import ModelError, SettingsError
from bigrec.lm.embed import LanguageModelEmbedder, SentenceEmbedder
from bigrec.lm.finetune import FinetuneResult, finetune
from bigrec.lm.generation.base import Generator
from bigrec.lm.generation.ct2_convert import can_convert
from bigrec.lm.generation.ctranslate2 import CTranslate2Generator
from bigrec.lm.generation.openai import OpenAIGenerator
from bigrec.lm.generation.transformers import TransformersGenerator
from bigrec.lm.model import CheckFingerprint, LanguageModel, load_language_model
from bigrec.lm.prompts import PromptRenderer
from bigrec.models.llm import ItemTextFeatures
from bigrec.printable import get_logger
from bigrec.recommender.training_data import PreparedData
from bigrec.settings import Settings
from bigrec.settings.sections import BASE
from bigrec.types import ProgressCallback, TextEmbedder

logger = get_logger(__name__)

_LONGEST_TEXT = 64


def load_base_model(settings: Settings, *, check: CheckFingerprint | None = None) -> LanguageModel:
    """Load the base model as the settings say.

    Args:
        settings: Those of the model are read.
        check: Called with the model's fingerprint before anything of it is loaded.
    """
    options = settings.model.model_dump()
    return load_language_model(options.pop("base"), check=check, **options)


def load_truncated_model(
    settings: Settings,
    mode: Literal["retrieval", "generative"],
    *,
    check: CheckFingerprint | None = None,
) -> LanguageModel:
    """Load the first layers of the base model, as many as a mode uses.

    Args:
        settings: Those of the model and of the mode are read.
        mode: The mode.
        check: Called with the whole model's fingerprint before anything of it is loaded.

    Raises:
        ModelError: If the model has fewer, or cannot be loaded.
    """
    lm = load_base_model(settings, check=check)
    layers = settings.truncate_layers(mode)
    if layers is not None:
        lm.truncate(layers)
    return lm


def make_renderer(tokenizer: Any, settings: Settings) -> PromptRenderer:
    """The prompt as the settings say."""
    return PromptRenderer(tokenizer, settings.prompt)


def make_embedder(lm: LanguageModel, settings: Settings) -> TextEmbedder:
    """The embedder as the settings say."""
    if settings.generative.embedding.embedder == "base":
        return LanguageModelEmbedder(lm, pooling=settings.generative.embedding.pooling)
    return SentenceEmbedder(settings.generative.embedding.embedder, device=str(lm.device))


def make_title_embedder(settings: Settings) -> TextEmbedder:
    """The encoder of titles that ``text.encoder`` names, loaded."""
    if settings.text.encoder == BASE:
        return ItemTextFeatures(load_truncated_model(settings, "retrieval"))
    device = settings.model.device
    return SentenceEmbedder(settings.text.encoder, device=None if device == "auto" else device)


def make_generator(
    lm: LanguageModel, renderer: PromptRenderer, titles: Sequence[str], *, settings: Settings
) -> Generator:
    """The generator as the settings say, with room for the longest of the titles.

    Raises:
        ModelError: If the backend asked for is not installed or cannot run the model.
        SettingsError: If the backend asked for cannot keep to the titles of the catalog.
    """
    decoding = settings.generative.decoding
    longest = max(len(renderer.response_ids(title)) for title in titles)
    options: dict[str, Any] = {
        "num_beams": decoding.num_beams,
        "length_penalty": decoding.length_penalty,
        "max_new_tokens": decoding.max_new_tokens or min(longest, _LONGEST_TEXT),
    }
    if decoding.constraint != "none":
        if decoding.backend not in {"auto", "transformers"}:
            raise SettingsError(
                f"generative.decoding.constraint is {decoding.constraint!r} with backend "
                f"{decoding.backend!r}, which writes freely: use backend transformers."
            )
        options["titles"] = titles
        options["renormalize"] = settings.generative.finetune.softmax == "trie"
    elif decoding.backend == "openai":
        return OpenAIGenerator(
            renderer,
            tokenizer=lm.tokenizer,
            server=decoding.server,
            seed=settings.seed,
            **options,
        )
    elif decoding.backend == "ctranslate2" or (
        decoding.backend == "auto" and _is_faster_with_ctranslate2(lm, decoding.num_beams)
    ):
        try:
            return CTranslate2Generator(
                lm,
                renderer,
                batch_size=decoding.batch_size,
                compute_type=decoding.compute_type,
                **options,
            )
        except ModelError as error:
            if decoding.backend != "auto":
                raise
            logger.warning("CTranslate2 is not used: %s", error)
    return TransformersGenerator(lm, renderer, batch_size=decoding.batch_size, **options)


def _is_faster_with_ctranslate2(lm: LanguageModel, num_beams: int) -> bool:
    """CTranslate2 is faster on a CPU without beams; with them it is not."""
    return num_beams == 1 and lm.device.type == "cpu" and can_convert(lm)


def train_model(
    lm: LanguageModel,
    prepared: PreparedData,
    settings: Settings,
    *,
    titles: Sequence[str] = (),
    folder: Path,
    stop_after: int | None = None,
    progress: ProgressCallback | None = None,
) -> FinetuneResult:
    """Fine-tune as the settings say; ``lm`` carries what was trained afterwards.

    Args:
        lm: The base model.
        prepared: The examples.
        settings: Training arguments.
        titles: The catalog's titles, for losses that depend on them.
        folder: Holds checkpoints and what was trained.
        stop_after: Epochs, without validation; None stops early on validation.
        progress: Called with (steps done, steps in all).
    """
    return finetune(
        lm,
        make_renderer(lm.tokenizer, settings),
        settings=settings.generative.finetune,
        train=prepared.train,
        valid=prepared.valid,
        titles=titles,
        folder=folder,
        seed=settings.seed,
        stop_after=stop_after,
        progress=progress,
    )


def check_trained_on(folder: Path, lm: LanguageModel, *, trained_on: str) -> None:
    """Refuse an adapter of another base model.

    Args:
        folder: Holds the adapter.
        lm: The base model.
        trained_on: Fingerprint of the one that the adapter was trained on.

    Raises:
        ModelError: If it is another.
    """
    if trained_on != lm.base_fingerprint:
        raise ModelError(
            f"the adapter in {folder} was trained on base model {trained_on}, but "
            f"{lm.source.name!r} is now {lm.base_fingerprint}. Put the old model back, or remove "
            "that folder to train again."
        )
