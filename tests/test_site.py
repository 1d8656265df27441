"""The documentation site: what has to stand on its pages. ``make docs`` builds it."""

import ast
import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import bigrec
from bigrec import errors
from tests.conftest import UNTRACED

pytestmark = UNTRACED

DOCS = Path(__file__).parents[1] / "docs"
ERRORS = [
    name
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, errors.BigrecError)
]


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_has_its_cure_on_the_page_of_troubleshooting(name: str) -> None:
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in (DOCS / "troubleshooting.md").read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| `{name}` ")
    ]
    assert len(rows) == 1
    _, cause, cure = rows[0]
    assert cause
    assert cure


@pytest.fixture(scope="module")
def messages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("messages", DOCS / "messages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_raised_message_is_on_the_page_of_messages(messages: ModuleType) -> None:
    page = re.sub(r"\*[^*|]+\*", "*", messages.messages_page()).replace("\\", "")
    with pytest.raises(bigrec.errors.NotFittedError) as unfitted:
        bigrec.BIGRec().recommend(["a"])
    assert f"| {unfitted.value} | `NotFittedError` |" in page
    with pytest.raises(bigrec.errors.BundleError) as damaged:
        bigrec.BIGRec.load(DOCS)
    assert str(damaged.value).partition(str(DOCS))[2] in page


def test_every_area_and_class_has_messages(messages: ModuleType) -> None:
    found = list(messages.messages())
    assert {message.area for message in found} == set(messages._AREAS.values())
    assert {message.error for message in found} >= set(ERRORS) - {"BigrecError"}


@pytest.mark.parametrize("name", sorted(set(bigrec.__all__) - {"__version__"}))
def test_every_public_name_is_in_the_reference(name: str) -> None:
    module, attribute = bigrec._HOME[name]
    reference = (DOCS / "api.rst").read_text(encoding="utf-8")
    whole = f".. automodule:: {module}"
    assert whole in reference or f":: {module}.{attribute}\n" in reference


@pytest.mark.parametrize(
    ("page", "written"),
    [
        ("CITATION.cff", "\nversion: {}\n"),
        ("README.md", "version = {{{}}}"),
        ("CHANGELOG.md", "\n## [{}] - "),
        ("deploy/kubernetes/bigrec.yaml", "image: bigrec:{}\n"),
    ],
)
def test_the_version_stands_on_every_page_that_names_it(page: str, written: str) -> None:
    text = (DOCS.parent / page).read_text(encoding="utf-8")
    assert written.format(bigrec.__version__) in text


HOW_TOS = [pytest.param(page, id=page.stem) for page in sorted((DOCS / "how-to").glob("*.md"))]


@pytest.mark.parametrize("page", HOW_TOS)
def test_a_how_to_is_listed_and_ends_with_what_to_do_if_it_fails(page: Path) -> None:
    listing = (DOCS / "how-to.md").read_text(encoding="utf-8")
    assert f"](how-to/{page.name})" in listing
    assert f"\nhow-to/{page.stem}\n" in listing
    headings = re.findall(r"^## (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[-1] == "If it fails"


@pytest.mark.parametrize("page", HOW_TOS)
def test_the_code_of_a_how_to_fits_the_width_of_the_site(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert [line for block in blocks for line in block.splitlines() if len(line) > 90] == []


@pytest.fixture(scope="module")
def texts() -> set[str]:
    """All texts in the source of the package."""
    return {
        node.value
        for file in (DOCS.parent / "src" / "bigrec").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.mark.parametrize(
    "page",
    [pytest.param(DOCS / "troubleshooting.md", id="troubleshooting"), *HOW_TOS],
)
def test_a_message_with_a_cure_is_one_of_the_package(page: Path, texts: set[str]) -> None:
    page_text = page.read_text(encoding="utf-8")
    tables = re.findall(r"^\| message.*\n((?:\|.*\n?)+)", page_text, re.MULTILINE)
    cells = [line.split("|")[1] for table in tables for line in table.splitlines()[1:]]
    quoted = {words for cell in cells for words in re.findall("`([^`]+)`", cell)}
    unknown = {words for words in quoted if not any(words in text for text in texts)}
    assert unknown == set()


def test_the_readme_stays_short() -> None:
    assert len((DOCS.parent / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
