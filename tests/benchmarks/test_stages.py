"""The command and the stages without a model run and agree. Their speed is not tested."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import benchmarks
from benchmarks.__main__ import app
from benchmarks.gamma import bench_gamma
from benchmarks.index import bench_index_stage
from benchmarks.mapped import bench_mapped_stage
from benchmarks.prepare import bench_prepare
from benchmarks.stream import bench_stream


def test_the_gamma_path_agrees_with_the_papers_procedure() -> None:
    figures = bench_gamma(n_queries=6, n_items=50)
    assert figures["agree"]
    assert figures["ratio"] > 0


def test_a_graph_finds_what_exact_search_lists() -> None:
    pytest.importorskip("usearch")
    figures = bench_index_stage(n_items=2000, size=16, n_queries=70, turns=1)
    assert figures["recall_at_10"] >= 0.99
    assert figures["ratio"] > 0


def test_a_mapped_file_gives_the_lists_of_float64() -> None:
    figures = bench_mapped_stage(n_items=3000, size=16, alone=2, batches=1)
    assert figures["float32_lists_as_float64"] == figures["float16_lists_as_float64"] == 1
    assert figures["float32_file_mib"] > 1.9 * figures["float16_file_mib"]


def test_preparing_counts_interactions_and_examples() -> None:
    figures = bench_prepare(sizes=[100_000])
    assert 0 < figures["100,000: interactions"] <= 100_000
    assert figures["100,000: sampled"] == 1024
    with pytest.raises(ValueError, match="expected at least 100000"):
        bench_prepare(sizes=[10])


def test_stream_adds_up_shards_to_the_statistics_of_one_pass() -> None:
    figures = bench_stream(n_pairs=25_000, n_items=50, dim=8)
    assert figures["pairs"] == 25_000
    assert figures["shards_apart"] < 1e-12


def test_figures_are_written_by_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"gamma": lambda: bench_gamma(n_queries=2, n_items=20)}
    monkeypatch.setattr(benchmarks, "STAGES", small)
    file = tmp_path / "bench.json"
    result = CliRunner().invoke(app, ["--stage", "gamma", "--json", str(file)])
    assert result.exit_code == 0
    assert json.loads(file.read_text())["gamma"]["agree"] is True


def test_an_unknown_stage_is_one_clear_error() -> None:
    result = CliRunner().invoke(app, ["--stage", "nonsense"])
    assert result.exit_code == 2
    message = " ".join(result.stderr.replace("│", "").split())
    assert "--stage: unknown stage 'nonsense': expected one of prepare, gamma" in message


def test_every_stage_has_a_function_and_the_default_ones_are_stages() -> None:
    assert set(benchmarks.DEFAULT_STAGES) == set(benchmarks.STAGES) - {
        "curve",
        "growth",
        "index",
        "mapped",
        "peak",
        "peers",
        "serve",
        "stream",
    }
    for name in set(benchmarks.STAGES) - {"prepare", "gamma"}:
        module = importlib.import_module(f"benchmarks.{name}")
        assert callable(getattr(module, f"bench_{name}_stage"))


def test_stages_that_need_no_torch_do_not_import_it() -> None:
    code = "import sys, benchmarks.prepare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
