"""What the machine offers is told with what it means."""

from pathlib import Path
from types import SimpleNamespace

import joblib
import psutil
import pytest
import torch
from huggingface_hub import constants

from bigrec.lm import environment
from bigrec.lm.environment import machine_findings, model_findings
from bigrec.types import Finding


def machine(subject: str) -> Finding:
    (finding,) = (finding for finding in machine_findings() if finding.subject == subject)
    return finding


@pytest.mark.parametrize(
    ("threads", "cores", "status", "advice"),
    [
        (2, 2, "ok", "Every core computes"),
        (4, 2, "note", "set OMP_NUM_THREADS to the number of cores"),
        (1, 2, "note", "The other cores are idle"),
    ],
)
def test_threads_are_compared_with_the_usable_cores(
    monkeypatch: pytest.MonkeyPatch, threads: int, cores: int, status: str, advice: str
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(joblib, "cpu_count", lambda: cores)
    finding = machine("Threads")
    assert finding.status == status
    assert advice in finding.meaning


@pytest.mark.parametrize(
    ("sets", "dtype", "status", "meaning"),
    [
        ("AVX512", torch.bfloat16, "ok", "in bfloat16"),
        ("AVX512", torch.float32, "note", "with oneDNN's products"),
        ("AVX2", torch.float32, "note", "1.0 to 1.3 times"),
    ],
)
def test_the_instruction_sets_tell_the_precision(
    monkeypatch: pytest.MonkeyPatch, sets: str, dtype: torch.dtype, status: str, meaning: str
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: sets)
    monkeypatch.setattr(environment, "pick_dtype", lambda *_: dtype)
    finding = machine("Processor")
    assert finding.status == status
    assert meaning in finding.meaning


def test_a_pinned_kernel_of_products_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    products = [finding for finding in machine_findings() if finding.subject == "Products"]
    assert products
    assert all(finding.status == "note" for finding in products)
    assert "OPENBLAS_CORETYPE=Haswell" in products[0].meaning


def test_memory_is_that_of_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "limit_bytes", lambda: 1 << 30)
    gib = SimpleNamespace(total=8 << 30, available=4 << 30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: gib)
    finding = machine("Memory")
    assert finding.found == "1.0 of 1.0 GiB free (limit of the container)"
    # 2**30 bytes, 4 bytes a value, 3 copies of 576 dimensions.
    assert "155,344 titles" in finding.meaning


def test_every_gpu_is_told_with_its_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda _: True)
    card = SimpleNamespace(name="Card", total_memory=80 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    found = [finding for finding in machine_findings() if finding.subject == "GPU"]
    assert [finding.found for finding in found] == ["cuda:0 Card, 80 GiB", "cuda:1 Card, 80 GiB"]
    assert "bfloat16" in found[0].meaning


def test_a_model_that_is_not_here_is_missing_only_offline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(environment, "try_to_load_from_cache", lambda *_: None)
    statuses = []
    for offline in (False, True):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        hub, base, _ = model_findings("owner/name", "owner/other")
        statuses.append((hub.status, base.status))
    assert statuses == [("ok", "note"), ("note", "missing")]
    monkeypatch.setattr(environment, "try_to_load_from_cache", lambda *_: str(tmp_path))
    _, base, encoder = model_findings("owner/name", "owner/other")
    assert (base.status, encoder.status) == ("ok", "ok")
    assert "in the hub's cache" in base.found


def test_a_path_without_a_model_is_missing_with_the_cure(tmp_path: Path) -> None:
    _, base, _ = model_findings(str(tmp_path), "owner/other")
    assert base.status == "missing"
    assert "no config.json" in base.meaning
    assert "Needed by modes retrieval and generative." in base.meaning
