"""The sections of baselines and signals: their hyperparameters."""

from typing import Annotated, Literal

from pydantic import Field

from bigrec.settings.sections import PositiveInt, Section


class PopularitySettings(Section):
    """Popularity of late, ``recent popularity``."""

    half_life_days: Annotated[float, Field(gt=0)] = 30.0
    """Age in days at which an interaction counts half."""


class CooccurrenceSettings(Section):
    """Item co-occurrence."""

    window: PositiveInt = 10
    """Maximum distance of two items in a user's sequence to count as a pair."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Weight of an item of the history relative to the next newer one."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Exponent of the items' frequencies that pair counts are divided by; 1/2 gives cosines."""


class EaseSettings(Section):
    """EASE, the linear item-to-item model."""

    regularization: Annotated[float, Field(gt=0)] = 250.0
    """L2 regularization; larger for more users (paper: 200 to 1,000)."""
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Weight of an item of the history relative to the next newer one; 1 as in its paper."""


class TfIdfSettings(Section):
    """TF-IDF of the words and characters of titles, without a language model."""

    decay: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Weight of an item of the history relative to the next newer one."""


class TextKnnSettings(Section):
    """Untrained vectors of titles, ``text kNN``; ``text.encoder`` computes them."""

    decay: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Weight of an item of the history relative to the next newer one."""


class GaussianSettings(Section):
    """Decayed bags of title vectors, grounded by a Gaussian model in closed form, ``Gaussian``.

    ``text.encoder`` encodes the titles. Only the ratio of popularity to distance ranks, so
    that the distance's own weight is 1.
    """

    decay: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Weight of an item of the history relative to the next newer one."""
    window: PositiveInt = 10
    """Newest items of a history that are read."""
    shrinkage: Annotated[float, Field(gt=0)] = 0.01
    """Share of the identity added to the within-item covariance."""
    prior_strength: Annotated[float, Field(gt=0)] = 100.0
    """Training pairs that the mean predicted from an item's title counts as."""
    ridge: Annotated[float, Field(gt=0)] = 10_000.0
    """L2 regularization of the prediction of means from titles."""
    popularity_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of log-popularity; 1 is Bayes' rule."""
    popularity_smoothing: Annotated[float, Field(gt=0)] = 1.0
    """Training pairs added to those of every item for its popularity."""


class SequentialSettings(Section):
    """SASRec, GRU4Rec and Caser, with and without the DROS loss."""

    hidden_size: PositiveInt = 64
    """Size of embeddings."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Dropout probability of activations."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate of AdamW."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of AdamW."""
    epochs: PositiveInt = 100
    """Maximum passes over the interactions."""
    early_stopping_patience: PositiveInt = 5
    """Epochs without a better validation NDCG@10 before training stops."""


class BaselineSettings(Section):
    """Hyperparameters of the models that are compared and fused."""

    tune: Literal["none", "closed-form", "grid"] = "closed-form"
    """``closed-form`` selects the hyperparameters of models in closed form from a small grid on
    validation, in seconds, for all data and for the few shots separately. ``grid`` does so for
    networks too, which takes as many trainings as the grid has points. ``none`` takes the values
    below. They are also used for hyperparameters that are in no grid."""
    windows: PositiveInt = 1
    """Validation windows. The last is the validation part. Each further one is an equally large
    part of the training data just before it, with training data up to its start. Closed-form models
    and their fusion rules are chosen by the mean over windows; networks and the language model are
    trained once and chosen by the last one. With several windows, the simplest choice within one
    standard error of the best is taken: fewer signals, or the earlier entry of a grid, where
    stronger regularization comes first."""
    popularity: PopularitySettings = PopularitySettings()
    cooccurrence: CooccurrenceSettings = CooccurrenceSettings()
    ease: EaseSettings = EaseSettings()
    tf_idf: TfIdfSettings = TfIdfSettings()
    text_knn: TextKnnSettings = TextKnnSettings()
    gaussian: GaussianSettings = GaussianSettings()
    sequential: SequentialSettings = SequentialSettings()
