"""A language model that reads titles as single tokens and points at the next one."""

import math
from collections.abc import Mapping
from copy import copy
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from bigrec.lm.model import LanguageModel
from bigrec.models.neural.networks import SequenceNetwork

# What likeness of titles counts for at first: within [-1, 1] a softmax over thousands of items
# could not prefer any.
_FIRST_TRUST = 10.0
_SMALLEST_DEVIATION = 1e-6
# Deviations of items' own vectors at first. For inputs, of the token embeddings' deviation.
_OWN_INPUT = 0.1
_OWN_POINT = 0.02
# How much an older title counts for each one that came after it, at first.
_FIRST_FADING = 0.7
# Of the median deviation, added to every direction's.
_HELD_BACK = 0.5
# Taken from the titles that were trained on, and kept with what was learned.
_MEASURED = ("mean", "deviation", "whitening")


class DirectNetwork(SequenceNetwork):
    """The language model's state after a history, against what its titles are projected to.

    An item comes in as one vector, in place of the tokens of its title, and so does the item that
    is pointed at. Each is made from its title's features, to which a vector of its own is added
    that is learned where the item occurs. In training that is left out now and then, so that
    features alone must do too, as for a title that was never trained on.

    A point has two parts. In the first, titles lie where their features are, whitened, and a
    history where its titles are, the newer the more: like titles follow each other, which needs no
    training. In the second lies what is learned. A history's length in either part says how much
    it counts; untrained it has none in the second. Items are of one length in both, so that
    distances rank as products do.

    Args:
        lm: With an adapter attached, which is trained together with the projections.
        features: Of all titles, ``[n, f]``, as `TitleFeatures` gives them.
        max_length: Most items of a history.
        title_size: Of the part in which like titles are near each other.
        size: Of the part that is learned.
        hidden_size: Of the layer between a title's features and the part that is learned.
        dropout: Share of an item's features left out in training, in [0, 1).
        input_dropout: Share of what comes in left out in training, in [0, 1).
        id_dropout: Share of items whose own vector is left out in training, in [0, 1]; at 1 there
            are none.
    """

    leaves_seen_out = True
    knows_untrained = True
    mean: Tensor
    deviation: Tensor
    whitening: Tensor
    features: Tensor
    places: Tensor

    def __init__(
        self,
        lm: LanguageModel,
        features: Tensor,
        *,
        max_length: int,
        title_size: int,
        size: int,
        hidden_size: int,
        dropout: float,
        input_dropout: float,
        id_dropout: float,
    ) -> None:
        adapter = lm.model.peft_config["default"]
        modules = sorted(adapter.target_modules)
        adapted = [adapter.r, adapter.lora_alpha, adapter.lora_dropout, modules]
        dropouts = [dropout, input_dropout, id_dropout]
        shape = [lm.base_fingerprint, title_size, size, hidden_size, dropouts, adapted]
        super().__init__(n_items=len(features), max_length=max_length, shape=shape)
        self.decoder = lm.base.get_decoder()
        table = lm.base.get_input_embeddings().weight
        width = table.shape[1]
        self.inputs = nn.Linear(features.shape[1], width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, size)
        self.trust = nn.Linear(width, 1)
        self.item = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(features.shape[1], hidden_size),
            nn.GELU(),
            nn.Linear(hidden_size, size),
        )
        self.input_dropout = nn.Dropout(input_dropout)
        self.id_dropout = id_dropout
        self.own_inputs = self._own(width, std=_OWN_INPUT * float(table.float().std()))
        self.own_points = self._own(size, std=_OWN_POINT)
        self.fading = nn.Parameter(torch.tensor([_FIRST_FADING]).logit())
        with torch.no_grad():
            # At first an item is the mean of its title's tokens, spread as widely as tokens are.
            self.inputs.weight.zero_()
            self.inputs.weight[:, -width:] = torch.eye(width) * table.float().std().cpu()
            for last in (self.query, self.trust):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
            self.trust.bias.fill_(math.log(_FIRST_TRUST))
        self.register_buffer("mean", features.mean(dim=0))
        self.register_buffer("deviation", features.std(dim=0).clamp(min=_SMALLEST_DEVIATION))
        self.register_buffer("whitening", _whitening(features, size=title_size))
        self._place(features)
        self.to(table.device)

    @property
    def device(self) -> torch.device:
        """See the base class."""
        return self.mean.device

    def forward(self, items: Tensor) -> Tensor:
        """See the base class; ``d`` is both parts together."""
        with self._fast():
            return self._states(items)

    def _states(self, items: Tensor) -> Tensor:
        mask = (items != self.n_items).long()
        known = items.clamp(max=self.n_items - 1)
        inputs = self.inputs(self.features[known])
        if self.own_inputs is not None:
            inputs = inputs + self._some_out(self.own_inputs(known))
        inputs = self.input_dropout(inputs)
        states = self.decoder(
            inputs_embeds=inputs.to(self.decoder.dtype),
            attention_mask=mask,
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
            use_cache=False,
        ).last_hidden_state
        normed = self.norm(states.float())
        alike = self._alike(items) * self.trust(normed).float().exp()
        return torch.cat([alike, self.query(normed).float()], dim=-1)

    def _alike(self, items: Tensor) -> Tensor:
        """Where the titles so far lie, the newer the more, ``[b, h, title_size]`` of length 1."""
        real = items != self.n_items
        vectors = self.places[items.clamp(max=self.n_items - 1)] * real[..., None]
        place = torch.arange(items.shape[1], device=items.device)
        age = place[:, None] - place
        weights = torch.sigmoid(self.fading) ** age.clamp(min=0) * (age >= 0)
        return functional.normalize(weights @ vectors, dim=-1)

    def vectors(self, items: Tensor | None = None) -> Tensor:
        """Both parts of items ``[...]`` or of all, ``[..., d]``, each part of length 1."""
        with self._fast():
            learned: Tensor = self.item(self.features if items is None else self.features[items])
        learned = learned.float()
        if self.own_points is not None:
            own = self.own_points.weight if items is None else self.own_points(items)
            learned = learned + self._some_out(own)
        places = self.places if items is None else self.places[items]
        return torch.cat([places, functional.normalize(learned, dim=-1)], dim=-1)

    def scores(self, hidden: Tensor) -> Tensor:
        """See the base class."""
        return self._products(hidden, self.vectors())

    def scores_of(self, hidden: Tensor, items: Tensor) -> Tensor:
        """See the base class."""
        return self._products(hidden, self.vectors(items))

    def score_each(self, hidden: Tensor, items: Tensor) -> Tensor:
        """See the base class."""
        return (hidden * self.vectors(items)).sum(dim=1)

    def with_features(self, features: Tensor, rows: Tensor) -> Self:
        """The same network for other titles, which shares whatever is not of a title.

        Args:
            features: Of all titles from now on, ``[m, f]``.
            rows: ``[m]`` which of the titles so far each of them is; -1 for one that is new.
        """
        # Modules keep their parts in dictionaries of their own, which a copy would share.
        other = copy(self)
        other._modules, other._buffers = dict(self._modules), dict(self._buffers)
        other._place(features.to(self.device))
        other.n_items = len(features)
        for name in ("own_inputs", "own_points"):
            own = getattr(self, name)
            if own is not None:
                known = (rows >= 0).to(self.device)[:, None]
                table = own.weight.detach()[rows.clamp(min=0)] * known
                setattr(other, name, nn.Embedding(len(table), table.shape[1], _weight=table))
        return other

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """What is trained and what features are standardised by: not the base model."""
        state = super().state_dict(*args, **kwargs)
        trained = {name for name, weight in self.named_parameters() if weight.requires_grad}
        return {name: state[name] for name in state if name in {*trained, *_MEASURED}}

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

    def _products(self, hidden: Tensor, vectors: Tensor) -> Tensor:
        with self._fast():
            return hidden @ vectors.T

    def _fast(self) -> torch.autocast:
        """In training, products in bfloat16 if the language model computes in it."""
        enabled = self.training and self.decoder.dtype == torch.bfloat16
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def _own(self, size: int, *, std: float) -> nn.Embedding | None:
        if self.id_dropout == 1:
            return None
        table = nn.Embedding(self.n_items, size)
        nn.init.normal_(table.weight, std=std)
        return table

    def _some_out(self, own: Tensor) -> Tensor:
        """Own vectors ``[..., d]``, in training some of them as zeros."""
        if not self.training:
            return own
        kept = torch.rand(own.shape[:-1], device=own.device) >= self.id_dropout
        return own * kept[..., None]

    def _place(self, features: Tensor) -> None:
        """Take in the features of all titles, and where they lie at first."""
        centred = features - self.mean
        self.register_buffer("features", centred / self.deviation, persistent=False)
        places = functional.normalize(centred @ self.whitening, dim=-1)
        self.register_buffer("places", places, persistent=False)


def _whitening(features: Tensor, *, size: int) -> Tensor:
    """From centred features to their ``size`` main directions, evened out, ``[f, size]``.

    Directions of little spread are held back: they are mostly rounding.
    """
    centred = (features - features.mean(dim=0)).double()
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(centred))
    deviations = variances.clamp(min=0).sqrt().flip(0)
    kept = min(size, len(deviations))
    held_back = deviations + _HELD_BACK * deviations.median() + _SMALLEST_DEVIATION
    found = torch.zeros(len(deviations), size, dtype=torch.double)
    found[:, :kept] = directions.flip(1)[:, :kept] / held_back[:kept]
    return found.float()
