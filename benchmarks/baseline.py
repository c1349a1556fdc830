"""What the proxy trainer is measured against: the same training, as it is ordinarily written in PyTorch, and well.

The plain network, contiguous, each operation a module of its own with its own ReLU; uint8 tensors in a ``DataLoader``
without worker processes; torchvision's transforms on whole batches; ``torch.optim.SGD`` with ``clip_grad_norm_`` and a
cosine a step; validation with the training's batch size. Nothing in it is slow on purpose: on a batch of tensors
torchvision draws one crop and one flip for all of its images, several times faster than image by image.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from evo_nas.phenotypes.network import CellNetwork
from evo_nas.training.loop import Epoch, Examples
from evo_nas.training.recipes import Recipe
from evo_nas.training.task import Batch


@dataclass(frozen=True)
class Loaded:
    """Examples in a ``DataLoader``; as the loop of ``evo_nas`` takes its data, so that it can be tried there too."""

    examples: Examples
    evaluation_batch: int
    images: TensorDataset = field(init=False)

    def __post_init__(self) -> None:
        images = TensorDataset(self.examples.images.contiguous(), self.examples.labels)
        object.__setattr__(self, "images", images)

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.examples.device

    def __len__(self) -> int:
        return len(self.images)

    def draw_batches(
        self, batch_size: int, recipe: Recipe, generator: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Yield the augmented batches of one epoch but for an incomplete one.

        The order comes from the generator, crops and flips from torch's default one.
        """
        transform = self._build_transform(recipe.padding, recipe.flip)
        loader = DataLoader(self.images, batch_size, shuffle=True, drop_last=True, generator=generator)
        for images, labels in loader:
            yield transform(images), labels

    def in_order(self) -> Iterator[Batch]:
        """Yield all images as they are."""
        transform = self._build_transform()
        for images, labels in DataLoader(self.images, self.evaluation_batch):
            yield transform(images), labels

    def _build_transform(self, padding: int = 0, flip: bool = False) -> nn.Module:
        from torchvision.transforms import v2  # not at load: it takes a second or two

        size = self.examples.images.shape[-2:]
        augmentation: list[nn.Module] = [v2.RandomCrop(size, padding=padding)] if padding else []
        if flip:
            augmentation.append(v2.RandomHorizontalFlip())
        scaled = v2.ToDtype(torch.float32, scale=True), v2.Normalize(self.examples.mean, self.examples.std)
        transform: nn.Module = v2.Compose([*augmentation, *scaled])
        return transform


def train_plainly(
    network: CellNetwork, recipe: Recipe, train: Loaded, validation: Loaded, generator: torch.Generator | None = None
) -> Iterator[Epoch]:
    """Train, and yield each epoch when it is over.

    Raises:
        ValueError: if the recipe asks for more than the preset ``cpu`` does.
    """
    beyond = (recipe.cutout, recipe.auxiliary_weight, recipe.label_smoothing, recipe.ema_decay)
    if any(beyond) or recipe.accumulate > 1 or recipe.drop_path_keep < 1:
        raise ValueError(
            "the baseline knows no cutout, no drop path, and nothing else that the preset cpu does without"
        )
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(
        network.parameters(), recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    steps = len(train) // recipe.batch_size
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs * steps)
    for _ in range(recipe.epochs):
        start = time.perf_counter()
        network.train()
        total = 0.0
        for images, labels in train.draw_batches(recipe.batch_size, recipe, generator):
            optimizer.zero_grad(set_to_none=True)
            loss = criterion(network(images), labels)
            loss.backward()
            if recipe.gradient_norm:
                nn.utils.clip_grad_norm_(network.parameters(), recipe.gradient_norm)
            optimizer.step()
            scheduler.step()
            total += loss.item()
        middle = time.perf_counter()
        accuracy = measure_plainly(network, validation)
        yield Epoch(total / steps, accuracy, middle - start, time.perf_counter() - middle)


@torch.no_grad()
def measure_plainly(network: nn.Module, validation: Loaded) -> float:
    """Measure the accuracy, a fraction in [0, 1]."""
    network.eval()
    correct = torch.zeros((), dtype=torch.int64)
    for images, labels in validation.in_order():
        logits: Tensor = network(images)
        correct += (logits.argmax(1) == labels).sum()
    return correct.item() / len(validation)
