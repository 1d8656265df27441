"""The README and the pages of ``docs``: Python runs, commands parse, settings exist."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import BaseModel

import benchmarks
from benchmarks.__main__ import app as benchmarks_app
from bigrec.cli import app
from bigrec.data.dataset import Dataset
from bigrec.experiments.evaluate import evaluate
from bigrec.recommender.bigrec import BIGRec
from bigrec.settings import Settings
from tests.conftest import UNTRACED, tiny_dataset, tiny_frames, tiny_overrides, tiny_settings

pytestmark = UNTRACED

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in DOCS.rglob("*.md") if page.parent.name != "generated"),
]

# In a Python block: the text on the page, and what the test runs instead.
SUBSTITUTES = {'"mode=text"': "*{overrides}"}

# Inline code that has the form of a setting and is none.
NOT_SETTINGS = {"model.generate"}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
# A dotted name that is not called.
_DOTTED = re.compile(r"([a-z_]+(?:\.[a-z_0-9]+)+)(?![\w.(])")
_OVERRIDE = re.compile(r"(?:--set '?|overrides=\[\")([a-z_.0-9]+)=")


@dataclass(frozen=True)
class Snippet:
    """A piece of a page."""

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def name_of(page: Path) -> str:
    """The path of a page below the root."""
    return page.relative_to(ROOT).as_posix()


def blocks(*languages: str) -> list[Snippet]:
    """All fenced blocks in one of the languages."""
    return [
        Snippet(name_of(page), text.count("\n", 0, match.start()) + 1, match[2])
        for page in PAGES
        for text in [page.read_text(encoding="utf-8")]
        for match in _FENCE.finditer(text)
        if match[1] in languages
    ]


def spans() -> list[Snippet]:
    """All inline code, outside of fenced blocks."""
    spans = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        text = _FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)
        for number, line in enumerate(text.splitlines(), start=1):
            spans += [Snippet(name_of(page), number, span) for span in _SPAN.findall(line)]
    return spans


def commands(program: str) -> list[tuple[Snippet, list[str]]]:
    """The arguments of every call of a program, in shell blocks and in inline code.

    Lines that are continued are joined. Calls without arguments are mentions.
    """
    lines = [
        Snippet(block.page, block.line + number, line)
        for block in blocks("sh")
        for number, line in enumerate(block.text.replace("\\\n", "  ").splitlines(), start=1)
    ]
    calls = []
    name = program.split()
    for snippet in lines + spans():
        if program not in snippet.text:
            continue
        words = shlex.split(snippet.text, comments=True)
        for start in range(len(words)):
            rest = words[start + len(name) :]
            if words[start : start + len(name)] == name and rest:
                calls.append((snippet, rest))
    return calls


def as_params(snippets: list[Snippet]) -> list[Any]:
    return [pytest.param(snippet, id=str(snippet)) for snippet in snippets]


def as_call_params(calls: list[tuple[Snippet, list[str]]]) -> list[Any]:
    return [pytest.param(words, id=f"{snippet}-{words[0]}") for snippet, words in calls]


@dataclass
class Page:
    """The blocks of a page, which run once and in order, in one namespace."""

    blocks: list[Snippet]
    namespace: dict[str, Any]
    n_run: int = 0

    def run(self, block: Snippet, substitutes: dict[str, str]) -> None:
        """Run a block and those before it that have not run."""
        end = self.blocks.index(block) + 1
        for current in self.blocks[self.n_run : end]:
            text = current.text
            for written, instead in substitutes.items():
                text = text.replace(written, instead)
            self.n_run += 1
            # Errors name the line of the page.
            code = compile("\n" * current.line + text, current.page, "exec")
            exec(code, self.namespace)  # noqa: S102 - the reader is told to run it


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("docs")


@pytest.fixture(scope="module")
def fitted(tiny_model: Path, folder: Path) -> BIGRec:
    """A tiny recommender, with the folders that the pages speak of."""
    of_sample = BIGRec(tiny_settings(tiny_model, mode="text", signals="[EASE]")).fit(
        Dataset.sample()
    )
    of_sample.save(folder / "my-recommender")
    model = BIGRec(tiny_settings(tiny_model, mode="retrieval")).fit(tiny_dataset())
    run_dir = folder / "runs/sample"
    (run_dir / "evaluation-0").mkdir(parents=True)
    model.save(run_dir / "bundle")
    evaluate(model, tiny_dataset()).table.save(run_dir / "evaluation-0/queries.parquet")
    return model


@pytest.fixture(scope="module")
def pages(fitted: BIGRec) -> dict[str, Page]:
    python = blocks("python")
    made = {}
    for name in {block.page for block in python}:
        interactions, items = tiny_frames()
        namespace = {
            "interactions": interactions,
            "items": items,
            "dataset": tiny_dataset(),
            "model": fitted,
        }
        made[name] = Page([block for block in python if block.page == name], namespace)
    return made


@pytest.mark.model
@pytest.mark.parametrize("block", as_params(blocks("python")))
def test_a_python_block_runs(
    block: Snippet,
    pages: dict[str, Page],
    folder: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    overrides = tiny_overrides(tiny_model, mode="text", signals="[EASE]")
    substitutes = {
        written: instead.format(overrides=overrides) for written, instead in SUBSTITUTES.items()
    }
    pages[block.page].run(block, substitutes)


@pytest.mark.parametrize("written", SUBSTITUTES)
def test_a_substitute_is_for_something_on_a_page(written: str) -> None:
    assert any(written in block.text for block in blocks("python"))


@pytest.mark.parametrize("words", as_call_params(commands("bigrec")))
def test_a_command_parses_and_its_settings_can_be_used(words: list[str]) -> None:
    group: Any = typer.main.get_command(app)
    command = group.commands[words[0]]
    if len(words) == 1:
        return  # a mention
    values = command.make_context(words[0], words[1:]).params
    if "config" in values:
        config = values["config"]
        named = ROOT / (config or "")
        Settings.read(named if named.is_file() else config, values["change"] or ())


@pytest.mark.parametrize("words", as_call_params(commands("python -m benchmarks")))
def test_a_benchmark_command_parses_and_its_stages_exist(words: list[str]) -> None:
    command: Any = typer.main.get_command(benchmarks_app)
    values = command.make_context("benchmarks", words).params
    assert set(values["stage"] or ()) <= set(benchmarks.STAGES)


def setting_names(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all sections and settings."""
    for name, info in section.model_fields.items():
        yield prefix + name
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from setting_names(inner, f"{prefix}{name}.")


