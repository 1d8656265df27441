"""Settings of a run: one immutable section for each stage, read from YAML and checked whole."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ValidationError

from bigrec.errors import SettingsError
from bigrec.settings.sections import (
    CompareSettings,
    DataSettings,
    DirectSettings,
    EmbedSettings,
    GenerateSettings,
    ModelSettings,
    PromptSettings,
    RecommendSettings,
    Section,
    SignalSettings,
    TrainSettings,
)
from bigrec.storage import write_text

_PRESETS = Path(__file__).parent / "presets"


class Settings(Section):
    """All settings of a run."""

    data: DataSettings = DataSettings()
    prompt: PromptSettings = PromptSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    generate: GenerateSettings = GenerateSettings()
    embed: EmbedSettings = EmbedSettings()
    recommend: RecommendSettings = RecommendSettings()
    signals: SignalSettings = SignalSettings()
    direct: DirectSettings = DirectSettings()
    compare: CompareSettings = CompareSettings()
    grounding: Literal["direct", "written"] = "direct"
    """How the language model answers: it points at the next title among the catalog's, learned on
    every title of every sequence, or it writes titles, which are embedded (published)."""
    seed: int = 0
    """Decides sampling, initialization, order and dropout."""

    @classmethod
    def read(cls, path: Path | str | None = None, overrides: Sequence[str] = ()) -> Self:
        """Read a YAML file and apply overrides such as ``train.epochs=3``.

        Args:
            path: A file, the name of a preset (`preset_names`), or None for the defaults.
            overrides: ``section.field=value``, the value as YAML.

        Raises:
            SettingsError: If the file is missing or not YAML, or a value is unknown or wrong; all
                problems are named at once.
        """
        values = {} if path is None else _read_yaml(_preset(path) or Path(path))
        for override in overrides:
            _apply(values, override)
        return cls.checked(values)

    @classmethod
    def checked(cls, values: dict[str, Any]) -> Self:
        """Settings from nested values.

        Raises:
            SettingsError: Naming every value that is unknown or wrong.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(_explain(cls, error)) from None

    def write(self, path: Path) -> None:
        """Write every value as YAML, defaults included."""
        text = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_text(path, text)


def preset_names() -> list[str]:
    """Names of the settings that come with the package."""
    return sorted(file.stem for file in _PRESETS.glob("*.yaml"))


def _preset(name: Path | str) -> Path | None:
    file = _PRESETS / f"{name}.yaml"
    return file if str(name) in preset_names() else None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"settings file {path} could not be read: {error.strerror or error}. Give a YAML file "
            f"or one of the presets: {', '.join(preset_names())}."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} is not valid YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(
            f"settings file {path} holds a {type(values).__name__}: expected sections such as "
            "'train:' with values below them."
        )
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name.strip():
        raise SettingsError(
            f"override {override!r}: expected section.field=value, such as train.epochs=3."
        )
    *sections, field = name.strip().split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"override {override!r}: {section!r} is not a section.")
        values = inner
    try:
        values[field] = yaml.safe_load(text)
    except yaml.YAMLError as error:
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
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            section = _section(cls, [str(part) for part in problem["loc"][:-1]])
            known = ", ".join(section.model_fields) if section is not None else "nothing"
            lines.append(f"{place}: there is no such setting. Known here: {known}.")
        else:
            lines.append(f"{place}: got {problem['input']!r}. {problem['msg']}.")
    return "the settings cannot be used:\n  " + "\n  ".join(lines)


def _section(cls: type[BaseModel], path: list[str]) -> type[BaseModel] | None:
    for name in path:
        annotation = cls.model_fields[name].annotation if name in cls.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return None
        cls = annotation
    return cls
