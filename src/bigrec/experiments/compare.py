"""The comparison of a run: its signals learned, its texts written, the report laid down."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bigrec.errors import SettingsError
from bigrec.evaluation.reports.comparison import comparison_json, write_comparison
from bigrec.experiments.comparison import Comparison, compare, seed_rows
from bigrec.experiments.evaluate import shares_of
from bigrec.experiments.pipeline import READING, Run
from bigrec.experiments.precomputed import injected_names, parts_of
from bigrec.experiments.workspace import Part
from bigrec.models.base import Scorer
from bigrec.models.llm import DIRECT
from bigrec.models.registry import check_names
from bigrec.recommender.fusion import fit_signals
from bigrec.recommender.query_encoders import POINTED, WRITTEN
from bigrec.recommender.scoring import Evidence
from bigrec.recommender.training_data import FEW_SHOT, few_shot_lessons, lessons_of, train_direct
from bigrec.settings import Settings
from bigrec.settings.sections import CompareSettings
from bigrec.storage import write_json

AUTO = "auto"
"""The reference that is chosen on validation, and the usual injections."""

_PAIR = "co-occurrence & EASE"
_USUAL = (
    *("popularity", "co-occurrence", "EASE", "SASRec", "GRU4Rec", _PAIR),
    "co-occurrence & GRU4Rec",
    *(f"{_PAIR} & {networks}" for networks in ("SASRec", "GRU4Rec", "SASRec & GRU4Rec")),
)

_PARTS: Sequence[Part] = ("valid", "test")


def compare_run(run: Run) -> Comparison:
    """Compare a run's recommender with signals and injections, under every seed asked for.

    Writes ``comparison.json`` and ``comparison.html`` beside the evaluation. Whatever was done
    before, texts and networks among it, is not done again.

    Raises:
        BigrecError: If the data, the settings or the model cannot be used.
    """
    _check(run)
    seeds = list(dict.fromkeys([run.settings.seed, *run.settings.compare.seeds]))
    found = [_compare_once(run), *(_compare_once(run.with_seed(seed)) for seed in seeds[1:])]
    by_seed = {seed: one.results for seed, one in zip(seeds, found, strict=True)}
    report = replace(
        found[0].report,
        seeds=seed_rows(by_seed),
        shares=shares_of(
            run.answers("test").texts, run.dataset.catalog, histories=run.queries("test").histories
        ),
        settings=run.settings.model_dump(mode="json"),
        notes=[*run.notes(), *_notes(run)],
    )
    write_json(run.comparison_file, comparison_json(report))
    write_comparison(run.comparison_file.with_suffix(".html"), report)
    return replace(found[0], report=report)


def _check(run: Run) -> None:
    """Refuse names that do not exist before anything is learned."""
    chosen = run.settings.compare
    check_names(chosen.signals)
    few = [name + FEW_SHOT for name in chosen.signals] if chosen.few_shot else []
    known = [*_baselines(chosen), *few, *_direct_names(run.settings)]
    labels = [" & ".join(names) for names in injected_names(_inject(chosen), known)]
    own = (POINTED if run.settings.grounding == "direct" else WRITTEN).values()
    fused = [f"BIGRec {sign} {label}" for label in labels for sign in "x+"]
    methods = dict.fromkeys([*own, *known, *labels, *fused])
    if chosen.reference not in {AUTO, *methods}:
        raise SettingsError(
            f"compare.reference is {chosen.reference!r}: expected {AUTO} or a method of the "
            f"comparison, {'; '.join(methods)}."
        )


def _inject(chosen: CompareSettings) -> Sequence[str]:
    """What is put into the distances; by default what there is of the usual ones."""
    if chosen.inject != AUTO:
        return chosen.inject
    return [entry for entry in _USUAL if set(entry.split(" & ")) <= set(chosen.signals)]


def _baselines(chosen: CompareSettings) -> list[str]:
    return [*chosen.signals, *(one.name for one in chosen.external)]


def _references(settings: Settings) -> list[str]:
    """Methods of which one becomes the reference."""
    if settings.compare.reference != AUTO:
        return [settings.compare.reference]
    # Where there is no baseline, the recommender itself.
    return _baselines(settings.compare) or [POINTED["first"], WRITTEN["first"]]


def _compare_once(run: Run) -> Comparison:
    drawn = run.drawn
    # First: a file that does not fit should be told before networks are trained.
    external = parts_of(
        run.settings.compare.external, run.dataset, valid=drawn.valid_queries, test=drawn.test
    )
    signals = _signals(run)
    valid, test = (
        _evidence(run, part, signals={**signals, **own})
        for part, own in zip(_PARTS, external, strict=True)
    )
    return compare(
        run.dataset,
        drawn,
        valid=valid,
        test=test,
        inject=_inject(run.settings.compare),
        references=_references(run.settings),
        progress=run.track("Ranking the examples"),
    )


def _signals(run: Run) -> dict[str, Scorer]:
    chosen = run.settings.compare
    options: dict[str, Any] = {
        "seed": run.settings.seed,
        "device": run.settings.model.device,
        "folder": run.signals_stage.folder,
        "track": run.track,
    }
    lessons = {"": lessons_of(run.dataset, run.drawn)}
    if chosen.few_shot:
        lessons[FEW_SHOT] = few_shot_lessons(run.dataset, run.drawn)
    found: dict[str, Scorer] = {}
    for suffix, of in lessons.items():
        found |= fit_signals(chosen.signals, of, suffix=suffix, **options)
        if DIRECT + suffix in _direct_names(run.settings):
            found[DIRECT + suffix] = train_direct(
                of,
                run.settings,
                catalog=run.dataset.catalog,
                folder=run.direct_stage.folder,
                suffix=suffix,
                reading=run.track(READING),
                learning=run.track(f"Training {DIRECT}{suffix}"),
            )
    return found


def _direct_names(settings: Settings) -> list[str]:
    """Direct grounding among the signals: what is not the recommender itself."""
    chosen = settings.compare
    if settings.grounding == "written":
        own = [DIRECT] if chosen.direct else []
        return [*own, *(name + FEW_SHOT for name in own if chosen.few_shot)]
    few = chosen.few_shot and settings.direct.learn_from == "all"
    return [DIRECT + FEW_SHOT] if few else []


def _evidence(run: Run, part: Part, *, signals: dict[str, Scorer]) -> Evidence:
    return run.recommender.parts.evidence(run.queries(part), run.answers(part), signals=signals)


def _notes(run: Run) -> list[str]:
    learned, n_valid = int(run.drawn.train_rows.sum()), len(run.drawn.valid_queries)
    baselines = (
        f"Baselines learn from all {learned} training interactions; those called few-shot from the "
        "language model's own examples."
    )
    choices = (
        "BIGRec x signal is the published product on the first beam; BIGRec + signal is the rule "
        f"that does best on the {n_valid} validation examples; signals joined by & alone are put "
        "together by such a rule without the language model. Everything is chosen by NDCG@10 on "
        "validation, once for all metrics of a row."
    )
    if run.recommender.parts.likes is None:
        return [baselines, choices]
    likes = (
        "Put into the model's distances, signals give titles that they never met what they give to "
        "the titles most like them; by themselves they rank these last."
    )
    return [baselines, choices, likes]
