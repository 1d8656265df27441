"""Settings files written before the names of version 0.1: one error that names the new words."""

from collections.abc import Iterator, Mapping
from typing import Any

from bigrec.errors import SettingsError

# By old name: the new one, with the values that changed. Longer names are looked up first.
_OLD = {
    "prompt": "generative.prompt",
    "prompt.cue": "generative.prompt.response_prefix",
    "train": "generative.finetune",
    "train.rank": "generative.finetune.lora_r",
    "train.alpha": "generative.finetune.lora_alpha",
    "train.dropout": "generative.finetune.lora_dropout",
    "train.micro_batch_size": "generative.finetune.per_device_batch_size",
    "train.patience": "generative.finetune.early_stopping_patience",
    "train.loss_on": "generative.finetune.loss (response is completion, all is full)",
    "generate": "generative.decoding",
    "generate.beams": "generative.decoding.num_beams",
    "generate.titles": "generative.decoding.constraint (free is none)",
    "embed": "generative.embedding",
    "embed.space": "generative.embedding.normalization (none, center, standardize, whiten)",
    "direct": "retrieval",
    "direct.learn_from": "retrieval.train_on (all is interactions)",
    "direct.layers": "retrieval.truncate_layers",
    "direct.rank": "retrieval.lora_r",
    "direct.alpha": "retrieval.lora_alpha",
    "direct.title_size": "retrieval.content_dim",
    "direct.size": "retrieval.embedding_dim",
    "direct.hidden_size": "retrieval.projection_dim",
    "direct.item_dropout": "retrieval.feature_dropout",
    "direct.input_dropout": "retrieval.embedding_dropout",
    "direct.id_dropout": "retrieval.id_embedding_dropout",
    "direct.patience": "retrieval.early_stopping_patience",
    "signals.history": "fusion.history",
    "signals.new_titles": "fusion.cold_items (likes is knn, last is lowest)",
    "recommend.inject": "fusion.signals",
    "recommend.rule": "fusion.method (best is auto, published is paper)",
    "recommend.beams": "grounding.beams (first is top1)",
    "compare.inject": "compare.fusions",
    "compare.signals": "compare.baselines",
    "compare.external": "compare.precomputed",
    "compare.direct": "compare.retrieval",
    "baselines.text_knn.encoder": "text.encoder",
    "data.kind": "data.format",
    "data.noun": "data.item_type",
    "data.also_train_on": "data.extra_train_sources",
    "data.train_examples": "data.max_train_examples",
    "data.valid_examples": "data.max_valid_examples",
    "data.test_examples": "data.max_test_examples",
    "data.history_length": "data.max_history_length",
}
_OLD_VALUES = {
    ("grounding", "direct"): "mode: retrieval",
    ("grounding", "written"): "mode: generative",
    ("data.split_method", "given"): "data.split_method: predefined",
}
_OLD_PRESETS = {"few-shot": "paper-small", "published": "paper"}


def check_old_names(values: Mapping[str, Any]) -> None:
    """Refuse settings in old words.

    Args:
        values: Nested values, as read from a file.

    Raises:
        SettingsError: Naming the new word for every old one.
    """
    lines = []
    for path, value in _leaves(values):
        new = _OLD_VALUES.get((path, value)) if isinstance(value, str) else None
        new = new or _new_name(path)
        if new is not None:
            lines.append(f"{path} is now {new}")
    if lines:
        raise SettingsError(
            "the settings use names from before version 0.1:\n  " + "\n  ".join(lines)
        )


def check_old_preset(name: str) -> None:
    """Refuse the old name of a preset.

    Raises:
        SettingsError: Naming the new one.
    """
    if name in _OLD_PRESETS:
        raise SettingsError(f"the preset {name!r} is now {_OLD_PRESETS[name]!r}.")


def _new_name(path: str) -> str | None:
    rest: list[str] = []
    parts = path.split(".")
    while parts:
        old = ".".join(parts)
        if old in _OLD:
            return ".".join([_OLD[old], *rest])
        rest.insert(0, parts.pop())
    return None


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
