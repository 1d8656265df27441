"""The states before the next title, in one pass or one by one."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from bigrec.errors import ModelError
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from bigrec.lm.states import NextTitleStates
from bigrec.settings.generative import PromptSettings
from tests.conftest import TITLES

pytestmark = pytest.mark.model

SEQUENCES = [TITLES[:5], TITLES[4:6], TITLES[6:]]


def states_of(
    lm: LanguageModel,
    *,
    style: str = "list",
    max_tokens: int = 512,
    max_history_length: int = 20,
    batch_tokens: int | None = None,
) -> NextTitleStates:
    prompt = PromptSettings.model_validate({"style": style, "max_tokens": max_tokens})
    return NextTitleStates(
        lm,
        PromptRenderer(lm.tokenizer, prompt),
        item_type="movie",
        max_history_length=max_history_length,
        batch_tokens=batch_tokens,
    )


def prefixes(sequences: list[list[str]]) -> list[list[str]]:
    return [sequence[:length] for sequence in sequences for length in range(1, len(sequence))]


@pytest.mark.parametrize("style", ["list", "plain", "chat"])
def test_a_state_is_the_last_hidden_state_of_the_prompt(lm: LanguageModel, style: str) -> None:
    states = states_of(lm, style=style)
    prompt = PromptSettings.model_validate({"style": style})
    ids = PromptRenderer(lm.tokenizer, prompt).prompt_ids(TITLES[:3], "movie")
    with torch.inference_mode():
        output = lm.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    expected = output.hidden_states[-1][0, -1].numpy()
    np.testing.assert_allclose(states.after([TITLES[:3]])[0], expected, atol=1e-5)


@pytest.mark.parametrize("style", ["list", "plain", "chat"])
@pytest.mark.parametrize("batch_tokens", [None, 64])
def test_the_states_within_sequences_are_those_after_their_beginnings(
    lm: LanguageModel, style: str, batch_tokens: int | None
) -> None:
    states = states_of(lm, style=style, batch_tokens=batch_tokens)
    within = states.within(SEQUENCES)
    assert within.shape == (4 + 1 + 5, states.dim)
    np.testing.assert_allclose(within, states.after(prefixes(SEQUENCES)), atol=1e-5)


def test_a_history_is_read_up_to_its_longest_length(lm: LanguageModel) -> None:
    states = states_of(lm, max_history_length=3)
    np.testing.assert_array_equal(states.after([TITLES[:8]]), states.after([TITLES[5:8]]))


def test_a_sequence_that_one_pass_cannot_read_has_all_its_states(lm: LanguageModel) -> None:
    # A prompt has room for about three titles.
    states = states_of(lm, max_tokens=160)
    assert len(states.within([TITLES])) == len(TITLES) - 1
    rendered = PromptRenderer(lm.tokenizer, PromptSettings(style="list", max_tokens=160))
    _, lines, _ = rendered.prompt_parts(TITLES[:-1], "movie")
    assert len(lines) < len(TITLES) - 1
    # The newest pass begins after what the others read.
    newest = TITLES[-1 - len(lines) : -1]
    expected = states.after([newest[: length + 1] for length in range(len(newest))])
    np.testing.assert_allclose(states.within([TITLES])[-len(lines) :], expected, atol=1e-5)


def test_progress_counts_histories(lm: LanguageModel) -> None:
    calls: list[tuple[int, int]] = []
    states_of(lm, batch_tokens=64).after(
        prefixes(SEQUENCES), progress=lambda *call: calls.append(call)
    )
    assert calls[-1] == (10, 10)
    assert all(first < second for (first, _), (second, _) in pairwise(calls))


def test_states_that_are_not_finite_are_refused(lm: LanguageModel) -> None:
    with torch.no_grad():
        lm.model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(ModelError, match=r"NaN or infinity\. Run it in float32"):
        states_of(lm).after([TITLES[:2]])
