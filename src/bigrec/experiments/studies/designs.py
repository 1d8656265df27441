"""The designs of the studies: which arms answer a claim, and by which contrasts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bigrec.errors import SettingsError
from bigrec.evaluation.method import MethodId
from bigrec.experiments.studies.arms import SELECTIONS, Arm, Decoding, budgeted
from bigrec.experiments.studies.verdict import Contrast
from bigrec.models.registry import GAUSSIAN

SIZES: Mapping[str, tuple[int | None, ...]] = {
    "small": (64, 256, 1024),
    "paper": (64, 256, 1024, 4096, None),
}
"""Training examples of the curves by preset, ascending; None is all."""

_CONVENTIONAL = ("SASRec", "GRU4Rec", "Caser", "SASRec, DROS")
_TEXT = ("tf-idf", "text kNN", GAUSSIAN)
# Networks on all data would be trained again beside every number of examples.
_CURVES = ("popularity", "co-occurrence", "EASE", GAUSSIAN)
_SIGNALS = ("popularity", "GRU4Rec")
# In closed form: they tell what the same examples are worth without the language model.
_CHOSEN_TOO = ("EASE", GAUSSIAN)
MODELS: Mapping[Decoding, str] = {"beams": "BIGRec", "latent": "BIGRec, latent"}
"""Name of the fine-tuned model by how it ranks."""


@dataclass(frozen=True)
class Design:
    """How a study answers its claim.

    Attributes:
        name: The study.
        claim: The paper's claim, a sentence.
        arms: Its comparisons.
        contrasts: What is tested.
        curves: Points of each curve, methods by the number of examples in words; none for a study
            without curves.
    """

    name: str
    claim: str
    arms: Sequence[Arm]
    contrasts: Sequence[Contrast]
    curves: Mapping[str, Mapping[str, MethodId]]


def make_design(name: str, *, few: int | None, sizes: Sequence[int | None]) -> Design:
    """The design of a study.

    Args:
        name: One of `STUDIES`.
        few: Training examples of a study without curves; None is all.
        sizes: Training examples of curves, ascending, at least two; None is all.

    Raises:
        SettingsError: If there is no such study.
    """
    if name in _AT_FEW:
        return _AT_FEW[name](few)
    if name in _OVER_SIZES:
        return _OVER_SIZES[name](sizes)
    raise SettingsError(f"there is no study {name!r}: expected one of {', '.join(STUDIES)}.")


def _ranking(few: int | None) -> Design:
    arms = [Arm("latent", few, (*_CONVENTIONAL, *_TEXT)), Arm("beams", few)]
    contrasts = []
    for decoding, model in MODELS.items():
        own = MethodId(budgeted(model, arms[0]))
        for names, others, data in (
            (_on_examples(_CONVENTIONAL, arms[0]), "conventional models", "the same examples"),
            (map(MethodId, _CONVENTIONAL), "conventional models", "all data"),
            (_on_examples((GAUSSIAN,), arms[0]), "the Gaussian text model", "the same examples"),
            (map(MethodId, _TEXT), "text models", "all data, or on none"),
        ):
            question = f"BIGRec ({decoding}) is above {others} trained on {data}."
            contrasts += [above(question, own, other) for other in names]
    claim = (
        "C1: full-ranking accuracy is above that of conventional models with small training budgets"
    )
    return Design("ranking", f"{claim}.", arms, contrasts, {})


def _few_shot(sizes: Sequence[int | None]) -> Design:
    arms, curves = _curve_arms(sizes)
    smaller, largest = Arm("latent", sizes[(len(sizes) - 1) // 2]), arms[-1]
    contrasts = [
        Contrast(
            f"{smaller.budget} examples give BIGRec ({decoding}) more than half of the accuracy of "
            f"{largest.budget}.",
            f"{budgeted(model, smaller)} - {budgeted(model, largest)} / 2",
            {MethodId(budgeted(model, smaller)): 1.0, MethodId(budgeted(model, largest)): -0.5},
        )
        for decoding, model in MODELS.items()
    ]
    claim = "C2: few examples already give most of the accuracy."
    return Design("few-shot", claim, arms, contrasts, curves)


def _samples(sizes: Sequence[int | None]) -> Design:
    arms, curves = _curve_arms(sizes)
    before, after = arms[-3], arms[-1]
    contrasts = []
    for decoding, model in MODELS.items():
        for name in ("EASE", GAUSSIAN):
            weights = {
                MethodId(budgeted(name, after)): 1.0,
                MethodId(budgeted(name, before)): -1.0,
                MethodId(budgeted(model, after)): -1.0,
                MethodId(budgeted(model, before)): 1.0,
            }
            contrasts.append(
                Contrast(
                    f"{after.budget} examples in place of {before.budget} bring BIGRec "
                    f"({decoding}) less than baselines.",
                    f"gain of {name} - gain of {model}",
                    weights,
                )
            )
    claim = "C4: more samples bring modest returns."
    return Design("samples", claim, arms, contrasts, curves)


def _fusion(few: int | None) -> Design:
    arms = [Arm(decoding, few, _SIGNALS, _SIGNALS) for decoding in MODELS]
    contrasts = []
    for arm in arms:
        model = budgeted(MODELS[arm.decoding], arm)
        for signal in _SIGNALS:
            product = MethodId(model, "paper", (signal,))
            tuned = MethodId(model, "tuned", (signal,))
            improved = f"improve BIGRec ({arm.decoding})."
            control = f"BIGRec ({arm.decoding}) adds to its signals (a control, not the paper's)."
            contrasts += [
                above(f"Signals by the paper's product {improved}", product, MethodId(model)),
                above(f"Signals by the selected rule {improved}", tuned, MethodId(model)),
                above(control, tuned, MethodId(signal)),
            ]
    claim = "C5: popularity and collaborative scores, fused in, improve it further."
    return Design("fusion", claim, arms, contrasts, {})


def _selection(few: int | None) -> Design:
    if few is None:
        raise SettingsError(
            "data.max_train_examples is null, all examples, and the study selection chooses some "
            "of them: set it to a number."
        )
    arms = {
        (selection, decoding): Arm(
            decoding, few, _CHOSEN_TOO if decoding == "latent" else (), selection=selection
        )
        for selection in SELECTIONS
        for decoding in MODELS
    }
    contrasts = []
    for informative in ("influence", "influence_effort"):
        for decoding, model in MODELS.items():
            own, other = (
                MethodId(budgeted(model, arms[selection, decoding]))
                for selection in (informative, "random")
            )
            chosen = f"Examples chosen by {SELECTIONS[informative]} are better than random ones"
            contrasts.append(above(f"{chosen} for BIGRec ({decoding}).", own, other))
    claim = (
        "Informative choice of the few training examples is better than random choice (DEALRec)."
    )
    return Design("selection", claim, list(arms.values()), contrasts, {})


def _curve_arms(
    sizes: Sequence[int | None],
) -> tuple[list[Arm], dict[str, dict[str, MethodId]]]:
    """Arms of both decodings for each number of examples, and the curves over them."""
    arms: list[Arm] = []
    curves: dict[str, dict[str, MethodId]] = {}
    for examples in sizes:
        latent = Arm("latent", examples, _CURVES)
        arms += [Arm("beams", examples), latent]
        for name in (*MODELS.values(), *_CURVES):
            point = MethodId(budgeted(name, latent))
            curves.setdefault(name, {})[latent.budget] = point
    return arms, curves


def _on_examples(names: Iterable[str], arm: Arm) -> list[MethodId]:
    return [MethodId(budgeted(name, arm)) for name in names]


def above(question: str, own: MethodId, other: MethodId) -> Contrast:
    """The test of whether one method is above another."""
    return Contrast(question, f"{own.label} - {other.label}", {own: 1.0, other: -1.0})


_AT_FEW: Mapping[str, Callable[[int | None], Design]] = {
    "ranking": _ranking,
    "fusion": _fusion,
    "selection": _selection,
}
_OVER_SIZES: Mapping[str, Callable[[Sequence[int | None]], Design]] = {
    "few-shot": _few_shot,
    "samples": _samples,
}

STUDIES = (*_AT_FEW, *_OVER_SIZES)
"""Names of the studies."""
