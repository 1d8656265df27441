"""transformers' Trainer with our batches, schedule and output layer."""

from typing import TYPE_CHECKING, Any

from transformers import Trainer, TrainerCallback

from bigrec.lm.batches import SortedBatches, labeled_positions
from bigrec.lm.divergence import check_gradients

if TYPE_CHECKING:
    from bigrec.lm.title_logits import TitleLogits


class FinetuneTrainer(Trainer):
    """Samples training batches with `SortedBatches`, and computes logits where there are labels.

    Args:
        schedule_epochs: Epochs over which the learning rate falls to 0, where training may end
            before.

    Attributes:
        head: Told where a batch has labels, if logits are those of titles' tokens alone.
    """

    def __init__(self, *, schedule_epochs: int, **options: Any) -> None:
        super().__init__(**options)
        self._schedule_epochs = schedule_epochs
        self.head: TitleLogits | None = None

    def compute_loss(self, model: Any, inputs: Any, *others: Any, **options: Any) -> Any:
        """The loss of a batch."""
        if self.head is not None:
            self.head.positions = labeled_positions(inputs["labels"])
        return super().compute_loss(model, inputs, *others, **options)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The schedule of all epochs, of which training takes the first steps."""
        share = self._schedule_epochs / self.args.num_train_epochs
        return super().create_scheduler(round(num_training_steps * share), optimizer)

    def _get_train_sampler(self, train_dataset: Any = None) -> SortedBatches:
        examples: Any = self.train_dataset if train_dataset is None else train_dataset
        arguments = self.args
        return SortedBatches(
            examples,
            batch_size=arguments.per_device_train_batch_size
            * arguments.world_size
            * arguments.gradient_accumulation_steps,
            seed=arguments.seed,
        )


class DivergenceCallback(TrainerCallback):
    """Stops training before a step whose gradients are not finite."""

    def on_pre_optimizer_step(  # the Trainer's signature
        self,
        args: Any,
        state: Any,
        control: Any,  # noqa: ARG002
        **objects: Any,
    ) -> None:
        """See the class.

        Raises:
            ModelError: If one is not finite.
        """
        place = f"step {state.global_step + 1} of {state.max_steps}"
        check_gradients(objects["model"], place=place, learning_rate=args.learning_rate)
