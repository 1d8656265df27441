"""Settings in words from before version 0.1 get one error that names the new ones."""

import pytest

from bigrec.errors import SettingsError
from bigrec.settings import Settings


def test_every_old_word_is_named_with_its_new_one() -> None:
    old = {
        "grounding": "written",
        "train": {"epochs": 5, "micro_batch_size": 2},
        "recommend": {"inject": ["EASE"], "exclude_seen": True},
        "data": {"noun": "movie", "split_method": "given"},
    }
    with pytest.raises(SettingsError) as caught:
        Settings.checked(old)
    assert str(caught.value).splitlines() == [
        "the settings use names from before version 0.1:",
        "  grounding is now mode: generative",
        "  train.epochs is now generative.finetune.epochs",
        "  train.micro_batch_size is now generative.finetune.per_device_batch_size",
        "  recommend.inject is now fusion.signals",
        "  data.noun is now data.item_type",
        "  data.split_method is now data.split_method: predefined",
    ]


@pytest.mark.parametrize(("old", "new"), [("few-shot", "paper-small"), ("published", "paper")])
def test_the_old_name_of_a_preset_is_refused(old: str, new: str) -> None:
    with pytest.raises(SettingsError, match=f"the preset '{old}' is now '{new}'"):
        Settings.read(old)
