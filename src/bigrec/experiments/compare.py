"""The comparison of an experiment: baselines fitted, fusions selected, the report written."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bigrec.errors import SettingsError
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.reports.comparison import comparison_json, write_comparison
from bigrec.experiments.comparison import Comparison, compare_methods, seed_rows
from bigrec.experiments.evaluate import make_query_table, text_statistics
from bigrec.experiments.fitted_to import fitted_to
from bigrec.experiments.fusions import fused_ids, parse_fusions
from bigrec.experiments.methods import recommender_ids
from bigrec.experiments.pipeline import Pipeline
from bigrec.experiments.precomputed import read_precomputed
from bigrec.experiments.windows import score_windows
from bigrec.models.base import Scorer
from bigrec.models.llm import LLM_RETRIEVAL
from bigrec.models.registry import TEXT_MODELS, check_names
from bigrec.recommender.fitting import Fitting
from bigrec.settings import Settings
from bigrec.storage import write_json
from bigrec.storage.locks import exclusive
from bigrec.types import ProgressFactory, no_progress

_AUTO = "auto"
_PAIR = "co-occurrence & EASE"
_WINDOWS_NOTE = (
    " With several validation windows (baselines.windows), hyperparameters and fusions of "
    "closed-form models alone are selected by the mean over them; what a network or the "
    "recommender takes part in by the last one, the validation part. Within one standard error of "
    "the best, over users, fewer signals are fused, and the simpler hyperparameters are taken."
)
_AUTO_FUSIONS = (
    *("popularity", "co-occurrence", "EASE", "text kNN", "Gaussian", "SASRec", "GRU4Rec", _PAIR),
    f"{_PAIR} & text kNN",
    f"{_PAIR} & text kNN & Gaussian",
    "co-occurrence & GRU4Rec",
    *(f"{_PAIR} & {networks}" for networks in ("SASRec", "GRU4Rec", "SASRec & GRU4Rec")),
)


def compare(
    settings: Settings, *, run_dir: str | Path, progress_factory: ProgressFactory = no_progress
) -> Comparison:
    """Compare the recommender of the settings with baselines and fusions.

    Args:
        settings: Data, model and the comparison.
        run_dir: Holds all stages; those that are complete are reused.
        progress_factory: Called with the name of each long step; gives its progress callback.

    Raises:
        BigrecError: If the data, the settings or the model cannot be used, or another process uses
            the run directory.
    """
    run_dir = Path(run_dir)
    with exclusive(run_dir):
        return compare_pipeline(Pipeline(run_dir, settings, progress_factory=progress_factory))


def compare_pipeline(pipeline: Pipeline) -> Comparison:
    """Compare a pipeline's recommender with baselines and fusions, under every seed.

    Writes ``comparison.json`` and ``comparison.html`` beside the evaluation, and the target ranks
    of every method under the first seed as ``comparison.parquet``, to be paired with those of other
    runs. Complete stages, generated texts and networks included, are reused.

    Raises:
        BigrecError: If the data, the settings or the model cannot be used.
    """
    settings = pipeline.settings
    signals = _signal_ids(settings)
    _check(settings, signals)
    seeds = list(dict.fromkeys([settings.seed, *settings.compare.seeds]))
    first = _compare_once(pipeline, signals)
    others = [_compare_once(pipeline.with_seed(seed), signals) for seed in seeds[1:]]
    by_seed = {
        seed: comparison.results for seed, comparison in zip(seeds, [first, *others], strict=True)
    }
    tested = pipeline.fitting.tested
    catalog, queries = pipeline.dataset.catalog, tested.prepared.test_queries
    texts = tested.encode("test").texts
    report = replace(
        first.report,
        fitted_to=fitted_to(
            list(dict.fromkeys(result.method for result in first.results)),
            signals=signals.values(),
            recommenders=recommender_ids(settings),
            catalog=catalog,
            prepared=tested.prepared,
            settings=settings,
        ),
        seeds=seed_rows(by_seed),
        shares=text_statistics(texts, catalog, histories=queries.histories),
        settings=settings.to_dict(),
        notes=[*pipeline.notes(), *_notes(pipeline), *_tuning_notes(pipeline)],
    )
    table = make_query_table(catalog, queries, texts, first.results)
    table.save(pipeline.comparison_file.with_suffix(".parquet"))
    write_json(pipeline.comparison_file, comparison_json(report))
    write_comparison(pipeline.comparison_file.with_suffix(".html"), report)
    return replace(first, report=report)


def _signal_ids(settings: Settings) -> dict[str, MethodId]:
    """The compared signals by label, in the order of the tables."""
    compare = settings.compare
    ids = [MethodId(name) for name in _baselines(settings)]
    precomputed = [MethodId(scores.name) for scores in compare.precomputed]
    if compare.retrieval:
        ids.append(MethodId(LLM_RETRIEVAL))
    if compare.few_shot:
        ids += [
            MethodId(name, training_data="few-shot")
            for name in compare.baselines
            if name not in TEXT_MODELS
        ]
        on_all = settings.mode == "retrieval" and not settings.trains_on_examples
        if compare.retrieval or on_all:
            ids.append(MethodId(LLM_RETRIEVAL, training_data="few-shot"))
    if compare.retrieval or settings.mode == "retrieval":
        ids.append(MethodId(LLM_RETRIEVAL, training_data="none"))
    ids += precomputed
    return {method.label: method for method in ids}


def _check(settings: Settings, signals: Mapping[str, MethodId]) -> None:
    """Refuse unknown names before anything is fitted."""
    check_names(settings.compare.baselines)
    _reference_ids(settings, signals)


def _reference_ids(settings: Settings, signals: Mapping[str, MethodId]) -> list[MethodId]:
    """Methods of which one becomes the reference.

    Raises:
        SettingsError: If the reference or a fused signal is not compared.
    """
    compare, recommenders = settings.compare, recommender_ids(settings)
    fused = [
        method
        for entry in parse_fusions(_fusions(settings), signals)
        for method in fused_ids(recommenders[0].model, entry)
    ]
    if compare.reference == _AUTO:
        baselines = [*_baselines(settings), *(scores.name for scores in compare.precomputed)]
        # Without baselines, the recommender itself.
        return [signals[name] for name in baselines] or recommenders
    known = {method.label: method for method in (*recommenders, *signals.values(), *fused)}
    if compare.reference not in known:
        raise SettingsError(
            f"compare.reference is {compare.reference!r}: expected {_AUTO} or a method of the "
            f"comparison, {'; '.join(known)}."
        )
    return [known[compare.reference]]


def _baselines(settings: Settings) -> list[str]:
    """Baselines on all data; the mode's own model is none."""
    own = {method.model for method in recommender_ids(settings)}
    return [name for name in settings.compare.baselines if name not in own]


