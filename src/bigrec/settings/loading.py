"""Settings of a run: one immutable section for each job, read from YAML and checked whole."""

import reprlib
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from bigrec.errors import SettingsError
from bigrec.printable import get_logger
from bigrec.settings.applicability import (
    inapplicable,
    removed,
    without_effect,
    without_inapplicable,
)
from bigrec.settings.baselines import BaselineSettings
from bigrec.settings.generative import GenerativeSettings, PromptSettings, ServerSettings
from bigrec.settings.old_names import check_old_names, check_old_preset
from bigrec.settings.plain_yaml import parse_yaml, read_yaml
from bigrec.settings.sections import (
    BASE,
    CompareSettings,
    DataSettings,
    EvaluationSettings,
    FusionSettings,
    GroundingSettings,
    IndexSettings,
    ModelSettings,
    RecommendSettings,
    RetrievalSettings,
    Section,
    TextSettings,
)
from bigrec.storage import write_text

logger = get_logger(__name__)

Mode = Literal["text", "retrieval", "generative"]
"""What ranks: titles in closed form, or a language model that encodes or writes."""

BUNDLE_MANIFEST = "manifest.json"
"""The file that makes a folder a bundle."""

# Whose code runs and where a key goes: never for a bundle to say.
_FOR_THE_CALLER: Mapping[str, object] = {
    "model.trust_remote_code": False,
    "generative.decoding.server.base_url": ServerSettings().base_url,
}
_PRESETS = Path(__file__).parent / "presets"
_SHOWN = 20
# Context of a validation that lets values without effect pass.
_ANY_EFFECT = "any effect"


class Settings(Section):
    """All settings of a run."""

    mode: Mode = "retrieval"
    """``text``: a history is the bag of its titles' untrained vectors, which a Gaussian model
    grounds in closed form; no language model is trained. ``retrieval``: the language model encodes
    a history, and items are ranked by distance to it. ``generative``: it writes titles, which are
    embedded and grounded (paper). The section of another mode is refused."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of sampling, initialization, order and dropout."""
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    text: TextSettings = TextSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    generative: GenerativeSettings = GenerativeSettings()
    grounding: GroundingSettings = GroundingSettings()
    index: IndexSettings = IndexSettings()
    recommend: RecommendSettings = RecommendSettings()
    fusion: FusionSettings = FusionSettings()
    baselines: BaselineSettings = BaselineSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    compare: CompareSettings = CompareSettings()

    @model_validator(mode="after")
    def _refuse_what_has_no_effect(self, info: ValidationInfo) -> Self:
        problems = [] if info.context == _ANY_EFFECT else inapplicable(self)
        if problems:
            raise PydanticCustomError("no_effect", "\n  ".join(problems))
        return self

    @property
    def uses_language_model(self) -> bool:
        """Whether the base model is loaded."""
        return self.mode != "text" or self.text.encoder == BASE or self.compare.retrieval

    def truncate_layers(self, mode: Mode) -> int | None:
        """Number of the base model's first layers that a mode uses; None for all."""
        if mode == "text":
            return None
        section = self.retrieval if mode == "retrieval" else self.generative
        return section.truncate_layers

    @property
    def decodes_states(self) -> bool:
        """Whether the mode is generative with latent decoding, alone or beside beams."""
        return self.mode == "generative" and self.generative.decoding.method in {"latent", "both"}

    @property
    def writes_texts(self) -> bool:
        """Whether the mode is generative with beams, alone or beside latent decoding."""
        return self.mode == "generative" and self.generative.decoding.method in {"beams", "both"}

    @property
    def indexes_titles(self) -> bool:
        """Whether the mode is generative and embeds titles as generated texts are embedded."""
        return self.mode == "generative" and self.generative.decoding.method != "latent"

    @property
    def ranks_by_likelihood(self) -> bool:
        """Whether the mode is generative and ranks titles by their log-probability."""
        return self.mode == "generative" and self.generative.decoding.method == "likelihood"

    @property
    def head(self) -> Literal["l2", "gaussian"]:
        """How states are grounded, with latent decoding and in retrieval mode."""
        if self.grounding.head != "auto":
            return self.grounding.head
        return "gaussian" if self.decodes_states else "l2"

    @property
    def prompt(self) -> PromptSettings:
        """The prompt of generative mode; ``auto`` is ``list`` style with latent decoding."""
        generative = self.generative
        if generative.prompt.style == "auto" and generative.decoding.method != "beams":
            return generative.prompt.model_copy(update={"style": "list"})
        return generative.prompt

    @property
    def trains_on_examples(self) -> bool:
        """Whether the mode's model knows items from the few shots, not from all interactions."""
        if self.mode == "retrieval":
            return self.retrieval.train_on == "examples"
        if self.decodes_states:
            return self.generative.latent.train_on == "examples"
        return self.mode == "generative"

    @property
    def targets_all_positions(self) -> bool:
        """Whether every title of a training example but its first is a target, or the last one."""
        return self.mode == "retrieval" or self.generative.finetune.loss != "completion"

    @classmethod
    def read(
        cls,
        path: Path | str | None = None,
        overrides: Sequence[str] = (),
        *,
        previous: Path | None = None,
    ) -> Self:
        """Read a YAML file and apply overrides such as ``retrieval.epochs=3``.

        Args:
            path: A file, the name of a preset (`preset_names`), or None for the defaults. What a
                preset says is omitted where the overrides leave it without effect. The file of a
                bundle cannot have code of a base model trusted or name a server.
            overrides: ``section.field=value``, the value as YAML.
            previous: A file that `write` wrote, to start from instead of ``path``. Only what it
                changes of the defaults counts, so that an override may change the mode.

        Raises:
            SettingsError: If the file is missing or not YAML, or a value is unknown, wrong or
                without effect; all problems are named at once.
        """
        if previous is not None:
            values = cls.read(previous).model_dump(mode="json", exclude_defaults=True)
        else:
            values = {} if path is None else _read_file(path)
        for override in overrides:
            _apply(values, override)
        if overrides and previous is None and path is not None and _preset(path) is not None:
            overridden = [override.partition("=")[0].strip() for override in overrides]
            cls._omit_without_effect(values, kept=overridden)
        return cls.checked(values)

    @classmethod
    def _omit_without_effect(cls, values: dict[str, Any], *, kept: Sequence[str]) -> None:
        """Remove what has no effect from nested values, but for some dotted names."""
        try:
            settings = cls.model_validate(values, context=_ANY_EFFECT)
        except ValidationError:
            # `checked` names everything that is wrong.
            return
        for name in chain.from_iterable(names for _, names in without_effect(settings)):
            if not any(f"{name}.".startswith(f"{other}.") for other in kept):
                removed(values, name)

    @classmethod
    def checked(cls, values: dict[str, Any]) -> Self:
        """Settings from nested values.

        Raises:
            SettingsError: Naming every value that is unknown, wrong or without effect.
        """
        check_old_names(values)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(_explain(cls, error)) from None

    def changed(self, values: Mapping[str, Any]) -> Self:
        """The settings with other values for some dotted names, such as ``retrieval.epochs``.

        Raises:
            SettingsError: Naming every value that is unknown, wrong or without effect.
        """
        nested = self.model_dump(mode="json", exclude_defaults=True)
        for name, value in values.items():
            *sections, field = name.split(".")
            place = nested
            for section in sections:
                place = place.setdefault(section, {})
            place[field] = value
        return self.checked(nested)

    def to_dict(self) -> dict[str, Any]:
        """Every value that has an effect, defaults included, JSON-like; `checked` reads it."""
        return without_inapplicable(self)

    def write(self, path: Path) -> None:
        """Write `to_dict` as YAML, whole or not at all."""
        text = yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)
        write_text(path, text)


