"""Search spaces of hyperparameters: ranges and choices of settings, by model."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from bigrec.errors import SettingsError
from bigrec.models.llm import LLM_RETRIEVAL
from bigrec.models.registry import (
    COOCCURRENCE,
    EASE,
    GAUSSIAN,
    NAMES,
    RECENT,
    TEXT_KNN,
    TF_IDF,
    is_network,
)
from bigrec.settings import Settings

_RANGE = re.compile(r"(?P<low>[^:\s]+)\.\.(?P<high>[^:\s]+?)(?P<log>:log)?")
_EXPECTED = (
    "expected NAME=LOW..HIGH, NAME=LOW..HIGH:log or NAME=[A, B], such as "
    "baselines.ease.regularization=50..5000:log"
)
_DECAY = "0.3..1"
_SPACES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    RECENT: ("baselines.popularity", {"half_life_days": "2..1000:log"}),
    COOCCURRENCE: (
        "baselines.cooccurrence",
        {"window": "2..50:log", "decay": _DECAY, "alpha": "0..1"},
    ),
    EASE: ("baselines.ease", {"regularization": "20..10000:log", "decay": _DECAY}),
    TF_IDF: ("baselines.tf_idf", {"decay": _DECAY}),
    TEXT_KNN: ("baselines.text_knn", {"decay": _DECAY}),
    GAUSSIAN: (
        "baselines.gaussian",
        {
            "decay": _DECAY,
            "window": "3..50:log",
            "shrinkage": "0.001..1:log",
            "prior_strength": "1..1000:log",
            "ridge": "100..1000000:log",
            "popularity_weight": "0..2",
        },
    ),
    LLM_RETRIEVAL: (
        "retrieval",
        {
            "learning_rate": "0.0002..0.005:log",
            "weight_decay": "0.001..0.1:log",
            "lora_r": "[8, 16, 32]",
            "embedding_dim": "[128, 256, 512]",
            "feature_dropout": "0..0.5",
            "embedding_dropout": "0..0.5",
            "id_embedding_dropout": "0..0.8",
        },
    ),
}
_NETWORKS = (
    "baselines.sequential",
    {
        "hidden_size": "[32, 64, 128, 256]",
        "dropout": "0..0.6",
        "learning_rate": "0.0003..0.01:log",
        "weight_decay": "0.000001..0.1:log",
    },
)


@dataclass(frozen=True, slots=True)
class Range:
    """An interval of numbers, ends included.

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Search on a logarithmic scale.
        integers: Whole numbers only.
    """

    low: float
    high: float
    log: bool
    integers: bool


SearchSpace = Mapping[str, Range | tuple[Any, ...]]
"""A range or choices by the dotted name of the setting."""


def search_space(model: str, settings: Settings, searched: Sequence[str] = ()) -> SearchSpace:
    """What is searched for a model.

    Args:
        model: One of the registry's models with settings, or ``LLM retrieval``.
        settings: The settings of the run, with which every value must be valid.
        searched: ``NAME=LOW..HIGH``, ``NAME=LOW..HIGH:log`` or ``NAME=[A, B]`` with the dotted name
            of a setting of the model, in place of the default space.

    Raises:
        SettingsError: If the model has no settings, or a range is malformed, empty, of another
            model's setting or beyond what the setting allows.
    """
    section, defaults = _space_of(model)
    texts = {f"{section}.{name}": text for name, text in defaults.items()}
    if searched:
        texts = dict(_named(entry, section, model) for entry in searched)
    return {name: _parsed(name, text, settings) for name, text in texts.items()}


def current_values(space: SearchSpace, settings: Settings) -> dict[str, Any]:
    """The settings' own values of what is searched, by name."""
    return {name: _value(settings, name) for name in space}


def contains(space: SearchSpace, values: Mapping[str, Any]) -> bool:
    """Whether the space holds these values."""
    return all(
        values[name] in part
        if isinstance(part, tuple)
        else isinstance(values[name], int | float) and part.low <= values[name] <= part.high
        for name, part in space.items()
    )


def _space_of(model: str) -> tuple[str, Mapping[str, str]]:
    if model in NAMES and is_network(model):
        return _NETWORKS
    if model not in _SPACES:
        names = [*(name for name in NAMES if name in _SPACES or is_network(name)), LLM_RETRIEVAL]
        raise SettingsError(
            f"{model!r} cannot be tuned: expected a model with hyperparameters, {'; '.join(names)}."
        )
    return _SPACES[model]


def _named(entry: str, section: str, model: str) -> tuple[str, str]:
    name, equals, text = entry.partition("=")
    if not equals:
        raise SettingsError(f"search {entry!r}: {_EXPECTED}.")
    if not name.strip().startswith(f"{section}."):
        raise SettingsError(
            f"search {entry!r}: {name.strip()!r} is no setting of {model}. Expected one that "
            f"begins with {section}."
        )
    return name.strip(), text.strip()


def _parsed(name: str, text: str, settings: Settings) -> Range | tuple[Any, ...]:
    part = _choices(name, text) if text.startswith("[") else _range(name, text, settings)
    for value in part if isinstance(part, tuple) else (part.low, part.high):
        # The settings' own checks say what is wrong with a value.
        settings.changed({name: value})
    return part


def _choices(name: str, text: str) -> tuple[Any, ...]:
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError:
        values = None
    if not isinstance(values, list) or not values:
        raise SettingsError(f"search {name}={text}: {_EXPECTED}.")
    return tuple(values)


def _range(name: str, text: str, settings: Settings) -> Range:
    match = _RANGE.fullmatch(text)
    try:
        low, high = (float(match[end]) for end in ("low", "high")) if match else (0.0, 0.0)
    except ValueError:
        match = None
    if match is None or not (math.isfinite(low) and math.isfinite(high)):
        raise SettingsError(f"search {name}={text}: {_EXPECTED}.")
    log = match["log"] is not None
    if not low < high or (log and low <= 0):
        needed = "0 < LOW < HIGH on a logarithmic scale" if log else "LOW < HIGH"
        raise SettingsError(f"search {name}={text}: expected {needed}.")
    whole = all(match[end].isdecimal() for end in ("low", "high"))
    current = _value(settings, name)
    integers = whole and (current is None or isinstance(current, int))
    if integers:
        return Range(int(low), int(high), log, integers=True)
    return Range(low, high, log, integers=False)


def _value(settings: Settings, name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part, None)
    return value
