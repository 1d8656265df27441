"""What a stage's folder depends on."""

import shutil
from pathlib import Path

from bigrec.experiments.workspace import RunFolder
from bigrec.settings import Settings


def _stages(source: Path) -> list[str]:
    settings = Settings.read(overrides=[f"data.source={source}"])
    run = RunFolder(Path("runs/any"), settings)
    return [run.data_stage.folder.name, run.signals_stage.folder.name, run.direct_stage.folder.name]


def test_a_copy_of_the_data_is_the_same_data(tmp_path: Path) -> None:
    first, copied = tmp_path / "here" / "games", tmp_path / "there" / "games"
    first.mkdir(parents=True)
    (first / "interactions.csv").write_text("user_id,item_id\n1,2\n")
    shutil.copytree(first, copied, copy_function=shutil.copyfile)
    assert _stages(copied) == _stages(first)


def test_data_that_changed_is_other_data(tmp_path: Path) -> None:
    file = tmp_path / "interactions.csv"
    file.write_text("user_id,item_id\n1,2\n")
    before = _stages(tmp_path)
    file.write_text("user_id,item_id\n1,3\n")
    assert not set(_stages(tmp_path)) & set(before)
