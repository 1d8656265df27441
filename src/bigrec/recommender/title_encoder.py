"""The encoder of titles for text kNN, Gaussian and text mode, loaded on first use."""

from collections.abc import Sequence
from functools import cached_property

from bigrec.errors import StaleIndexError
from bigrec.lm.locate import find_sentence_encoder
from bigrec.settings import Settings
from bigrec.settings.sections import BASE
from bigrec.types import FloatArray, ProgressCallback, TextEmbedder


class TitleEncoder:
    """Embeds titles as the settings say; a `TextEmbedder` that is loaded when it is needed.

    Args:
        settings: Name the encoder, ``text.encoder``, and the device.
        made_with: Fingerprint of the encoder that embedded the titles so far; None if none did.
    """

    def __init__(self, settings: Settings, *, made_with: str | None = None) -> None:
        self._settings = settings
        self._made_with = made_with

    @property
    def name(self) -> str:
        """The encoder's name in the settings."""
        return self._settings.text.encoder

    @property
    def used(self) -> str | None:
        """Fingerprint of the encoder of the titles embedded so far; None if there are none."""
        return self._made_with

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the encoder, which is loaded for it.

        Raises:
            ModelError: If it cannot be found or loaded.
            StaleIndexError: If it is not the one that embedded the titles so far.
        """
        return self._embedder.fingerprint

    def embed(
        self, texts: Sequence[str], *, progress: ProgressCallback | None = None
    ) -> FloatArray:
        """Embed titles as ``[q, d]`` float32, in the order given.

        Args:
            texts: Titles, ``q`` of them.
            progress: Called with (titles embedded, titles to embed).

        Raises:
            ModelError: If the encoder cannot be found or loaded.
            StaleIndexError: If it is not the one that embedded the titles so far.
        """
        return self._embedder.embed(texts, progress=progress)

    @cached_property
    def _embedder(self) -> TextEmbedder:
        from bigrec.recommender.factory import make_title_embedder  # noqa: PLC0415 - torch, seconds

        embedder = make_title_embedder(self._settings)
        if self._made_with not in (None, embedder.fingerprint):
            raise StaleIndexError(
                f"the titles were embedded by another encoder ({self._made_with}) than "
                f"{self.name!r} ({embedder.fingerprint}). Load the bundle with that encoder, or "
                "fit again."
            )
        self._made_with = embedder.fingerprint
        return embedder


def check_title_encoder(settings: Settings) -> None:
    """Refuse a sentence encoder that does not exist, before any work is done.

    Raises:
        ModelError: If it is a path and missing. A hub id is not checked.
    """
    if settings.text.encoder != BASE:
        find_sentence_encoder(settings.text.encoder)