def test_every_setting_on_the_pages_exists() -> None:
    known = set(setting_names(Settings))
    sections = {name for name in known if "." not in name}
    unknown = []
    for snippet in spans() + blocks("sh", "python", "yaml"):
        named = set(_OVERRIDE.findall(snippet.text))
        if "\n" not in snippet.text:
            match = _DOTTED.match(snippet.text)
            is_setting = match is not None and match[1].split(".")[0] in sections
            if match is not None and is_setting and match[1] not in NOT_SETTINGS:
                named.add(match[1])
        unknown += [f"{snippet}: {name}" for name in sorted(named - known)]
    assert unknown == []


@pytest.mark.parametrize("block", as_params(blocks("yaml")))
def test_a_settings_block_can_be_used(block: Snippet) -> None:
    Settings.checked(yaml.safe_load(block.text))


# Those of accelerate are tried where processes train together.
SETTINGS_FILES = set((ROOT / "examples").glob("*.yaml")) - set(
    (ROOT / "examples").glob("accelerate-*.yaml")
)


@pytest.mark.parametrize("file", sorted(SETTINGS_FILES), ids=lambda f: f.name)
def test_an_example_file_can_be_used(file: Path) -> None:
    assert Settings.read(file).data.source


def test_every_link_to_a_file_leads_to_one() -> None:
    dead = [
        f"{name_of(page)}: {target}"
        for page in PAGES
        for target in _LINK.findall(page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target.split("#")[0]).exists()
    ]
    assert dead == []
