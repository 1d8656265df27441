"""``bigrec doctor``: what is installed and what the machine offers, and what both mean."""

import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from packaging.requirements import Requirement

from bigrec import __version__, console
from bigrec.cli.options import JsonOption, guarded, show
from bigrec.evaluation.reports.table import Cell, Table
from bigrec.settings import Settings
from bigrec.types import Finding

DEVELOPMENT = {"dev", "docs"}
"""Extras of those who work on bigrec."""

EXTRAS = {
    "ctranslate2": "generative.decoding.backend=ctranslate2, faster for a single beam",
    "gguf": "base models in .gguf files, smollm2-135m among them",
    "mcp": "bigrec serve mcp, tools for assistants",
    "mlflow": "MLflow models and tracking",
    "pandas": "pandas frames as input and output",
    "qdrant": "index.backend=qdrant, candidates from a server",
    "quantized": "model.quantize_bits on a CUDA device",
    "ray": "bigrec recommend-all --ray-workers",
    "remote": "data at s3:// and https://",
    "serve": "bigrec serve",
    "signing": "bigrec bundle keygen, sign and verify",
    "tracking": "training curves, retrieval.report_to=[tensorboard]",
    "tune": "bigrec tune",
    "usearch": "index.backend=usearch, approximate search in large catalogs",
}
"""What each extra is for. The packages themselves are named by the installed distribution."""

_DEFAULTS = Settings()


@guarded
def doctor(
    model: Annotated[
        str, typer.Option("--model", "-m", help="The base model to look for.")
    ] = _DEFAULTS.model.base,
    text_encoder: Annotated[
        str, typer.Option(help="The sentence encoder to look for.")
    ] = _DEFAULTS.text.encoder,
    as_json: JsonOption = False,
) -> None:
    """Tell what is installed, what the machine offers, and what both mean for speed and use.

    The exit code is 1 if something needed is missing, otherwise 0.
    """
    findings = package_findings()
    if not _lacks_any(findings):
        from bigrec.lm import environment  # noqa: PLC0415 - torch, seconds

        findings += environment.machine_findings()
        findings += environment.model_findings(model, text_encoder)
    show(as_json, _shown(findings))
    if _lacks_any(findings):
        raise typer.Exit(1)


def _lacks_any(findings: Sequence[Finding]) -> bool:
    """Whether something needed is missing."""
    return any(finding.status == "missing" for finding in findings)


def package_findings() -> list[Finding]:
    """Versions, required packages and extras."""
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    required, extras = _requirements()
    return [
        Finding("bigrec", f"{__version__}, {system}", "Versions for a report of a problem."),
        _required(required),
        *(_extra(name, extras[name]) for name in sorted(extras)),
    ]


def _requirements() -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    """The required packages, and those of each extra but those of developers."""
    distribution = importlib.metadata.distribution("bigrec")
    all_of_them = list(map(Requirement, distribution.requires or []))
    names = set(distribution.metadata.get_all("Provides-Extra") or []) - DEVELOPMENT

    def applies(requirement: Requirement, extra: str) -> bool:
        return requirement.marker is None or requirement.marker.evaluate({"extra": extra})

    required = [requirement for requirement in all_of_them if applies(requirement, "")]
    extras = {
        name: [r for r in all_of_them if r not in required and applies(r, name)] for name in names
    }
    return required, extras


def _required(requirements: Sequence[Requirement]) -> Finding:
    problems = _problems(requirements)
    if problems:
        cure = "Run: pip install --upgrade bigrec"
        return Finding("Packages", problems, f"bigrec needs them. {cure}", "missing")
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "polars")
    )
    return Finding("Packages", f"all {len(requirements)}: {versions}, …", "Everything needed.")


def _extra(name: str, requirements: Sequence[Requirement]) -> Finding:
    purpose = EXTRAS.get(name, name)
    problems = _problems(requirements)
    subject = f"bigrec[{name}]"
    if problems:
        cure = f"Without: {purpose}. Run: pip install 'bigrec[{name}]'"
        return Finding(subject, problems, cure, "note")
    return Finding(subject, "installed", f"For {purpose}.")


def _problems(requirements: Sequence[Requirement]) -> str:
    """What is wrong with installed packages; empty if all are as required."""
    return "; ".join(problem for r in requirements if (problem := _problem(r)) is not None)


def _problem(requirement: Requirement) -> str | None:
    """What is wrong with an installed package; None if it is as required."""
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(version, prereleases=True):
        return None
    return f"{requirement.name} is {version}, expected {requirement.specifier}"


def _shown(findings: Sequence[Finding]) -> console.Shown:
    rows = tuple(
        tuple(map(Cell, (finding.subject, finding.status, finding.found, finding.meaning)))
        for finding in findings
    )
    table = Table("", ("", "Status", "Found", "Meaning"), rows)
    values = {"ok": not _lacks_any(findings), "findings": [asdict(finding) for finding in findings]}
    return console.Shown(console.rich_table(table), values)
