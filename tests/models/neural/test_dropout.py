"""Dropout by four masks from each random number."""

import pytest
import torch

from bigrec.models.neural.dropout import Dropout


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_a_share_of_p_is_dropped_and_the_rest_scaled_up(p: float) -> None:
    torch.manual_seed(0)
    dropped = Dropout(p).train()(torch.ones(1000, 501))
    share = float((dropped == 0).double().mean())
    # Four standard deviations of the mean of so many draws.
    assert share == pytest.approx(p, abs=4 * (p * (1 - p) / dropped.numel()) ** 0.5)
    kept = dropped[dropped != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=1e-3, atol=0)


def test_neighboring_masks_are_independent() -> None:
    torch.manual_seed(0)
    dropped = Dropout(0.5)(torch.ones(1 << 20)) == 0
    for lag in (1, 2, 3, 4):
        both = float((dropped[lag:] & dropped[:-lag]).double().mean())
        assert both == pytest.approx(0.25, abs=0.002)


def test_the_mask_follows_torchs_seed_and_scales_the_gradient() -> None:
    dropout, states = Dropout(0.3), torch.ones(7, 5, requires_grad=True)
    masks = []
    for _ in range(2):
        torch.manual_seed(3)
        masks.append(dropout(states))
    assert torch.equal(masks[0], masks[1])
    torch.autograd.backward(masks[0].sum())
    assert states.grad is not None
    assert torch.equal(states.grad, masks[0].detach())


def test_nothing_is_dropped_in_evaluation_or_at_0() -> None:
    states = torch.ones(4, 4)
    assert Dropout(0.5).eval()(states) is states
    assert torch.equal(Dropout(0.0)(states), states)


def test_next_to_all_is_dropped_next_to_1() -> None:
    torch.manual_seed(0)
    assert float((Dropout(0.9999999)(torch.ones(1000)) == 0).float().mean()) > 0.99