def preset_names() -> list[str]:
    """Names of the settings that come with the package."""
    return sorted(file.stem for file in _PRESETS.glob("*.yaml"))


def _preset(name: Path | str) -> Path | None:
    check_old_preset(str(name))
    file = _PRESETS / f"{name}.yaml"
    return file if str(name) in preset_names() else None


def _read_file(name: Path | str) -> dict[str, Any]:
    preset = _preset(name)
    path = preset or Path(name)
    values = _read_yaml(path)
    if preset is None and path.with_name(BUNDLE_MANIFEST).exists():
        for setting, default in _FOR_THE_CALLER.items():
            _ignore(values, setting, default, path)
    return values


def _ignore(values: dict[str, Any], setting: str, default: object, path: Path) -> None:
    """Remove a value that a bundle has no say in."""
    if removed(values, setting, default) != default:
        logger.warning("%s of %s is ignored: a bundle has no say in it", setting, path)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = read_yaml(path)
    except OSError as error:
        raise SettingsError(
            f"settings file {path} could not be read: {error.strerror or error}. Give a YAML file "
            f"or one of the presets: {', '.join(preset_names())}."
        ) from error
    except ValueError as error:
        raise SettingsError(f"settings file {path} is not valid YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(
            f"settings file {path} holds a {type(values).__name__}: expected sections such as "
            "'data:' with values below them."
        )
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name.strip():
        raise SettingsError(
            f"override {override!r}: expected section.field=value, such as retrieval.epochs=3."
        )
    *sections, field = name.strip().split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"override {override!r}: {section!r} is not a section.")
        values = inner
    try:
        values[field] = parse_yaml(text)
    except ValueError as error:
        raise SettingsError(
            f"override {override!r}: the value is not valid YAML: {error}"
        ) from None
    if isinstance(values[field], str):
        # YAML 1.1 reads 1e-3 as text; everybody who writes it means the number.
        values[field] = _number_or_text(values[field])


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _explain(cls: type[BaseModel], error: ValidationError) -> str:
    lines = []
    problems = error.errors()
    for problem in problems[:_SHOWN]:
        place = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "no_effect":
            lines.append(problem["msg"])
        elif problem["type"] == "extra_forbidden":
            section = _section(cls, [str(part) for part in problem["loc"][:-1]])
            known = ", ".join(section.model_fields) if section is not None else "nothing"
            lines.append(f"{place}: there is no such setting. Known here: {known}.")
        else:
            lines.append(f"{place}: got {reprlib.repr(problem['input'])}. {problem['msg']}.")
    if len(problems) > _SHOWN:
        lines.append(f"and {len(problems) - _SHOWN} more")
    return "the settings cannot be used:\n  " + "\n  ".join(lines)


def _section(cls: type[BaseModel], path: list[str]) -> type[BaseModel] | None:
    for name in path:
        annotation = cls.model_fields[name].annotation if name in cls.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return None
        cls = annotation
    return cls
