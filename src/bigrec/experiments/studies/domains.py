"""The study of domains: a model of several, beside one of each, and on a domain it never saw."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bigrec.errors import DataError
from bigrec.evaluation.clusters import describe_users, number_users
from bigrec.evaluation.protocol import SummaryRow, summarize
from bigrec.evaluation.reports.table import Table
from bigrec.experiments.pipeline import Pipeline
from bigrec.experiments.studies.designs import MODELS, above
from bigrec.experiments.studies.domain_arms import (
    ARMS,
    IN_WORDS,
    ZERO_SHOT,
    domain_settings,
    method_id,
    rank_arm,
)
from bigrec.experiments.studies.dry_run import PlannedArm, counts_table, plan_arm
from bigrec.experiments.studies.report import StudyReport, write_study
from bigrec.experiments.studies.study import ARMS_FOLDER, check_settings, findings_of
from bigrec.experiments.studies.verdict import (
    Contrast,
    Finding,
    corrected_together,
    verdicts,
)
from bigrec.models.registry import POPULARITY, TEXT_KNN, TF_IDF
from bigrec.settings import Settings
from bigrec.types import ProgressFactory, no_progress

DOMAINS = "domains"
"""Name of the study."""

_CLAIM = "C3: one model trained on several domains serves each of them, and one that it never saw."
_LATENT_NOTE = (
    "Latent decoding places the items of a domain at states of the domain's own training examples, "
    "and by title where states of another domain alone predict their places."
)
_NO_TRAINING = (POPULARITY, TF_IDF, TEXT_KNN)
_DRAWN = (POPULARITY, TEXT_KNN)


def run_domains(
    settings: Settings, *, run_dir: Path, progress_factory: ProgressFactory = no_progress
) -> StudyReport:
    """Run the study; complete stages and arms of this run directory are reused.

    Args:
        settings: Of generative mode. ``data`` is the first domain, ``data.extra_train_sources``
            are the others.
        run_dir: Holds the arms, and the report in a folder of the study's name.
        progress_factory: Called with the name of each long step; gives its progress callback.

    Raises:
        BigrecError: If the data, the settings or the model cannot be used.
    """
    folder = run_dir / ARMS_FOLDER
    domains = [
        _run_domain(name, tested, folder=folder, progress_factory=progress_factory)
        for name, tested in _by_name(settings, folder).items()
    ]
    findings = corrected_together([one for domain in domains for one in domain.findings])
    report = StudyReport(
        name=DOMAINS,
        claim=_CLAIM,
        exclude_seen=settings.recommend.exclude_seen,
        verdicts=verdicts(findings),
        findings=findings,
        rows=[row for domain in domains for row in domain.rows],
        curves={name: points for domain in domains for name, points in _curves(domain.name)},
        x_label="training examples from",
        groups=[list(dict.fromkeys(row.method.label for row in domain.rows)) for domain in domains],
        settings=settings.to_dict(),
        notes=[*(domain.note for domain in domains), f"Seed {settings.seed}.", _LATENT_NOTE],
    )
    write_study(run_dir / DOMAINS, report)
    return report


def contrasts_of(domain: str) -> list[Contrast]:
    """What is tested on a domain."""
    contrasts = []
    for decoding, model in MODELS.items():
        of = {name: method_id(domain, model, words) for name, words in IN_WORDS.items()}
        about = f"On {domain}, BIGRec ({decoding})"
        question = f"{about} trained on all domains is above BIGRec trained on this domain alone."
        contrasts.append(above(question, of["all"], of["own"]))
        question = f"{about} trained on other domains alone is above the untrained model."
        contrasts.append(above(question, of["other"], of["none"]))
        question = f"{about} that never saw this domain is above popularity and text models."
        unseen = of["other"]
        if decoding == "latent":
            unseen = method_id(domain, model, ZERO_SHOT.words)
        contrasts += [above(question, unseen, method_id(domain, name)) for name in _NO_TRAINING]
    return contrasts


@dataclass(frozen=True, slots=True)
class PlannedDomainArm(PlannedArm):
    """What an arm would do.

    Attributes:
        domain: The tested domain.
        trained_on: Domains that the model is trained on, and how its items are placed.
    """

    domain: str
    trained_on: str


def plan_domains(settings: Settings, *, run_dir: Path) -> list[PlannedDomainArm]:
    """Build every prompt and batch of the arms; only data and tokenizer are read.

    Raises:
        BigrecError: If the data, the settings or the tokenizer cannot be used.
    """
    folder = run_dir / ARMS_FOLDER
    planned = []
    for name, tested in _by_name(settings, folder).items():
        for arm in ARMS:
            plan = plan_arm(arm.decoding, arm.settings(tested), folder=folder)
            planned.append(PlannedDomainArm(**asdict(plan), domain=name, trained_on=arm.words))
    return planned


def domains_table(planned: Sequence[PlannedDomainArm]) -> Table:
    """The arms as a table."""
    heads = ("Arm", "Examples", "Tokens", "Longest", "Batches", "Steps", "Queries")
    note = (
        "Tokens and batches of one epoch, steps of all epochs unless training stops early. A model "
        "is trained once, whichever domain it is tested on."
    )
    rows = [
        (
            f"{arm.domain}: {MODELS[arm.decoding]} [{arm.trained_on}]",
            *(arm.examples, arm.tokens, arm.longest, arm.batches, arm.steps, arm.queries),
        )
        for arm in planned
    ]
    return counts_table(f"Arms of study {DOMAINS}", heads, rows, note)


@dataclass(frozen=True)
class _TestedDomain:
    """What was found on a domain.

    Attributes:
        name: The domain.
        findings: Its tested contrasts, corrected for those of the domain alone.
        rows: Metrics of all methods under both protocols.
        note: Its examples and users.
    """

    name: str
    findings: list[Finding]
    rows: list[SummaryRow]
    note: str


def _run_domain(
    name: str, tested: Settings, *, folder: Path, progress_factory: ProgressFactory
) -> _TestedDomain:
    tables = [
        rank_arm(arm, tested, folder=folder, progress_factory=progress_factory) for arm in ARMS
    ]
    results = [result for table in tables for result in table.results()]
    users = number_users(tables[0].frame["user_id"].to_list())
    protocol = tested.recommend.exclude_seen
    examples = Pipeline(folder, tested, write_settings=False).prepared.train_items
    return _TestedDomain(
        name=name,
        findings=findings_of(contrasts_of(name), results, users=users, exclude_seen=protocol),
        rows=summarize(results, users=users, seed=0),
        note=f"{name}: {len(examples):,} training examples; {describe_users(users)}.",
    )


def _by_name(settings: Settings, folder: Path) -> dict[str, Settings]:
    """The settings of each tested domain, by its name.

    Raises:
        DataError: If two domains have the same name.
    """
    check_settings(settings)
    named: dict[str, Settings] = {}
    for tested in domain_settings(settings):
        name = Pipeline(folder, tested, write_settings=False).dataset.name
        if name in named:
            raise DataError(
                f"two domains are called {name!r}: expected different names. Give a name to each, "
                "in data.name and in data.extra_train_sources."
            )
        named[name] = tested
    return named


def _curves(domain: str) -> list[tuple[str, Mapping[str, str]]]:
    """Names of a domain's curves, with labels of their points by what a model was trained on."""
    curves: list[tuple[str, Mapping[str, str]]] = []
    for model in MODELS.values():
        points = {words: method_id(domain, model, words).label for words in IN_WORDS.values()}
        curves.append((f"{domain}: {model}", points))
    for name in _DRAWN:
        label = method_id(domain, name).label
        curves.append((label, dict.fromkeys(IN_WORDS.values(), label)))
    return curves
