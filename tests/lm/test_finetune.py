"""Fine-tuning: the loss, seeds, early stopping and resumption."""

import json
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from bigrec.data.examples import TitleExample
from bigrec.errors import DataError, ModelError, SettingsError
from bigrec.lm.batches import Collator, LossTarget, kept_positions_loss, tokenize_examples
from bigrec.lm.checkpoints import CheckpointCallback
from bigrec.lm.finetune import FinetuneResult, finetune, selected_epoch
from bigrec.lm.model import LanguageModel, load_language_model, quiet_peft
from bigrec.lm.prompts import PromptRenderer
from bigrec.settings.generative import FinetuneSettings, PromptSettings
from bigrec.types import ProgressCallback
from tests.conftest import TITLES
from tests.trackers import tracked_figures

pytestmark = pytest.mark.model

EXAMPLES = [
    TitleExample(tuple(TITLES[i : i + 3]), TITLES[(i + 3) % len(TITLES)], "movie")
    for i in range(len(TITLES))
]
SETTINGS: dict[str, Any] = {
    "batch_size": 4,
    "per_device_batch_size": 2,
    "learning_rate": 1e-2,
    "warmup_steps": 1,
    "epochs": 4,
    "early_stopping_patience": 5,
}


def run(
    model: Path,
    folder: Path,
    *,
    train: Sequence[TitleExample] = EXAMPLES[:8],
    valid: Sequence[TitleExample] = EXAMPLES[8:],
    prompt: PromptSettings | None = None,
    seed: int = 0,
    stop_after: int | None = None,
    progress: ProgressCallback | None = None,
    **changes: Any,
) -> tuple[LanguageModel, FinetuneResult]:
    """Fine-tune a fresh model; ``changes`` are settings of fine-tuning."""
    lm = load_language_model(str(model), device="cpu")
    result = finetune(
        lm,
        PromptRenderer(lm.tokenizer, prompt),
        settings=FinetuneSettings(**{**SETTINGS, **changes}),
        train=train,
        valid=valid,
        folder=folder,
        seed=seed,
        stop_after=stop_after,
        progress=progress,
    )
    return lm, result


def weights(result: FinetuneResult) -> dict[str, torch.Tensor]:
    (file,) = result.trained.glob("*.safetensors")
    return dict(load_file(file))


def assert_same(first: FinetuneResult, second: FinetuneResult) -> None:
    weights_a, weights_b = weights(first), weights(second)
    assert weights_a.keys() == weights_b.keys()
    assert all(torch.equal(weights_a[name], weights_b[name]) for name in weights_a)


def losses(result: FinetuneResult, name: str) -> list[float]:
    return [entry[name] for entry in result.log if name in entry]


def without_times(log: list[dict[str, float]]) -> list[dict[str, float]]:
    timed = ("_runtime", "_per_second")
    return [
        {name: value for name, value in entry.items() if not name.endswith(timed)} for entry in log
    ]


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


