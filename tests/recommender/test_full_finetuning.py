"""Full fine-tuning as a recommender: its bundle holds the weights and ranks the same."""

from pathlib import Path

import pytest
import torch

from bigrec.lm.generation.ct2_convert import _identity
from bigrec.lm.model import load_language_model
from bigrec.lm.trained import make_trainable
from bigrec.recommender.bigrec import BIGRec
from bigrec.settings.generative import FinetuneSettings
from tests.conftest import Mode, needs, tiny_dataset, tiny_settings

pytestmark = pytest.mark.model

HISTORY = ["i0", "i3"]
FULL = ("generative.finetune.method=full", "generative.finetune.learning_rate=0.01")
WRITING: tuple[Mode, ...] = ("generative", "latent")


@pytest.mark.parametrize("mode", WRITING)
def test_a_bundle_of_full_fine_tuning_holds_the_weights_and_recommends_the_same(
    tiny_model: Path, tmp_path: Path, mode: Mode
) -> None:
    model = BIGRec(tiny_settings(tiny_model, *FULL, mode=mode)).fit(tiny_dataset())
    model.save(tmp_path / "bundle")
    assert (tmp_path / "bundle" / "weights" / "model.safetensors").is_file()
    assert not (tmp_path / "bundle" / "adapter").exists()
    loaded = BIGRec.load(tmp_path / "bundle", device="cpu")
    assert loaded.recommend(HISTORY, k=5) == model.recommend(HISTORY, k=5)
    # Saved again, it is the same bundle.
    loaded.save(tmp_path / "again")
    files = [tmp_path / name / "weights" / "model.safetensors" for name in ("bundle", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()


@needs("ctranslate2")
def test_trained_weights_have_a_conversion_of_their_own(tiny_model: Path) -> None:
    lm = load_language_model(str(tiny_model), device="cpu")
    bare = _identity(lm)
    make_trainable(lm, FinetuneSettings(method="full"))
    copied = _identity(lm)
    with torch.no_grad():
        next(lm.model.parameters()).mul_(2)
    assert len({bare, copied, _identity(lm)}) == 3
