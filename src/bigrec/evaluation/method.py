"""The identity of a method in an evaluation: what it is made of, and its label in tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import TypeAdapter, computed_field

_JOINED = " & "
_SIGNS = {"paper": "x", "tuned": "+"}
_DATA = {"all": "", "few-shot": ", few-shot", "none": ", untrained"}


@dataclass(frozen=True, slots=True)
class MethodId:
    """One way of ranking the catalog, compared by value.

    Attributes:
        model: The model that is ranked by itself or that signals are fused into; empty where
            signals are fused without a language model.
        fusion: ``none`` for a model by itself, ``paper`` for the paper's product on the top beam,
            ``tuned`` for the rule that is best on validation.
        signals: Labels of the fused signals, in the order of the fusion; empty without fusion.
        training_data: Data that a model by itself was trained on; ``none`` for a trainable model as
            it is before. Fused signals that were trained on the few shots say so in their own
            labels.
    """

    model: str
    fusion: Literal["none", "paper", "tuned"] = "none"
    signals: tuple[str, ...] = ()
    training_data: Literal["all", "few-shot", "none"] = "all"

    def __post_init__(self) -> None:
        """Refuse combinations without a label or with the label of another method.

        Raises:
            ValueError: If signals come without a fusion or a fusion without signals, if there is
                neither model nor signal, or if ``training_data`` is set for a fusion.
        """
        if bool(self.signals) != (self.fusion != "none"):
            raise ValueError(
                f"fusion is {self.fusion!r} with the signals {list(self.signals)}; expected "
                "signals for 'paper' and 'tuned', and none for 'none'."
            )
        if not self.model and self.fusion != "tuned":
            raise ValueError(
                f"model is empty with fusion {self.fusion!r}; expected the name of a model, or "
                "'tuned' for signals that are fused without a language model."
            )
        if self.signals and self.training_data != "all":
            raise ValueError(
                f"training_data is {self.training_data!r} for a fusion; expected 'all'. Pass the "
                "labels of few-shot models as signals."
            )

    @computed_field  # type: ignore[prop-decorator] # JSON holds the label, too
    @property
    def label(self) -> str:
        """Name in tables: ``EASE``, ``EASE, few-shot``, ``BIGRec x A & B``, ``A & B``."""
        if self.fusion == "none":
            return self.model + _DATA[self.training_data]
        fused = _JOINED.join(self.signals)
        return f"{self.model} {_SIGNS[self.fusion]} {fused}" if self.model else fused

    @property
    def folder_name(self) -> str:
        """The label as a name of files: ``llm-retrieval-few-shot``."""
        return self.label.replace(", ", "-").replace(" ", "-").lower()

    def to_json(self) -> dict[str, Any]:
        """The fields and the label as JSON-like values."""
        values: dict[str, Any] = TypeAdapter(MethodId).dump_python(self, mode="json")
        return values

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The method that ``to_json`` wrote; its label is not read.

        Raises:
            ValueError: If a field is missing or has a wrong value.
        """
        method: Self = TypeAdapter(cls).validate_python(content)
        return method
