"""One pass of a language model over rows of tokens, without the product with the vocabulary."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from bigrec.lm.hardware import QuickProducts
from bigrec.lm.padding import right_padded


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
