"""Opening a bundle, which may come from anybody.

What a bundle says is data. Where models are, which server is asked and whether code that comes with
a model may run is for the caller to say; everything is checked before a model is loaded.
"""

import os
import re
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigrec.data.remote import is_address, shown_address
from bigrec.errors import BundleError, SettingsError
from bigrec.lm.identity import truncated_fingerprint
from bigrec.lm.locate import SENTENCE_ENCODERS, SHORT_NAMES
from bigrec.recommender.approximate import GRAPH_FILE
from bigrec.recommender.bundle import Manifest, read_manifest
from bigrec.recommender.encoder_loading import load_query_encoder
from bigrec.recommender.fitted import FittedRecommender
from bigrec.recommender.fitted_files import load_catalog, load_fusion, with_stored_catalog
from bigrec.recommender.title_encoder import TitleEncoder
from bigrec.recommender.version import load_version
from bigrec.settings import Settings
from bigrec.settings.generative import ServerSettings
from bigrec.settings.sections import BASE, DataSettings, SourceSettings

SETTINGS = "settings.yaml"
_ADDRESS_VARIABLE = "OPENAI_BASE_URL"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)


@dataclass(frozen=True)
class Access:
    """What a caller allows a bundle to use.

    Attributes:
        base_model: Location of the base model on this machine, if not the bundle's.
        text_encoder: Location of the encoder of titles on this machine, if not the bundle's.
        device: Device to compute on.
        trust_remote_code: Run code that comes with the base model.
        base_url: Address of the server that writes titles; None takes ``OPENAI_BASE_URL``.
        verify_key: File of the public key that the bundle must be signed with.
        trust_index: Map the bundle's graph of titles. A signed bundle's is mapped in any case.
    """

    base_model: str | None = None
    text_encoder: str | None = None
    device: str = "auto"
    trust_remote_code: bool = False
    base_url: str | None = None
    verify_key: Path | None = None
    trust_index: bool = False

    @property
    def maps_graph(self) -> bool:
        """Whether a bundle's graph is used: no check can tell which titles its links omit."""
        return self.trust_index or self.verify_key is not None


def load_fitted(folder: Path, access: Access) -> FittedRecommender:
    """Open a bundle.

    Args:
        folder: Written by `BIGRec.save`.
        access: What the caller allows.

    Raises:
        BundleError: If the bundle is damaged, is of another version, is not signed as asked, or
            names a model or server that is for the caller to give.
        ModelError: If the base model cannot be loaded.
        ValueError: If an address is given and no server is used.
    """
    manifest = read_manifest(folder, verify_key=access.verify_key)
    with reading_part(folder / SETTINGS):
        stored = Settings.read(folder / SETTINGS)
        settings = _with_models(stored, manifest, folder, access)
    made_with = manifest.base_model
    if (made_with is None) != (settings.mode == "text"):
        raise BundleError(
            f"{folder} cannot be used: it is of {settings.mode} mode "
            f"{'without' if made_with is None else 'with'} a base model. Fit it and save it again."
        )
    settings = _with_address(settings, folder, access.base_url)
    with reading_part(folder):
        catalog, counts = load_catalog(folder, text_columns=settings.data.text_columns)
        fusion = load_fusion(folder) if settings.fusion.signals else None
        version = load_version(folder)

    def check(fingerprint: str) -> None:
        layers = settings.truncate_layers(settings.mode)
        if layers is not None:
            fingerprint = truncated_fingerprint(fingerprint, layers)
        if made_with is not None and fingerprint != made_with.fingerprint:
            raise BundleError(
                f"{folder} was made with base model {made_with.name!r} "
                f"({made_with.fingerprint}), but {settings.model.base!r} is another "
                f"({fingerprint}). Pass base_model with the right one."
            )

    lm = None
    if settings.mode != "text":
        from bigrec.recommender.factory import load_truncated_model  # noqa: PLC0415 - torch, seconds

        lm = load_truncated_model(settings, settings.mode, check=check)
    title_encoder = TitleEncoder(settings, made_with=manifest.title_encoder)
    with reading_part(folder):
        encoder = load_query_encoder(
            folder,
            settings,
            lm,
            title_encoder=title_encoder,
            catalog=catalog,
            counts=counts,
            item_type=manifest.item_type,
        )
        if fusion is not None:
            for rule in fusion.rules.values():
                if rule.beams not in encoder.methods:
                    raise BundleError(
                        f"{folder} cannot be used: a fusion rule is of {rule.beams!r} beams, which "
                        f"{settings.mode} mode does not have. Fit it and save it again."
                    )
        fitted = FittedRecommender(
            settings,
            encoder,
            catalog=catalog,
            counts=counts,
            item_type=manifest.item_type,
            title_encoder=title_encoder,
            fusion=fusion,
            version=version,
            graph=_graph(folder, settings) if access.maps_graph else None,
        )
        return with_stored_catalog(fitted, folder)


@contextmanager
def reading_part(path: Path) -> Iterator[None]:
    """Name the part of a bundle in errors of values that do not fit together.

    Raises:
        BundleError: With the path and the reason.
    """
    try:
        yield
    except SettingsError as error:
        raise BundleError(f"{path} cannot be used: {error}") from error
    except (ValueError, TypeError, LookupError, ArithmeticError, OSError) as error:
        raise BundleError(
            f"{path} cannot be used: its content does not fit together ({error}). Fit the "
            "recommender and save it again."
        ) from error


