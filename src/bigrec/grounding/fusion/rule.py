"""How signals are fused into distances, as a value that can be selected, stored and applied."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bigrec.errors import BundleError
from bigrec.grounding.beams import BeamMode, check_beam_mode
from bigrec.grounding.fusion.cold_mixture import ColdMixture
from bigrec.grounding.fusion.formulas import fuse_product, fuse_rrf, fuse_weighted_sum
from bigrec.settings.sections import MAX_GAMMA
from bigrec.storage import first_problems
from bigrec.types import BoolArray, FloatArray

FusionMethod = Literal["product", "weighted_sum", "rrf"]
ScoreNormalization = Literal["min_max", "z_score"]

_BEAMS = {"top1": "top beam", "all": "all beams"}


@dataclass(frozen=True, slots=True)
class FusionRule:
    """One way of fusing signals into the distances of one beam mode.

    Attributes:
        method: ``product`` is the paper's ``(floor + D^)`` times every ``(1 + W)^-gamma``;
            ``weighted_sum`` subtracts ``gamma W`` from ``D^``; ``rrf`` sums
            ``gamma / (60 + rank)``.
        beams: The generated texts whose distances are used; paper: ``top1``.
        gammas: One for each signal; empty for ``rrf`` as it is selected, where each is 1.
        floor: Added to every distance of the product. At 0, as in the paper, rank 1 never changes.
        normalization: Of distances and weights in the weighted sum.
        cold: Ranks titles without training interactions beside the others; None leaves them where
            their fused distances put them.
    """

    method: FusionMethod
    beams: BeamMode
    gammas: tuple[float, ...] = ()
    floor: float = 0.0
    normalization: ScoreNormalization = "min_max"
    cold: ColdMixture | None = None

    def __post_init__(self) -> None:
        """Refuse an unknown method, normalization or beam mode.

        Raises:
            ValueError: If there is no such method, normalization or mode.
        """
        for name, known in (("method", FusionMethod), ("normalization", ScoreNormalization)):
            if getattr(self, name) not in get_args(known):
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}: expected one of "
                    f"{', '.join(get_args(known))}."
                )
        check_beam_mode(self.beams)

    def apply(
        self,
        distances: FloatArray,
        weights: Sequence[FloatArray],
        *,
        cold: BoolArray | None = None,
    ) -> FloatArray:
        """Fuse signals into distances.

        Args:
            distances: Of this rule's beam mode, ``[q, t]``, lower is better.
            weights: One array for each signal, ``[q, t]`` or ``[1, t]``, in [0, 1].
            cold: Whether a title has no training interactions, ``[t]``; by default, none is
                treated so.

        Returns:
            ``[q, t]``, lower is better.

        Raises:
            ValueError: If a shape does not fit or a value is out of range.
        """
        fused = self._fuse(distances, weights)
        if self.cold is None or cold is None:
            return fused
        return self.cold.apply(fused, weights[self.cold.signal], cold)

    def _fuse(self, distances: FloatArray, weights: Sequence[FloatArray]) -> FloatArray:
        if self.method == "product":
            return fuse_product(distances, weights, gammas=self.gammas, floor=self.floor)
        if self.method == "weighted_sum":
            return fuse_weighted_sum(
                distances, weights, gammas=self.gammas, normalization=self.normalization
            )
        return fuse_rrf(distances, weights, gammas=self.gammas_of(len(weights)))

    def gammas_of(self, n_signals: int) -> tuple[float, ...]:
        """Gamma of each of so many signals: 1 where the rule has none."""
        return self.gammas or (1.0,) * n_signals

    def describe(self, *, beams: bool = True) -> str:
        """The rule as tables show it.

        Args:
            beams: Name the beam mode, which says nothing if there is only one.
        """
        parts = [_BEAMS[self.beams]] if beams else []
        if self.method == "weighted_sum":
            parts.append(f"weighted sum ({self.normalization.replace('_', '-')})")
        else:
            parts.append(f"product, floor {self.floor:g}" if self.floor else self.method)
        if self.gammas:
            parts.append(f"gamma {', '.join(f'{gamma:g}' for gamma in self.gammas)}")
        if self.cold is not None:
            parts.append(self.cold.describe())
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The rule as JSON-like values."""
        return {**asdict(self), "gammas": list(self.gammas)}

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """The rule that `to_json` described.

        Raises:
            BundleError: If the content describes no rule.
        """
        try:
            stored = _StoredRule.model_validate(content)
        except ValidationError as error:
            raise BundleError(
                f"the stored fusion rule is damaged ({first_problems(error)}): make the bundle "
                "again."
            ) from None
        cold = stored.cold and ColdMixture(**stored.cold.model_dump())
        return cls(**{**stored.model_dump(), "gammas": tuple(stored.gammas), "cold": cold})

    def check_signals(self, n_signals: int) -> None:
        """Refuse a rule that is not for so many signals.

        Raises:
            ValueError: If its number of gammas is another or it ranks cold titles by another.
        """
        expected = 0 if self.method == "rrf" else n_signals
        if len(self.gammas) != expected:
            raise ValueError(
                f"the rule {self.method} has {len(self.gammas)} gammas; expected {expected} for "
                f"{n_signals} signals."
            )
        if self.cold is not None and self.cold.signal >= n_signals:
            raise ValueError(
                f"the rule ranks cold titles by signal {self.cold.signal}; expected one of "
                f"{n_signals}, counted from 0."
            )


_Factor = Annotated[float, Field(ge=0, le=MAX_GAMMA)]
_Positive = Annotated[float, Field(gt=0, le=MAX_GAMMA)]


class _StoredMixture(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    signal: Annotated[int, Field(ge=0)]
    share: Annotated[float, Field(gt=0, lt=1)]
    known_sharpness: _Positive
    cold_sharpness: _Positive


class _StoredRule(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    method: FusionMethod
    beams: BeamMode
    gammas: list[_Factor]
    floor: _Factor
    normalization: ScoreNormalization
    cold: _StoredMixture | None
