"""The run folder: nothing half done is trusted, nothing done is done again."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from bigrec.errors import BundleError, DataError, ModelError
from bigrec.experiments.pipeline import Run
from bigrec.settings import Settings
from bigrec.types import Progress
from tests.conftest import TITLES, save_tiny_model, tiny_overrides, wait_for

pytestmark = pytest.mark.model


def open_run(folder: Path, tiny_files: Path, model: Path, *changes: str) -> Run:
    overrides = [*tiny_overrides(model), f"data.source={tiny_files}", *changes]
    return Run(folder, Settings.read(overrides=overrides))


def test_generation_that_was_stopped_goes_on_after_the_parts_that_are_there(
    tiny_files: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bigrec.experiments.pipeline._TEXTS_IN_PART", 2)
    first = open_run(tmp_path, tiny_files, tiny_model)
    texts = first.texts("test")
    parts = sorted(first.texts_stage("test").folder.glob("part-*.parquet"))
    assert len(parts) == 3
    parts[1].unlink()
    kept = {part: part.stat().st_mtime_ns for part in (parts[0], parts[2])}
    second = open_run(tmp_path, tiny_files, tiny_model)
    assert second.texts("test") == texts
    assert {part: part.stat().st_mtime_ns for part in kept} == kept


def test_a_damaged_part_is_named(tiny_files: Path, tiny_model: Path, tmp_path: Path) -> None:
    first = open_run(tmp_path, tiny_files, tiny_model)
    assert first.texts("test")
    (part,) = first.texts_stage("test").folder.glob("part-*.parquet")
    part.write_bytes(b"PAR1")
    with pytest.raises(BundleError, match=r"part-00000\.parquet is damaged.*Remove it"):
        _ = open_run(tmp_path, tiny_files, tiny_model).texts("test")


def test_training_that_was_killed_ends_with_the_same_adapter(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    changes = ["train.epochs=60", "train.patience=60"]
    overrides = [*tiny_overrides(tiny_model), f"data.source={tiny_files}", *changes]
    command = [sys.executable, "-m", "bigrec", "train", "--run", str(tmp_path / "killed")]
    command += [part for one in overrides for part in ("--set", one)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: list(tmp_path.glob("killed/train-*/checkpoints/*/bigrec_complete")))
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL
    adapters = []
    for name in ("killed", "whole"):
        run = open_run(tmp_path / name, tiny_files, tiny_model, *changes)
        assert not run.train_stage.is_done
        run.train()
        adapters.append(load_file(run.train_stage.folder / "adapter" / "adapter_model.safetensors"))
    first, second = adapters
    assert all(bool((first[name] == second[name]).all()) for name in first)


def test_another_base_model_in_the_same_place_is_noticed(tiny_files: Path, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model", chat=True)
    open_run(tmp_path / "run", tiny_files, model).train()
    shutil.rmtree(model)
    save_tiny_model(model, chat=True, seed=5)
    with pytest.raises(ModelError, match="was trained on base model"):
        _ = open_run(tmp_path / "run", tiny_files, model).language_model


def test_a_missing_model_is_told_before_anything_is_written(
    tiny_files: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        open_run(tmp_path / "run", tiny_files, Path("/no/such/model"))
    assert not (tmp_path / "run").exists()


def test_a_base_model_without_chat_template_goes_all_the_way(
    tiny_files: Path, tmp_path: Path
) -> None:
    model = save_tiny_model(tmp_path / "model", chat=False)
    report = open_run(tmp_path / "run", tiny_files, model).evaluate()
    assert {row.metric for row in report.rows} >= {"hr@1", "ndcg@50"}


def test_published_examples_can_be_tested_on(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    def example(history: list[str], target: str) -> dict[str, str]:
        watched = ", ".join(f'"{title}"' for title in history)
        return {"instruction": "…", "input": f"watched: {watched}", "output": f'"{target}"'}

    file = tmp_path / "test.json"
    rows = [example(TITLES[:3], TITLES[5]), example([TITLES[6]], TITLES[0])]
    file.write_text(json.dumps(rows))
    run = open_run(tmp_path / "run", tiny_files, tiny_model, f"data.test_file={file}")
    run.evaluate()
    test: Any = run.drawn.test
    assert [history.tolist() for history in test.histories] == [[0, 1, 2], [6]]
    assert test.targets.tolist() == [5, 0]
    file.write_text(json.dumps([example(["No Such Title (1900)"], TITLES[0])]))
    with pytest.raises(DataError, match="No Such Title"):
        _ = open_run(tmp_path / "run", tiny_files, tiny_model, f"data.test_file={file}").drawn


def test_two_datasets_are_mixed_and_one_is_recommended_from(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_files, other)
    titles = (other / "items.csv").read_text().replace("(199", "[199")
    (other / "items.csv").write_text(titles)
    values = Settings.read(
        overrides=[*tiny_overrides(tiny_model), f"data.source={tiny_files}"]
    ).model_dump(mode="json")
    values["data"]["also_train_on"] = [{"source": str(other), "noun": "game"}]
    drawn = Run(tmp_path / "run", Settings.checked(values)).drawn
    assert sorted(one.noun for one in drawn.train) == ["game"] * 8 + ["movie"] * 8
    assert sorted(one.noun for one in drawn.valid) == ["game"] * 4 + ["movie"] * 4
    assert len(drawn.test) == 6


def test_new_items_and_a_new_space_embed_only_what_is_new(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    shutil.copytree(tiny_files, files)
    open_run(tmp_path / "run", files, tiny_model).recommender.catalog.titles[0]
    with (files / "items.csv").open("a") as stream:
        stream.write("new,A New Title (1998)\n")
    embedded: list[int] = []

    def track(name: str) -> Progress:
        def report(_: int, total: int) -> None:
            if name == "Embedding the catalog":
                embedded.append(total)

        return report

    settings = open_run(tmp_path / "other", files, tiny_model).settings
    model = Run(tmp_path / "run", settings, track=track).recommender
    assert "A New Title (1998)" in model.parts.ranker.index.titles
    assert embedded == [1]
    whitened = settings.model_copy(
        update={"embed": settings.embed.model_copy(update={"space": "whitened"})}
    )
    model = Run(tmp_path / "run", whitened, track=track).recommender
    assert model.parts.ranker.index.space_kind == "whitened"
    assert embedded == [1]
