"""Generative mode without a search: every title is ranked by its log-probability."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bigrec.evaluation.method import MethodId
from bigrec.grounding.beams import BeamMode, EncodedQueries
from bigrec.lm.generation.likelihood import TitleLikelihood
from bigrec.recommender.query_encoders import GenerativeQueryEncoder
from bigrec.recommender.query_parts import STATES, compute_in_parts
from bigrec.settings import Settings
from bigrec.types import FloatArray, IntArray, ProgressCallback


class LikelihoodQueryEncoder(GenerativeQueryEncoder):
    """Generative mode that writes nothing: titles are ranked by their log-probability.

    The catalog is ranked by what the language model would write, all titles at once. For the
    arguments see `GenerativeQueryEncoder`.
    """

    methods: Mapping[BeamMode, MethodId] = {"top1": MethodId("BIGRec, likelihood")}

    def _prepare(self) -> None:
        decoding = self._settings.generative.decoding
        self._likelihood = TitleLikelihood(
            self.lm,
            self._renderer,
            self._catalog.unique_titles,
            max_read=decoding.max_read,
            batch_size=decoding.batch_size,
        )

    def encode(
        self,
        histories: Sequence[IntArray],
        *,
        parts_folder: Path | None = None,
        progress: ProgressCallback | None = None,
    ) -> EncodedQueries:
        """See `QueryEncoder`."""
        log_probs = compute_in_parts(
            self._log_probs, histories, STATES, folder=parts_folder, progress=progress
        )
        return EncodedQueries.from_distances(-log_probs)

    def _log_probs(
        self, histories: Sequence[IntArray], *, progress: ProgressCallback | None = None
    ) -> FloatArray:
        return self._likelihood.log_probs(self._prompts(histories), progress=progress)


def generative_encoder_class(settings: Settings) -> type[GenerativeQueryEncoder]:
    """The encoder of generative mode whose items are embedded titles."""
    return LikelihoodQueryEncoder if settings.ranks_by_likelihood else GenerativeQueryEncoder
