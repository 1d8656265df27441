"""A language model that reads titles as single tokens and points at the next one."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bigrec.lm.model import LanguageModel
from bigrec.signals.neural.networks import SequenceNetwork

# Scores are cosines times a learned factor, which starts here: within [-1, 1] alone a softmax
# over thousands of items could not prefer any.
_FIRST_FACTOR = 14.0
_SMALLEST_DEVIATION = 1e-6


class DirectNetwork(SequenceNetwork):
    """The language model's state after a history, against what its titles are projected to.

    An item comes in as one vector made from its title's features, in place of the tokens of its
    title, and so does the item that is pointed at. Nothing is learned for an item by itself, so a
    title that was never trained on has its place too.

    Args:
        lm: With an adapter attached, which is trained together with the projections.
        features: Of all titles, ``[n, f]``, as `TitleFeatures` gives them.
        max_length: Most items of a history.
        size: Of the space in which histories and items meet.
        hidden_size: Of the layer between features and that space.
        dropout: Share of an item's features left out in training, in [0, 1).
    """

    mean: Tensor
    deviation: Tensor
    features: Tensor

    def __init__(
        self,
        lm: LanguageModel,
        features: Tensor,
        *,
        max_length: int,
        size: int,
        hidden_size: int,
        dropout: float,
    ) -> None:
        adapter = lm.model.peft_config["default"]
        modules = sorted(adapter.target_modules)
        adapted = [adapter.r, adapter.lora_alpha, adapter.lora_dropout, modules]
        shape = [lm.base_fingerprint, size, hidden_size, dropout, adapted]
        super().__init__(n_items=len(features), max_length=max_length, shape=shape)
        self.decoder = lm.base.get_decoder()
        table = lm.base.get_input_embeddings().weight
        width = table.shape[1]
        self.inputs = nn.Linear(features.shape[1], width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, size)
        self.item = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(features.shape[1], hidden_size),
            nn.GELU(),
            nn.Linear(hidden_size, size),
        )
        self.log_factor = nn.Parameter(torch.tensor([_FIRST_FACTOR]).log())
        with torch.no_grad():
            # At first an item is the mean of its title's tokens, spread as widely as tokens are.
            self.inputs.weight.zero_()
            self.inputs.weight[:, -width:] = torch.eye(width) * table.float().std().cpu()
        self.register_buffer("mean", features.mean(dim=0))
        self.register_buffer("deviation", features.std(dim=0).clamp(min=_SMALLEST_DEVIATION))
        self.register_buffer("features", self._standardised(features), persistent=False)
        self.to(table.device)

    @property
    def device(self) -> torch.device:
        """See the base class."""
        return self.mean.device

    def forward(self, items: Tensor) -> Tensor:
        """See the base class; rows of ``[b, h, size]`` have length 1."""
        mask = (items != self.n_items).long()
        inputs = self.inputs(self.features[items.clamp(max=self.n_items - 1)])
        states = self.decoder(
            inputs_embeds=inputs.to(self.decoder.dtype),
            attention_mask=mask,
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
            use_cache=False,
        ).last_hidden_state
        return functional.normalize(self.query(self.norm(states.float())), dim=-1)

    def vectors(self, items: Tensor | None = None) -> Tensor:
        """Points of items, ``[c, size]`` of length 1; of all without ``items`` ``[c]``."""
        features = self.features if items is None else self.features[items]
        return functional.normalize(self.item(features), dim=-1)

    def scores(self, hidden: Tensor) -> Tensor:
        """See the base class."""
        return hidden @ self.vectors().T * self.log_factor.exp()

    def scores_of(self, hidden: Tensor, items: Tensor) -> Tensor:
        """See the base class."""
        return hidden @ self.vectors(items).T * self.log_factor.exp()

    def score_each(self, hidden: Tensor, items: Tensor) -> Tensor:
        """See the base class."""
        return (hidden * self.vectors(items)).sum(dim=1) * self.log_factor.exp()

    def use_features(self, features: Tensor) -> None:
        """Take other titles in, ``[n, f]``; their numbers are the items' from now on."""
        self.features = self._standardised(features.to(self.device))
        self.n_items = len(features)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """What is trained and what features are standardised by: not the base model."""
        state = super().state_dict(*args, **kwargs)
        trained = {name for name, weight in self.named_parameters() if weight.requires_grad}
        return {name: state[name] for name in state if name in {*trained, "mean", "deviation"}}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Take in what `state_dict` gave.

        Raises:
            RuntimeError: If a weight is missing, unknown or of another shape.
        """
        wrong = set(self.state_dict()) ^ set(state_dict)
        if strict and wrong:
            raise RuntimeError(f"these weights are missing or unknown: {', '.join(sorted(wrong))}")
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    def _standardised(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.deviation
