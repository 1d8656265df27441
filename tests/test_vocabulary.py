"""One word for one thing: no word that was replaced comes back."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import UNTRACED

pytestmark = UNTRACED

ROOT = Path(__file__).parents[1]
SEARCHED = (
    *("src", "tests", "benchmarks", "torture", "examples", "docs"),
    *("README.md", "CONTRIBUTING.md"),
)
SUFFIXES = {".py", ".md", ".yaml", ".j2", ".css"}
# Old settings files get an error that names the new words, so these hold the old ones.
EXEMPT = {
    # They import a module of implicit, which spells so.
    "benchmarks/peers/sides/run_implicit.py",
    "benchmarks/peers/sides/run_rectools.py",
    "src/bigrec/settings/old_names.py",
    "tests/settings/test_old_names.py",
    "tests/test_vocabulary.py",
}
# Lines that tell a user the new word for an old one.
EXPLAINS = re.compile(r" is now |before version 0\.1| for (item_type|mode)\b")

# Old (a regular expression) and new. In identifiers and prose a space also matches a line break.
IDENTIFIERS = {
    r"Direct(Grounder|Network)": "LLMRetriever, TwoTowerNetwork",
    r"\bAnswerer\b|\bAnswers(?=[](),:|])": "QueryEncoder, EncodedQueries",
    r"\bPointer\b": "RetrievalQueryEncoder",
    r"\bTitleFeatures\b": "ItemTextFeatures",
    r"Lessons?\b": "TrainingData, SequenceDataset",
    r"\bRecipe\b": "TrainingArguments",
    r"\bKeeper\b": "CheckpointCallback",
    r"\bDrawn(?=[](),:|])|\bdraw\(": "PreparedData, prepare_examples()",
    r"\bstop_queries\b": "early_stopping_queries",
    r"\bEvidence\b|\bFusable\b": "ScoredQueries, FusionInput",
    r"\bInjected\b|\bBoundSignals\b|\bchoose_injected\b": "SignalFusion, optimize_fusion",
    r"\bLikes\b": "ColdItemImputer",
    r"\bNeuralSignal\b": "SequentialModel",
    r"\bRunFolder\b|\bPace\b": "Workspace, Throughput",
    r"\bMeasured(?=[](),:|])": "EvaluationResult",
    r"\bExternal\b": "PrecomputedScores",
    r"\bTrack\b|\btrack[=:]": "ProgressFactory, progress_factory",
    r"\b(Look|Finder|Ahead|Placed|Nearest)(?=[](),:|])": "Pass, Collector, RankCounter, TopK",
    r"\b(Train|Generate|Embed|Direct|Signals)Settings\b": (
        "FinetuneSettings, DecodingSettings, EmbeddingSettings, RetrievalSettings, FusionSettings"
    ),
    r"\b(gains|hits)\(": "ndcg_per_query(), hit_per_query()",
    r"\[\w+, g\]": "[q, t]",
    r"\bshares_of\b|\btext_shares\b": "generation_stats",
    r"\bchosen_by\b": "selection_metric",
    r"\buntracked\b": "no_progress",
    r"\bbeam_memory\b|\bTitlesOnly\b": "kv_cache, CatalogConstraint",
    r"\bn_groups\b|\bgroup_ids\b|\bby_group\b": "n_titles, title_ids",
    r"\b(title_size|hidden_width)\b": "content_dim, projection_dim",
    r"\b(id|item|input)_dropout\b": "id_embedding_dropout, feature_dropout, embedding_dropout",
    r"\blearn_from\b": "train_on",
    r"\bloss_on\b": "loss",
    r"\bmicro_batch(es|_size)?\b": "per_device_batch_size",
    r"\balso_train_on\b": "extra_train_sources",
    r"\bhistory_length\b": "max_history_length",
    r"bigrec\.(signals|direct|bench|compare\.|files|render|steps|parts|lessons|run_folder)\b": (
        "the modules of the layout in CONTRIBUTING.md"
    ),
}
SETTINGS = {
    r"\brecommend\.(inject|rule|beams)\b": "fusion.signals, fusion.method, grounding.beams",
    r"\bcompare\.(inject|signals|external|direct)\b": (
        "compare.fusions, compare.baselines, compare.precomputed, compare.retrieval"
    ),
    r"\bsignals\.(history|new_titles)\b": "fusion.history, fusion.cold_items",
    r"(?<![\w./])train\.(rank|alpha|dropout|learning_rate|batch_size|epochs|patience|window)\b": (
        "generative.finetune.*"
    ),
    r"(?<![\w./])generate\.(beams|titles|backend|server|length_penalty)\b": "generative.decoding.*",
    r"(?<![\w./])embed\.(space|pooling|embedder)\b": "generative.embedding.*",
    r"(?<![\w./])prompt\.(cue|style|instruction)\b": "generative.prompt.*",
    r"(?<![\w./])direct\.(epochs|layers|rank|size)\b": "retrieval.*",
    r"\bdata\.(kind|noun)\b": "data.format, data.item_type",
    r"\bdata\.(train|valid|test)_examples\b": "data.max_train_examples, ...",
    r"\bgrounding[:=] ?(direct|written)\b": "mode: retrieval, mode: generative",
    r"--settings\b": "--config",
    r"--run(?![\w-])": "--run-dir",
    r"--keep-seen\b": "--include-seen",
    r"\bsplit_method[:=] ?given\b": "split_method: predefined",
}
PROSE = {
    r"\bgo(ne|es|ing)? on with\b": "resume, continue",
    r"\bleft out\b|\bleav(e|es|ing) out\b": "excluded, dropped, omitted",
    r"\bput(s|ting)? in(to)?\b": "fuse, add",
    r"\bas published\b|\bpublished (product|protocol|loss|rule|value|way)": "as in the paper",
    r"\bwhatever\b": "the noun",
    r"\bof (its|their) own\b": "the noun",
    r"\binject(s|ed|ing|ion|ions)?\b": "fuse, fusion",
    r"\blikes\b": "nearest neighbors",
    r"\blessons?\b": "training data",
    r"\brecipes?\b": "training arguments",
    r"\bevidence\b": "scored queries",
    r"\bnouns?\b": "item_type",
    r"\bcue\b": "response_prefix",
    r"\bdense targets\b": "all-position targets",
    r"\bdirect grounding\b|\bpointing\b": "LLM retrieval",
    r"\bwritten titles?\b": "generated titles",
    r"\b(first|best) beams?\b": "top beam",
    r"\bsame-titled\b": "title, title_id",
    r"\brun folder\b": "run directory",
    r"BIGRec, (direct|first beam)": "LLM retrieval, BIGRec",
    r"\bstandardized sum\b": "weighted sum, z-score",
}
BRITISH = {
    r"\b\w*(categor|custom|emphas|equal|factor|final|general|initial|item|local|material|maxim|minim"
    r"|normal|optim|organ|parallel|penal|quant|random|real|recogn|regular|serial|standard|summar"
    r"|token|util|vector|visual)is(e|es|ed|er|ers|ing|ation|ations)\b": "-ize",
    r"\b\w*cent(re|res|red|ring)\b": "center",
    r"\b\w*(behavi|col|fav|hon|lab|neighb)our\w*": "-or",
    r"\b(cancel|label|model|travel)l(ed|ing)\b": "-l-",
    r"\banalys(e|es|ed|ing)\b|\bartefacts?\b|\bfulfil\b": "analyze, artifact, fulfill",
    r"\bcatalogues?\b|\bgrey\b|\blearnt\b|\bwhilst\b": "catalog, gray, learned, while",
}


@dataclass(frozen=True)
class _Word:
    old: re.Pattern[str]
    new: str


def _compile(words: dict[str, str], *, wrapped: bool, flags: int = 0) -> list[_Word]:
    return [
        _Word(re.compile(old.replace(" ", r"[\s#*]+") if wrapped else old, flags), new)
        for old, new in words.items()
    ]


WORDS = [
    *_compile(IDENTIFIERS, wrapped=True),
    *_compile(SETTINGS, wrapped=False),
    *_compile(PROSE | BRITISH, wrapped=True, flags=re.IGNORECASE),
]


def searched_files() -> Iterator[Path]:
    """Every file in which people read words."""
    for name in SEARCHED:
        path = ROOT / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix in SUFFIXES and str(file.relative_to(ROOT)) not in EXEMPT:
                yield file


def old_words(text: str) -> Iterator[tuple[int, str, str]]:
    """Line number, old word and new word of every hit."""
    lines = text.splitlines()
    for word in WORDS:
        for match in word.old.finditer(text):
            number = text.count("\n", 0, match.start())
            if not EXPLAINS.search(lines[number]):
                yield number + 1, " ".join(match[0].split()), word.new


@pytest.mark.parametrize(
    "file", [pytest.param(file, id=str(file.relative_to(ROOT))) for file in searched_files()]
)
def test_no_replaced_word_is_used(file: Path) -> None:
    hits = [
        f"{file.relative_to(ROOT)}:{line}: {old!r} is now {new}"
        for line, old, new in old_words(file.read_text(encoding="utf-8"))
    ]
    assert not hits, "\n" + "\n".join(sorted(hits))


@pytest.mark.parametrize(
    ("text", "old"),
    [
        ("recommend.inject=[EASE]", "recommend.inject"),
        ("seen items are left\n    # out here", "left # out"),
        ("a micro_batch_size of 2", "micro_batch_size"),
        ("bigrec train --run runs/a", "--run"),
        ("Normalised by its neighbours", "Normalised"),
    ],
)
def test_an_old_word_is_seen(text: str, old: str) -> None:
    assert old in [word for _, word, _ in old_words(text)]


@pytest.mark.parametrize(
    "text",
    ["--run-dir runs/a", "model.train.epochs", "outer left", "train.epochs is now x", "otherwise"],
)
def test_a_current_word_is_not_mistaken(text: str) -> None:
    assert list(old_words(text)) == []