def test_a_run_stopped_by_ctrl_c_is_resumed_and_ends_with_the_same_adapter(
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


def test_a_checkpoint_that_was_not_completely_written_is_ignored(
    tiny_model: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "a" / "checkpoints" / "checkpoint-3"
    broken.mkdir(parents=True)
    (broken / "trainer_state.json").write_text("{")
    copy = broken.with_name("checkpoint-3 (copy)")
    copy.mkdir()
    _, result = run(tiny_model, tmp_path / "a")
    _, whole = run(tiny_model, tmp_path / "b")
    assert_same(result, whole)
    assert copy.is_dir()


class Killed(BaseException):
    """Ends a run like SIGKILL: nothing catches it."""


def killed_at_every_save(
    monkeypatch: pytest.MonkeyPatch, model: Path, folder: Path, *, marked: bool, **options: Any
) -> tuple[FinetuneResult, list[int]]:
    """A run that is killed at each of its saves in turn and resumed; and the steps of the saves.

    Args:
        marked: Kill after a checkpoint is complete, or before it is marked as such.
    """
    on_save = CheckpointCallback.on_save
    saved: list[int] = []

    def kill(self: CheckpointCallback, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        is_new = state.global_step not in saved
        if marked or not is_new:
            on_save(self, args, state, control, **kwargs)
        if is_new:
            saved.append(state.global_step)
            raise Killed

    monkeypatch.setattr(CheckpointCallback, "on_save", kill)
    while True:
        # Due at every step.
        monkeypatch.setattr("bigrec.lm.checkpoints.time", SlowClock())
        try:
            return run(model, folder, **options)[1], saved
        except Killed:
            continue


class SlowClock:
    """A clock on which an hour passes between two looks."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        self._now += 3600
        return self._now


STEPS_OF_SAVES: dict[str, tuple[dict[str, Any], list[int]]] = {
    "all epochs": ({"epochs": 2}, [1, 2, 3, 4]),
    "full": ({"epochs": 2, "method": "full"}, [1, 2, 3, 4]),
    "no validation": ({"epochs": 2, "valid": []}, [1, 2, 3, 4]),
    # The validation targets contradict the training targets.
    "stopped early": (
        {
            "valid": [TitleExample(one.history, "Zzz", "movie") for one in EXAMPLES[:4]],
            "epochs": 30,
            "early_stopping_patience": 2,
            "learning_rate": 0.05,
        },
        [1, 2, 3, 4, 5, 6],
    ),
}


@pytest.mark.parametrize(
    ("case", "marked"),
    [*((case, True) for case in STEPS_OF_SAVES), ("all epochs", False)],
)
def test_a_run_killed_at_every_save_ends_with_the_same_adapter_and_losses(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, marked: bool
) -> None:
    options, steps = STEPS_OF_SAVES[case]
    _, whole = run(tiny_model, tmp_path / "whole", **options)
    resumed, saved = killed_at_every_save(
        monkeypatch, tiny_model, tmp_path / "killed", marked=marked, **options
    )
    assert saved == steps
    assert_same(resumed, whole)
    assert without_times(resumed.log) == without_times(whole.log)
    # The newest and the best stay, and nothing incomplete.
    kept = sorted((tmp_path / "killed" / "checkpoints").iterdir())
    assert len(kept) <= 2
    assert all((checkpoint / "bigrec_complete").exists() for checkpoint in kept)


def test_a_run_that_is_moved_before_its_adapter_is_saved_keeps_its_best_epoch(
    tiny_model: Path, tmp_path: Path
) -> None:
    options, _ = STEPS_OF_SAVES["stopped early"]
    _, whole = run(tiny_model, tmp_path / "whole", **options)
    shutil.copytree(tmp_path / "whole", tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved" / "adapter")
    shutil.move(tmp_path / "whole", tmp_path / "elsewhere")
    _, resumed = run(tiny_model, tmp_path / "moved", **options)
    assert_same(resumed, replace(whole, trained=tmp_path / "elsewhere" / "adapter"))


def test_a_complete_run_is_loaded(tiny_model: Path, tmp_path: Path) -> None:
    _, first = run(tiny_model, tmp_path)
    lm, second = run(tiny_model, tmp_path, epochs=100)
    assert second.log == first.log
    assert lm.has_adapter


def test_training_stops_early_and_keeps_the_epoch_of_the_best_validation_loss(
    tiny_model: Path, tmp_path: Path
) -> None:
    # The validation targets contradict the training targets, so more learning makes them worse.
    valid = [TitleExample(example.history, "Zzz", "movie") for example in EXAMPLES[:4]]
    lm, result = run(
        tiny_model, tmp_path, valid=valid, epochs=30, early_stopping_patience=2, learning_rate=0.05
    )
    values = losses(result, "eval_loss")
    assert len(values) < 30
    assert values.index(min(values)) == len(values) - 3
    assert loss_of(lm, valid, loss="completion") == pytest.approx(min(values), rel=1e-3)


def test_training_with_all_position_targets_learns_and_is_resumed(
    tiny_model: Path, tmp_path: Path
) -> None:
    def interrupt(done: int, _: int) -> None:
        # In the middle of the second epoch.
        if done == 3:
            signal.raise_signal(signal.SIGINT)

    # Windows of several lengths, so that batches are sorted.
    windows = [TitleExample(tuple(TITLES[: 1 + i]), TITLES[i + 1], "movie") for i in range(8)]
    options: dict[str, Any] = {
        "train": windows,
        "loss": "titles",
        "prompt": PromptSettings(style="list"),
    }
    with pytest.raises(KeyboardInterrupt):
        run(tiny_model, tmp_path / "a", progress=interrupt, **options)
    _, resumed = run(tiny_model, tmp_path / "a", **options)
    _, whole = run(tiny_model, tmp_path / "b", **options)
    assert_same(resumed, whole)
    assert losses(whole, "loss")[-1] < losses(whole, "loss")[0]


@pytest.mark.parametrize(
    ("loss", "valid_loss"),
    [("completion", "completion"), ("titles", "completion"), ("full", "full")],
)
def test_the_validation_loss_covers_the_target_unless_the_loss_is_full(
    tiny_model: Path, tmp_path: Path, loss: Any, valid_loss: Any
) -> None:
    # One batch, one epoch: the loss of the adapter that is kept.
    valid = EXAMPLES[8:10]
    lm, result = run(tiny_model, tmp_path, valid=valid, epochs=1, loss=loss)
    expected = loss_of(lm, valid, loss=valid_loss)
    assert losses(result, "eval_loss") == [pytest.approx(expected, rel=1e-3)]


def test_every_epoch_reads_all_examples_in_another_order(tiny_model: Path, tmp_path: Path) -> None:
    lm = load_language_model(str(tiny_model), device="cpu")
    read: list[list[int]] = []
    lm.model.register_forward_pre_hook(
        lambda _, __, inputs: read.extend(inputs["input_ids"].tolist()), with_kwargs=True
    )
    # One history and targets of equal length, so that only the targets differ.
    train = [TitleExample(("Babe (1995)",), f"{letter} (1995)", "movie") for letter in "ABCDEFGH"]
    finetune(
        lm,
        PromptRenderer(lm.tokenizer),
        settings=FinetuneSettings(**{**SETTINGS, "epochs": 2}),
        train=train,
        valid=[],
        folder=tmp_path,
        seed=0,
    )
    first, second = read[:8], read[8:]
    assert sorted(first) == sorted(second)
    assert first != second


def test_a_step_does_not_depend_on_the_per_device_batch_size(
    tiny_model: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"loss": "titles", "lora_dropout": 0.0, "epochs": 1, "valid": []}
    _, whole = run(tiny_model, tmp_path / "a", per_device_batch_size=4, **options)
    _, parts = run(tiny_model, tmp_path / "b", per_device_batch_size=1, **options)
    expected, accumulated = weights(whole), weights(parts)
    for name in expected:
        torch.testing.assert_close(expected[name], accumulated[name], rtol=1e-3, atol=1e-5)


def loss_of(lm: LanguageModel, examples: list[TitleExample], *, loss: LossTarget) -> float:
    batch = Collator(lm)(tokenize_examples(PromptRenderer(lm.tokenizer), examples, loss=loss))
    labels = batch.pop("labels")
    with torch.inference_mode():
        return float(kept_positions_loss(lm.model(**batch), labels))


def test_anything_that_reads_peft_can_load_the_adapter(tiny_model: Path, tmp_path: Path) -> None:
    lm, result = run(tiny_model, tmp_path)
    config = json.loads((result.trained / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_model)
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    with quiet_peft():
        loaded = PeftModel.from_pretrained(base, str(result.trained)).eval()
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        torch.testing.assert_close(loaded(ids).logits, lm.model(ids).logits)


def test_the_base_model_is_unchanged_when_the_adapter_is_off(
    tiny_model: Path, tmp_path: Path
) -> None:
    ids = torch.tensor([[5, 6, 7]])
    lm, _ = run(tiny_model, tmp_path)
    with torch.inference_mode():
        before = load_language_model(str(tiny_model), device="cpu").model(ids).logits
        with lm.base_only() as base:
            torch.testing.assert_close(base(ids).logits, before)
        assert not torch.equal(lm.model(ids).logits, before)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_training_that_diverges_stops_and_says_so(
    method: str, tiny_model: Path, tmp_path: Path
) -> None:
    # The first steps are a warm-up from 0.
    with pytest.raises(
        ModelError, match=r"diverged in step [2-9] of .*the learning rate is 1e\+30"
    ):
        run(tiny_model, tmp_path, method=method, learning_rate=1e30, epochs=4)
    assert not (tmp_path / "loss.json").exists()


def test_no_examples_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no training examples"):
        run(tiny_model, tmp_path, train=[])


def test_a_batch_size_that_is_no_multiple_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch_size is 5: expected a multiple of per_dev"):
        run(tiny_model, tmp_path, batch_size=5)


def test_an_error_for_target_modules_that_do_not_exist_names_those_that_do(
    tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"linear layers are: .*q_proj"):
        run(tiny_model, tmp_path, target_modules=["query_key_value"])


def test_a_tracker_that_is_not_installed_is_refused_before_training(
    tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="pip install clearml"):
        run(tiny_model, tmp_path, report_to=["clearml"])


def test_losses_are_reported_to_a_tracker(tiny_model: Path, tmp_path: Path) -> None:
    _, result = run(tiny_model, tmp_path, valid=EXAMPLES[:3], epochs=2, report_to=["tensorboard"])
    curves = tracked_figures(tmp_path)
    assert [value for _, value in curves["eval/loss"]] == pytest.approx(losses(result, "eval_loss"))
    assert len(curves["train/loss"]) > 1


def test_the_selected_number_of_epochs_gives_the_selected_adapter(
    tiny_model: Path, tmp_path: Path
) -> None:
    # Validation draws random numbers, so that only without dropout the steps are the same.
    options: dict[str, Any] = {"epochs": 3, "lora_dropout": 0.0}
    _, stopped = run(tiny_model, tmp_path / "stopped", valid=EXAMPLES[:3], **options)
    epoch = selected_epoch(stopped.log)
    assert epoch is not None
    validated = losses(stopped, "eval_loss")
    assert validated[epoch - 1] == min(validated)
    _, again = run(tiny_model, tmp_path / "again", stop_after=epoch, **options)
    assert_same(stopped, again)
    assert losses(again, "eval_loss") == []
    assert selected_epoch(again.log) is None


def test_fewer_epochs_follow_the_schedule_of_all(tiny_model: Path, tmp_path: Path) -> None:
    _, whole = run(tiny_model, tmp_path / "whole", epochs=3)
    _, part = run(tiny_model, tmp_path / "part", epochs=3, stop_after=1)
    rates = losses(part, "learning_rate")
    assert rates == losses(whole, "learning_rate")[: len(rates)]
    assert len(rates) == 2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_full_fine_tuning_learns_in_the_precision_of_the_base_and_loads_what_it_was(
    tiny_model: Path, tmp_path: Path, dtype: Any
) -> None:
    lm = load_language_model(str(tiny_model), device="cpu", dtype=dtype)
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        bare = lm.model(ids).logits
    options: dict[str, Any] = {
        "settings": FinetuneSettings(**{**SETTINGS, "method": "full", "epochs": 8}),
        "train": EXAMPLES[:8],
        "valid": [],
        "folder": tmp_path,
        "seed": 0,
    }
    result = finetune(lm, PromptRenderer(lm.tokenizer), **options)
    values = losses(result, "loss")
    assert values[-1] < values[0]
    assert str(lm.model.dtype) == f"torch.{dtype}"
    with torch.inference_mode(), lm.base_only() as base:
        trained = lm.model(ids).logits
        assert torch.equal(base(ids).logits, bare)
    again = load_language_model(str(tiny_model), device="cpu", dtype=dtype)
    finetune(again, PromptRenderer(again.tokenizer), **options)
    with torch.inference_mode():
        assert torch.equal(again.model(ids).logits, trained)


def test_full_fine_tuning_of_no_epochs_leaves_the_model_untrained(
    tiny_model: Path, tmp_path: Path
) -> None:
    lm, _ = run(tiny_model, tmp_path, method="full", epochs=0)
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode(), lm.base_only() as base:
        assert torch.equal(base(ids).logits, lm.model(ids).logits)


def test_the_learning_rate_is_that_of_the_method_unless_it_is_given() -> None:
    assert FinetuneSettings().peak_learning_rate == 1e-3
    assert FinetuneSettings(method="full").peak_learning_rate == 1e-4
    assert FinetuneSettings(method="full", learning_rate=3e-4).peak_learning_rate == 3e-4
