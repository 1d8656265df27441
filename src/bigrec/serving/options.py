"""How a service runs."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class ServingOptions(BaseModel):
    """How a service runs; every value has a default for a laptop.

    Attributes:
        bundles: Folders of the bundles, the first is asked unless a request names another.
        journal: File of all changes; beside the first bundle by default.
        keys: File of the callers' keys; None for a service that is open to all who reach it.
        hosts: Names under which a service without keys may be asked, beside this machine's.
        max_batch: Most histories that are answered together; 1 turns batching off.
        window_ms: Time that an incomplete batch waits for more, after one of several histories.
            While one batch is computed the next one collects anyway.
        max_waiting: Most histories that wait; more are refused with 429.
        max_body_bytes: Largest body of a request.
        rate_limit: Requests of each caller, such as "600/minute"; None for no limit.
        drain_delay_s: Time between SIGTERM, when readiness ends, and the end of accepting.
        drain_timeout_s: Time that requests have to finish after that.
        follow_s: Time between looks at what other processes changed.
        compact_bytes: Size of the journal from which it is written anew where fewer entries tell
            the same, each time that it has doubled.
        arrays: Folder in which processes of one machine share the large arrays of bundles, writable
            by them alone; None keeps them in each process.
        watch: Serve a bundle anew when its folder is written again.
        device: Device to compute on.
        base_model: Location of the base model on this machine, if not the bundle's.
        text_encoder: Location of the encoder of titles on this machine, if not the bundle's.
        base_url: Address of the server that writes titles.
        verify_key: File of the public key that bundles must be signed with.
        trust_remote_code: Run code that comes with the base model.
        trust_index: Map the bundles' graphs of titles.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundles: Annotated[tuple[Path, ...], Field(min_length=1, max_length=2)]
    journal: Path | None = None
    keys: Path | None = None
    hosts: tuple[str, ...] = ()
    max_batch: Annotated[int, Field(ge=1, le=4096)] = 64
    window_ms: Annotated[float, Field(ge=0, le=1000)] = 2.0
    max_waiting: Annotated[int, Field(ge=1)] = 1024
    max_body_bytes: Annotated[int, Field(ge=1024)] = 1 << 20
    rate_limit: str | None = None
    drain_delay_s: Annotated[float, Field(ge=0)] = 0.0
    drain_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    follow_s: Annotated[float, Field(gt=0)] = 0.5
    compact_bytes: Annotated[int, Field(ge=1)] = 1 << 24
    arrays: Path | None = None
    watch: bool = False
    device: str = "auto"
    base_model: str | None = None
    text_encoder: str | None = None
    base_url: str | None = None
    verify_key: Path | None = None
    trust_remote_code: bool = False
    trust_index: bool = False

    @property
    def journal_path(self) -> Path:
        """The file of all changes."""
        first = self.bundles[0].absolute()
        return self.journal or first.with_name(f"{first.name}.journal.jsonl")

    @property
    def named_bundles(self) -> dict[str, Path]:
        """The bundles by the last parts of their paths, as many as tell them apart."""
        folders = [folder.absolute() for folder in self.bundles]
        for length in range(1, max(len(folder.parts) for folder in folders) + 1):
            names = ["/".join(folder.parts[-length:]) for folder in folders]
            if len(set(names)) == len(names):
                return dict(zip(names, folders, strict=True))
        raise ValueError(f"the bundle {folders[0]} is given twice: expected two different ones.")
