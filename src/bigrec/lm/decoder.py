"""One pass of a language model over rows of tokens, without the product with the vocabulary."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from bigrec.errors import ModelError
from bigrec.lm.hardware import QuickProducts
from bigrec.lm.padding import right_padded
from bigrec.types import FloatArray


@torch.inference_mode()
def last_hidden_states(
    base: PreTrainedModel, rows: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Last hidden states of a batch.

    Args:
        base: The network.
        rows: Token ids of each row, at least one in each.

    Returns:
        States ``[b, width, d]``, and a mask ``[b, width]`` with 1 for tokens and 0 for padding, on
        the device of the network.
    """
    ids, mask = (part.to(base.device) for part in right_padded(rows))
    with QuickProducts():
        output = base.get_decoder()(input_ids=ids, attention_mask=mask)
    return output.last_hidden_state, mask


def check_states(states: FloatArray) -> None:
    """Refuse what a language model makes of histories, if it is not finite.

    Raises:
        ModelError: If a value is NaN or infinite.
    """
    if not np.isfinite(states).all():
        raise ModelError(
            "the language model encodes a history as NaN or infinity. Run it in float32, or "
            "train it again."
        )
