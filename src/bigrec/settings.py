"""Settings of a run: one immutable section for each stage, read from YAML and checked whole.

Every field says what it does; ``bigrec info --settings`` prints them with these texts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bigrec.errors import SettingsError
from bigrec.files import fingerprint, write_text

_PRESETS = Path(__file__).parent / "presets"

PositiveInt = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def fingerprint(self) -> str:
        """Changes with any value of the section."""
        return fingerprint(self.model_dump(mode="json"))


class SourceSettings(_Section):
    """Where interactions and titles are, and what their columns are called."""

    source: str = "ml-100k"
    """A folder, a file of interactions, or the short name ``ml-100k``."""
    items: str | None = None
    """The file of titles, where it is not in the source folder."""
    kind: str = "auto"
    """Format of the files; ``auto`` tells it from what is there."""
    name: str | None = None
    """What the dataset is called in tables; by default from the source."""
    noun: str | None = None
    """What one title is called in the prompt: movie, video game, book."""
    user_id: str | None = None
    """Column of the user."""
    item_id: str | None = None
    """Column of the item, in both files."""
    title: str | None = None
    """Column of the title."""
    category: str | None = None
    """Column of the category, optional."""
    time: str | None = None
    """Column of the timestamp."""
    order: str | None = None
    """Column of the position in the user's history, where there is no timestamp."""
    rating: str | None = None
    """Column of the rating, optional."""
    split: str | None = None
    """Column that says train, valid or test, optional."""
    min_rating: float | None = None
    """Leave out interactions rated lower. None keeps all, as published."""
    decode_html: bool = True
    """Turn ``&amp;`` in titles into ``&``."""
    article_first: bool = False
    """Turn "Matrix, The (1999)" into "The Matrix (1999)"."""


class DataSettings(SourceSettings):
    """The dataset that is recommended from, and how it becomes examples."""

    split_method: Literal["auto", "global_time", "leave_one_out", "given"] = "auto"
    """``auto`` takes the given split where there is one, else global time 8:1:1 (published)."""
    history_length: PositiveInt = 10
    """Most recent items that make a history (published: 10)."""
    min_history: PositiveInt = 1
    """Fewest items before a target. 10 gives the published samples for movies."""
    train_examples: PositiveInt | None = 1024
    """Random training examples, the few shots; None takes all."""
    valid_examples: PositiveInt | None = 256
    """Random validation examples, for early stopping."""
    test_examples: PositiveInt | None = 1000
    """Random test examples; None takes all."""
    test_file: str | None = None
    """Published BIGRec examples (JSON) to test on in place of the dataset's own."""
    also_train_on: tuple[SourceSettings, ...] = ()
    """Further datasets whose training examples are mixed in, as many from each."""


class PromptSettings(_Section):
    """Wording of the prompt."""

    instruction: str = "Given {noun}s in the order a user chose them, write the next {noun}."
    """What the model is asked; short, because every sample pays for it."""
    cue: str = "Next {noun}:"
    """Plain style only: the line that asks for the answer."""
    style: Literal["auto", "chat", "plain"] = "auto"
    """``auto`` uses the tokenizer's chat template where it has one."""
    max_tokens: Annotated[int, Field(ge=32)] = 512
    """Longest prompt and answer; older titles are left out of a longer one."""


class ModelSettings(_Section):
    """The base model."""

    base: str = "smollm2-135m"
    """Hub id, local folder, ``.gguf`` file, or the short name ``smollm2-135m``."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """``auto`` is bfloat16 where the device computes in it natively, else float32."""
    device: str = "auto"
    """``auto`` takes CUDA, then Apple's GPU, then the CPU."""
    quantize_bits: Literal[4, 8] | None = None
    """Load the base in 4 or 8 bits (CUDA and bitsandbytes)."""
    trust_remote_code: bool = False
    """Run code that comes with the model. Only for authors you trust."""


class TrainSettings(_Section):
    """LoRA fine-tuning."""

    rank: PositiveInt = 8
    """LoRA rank (published: 8)."""
    alpha: PositiveInt = 16
    """LoRA scale, applied as alpha / rank (published: 16)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """LoRA dropout (published: 0.05)."""
    target_modules: tuple[str, ...] | str | None = None
    """Module names or ``all-linear``; None takes the query and value projections (published)."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate. Published for a 7B model: 1e-4; small models want more."""
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    """Steps to the peak, at most a tenth of all (published: 20)."""
    batch_size: PositiveInt = 32
    """Examples in an optimizer step (published: 128)."""
    micro_batch_size: PositiveInt = 8
    """Examples in one forward pass. Lower it to save memory."""
    epochs: PositiveInt = 5
    """Most passes over the examples (published: 50)."""
    patience: PositiveInt = 2
    """Epochs without a better validation loss before training stops (published: 5)."""
    loss_on: Literal["response", "all"] = "response"
    """Learn the target only, or every token (published)."""
    save_every_s: Annotated[float, Field(gt=0)] = 300.0
    """Longest time between two checkpoints."""
    report_to: tuple[str, ...] = ()
    """Experiment trackers: tensorboard, mlflow, wandb, trackio."""


class GenerateSettings(_Section):
    """What the model writes for a history."""

    beams: PositiveInt = 4
    """Texts written for each history (published: 4); 1 is greedy, the fast option."""
    max_new_tokens: PositiveInt | None = None
    """Longest text in tokens; None takes the longest title of the catalog, at most 64."""
    batch_size: PositiveInt = 16
    """Histories in a batch. Lower it to save memory."""
    length_penalty: float = 1.0
    """Exponent of the length that divides a beam's log-probability (published: 1)."""


class EmbedSettings(_Section):
    """The space in which generated texts and items meet."""

    embedder: str = "base"
    """``base`` is the base model with its adapter off (published), else the name of a
    sentence-transformers model."""
    pooling: Literal["last", "mean"] = "last"
    """The last token's state (published), or the mean of all."""
    space: Literal["raw", "centred", "standardised", "whitened"] = "raw"
    """``raw`` is as published; the others are fitted on the catalog."""


class RecommendSettings(_Section):
    """How texts become a list."""

    beams: Literal["first", "all"] = "all"
    """``first`` grounds the best beam only (published); ``all`` takes an item's best distance
    over the beams, weighted by their probability."""
    exclude_seen: bool = True
    """Leave out what is in the history. The published protocol keeps it; both are reported."""


class CompareSettings(_Section):
    """Comparison with signals and injections."""

    reference: str = "popularity"
    """Method that the others are compared with, query by query: popularity, co-occurrence, EASE."""


class Settings(_Section):
    """All settings of a run."""

    data: DataSettings = DataSettings()
    prompt: PromptSettings = PromptSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    generate: GenerateSettings = GenerateSettings()
    embed: EmbedSettings = EmbedSettings()
    recommend: RecommendSettings = RecommendSettings()
    compare: CompareSettings = CompareSettings()
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
