"""The two-tower network: a language model encodes a history, a projection encodes items."""

import math
from collections.abc import Mapping
from copy import copy
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bigrec.grounding.cold_items import ColdItemImputer
from bigrec.grounding.space import whitening_matrix
from bigrec.lm.adapter import attach_adapter
from bigrec.lm.model import LanguageModel
from bigrec.models.neural.networks import SequenceNetwork
from bigrec.types import BoolArray, FloatArray

# Initial scale of the content part's cosines: within [-1, 1] a softmax over thousands of items
# could not prefer any.
_INITIAL_CONTENT_SCALE = 10.0
_MIN_DEVIATION = 1e-6
# Initial standard deviations of ID embeddings; of inputs as a share of the token embeddings'.
_ID_INPUT_STD = 0.1
_ID_STD = 0.02
# Initial factor by which an item of the history weighs less than the next newer one.
_INITIAL_DECAY = 0.7
# Regularization of the whitening, as a share of the median deviation.
_SHRINKAGE = 0.5
# Computed from the features of all titles that the catalog has in training, cold ones included,
# and stored with the weights.
_FEATURE_STATISTICS = ("mean", "deviation", "whitening")


class TwoTowerNetwork(SequenceNetwork):
    """Scores items by products of an encoded history with item vectors.

    An item enters the language model as one vector in place of its title's tokens. Input and item
    vectors are projections of the title's text features plus an ID embedding. The ID embedding is
    randomly dropped in training, so that the features alone work for cold items.

    A vector has two parts. In the content part an item is its whitened text features, and a history
    is the recency-weighted mean of its items: similar titles follow each other, which needs no
    training. The other part is trained. Both parts of an item have length 1, so that distances rank
    as products do. The length of a history's parts weights them; the trained one starts at 0.

    Args:
        lm: Base model with an adapter attached, which is trained together with the projections.
        features: Text features of all titles, ``[n, f]``, made by `ItemTextFeatures`.
        max_length: Maximum items of a history.
        content_dim: Dimensions of the content part.
        embedding_dim: Dimensions of the trained part.
        projection_dim: Width of the hidden layer between text features and the trained part.
        feature_dropout: Dropout probability of an item's text features, in [0, 1).
        embedding_dropout: Dropout probability of the input vectors, in [0, 1).
        id_embedding_dropout: Dropout probability of an item's ID embedding, in [0, 1]. At 1 there
            are no ID embeddings.
    """

    useful_untrained = True
    cold: Tensor
    neighbors: Tensor
    neighbor_weights: Tensor
    mean: Tensor
    deviation: Tensor
    whitening: Tensor
    features: Tensor
    content: Tensor

    def __init__(
        self,
        lm: LanguageModel,
        features: Tensor,
        *,
        max_length: int,
        content_dim: int,
        embedding_dim: int,
        projection_dim: int,
        feature_dropout: float,
        embedding_dropout: float,
        id_embedding_dropout: float,
    ) -> None:
        adapter = lm.model.peft_config["default"]
        modules = sorted(adapter.target_modules)
        lora = [adapter.r, adapter.lora_alpha, adapter.lora_dropout, modules]
        dropouts = [feature_dropout, embedding_dropout, id_embedding_dropout]
        shape = [lm.base_fingerprint, content_dim, embedding_dim, projection_dim, dropouts, lora]
        super().__init__(n_items=len(features), max_length=max_length, shape=shape)
        self.decoder = lm.base.get_decoder()
        table = lm.base.get_input_embeddings().weight
        self._token_std = float(table.float().std())
        width = table.shape[1]
        self.input_projection = nn.Linear(features.shape[1], width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.query_projection = nn.Linear(width, embedding_dim)
        self.log_content_scale = nn.Linear(width, 1)
        self.item_tower = nn.Sequential(
            nn.Dropout(feature_dropout),
            nn.Linear(features.shape[1], projection_dim),
            nn.GELU(),
            nn.Linear(projection_dim, embedding_dim),
        )
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        self.id_embedding_dropout = id_embedding_dropout
        self._add_id_embeddings()
        self.decay = nn.Parameter(torch.tensor([_INITIAL_DECAY]).logit())
        self._initialize(width)
        self._add_features(features, content_dim=content_dim)
        self.to(table.device)
        self.set_known(np.ones(len(features), dtype=np.bool_))

    @property
    def device(self) -> torch.device:
        """See the base class."""
        return self.mean.device

    def forward(self, items: Tensor) -> Tensor:
        """See the base class; ``d`` is both parts together."""
        with self._autocast():
            return self._encode(items)

    def _encode(self, items: Tensor) -> Tensor:
        mask = (items != self.n_items).long()
        clamped = items.clamp(max=self.n_items - 1)
        inputs = self.input_projection(self.features[clamped])
        if self.id_inputs is not None:
            inputs = inputs + self._drop_ids(self.id_inputs(clamped))
        inputs = self.embedding_dropout(inputs)
        states = self.decoder(
            inputs_embeds=inputs.to(self.decoder.dtype),
            attention_mask=mask,
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
            use_cache=False,
        ).last_hidden_state
        normed = self.norm(states.float())
        content = self._history_content(items) * self.log_content_scale(normed).float().exp()
        return torch.cat([content, self.query_projection(normed).float()], dim=-1)

    def _history_content(self, items: Tensor) -> Tensor:
        """Recency-weighted content of the items up to each, ``[b, h, content_dim]`` of length 1."""
        is_item = items != self.n_items
        vectors = self.content[items.clamp(max=self.n_items - 1)] * is_item[..., None]
        position = torch.arange(items.shape[1], device=items.device)
        age = position[:, None] - position
        weights = torch.sigmoid(self.decay) ** age.clamp(min=0) * (age >= 0)
        return functional.normalize(weights @ vectors, dim=-1)

    def item_vectors(self, items: Tensor | None = None) -> Tensor:
        """Vectors of items ``[...]`` or of all, ``[..., d]``, each of the two parts of length 1."""
        with self._autocast():
            trained: Tensor = self.item_tower(
                self.features if items is None else self.features[items]
            )
        trained = trained.float()
        if self.id_embeddings is not None:
            ids = self.id_embeddings.weight if items is None else self.id_embeddings(items)
            trained = trained + self._drop_ids(ids)
        trained = functional.normalize(trained, dim=-1)
        if items is None and not self.training:
            trained = impute_rows(
                trained, rows=self.cold, neighbors=self.neighbors, weights=self.neighbor_weights
            )
        content = self.content if items is None else self.content[items]
        return torch.cat([content, trained], dim=-1)

    def set_known(self, known: BoolArray) -> None:
        """Tell which titles have training interactions.

        In training a cold title is only ever a negative, which says nothing about the title itself.
        Its trained part is imputed from its nearest neighbors by content, whenever all vectors are
        computed in evaluation mode; in a history it has no ID embedding.

        Args:
            known: Whether each title has training interactions, ``[n]``.
        """
        self.imputer = ColdItemImputer.fit(self.content.cpu().numpy(), known)
        for name, values in (
            ("cold", self.imputer.cold),
            ("neighbors", self.imputer.neighbors),
            ("neighbor_weights", self.imputer.weights.astype(np.float32)),
        ):
            tensor = torch.from_numpy(np.ascontiguousarray(values)).to(self.device)
            self.register_buffer(name, tensor, persistent=False)
        if self.id_inputs is not None:
            with torch.no_grad():
                self.id_inputs.weight[self.cold] = 0

    def scores(self, hidden: Tensor) -> Tensor:
        """See the base class."""
        return self._products(hidden, self.item_vectors())

    def scores_of(self, hidden: Tensor, items: Tensor) -> Tensor:
        """See the base class."""
        return self._products(hidden, self.item_vectors(items))

    def score_each(self, hidden: Tensor, items: Tensor) -> Tensor:
        """See the base class."""
        return (hidden * self.item_vectors(items)).sum(dim=1)

    def for_catalog(self, features: Tensor) -> Self:
        """A network for another catalog that shares all weights but ID embeddings with this one.

        Statistics of the features are those of the other catalog: its content part does not depend
        on what it is trained with, and the shared projections read standardized features.

        Args:
            features: Text features of all titles of the other catalog, ``[m, f]``.
        """
        other = self._shallow_copy()
        other.n_items = len(features)
        other._add_id_embeddings()
        other._add_features(features, content_dim=self.whitening.shape[1])
        other.to(self.device)
        other.set_known(np.ones(len(features), dtype=np.bool_))
        return other

    def with_features(self, features: Tensor, rows: Tensor) -> Self:
        """A network for other titles that shares all other weights with this one.

        Args:
            features: Text features of the other titles, ``[m, f]``.
            rows: ``[m]`` row of each of them among the present titles; -1 for a new title.
        """
        other = self._shallow_copy()
        other._set_features(features.to(self.device))
        other.n_items = len(features)
        for name in ("id_inputs", "id_embeddings"):
            embedding = getattr(self, name)
            if embedding is not None:
                is_known = (rows >= 0).to(self.device)[:, None]
                table = embedding.weight.detach()[rows.clamp(min=0)] * is_known
                setattr(other, name, nn.Embedding(len(table), table.shape[1], _weight=table))
        return other

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The trained weights and the statistics of the features, without the base model."""
        state = super().state_dict(*args, **kwargs)
        trained = {name for name, weight in self.named_parameters() if weight.requires_grad}
        return {name: state[name] for name in state if name in {*trained, *_FEATURE_STATISTICS}}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a `state_dict`.

        Raises:
            RuntimeError: If a weight is missing, unknown or of another shape.
        """
        mismatched = set(self.state_dict()) ^ set(state_dict)
        if strict and mismatched:
            names = ", ".join(sorted(mismatched))
            raise RuntimeError(f"these weights are missing or unknown: {names}")
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    def _products(self, hidden: Tensor, vectors: Tensor) -> Tensor:
        with self._autocast():
            return functional.linear(hidden, vectors)

    def _autocast(self) -> torch.autocast:
        """Compute products in bfloat16 in training, if the language model does."""
        enabled = self.training and self.decoder.dtype == torch.bfloat16
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def _shallow_copy(self) -> Self:
        """A network of the same weights, in which any of them can be replaced."""
        # A shallow copy would share the dictionaries of modules and buffers.
        other = copy(self)
        other._modules, other._buffers = dict(self._modules), dict(self._buffers)
        return other

    def _add_id_embeddings(self) -> None:
        """Add untrained ID embeddings of the titles, if there are to be any."""
        projection = self.query_projection
        input_std = _ID_INPUT_STD * self._token_std
        self.id_inputs = self._id_embedding(projection.in_features, std=input_std)
        self.id_embeddings = self._id_embedding(projection.out_features, std=_ID_STD)

    def _id_embedding(self, size: int, *, std: float) -> nn.Embedding | None:
        if self.id_embedding_dropout == 1:
            return None
        embedding = nn.Embedding(self.n_items, size)
        nn.init.normal_(embedding.weight, std=std)
        return embedding

    def _drop_ids(self, ids: Tensor) -> Tensor:
        """ID embeddings ``[..., d]``, in training with some of them set to 0."""
        if not self.training:
            return ids
        kept = torch.rand(ids.shape[:-1], device=ids.device) >= self.id_embedding_dropout
        return ids * kept[..., None]

    @torch.no_grad()
    def _initialize(self, width: int) -> None:
        """Start from items as the mean of their tokens, and histories as their content alone."""
        self.input_projection.weight.zero_()
        # Features are standardized; tokens have the deviation that the model expects.
        self.input_projection.weight[:, -width:] = torch.eye(width) * self._token_std
        for projection in (self.query_projection, self.log_content_scale):
            nn.init.zeros_(projection.weight)
            nn.init.zeros_(projection.bias)
        self.log_content_scale.bias.fill_(math.log(_INITIAL_CONTENT_SCALE))

    def _add_features(self, features: Tensor, *, content_dim: int) -> None:
        """Add features of titles, and the statistics of these features."""
        self.register_buffer("mean", features.mean(dim=0))
        self.register_buffer("deviation", features.std(dim=0).clamp(min=_MIN_DEVIATION))
        self.register_buffer("whitening", _whitening(features, content_dim=content_dim))
        self._set_features(features)

    def _set_features(self, features: Tensor) -> None:
        """Set the standardized features and the content part of all titles."""
        centered = features - self.mean
        self.register_buffer("features", centered / self.deviation, persistent=False)
        content = functional.normalize(centered @ self.whitening, dim=-1)
        self.register_buffer("content", content, persistent=False)


def impute_rows(vectors: Tensor, *, rows: Tensor, neighbors: Tensor, weights: Tensor) -> Tensor:
    """Replace rows by the weighted means of other rows, scaled to length 1.

    Args:
        vectors: ``[n, d]``.
        rows: The rows to replace, ``[m]``.
        neighbors: Rows to average for each, ``[m, k]``.
        weights: Weight of each, ``[m, k]``.

    Returns:
        ``[n, d]``; the vectors themselves if there is nothing to replace.
    """
    if not len(rows):
        return vectors
    means = (vectors[neighbors] * weights[..., None]).sum(dim=1)
    return vectors.index_copy(0, rows, functional.normalize(means, dim=-1))


def build_network(
    lm: LanguageModel,
    features: Tensor,
    hyperparameters: Mapping[str, Any],
    *,
    seed: int,
    lora_dropout: float = 0.0,
    feature_dropout: float = 0.0,
    embedding_dropout: float = 0.0,
) -> TwoTowerNetwork:
    """Attach an untrained adapter to a base model and build the network around it.

    Args:
        lm: The base model; it carries the adapter afterwards.
        features: Text features of all titles, ``[n, f]``.
        hyperparameters: Those of the adapter and the network that its weights depend on.
        seed: Seed of the initial weights.
        lora_dropout: Dropout probability of the adapter's inputs, in [0, 1).
        feature_dropout: See `TwoTowerNetwork`.
        embedding_dropout: See `TwoTowerNetwork`.

    Raises:
        ModelError: If the target modules do not exist in the model.
    """
    lora = ("lora_r", "lora_alpha", "target_modules")
    # Drawn on the CPU, so that every device starts from the same weights.
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        attach_adapter(
            lm, lora_dropout=lora_dropout, **{name: hyperparameters[name] for name in lora}
        )
        return TwoTowerNetwork(
            lm,
            features,
            feature_dropout=feature_dropout,
            embedding_dropout=embedding_dropout,
            **{name: value for name, value in hyperparameters.items() if name not in lora},
        )


def _whitening(features: Tensor, *, content_dim: int) -> Tensor:
    """Matrix from centered features to their whitened principal components, ``[f, content_dim]``.

    Components of small variance are shrunk, because they are mostly rounding noise.
    """
    matrix = whitening_matrix(
        features.numpy(), features.mean(dim=0).numpy(), divisors=_shrunk_deviations
    )
    # Largest variance first.
    components = matrix[:, ::-1][:, :content_dim]
    whitening = np.zeros((len(matrix), content_dim), dtype=np.float32)
    whitening[:, : components.shape[1]] = components
    return torch.from_numpy(whitening)


def _shrunk_deviations(variances: FloatArray) -> FloatArray:
    deviations = np.sqrt(np.maximum(variances, 0))
    # The lower of two medians.
    median = deviations[(len(deviations) - 1) // 2]
    return np.asarray(deviations + _SHRINKAGE * median + _MIN_DEVIATION)
