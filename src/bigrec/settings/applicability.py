"""Which settings have an effect: one that was given and has none is refused, never ignored."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel

from bigrec.settings.generative import DecodingSettings
from bigrec.settings.sections import ModelSettings

if TYPE_CHECKING:
    from bigrec.settings.loading import Settings


class _Condition(NamedTuple):
    """A setting or a section, when it has an effect, and that in words."""

    path: str
    holds: "Callable[[Settings], bool]"
    needs: str


def _is_generative(settings: "Settings") -> bool:
    return settings.mode == "generative"


def _is_retrieval(settings: "Settings") -> bool:
    return settings.mode == "retrieval"


_BEAMS = "mode: generative, with generative.decoding.method: beams or both"
_LATENT = "mode: generative, with generative.decoding.method: latent or both"

_CONDITIONS = (
    _Condition("generative", _is_generative, "mode: generative"),
    *(
        _Condition(
            f"model.{name}",
            lambda s: s.uses_language_model,
            "a language model: mode: retrieval or generative, compare.retrieval: true, or "
            "text.encoder: base",
        )
        for name in ModelSettings.model_fields
        if name != "device"
    ),
    _Condition(
        "retrieval",
        lambda s: _is_retrieval(s) or s.compare.retrieval,
        "mode: retrieval, or compare.retrieval: true",
    ),
    _Condition("retrieval.train_on", _is_retrieval, "mode: retrieval"),
    _Condition(
        "compare.retrieval", lambda s: not _is_retrieval(s), "mode: text, or mode: generative"
    ),
    _Condition("grounding.beams", lambda s: s.writes_texts, _BEAMS),
    _Condition(
        "grounding.head",
        lambda s: s.decodes_states or _is_retrieval(s),
        "mode: retrieval, or generative.decoding.method: latent",
    ),
    _Condition("generative.latent", lambda s: s.decodes_states, _LATENT),
    _Condition(
        "generative.embedding",
        lambda s: s.indexes_titles,
        "mode: generative, with generative.decoding.method: beams, both or likelihood",
    ),
    *(
        _Condition(f"generative.decoding.{name}", lambda s: s.writes_texts, _BEAMS)
        for name in DecodingSettings.model_fields
        if name not in {"method", "batch_size", "max_read"}
    ),
    _Condition(
        "generative.decoding.batch_size",
        lambda s: s.writes_texts or s.ranks_by_likelihood,
        "mode: generative, with generative.decoding.method: beams, both or likelihood",
    ),
    _Condition(
        "generative.decoding.max_read",
        lambda s: s.ranks_by_likelihood,
        "mode: generative, with generative.decoding.method: likelihood",
    ),
    _Condition(
        "fusion.cold_items",
        lambda s: not s.indexes_titles or s.decodes_states,
        "mode: text, mode: retrieval, or generative.decoding.method: latent or both",
    ),
    *(
        _Condition(
            f"generative.finetune.{name}",
            lambda s: s.generative.finetune.method == "lora",
            "generative.finetune.method: lora",
        )
        for name in ("lora_r", "lora_alpha", "lora_dropout", "target_modules")
    ),
    *(
        _Condition(
            f"generative.finetune.{name}",
            lambda s: s.generative.finetune.loss != "full",
            "generative.finetune.loss: completion or titles",
        )
        for name in ("loss_tokens", "softmax")
    ),
    _Condition(
        "generative.finetune.loss_tokens",
        lambda s: s.generative.finetune.softmax != "trie",
        "generative.finetune.softmax: vocabulary or titles",
    ),
    _Condition(
        "data.extra_train_sources",
        lambda s: _is_generative(s) or _is_retrieval(s),
        "mode: generative, or mode: retrieval",
    ),
    _Condition(
        "data.train_sources",
        lambda s: _is_generative(s) and bool(s.data.extra_train_sources),
        "mode: generative, with data.extra_train_sources",
    ),
    _Condition(
        "data.max_train_examples",
        lambda s: _is_generative(s) or s.retrieval.train_on == "examples",
        "mode: generative, or retrieval.train_on: examples",
    ),
    _Condition(
        "data.example_selection",
        lambda s: (
            (_is_generative(s) or s.retrieval.train_on == "examples")
            and s.data.max_train_examples is not None
            and s.baselines.windows == 1
        ),
        "mode: generative or retrieval.train_on: examples, with data.max_train_examples, and "
        "baselines.windows: 1",
    ),
    _Condition(
        "data.example_selection.n_strata",
        lambda s: s.data.example_selection.method != "random",
        "data.example_selection.method: influence or influence_effort",
    ),
    *(
        _Condition(
            f"data.example_selection.{name}",
            lambda s: s.data.example_selection.method == "influence_effort",
            "data.example_selection.method: influence_effort",
        )
        for name in ("effort_weight", "effort_pool")
    ),
    _Condition(
        "generative.prompt.response_prefix",
        lambda s: (
            s.generative.prompt.style == "plain"
            or (s.generative.prompt.style == "auto" and s.generative.decoding.method == "beams")
        ),
        "generative.prompt.style: plain",
    ),
    _Condition(
        "generative.decoding.compute_type",
        lambda s: s.generative.decoding.backend in {"auto", "ctranslate2"},
        "generative.decoding.backend: ctranslate2",
    ),
    _Condition(
        "generative.decoding.batch_size",
        lambda s: s.generative.decoding.backend != "openai",
        "a backend on this machine; server.concurrency limits the openai backend",
    ),
    _Condition(
        "generative.decoding.server",
        lambda s: s.generative.decoding.backend == "openai",
        "generative.decoding.backend: openai",
    ),
    _Condition(
        "generative.embedding.pooling",
        lambda s: s.generative.embedding.embedder == "base",
        "generative.embedding.embedder: base",
    ),
    *(
        _Condition(
            f"index.{name}",
            lambda s: s.index.backend != "exact",
            "index.backend: usearch or qdrant",
        )
        for name in ("n_candidates", "expansion")
    ),
    _Condition("fusion.method", lambda s: s.fusion.signals != (), "fusion.signals"),
    _Condition(
        "fusion.gammas",
        lambda s: s.fusion.method in {"paper", "product", "weighted_sum"},
        "fusion.method: paper, product or weighted_sum",
    ),
)


def without_effect(settings: "Settings") -> list[tuple[str, list[str]]]:
    """What settings without effect need, with the names that were given, sorted."""
    given = sorted(_given(settings))
    found = []
    for condition in _CONDITIONS:
        if condition.holds(settings):
            continue
        inner = condition.path + "."
        here = [path for path in given if path == condition.path or path.startswith(inner)]
        if here:
            found.append((condition.needs, here))
    return found


def inapplicable(settings: "Settings") -> list[str]:
    """A line for every setting that was given and has no effect."""
    return [
        *(
            f"{paths[0]}: it has no effect here. It needs {needs}."
            for needs, paths in without_effect(settings)
        ),
        *_effort_without_loss(settings),
        *_trie_without_constraint(settings),
        *_unknown_gammas(settings),
    ]


def without_inapplicable(settings: "Settings") -> dict[str, Any]:
    """Every value that has an effect, JSON-like."""
    values = settings.model_dump(mode="json")
    for condition in _CONDITIONS:
        if not condition.holds(settings):
            removed(values, condition.path)
    return values


def removed(values: dict[str, Any], name: str, default: object = None) -> object:
    """Remove a dotted name from nested values, and sections that it leaves empty.

    Returns:
        The value that it had, or the default.
    """
    first, _, rest = name.partition(".")
    if not rest:
        return values.pop(first, default)
    inner = values.get(first)
    if not isinstance(inner, dict):
        return default
    value = removed(inner, rest, default)
    if not inner:
        del values[first]
    return value


def _effort_without_loss(settings: "Settings") -> list[str]:
    if _is_generative(settings) or settings.data.example_selection.method != "influence_effort":
        return []
    name = "data.example_selection.method: influence_effort"
    return [f"{name} reads the loss of generative mode. Use influence, or mode: generative."]


def _trie_without_constraint(settings: "Settings") -> list[str]:
    generative = settings.generative
    if (
        generative.finetune.softmax != "trie"
        or generative.decoding.constraint != "none"
        or not settings.writes_texts
    ):
        return []
    problem = "says nothing of tokens that continue no title, which generative.decoding.constraint"
    return [
        f"generative.finetune.softmax: trie {problem}: none writes. Set it to catalog or unseen."
    ]


def _unknown_gammas(settings: "Settings") -> list[str]:
    signals = settings.fusion.signals
    if signals == "auto":
        return []
    return [
        f"fusion.gammas: {name!r} is not fused. fusion.signals is {', '.join(signals) or 'empty'}."
        for name in settings.fusion.gammas
        if name not in signals
    ]


def _given(section: BaseModel, prefix: str = "") -> Iterator[str]:
    """Dotted names of all values that were given, not taken from the defaults."""
    for name in section.model_fields_set:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            inner = list(_given(value, f"{prefix}{name}."))
            # An empty section was given too.
            yield from inner or [prefix + name]
        else:
            yield prefix + name