def _graph(folder: Path, settings: Settings) -> Path | None:
    path = folder / GRAPH_FILE
    return path if settings.index.backend != "exact" and path.is_file() else None


def _with_models(settings: Settings, manifest: Manifest, folder: Path, access: Access) -> Settings:
    """The bundle's settings, with models, device and trust as the caller says.

    Raises:
        BundleError: If a model is for the caller to name.
    """
    base = access.base_model
    if base is None:
        base = settings.model.base
        _check_location(base, folder, short_names=SHORT_NAMES, setting="model.base")
    encoders = {}
    if access.text_encoder is None and settings.text.encoder != BASE:
        encoders["text.encoder"] = settings.text.encoder
    if settings.mode == "generative" and settings.generative.embedding.embedder != BASE:
        encoders["generative.embedding.embedder"] = settings.generative.embedding.embedder
    for setting, name in encoders.items():
        _check_location(name, folder, short_names=SENTENCE_ENCODERS, setting=setting)
    revision = settings.model.revision
    if revision is not None and (".." in revision or not _REVISION.fullmatch(revision)):
        raise BundleError(
            f"model.revision of {folder} is {revision!r}: expected a branch, tag or commit."
        )
    update = {
        "base": base,
        "device": access.device,
        "trust_remote_code": access.trust_remote_code,
    }
    if manifest.base_model is not None:
        # The index was made in this precision; another would move the queries away from it.
        update["dtype"] = manifest.base_model.dtype
    model = settings.model.model_copy(update=update)
    text = settings.text
    if access.text_encoder is not None:
        text = text.model_copy(update={"encoder": access.text_encoder})
    return settings.model_copy(update={"model": model, "text": text})


def _check_location(name: str, folder: Path, *, short_names: Container[str], setting: str) -> None:
    """Refuse a model that a bundle could have brought along.

    Args:
        name: As the bundle's settings give it.
        folder: The bundle.
        short_names: Names that always mean the same model.
        setting: Name of the setting.

    Raises:
        BundleError: If it is a path in the bundle or a relative path, also one that looks like a
            hub id.
    """
    if name in short_names:
        return
    path = Path(name)
    if path.is_absolute():
        if not path.resolve().is_relative_to(folder.resolve()):
            return
        reason = "lies in the bundle"
    elif not _HUB_ID.fullmatch(name) or path.suffix.lower() == ".gguf":
        reason = "is not an absolute path, hub id or short name"
    elif path.exists():
        reason = "is a path of the working directory"
    else:
        return
    raise BundleError(
        f"{setting} of {folder} is {name!r}, which {reason}: a bundle never brings its own model. "
        "Pass base_model (--model) or text_encoder with a model that you trust."
    )


def _with_address(settings: Settings, folder: Path, base_url: str | None) -> Settings:
    """The settings with the caller's address of the server, if one is used.

    Raises:
        BundleError: If the caller gives no address. The key that goes there is the caller's, too.
        ValueError: If the caller gives one in vain.
    """
    decoding = settings.generative.decoding
    if settings.mode != "generative" or decoding.backend != "openai":
        if base_url is not None:
            raise ValueError(
                f"base_url is {base_url!r}, but {folder} uses no server; expected None."
            )
        return settings
    address = base_url or os.environ.get(_ADDRESS_VARIABLE)
    if not address:
        raise BundleError(
            f"{folder} writes titles with a server, whose address is never taken from a bundle: "
            f"pass base_url (--base-url) or set {_ADDRESS_VARIABLE}."
        )
    return _at_address(settings, address)


def stored_settings(settings: Settings) -> Settings:
    """The settings as a bundle stores them.

    Models of this machine have their absolute path; the address of a server, and user, password and
    query of those of data are omitted.
    """
    settings = settings.model_copy(update={"data": _without_secrets(settings.data)})
    model = settings.model.model_copy(update={"base": _absolute(settings.model.base, SHORT_NAMES)})
    encoder = _absolute(settings.text.encoder, {BASE, *SENTENCE_ENCODERS})
    text = settings.text.model_copy(update={"encoder": encoder})
    settings = settings.model_copy(update={"model": model, "text": text})
    if settings.mode != "generative":
        return settings
    embedding = settings.generative.embedding
    embedder = _absolute(embedding.embedder, {BASE, *SENTENCE_ENCODERS})
    embedding = embedding.model_copy(update={"embedder": embedder})
    generative = settings.generative.model_copy(update={"embedding": embedding})
    settings = settings.model_copy(update={"generative": generative})
    return _at_address(settings, ServerSettings().base_url)


def _without_secrets(data: DataSettings) -> DataSettings:
    def shown(source: SourceSettings) -> dict[str, Any]:
        places = {"source": source.source, "items": source.items}
        return {name: shown_address(at) for name, at in places.items() if at and is_address(at)}

    further = tuple(source.model_copy(update=shown(source)) for source in data.extra_train_sources)
    return data.model_copy(update={**shown(data), "extra_train_sources": further})


def _at_address(settings: Settings, address: str) -> Settings:
    generative = settings.generative
    server = generative.decoding.server.model_copy(update={"base_url": address})
    decoding = generative.decoding.model_copy(update={"server": server})
    generative = generative.model_copy(update={"decoding": decoding})
    return settings.model_copy(update={"generative": generative})


def _absolute(name: str, short_names: Container[str]) -> str:
    path = Path(name).expanduser()
    return str(path.absolute()) if name not in short_names and path.exists() else name
