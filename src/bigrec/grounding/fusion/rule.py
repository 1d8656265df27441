"""How signals are put into distances, as a value that can be chosen, stored and applied."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

from bigrec.errors import BundleError
from bigrec.grounding.beams import BeamMode, check_mode
from bigrec.grounding.fusion.formulas import (
    fuse_additive,
    fuse_reciprocal_rank,
    fuse_standardised,
    inject_all,
)
from bigrec.types import FloatArray

RuleKind = Literal["product", "sum", "standardised sum", "reciprocal ranks"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One way of putting signals into the distances of one beam mode.

    Attributes:
        kind: ``product`` is the published ``(eps + D^)`` times every ``(1 + W)^-gamma``; ``sum``
            takes ``gamma W`` off ``D^``; ``standardised sum`` does so in standard deviations of
            each; ``reciprocal ranks`` adds up ``1 / (60 + rank)``.
        beams: Which generated texts the distances come from; published: ``first``.
        gammas: One for each signal; none for reciprocal ranks.
        eps: Floor of the product. At 0, as published, rank 1 never changes.
    """

    kind: RuleKind
    beams: BeamMode
    gammas: tuple[float, ...] = ()
    eps: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a kind or a beam mode that does not exist.

        Raises:
            ValueError: If there is no such kind or mode.
        """
        if self.kind not in get_args(RuleKind):
            raise ValueError(
                f"kind is {self.kind!r}: expected one of {', '.join(get_args(RuleKind))}."
            )
        check_mode(self.beams)

    def apply(self, distances: FloatArray, weights: Sequence[FloatArray]) -> FloatArray:
        """Fused distances.

        Args:
            distances: Of this rule's beam mode, ``[q, g]``, lower is better.
            weights: One array for each signal, ``[q, g]`` or ``[1, g]``, in [0, 1].

        Returns:
            ``[q, g]``, lower is better.

        Raises:
            ValueError: If a shape does not fit or a value is out of range.
        """
        if self.kind == "product":
            return inject_all(distances, weights, gammas=self.gammas, eps=self.eps)
        if self.kind == "sum":
            return fuse_additive(distances, weights, gammas=self.gammas)
        if self.kind == "standardised sum":
            return fuse_standardised(distances, weights, gammas=self.gammas)
        return fuse_reciprocal_rank(distances, weights)

    def describe(self, *, beams: bool = True) -> str:
        """The rule as tables show it.

        Args:
            beams: Name the beam mode, which says nothing where there is only one.
        """
        parts = [f"product, floor {self.eps:g}" if self.eps else str(self.kind)]
        if beams:
            parts.insert(0, f"{self.beams} beam{'s' if self.beams == 'all' else ''}")
        if self.gammas:
            parts.append(f"gamma {', '.join(f'{gamma:g}' for gamma in self.gammas)}")
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The rule as JSON-like values."""
        return {**asdict(self), "gammas": list(self.gammas)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The rule that `to_json` described.

        Raises:
            BundleError: If the content describes no rule.
        """
        try:
            return cls(
                kind=content["kind"],
                beams=content["beams"],
                gammas=tuple(map(float, content["gammas"])),
                eps=float(content["eps"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"the stored rule for signals is damaged ({error}): make the bundle again."
            ) from None