def _fusions(settings: Settings) -> Sequence[str]:
    compare = settings.compare
    if compare.fusions != _AUTO:
        return compare.fusions
    baselines = set(_baselines(settings))
    return [entry for entry in _AUTO_FUSIONS if set(entry.split(" & ")) <= baselines]


def _compare_once(pipeline: Pipeline, signals: Mapping[str, MethodId]) -> Comparison:
    settings = pipeline.settings
    # First: what does not fit should be reported before networks are trained.
    _ = pipeline.fitting.baselines.windows
    precomputed = read_precomputed(
        settings.compare.precomputed, pipeline.dataset, pipeline.prepared
    )
    fitting, tested = pipeline.fitting, pipeline.fitting.tested
    on_valid = _fit_signals(fitting, settings, signals)
    on_test = on_valid if tested is fitting else _fit_signals(tested, settings, signals)
    valid = fitting.unfused.score(
        fitting.encode("valid"),
        fitting.prepared.valid_queries,
        signals={**on_valid, **precomputed["valid"]},
    )
    test = tested.unfused.score(
        tested.encode("test"),
        tested.prepared.test_queries,
        signals={**on_test, **precomputed["test"]},
    )
    shuffled = None
    if _shuffles(settings):
        # Without the scores of files, which cannot follow.
        shuffled = tested.unfused.score(
            tested.encode("shuffled"), tested.prepared.queries("shuffled"), signals=on_test
        )
    return compare_methods(
        pipeline.dataset,
        tested.prepared,
        valid=valid,
        test=test,
        recommenders=fitting.encoder.methods,
        signals=list(signals.values()),
        fusions=parse_fusions(_fusions(settings), signals),
        references=_reference_ids(settings, signals),
        windows=score_windows(
            fitting.baselines,
            signals.values(),
            catalog=pipeline.dataset.catalog,
            full_history=settings.fusion.history == "full",
        ),
        shuffled=shuffled,
        mixes_cold_items=settings.fusion.mixes_cold_items,
        progress_factory=pipeline.progress_factory,
    )


def _shuffles(settings: Settings) -> bool:
    choice = settings.compare.shuffle_history
    return not settings.writes_texts if choice == "auto" else choice


def _fit_signals(
    fitting: Fitting, settings: Settings, signals: Mapping[str, MethodId]
) -> dict[str, Scorer]:
    """Fitted signals by label; precomputed scores are not among them."""
    fitted: dict[str, Scorer] = {}
    untrained = MethodId(LLM_RETRIEVAL, training_data="none").label
    if untrained in signals:
        fitted[untrained] = fitting.untrained_retriever()
    for name in ("all", "few-shot"):
        few_shot = name == "few-shot"
        of_data = {
            method.model: method.label
            for method in signals.values()
            if method.training_data == name
        }
        for model in settings.compare.baselines:
            if model in of_data:
                fitted[of_data[model]] = fitting.baselines.fit(model, few_shot=few_shot)
        if LLM_RETRIEVAL in of_data:
            fitted[of_data[LLM_RETRIEVAL]] = fitting.retriever(few_shot=few_shot)
    return fitted


def _tuning_notes(pipeline: Pipeline) -> list[str]:
    """The grid and the selected hyperparameters of every tuned baseline."""
    return [
        f"{label} is tuned by {tuned.describe()}"
        for label, tuned in pipeline.fitting.baselines.tuned.items()
    ]


def _notes(pipeline: Pipeline) -> list[str]:
    prepared = pipeline.fitting.tested.prepared
    baselines = (
        f"Baselines are trained on all {int(prepared.train_rows.sum())} training interactions; "
        "those called few-shot on the examples of generative fine-tuning."
    )
    selection = (
        "A model x signal is the paper's product on the top beam; a model + signal is the rule "
        f"that does best on the {len(prepared.valid_queries)} validation examples; signals joined "
        "by & alone are fused by such a rule without the language model. Everything is selected "
        "by NDCG@10 on validation, once for all metrics of a row."
    )
    if len(pipeline.fitting.baselines.windows) > 1:
        selection += _WINDOWS_NOTE
    if not pipeline.fitting.unfused.imputes_cold_items:
        return [baselines, selection]
    imputation = (
        "When a signal is fused with the language model, its scores of cold titles are imputed "
        "from their nearest neighbors; by itself it ranks them last."
    )
    return [baselines, selection, imputation]
