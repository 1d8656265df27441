"""How far training examples would move a language model: norms of their gradients.

Source: arXiv 2401.17197 (DEALRec), section 3.2.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional
from transformers import PreTrainedModel

from bigrec.errors import ModelError
from bigrec.lm.batches import IGNORED, TokenizedExample
from bigrec.lm.decoder import last_hidden_states
from bigrec.lm.hardware import QuickProducts, default_batch_tokens
from bigrec.lm.model import LanguageModel
from bigrec.lm.padding import by_token_budget
from bigrec.types import FloatArray, ProgressCallback


def gradient_norms(
    lm: LanguageModel,
    examples: Sequence[TokenizedExample],
    *,
    batch_tokens: int | None = None,
    progress: ProgressCallback | None = None,
) -> FloatArray:
    """Norm of the gradient of each example's loss in the weights of the output projection.

    The loss is the mean cross-entropy of the labeled tokens. With ``h`` the last hidden state
    before such a token and ``e`` the predicted probabilities minus its unit vector, the gradient
    is the mean of ``e h^T``, whose norm takes products of the ``e`` and of the ``h`` alone: there
    is no backward pass.

    Args:
        lm: The base model; an adapter is not read.
        examples: At least one labeled token each.
        batch_tokens: Tokens in a batch, with padding. None takes `default_batch_tokens`.
        progress: Called with (examples done, examples in total).

    Returns:
        ``[m]`` float32.

    Raises:
        ModelError: If a norm is not finite.
    """
    norms = np.empty(len(examples), dtype=np.float32)
    # The last token predicts nothing.
    rows = [example["input_ids"][:-1] for example in examples]
    done = 0
    with lm.base_only() as base:
        for batch in by_token_budget(rows, batch_tokens or default_batch_tokens(lm.device)):
            states, _ = last_hidden_states(base, [rows[place] for place in batch])
            for row, place in enumerate(batch):
                norms[place] = _norm(base, states[row], examples[place]["labels"][1:])
            done += len(batch)
            if progress is not None:
                progress(done, len(examples))
    if not np.isfinite(norms).all():
        raise ModelError(
            "the loss of a training example has a gradient of NaN or infinity. Run the language "
            "model in float32."
        )
    return norms


@torch.inference_mode()
def _norm(base: PreTrainedModel, states: torch.Tensor, labels: Sequence[int]) -> float:
    """The norm for one example.

    Args:
        base: The model.
        states: ``[at least l, d]``, from the first position.
        labels: What each of the first ``l`` positions predicts, or `IGNORED`.
    """
    places = [place for place, label in enumerate(labels) if label != IGNORED]
    targets = torch.tensor([labels[place] for place in places], device=states.device)
    hidden = states[places]
    with QuickProducts():
        logits = base.get_output_embeddings()(hidden)
    errors = functional.softmax(logits.float(), dim=-1)
    errors[torch.arange(len(places), device=errors.device), targets] -= 1
    hidden = hidden.float()
    squared = ((errors @ errors.T) * (hidden @ hidden.T)).sum()
    # By rounding, the sum can be below 0.
    return float(squared.clamp(min=0).sqrt()) / len(places)
