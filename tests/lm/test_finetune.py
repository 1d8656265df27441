"""Fine-tuning: learns, repeats bit for bit, and survives interruption."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from bigrec.data.examples import TitleExample
from bigrec.errors import DataError, ModelError, SettingsError
from bigrec.lm.finetune import FinetuneResult, _Collator, _kept_positions_loss, _rendered, finetune
from bigrec.lm.model import LanguageModel, load_language_model, quiet_peft
from bigrec.prompts import PromptRenderer
from tests.conftest import TITLES

pytestmark = pytest.mark.model

EXAMPLES = [
    TitleExample(tuple(TITLES[i : i + 3]), TITLES[(i + 3) % len(TITLES)], "movie")
    for i in range(len(TITLES))
]
OPTIONS: dict[str, Any] = {
    "batch_size": 4, "micro_batch_size": 2, "learning_rate": 1e-2, "warmup_steps": 1, "epochs": 4,
}  # fmt: skip


def run(model: Path, folder: Path, **options: Any) -> tuple[LanguageModel, FinetuneResult]:
    lm = load_language_model(str(model), device="cpu")
    chosen = {"train": EXAMPLES[:8], "valid": EXAMPLES[8:], **OPTIONS, **options}
    return lm, finetune(lm, PromptRenderer(lm.tokenizer), folder=folder, **chosen)


def weights(result: FinetuneResult) -> dict[str, torch.Tensor]:
    return dict(load_file(result.adapter / "adapter_model.safetensors"))


def assert_same(first: FinetuneResult, second: FinetuneResult) -> None:
    one, other = weights(first), weights(second)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def losses(result: FinetuneResult, name: str) -> list[float]:
    return [entry[name] for entry in result.log if name in entry]


def test_the_training_loss_goes_down(tiny_model: Path, tmp_path: Path) -> None:
    _, result = run(tiny_model, tmp_path, valid=[], epochs=8)
    values = losses(result, "loss")
    assert values[-1] < values[0]


def test_a_seed_repeats_a_run_bit_for_bit_and_another_differs(
    tiny_model: Path, tmp_path: Path
) -> None:
    _, first = run(tiny_model, tmp_path / "a", seed=1)
    _, second = run(tiny_model, tmp_path / "b", seed=1)
    _, third = run(tiny_model, tmp_path / "c", seed=2)
    assert_same(first, second)
    changed = [
        not torch.equal(a, b)
        for a, b in zip(*map(dict.values, map(weights, (first, third))), strict=True)
    ]
    assert any(changed)


def test_a_run_stopped_by_ctrl_c_goes_on_and_ends_with_the_same_adapter(
    tiny_model: Path, tmp_path: Path
) -> None:
    def interrupt(done: int, _: int) -> None:
        # In the middle of the second epoch.
        if done == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tiny_model, tmp_path / "a", progress=interrupt)
    assert not (tmp_path / "a" / "adapter").exists()
    steps: list[int] = []
    _, resumed = run(tiny_model, tmp_path / "a", progress=lambda done, _: steps.append(done))
    assert steps[:2] == [3, 4]
    _, whole = run(tiny_model, tmp_path / "b")
    assert_same(resumed, whole)
    assert losses(resumed, "eval_loss") == losses(whole, "eval_loss")


def test_a_checkpoint_that_was_not_written_to_its_end_is_not_trusted(
    tiny_model: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "a" / "checkpoints" / "checkpoint-3"
    broken.mkdir(parents=True)
    (broken / "trainer_state.json").write_text("{")
    _, result = run(tiny_model, tmp_path / "a")
    _, whole = run(tiny_model, tmp_path / "b")
    assert_same(result, whole)


def test_a_finished_run_is_read_back(tiny_model: Path, tmp_path: Path) -> None:
    _, first = run(tiny_model, tmp_path)
    lm, second = run(tiny_model, tmp_path, epochs=100)
    assert second.log == first.log
    assert lm.has_adapter


def test_training_stops_early_and_keeps_the_epoch_of_the_best_validation_loss(
    tiny_model: Path, tmp_path: Path
) -> None:
    # The validation targets contradict the training targets, so more learning makes them worse.
    valid = [TitleExample(one.history, "Zzz", "movie") for one in EXAMPLES[:4]]
    lm, result = run(tiny_model, tmp_path, valid=valid, epochs=30, patience=2, learning_rate=0.05)
    values = losses(result, "eval_loss")
    assert len(values) < 30
    assert values.index(min(values)) == len(values) - 3
    batch = _Collator(lm, loss_on="response")(rows(lm, valid))
    labels = batch.pop("labels")
    with torch.inference_mode():
        kept = float(_kept_positions_loss(lm.model(**batch), labels))
    assert kept == pytest.approx(min(values), rel=1e-3)


def rows(lm: LanguageModel, examples: list[TitleExample]) -> list[dict[str, list[int]]]:
    return _rendered(PromptRenderer(lm.tokenizer), examples)


@pytest.mark.parametrize("loss_on", ["response", "all"])
def test_the_loss_equals_that_of_full_logits_over_each_example(
    tiny_model: Path, loss_on: Any
) -> None:
    lm, _ = load_with_fresh_adapter(tiny_model)
    features = rows(lm, EXAMPLES[:5])
    batch = _Collator(lm, loss_on=loss_on)(features)
    labels = batch.pop("labels")
    total, count = 0.0, 0
    with torch.inference_mode():
        found = float(_kept_positions_loss(lm.model(**batch), labels))
        for one in features:
            ids = torch.tensor([one["prompt"] + one["response"]])
            log_probs = lm.model(input_ids=ids).logits[0, :-1].log_softmax(dim=-1)
            per_token = -log_probs.gather(1, ids[0, 1:, None]).squeeze(1)
            size = len(one["response"]) if loss_on == "response" else len(per_token)
            total, count = total + float(per_token[-size:].sum()), count + size
    assert found == pytest.approx(total / count, rel=1e-4)


def load_with_fresh_adapter(model: Path) -> tuple[LanguageModel, None]:
    from peft import LoraConfig, get_peft_model

    lm = load_language_model(str(model), device="cpu")
    with quiet_peft():
        lm.model = get_peft_model(lm.model, LoraConfig(r=2, task_type="CAUSAL_LM")).eval()
    return lm, None


def test_anything_that_reads_peft_can_load_the_adapter(tiny_model: Path, tmp_path: Path) -> None:
    lm, result = run(tiny_model, tmp_path)
    config = json.loads((result.adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_model)
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    with quiet_peft():
        loaded = PeftModel.from_pretrained(base, str(result.adapter)).eval()
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        torch.testing.assert_close(loaded(ids).logits, lm.model(ids).logits)


def test_the_base_model_is_untouched_when_the_adapter_is_off(
    tiny_model: Path, tmp_path: Path
) -> None:
    ids = torch.tensor([[5, 6, 7]])
    lm, _ = run(tiny_model, tmp_path)
    with torch.inference_mode():
        before = load_language_model(str(tiny_model), device="cpu").model(ids).logits
        with lm.base_only() as base:
            torch.testing.assert_close(base(ids).logits, before)
        assert not torch.equal(lm.model(ids).logits, before)


def test_two_processes_train_together(tiny_model: Path, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.lm.test_finetune import run\n"
        "run(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    root = Path(__file__).parents[2]
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
        "--num_cpu_threads_per_process", "1", str(script), str(tiny_model), str(tmp_path / "out"),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command, env=environment, cwd=root, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    log = json.loads((tmp_path / "out" / "loss.json").read_text())
    # 8 examples in batches of 4, two epochs' worth for each of 4 epochs: 2 steps an epoch.
    assert max(entry["step"] for entry in log) == 8
    lm = load_language_model(str(tiny_model), device="cpu")
    lm.load_adapter(tmp_path / "out" / "adapter")


def test_no_examples_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no training examples"):
        run(tiny_model, tmp_path, train=[])


def test_a_batch_that_micro_batches_do_not_fill_is_refused(
    tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="batch_size is 5: expected a multiple"):
        run(tiny_model, tmp_path, batch_size=5)


def test_target_modules_that_do_not_exist_name_those_that_do(
    tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"linear layers are: .*q_proj"):
        run(tiny_model, tmp_path, target_modules=["query_key_value"])


def test_a_tracker_that_is_not_installed_is_told_before_training(
    tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="pip install no_such_tracker"):
        run(tiny_model, tmp_path, report_to=["no_such_tracker"])
