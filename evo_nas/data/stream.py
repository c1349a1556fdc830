"""Images that are read from their files batch by batch: for sets that fit into no memory, such as ImageNet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from evo_nas.data.augment import Augmentation
from evo_nas.data.policies import Policies, draw_from_seed
from evo_nas.data.sources.base import open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)
"""Those of ImageNet's colours, fractions in [0, 1], as torchvision's own recipes have them."""

CENTRE: Final = 0.875
"""The share of a picture's shorter side that is looked at in evaluation (Szegedy et al. 2015)."""

_EVALUATION_BATCH: Final = 100


class Stream:
    """Labelled image files as the training loop takes them, augmented as ImageNet is.

    In training a part of each picture, 8 to 100 % of its area, is resized to ``size`` pixels a side and flipped or not
    (Szegedy et al. 2014, section 6; torchvision.transforms.v2); in evaluation the centre is cut out. ``labels`` is
    int64 of shape (n,). ``workers`` processes read ahead; what comes out does not depend on how many there are.
    ``classes`` counts them, for policies that mix.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Tensor,
        size: int,
        device: torch.device,
        workers: int = 0,
        classes: int = 0,
    ) -> None:
        self.paths, self.labels, self.size, self.workers = paths, labels, size, workers
        self.classes = classes
        self._device = device

    @property
    def device(self) -> torch.device:
        """The device of the batches."""
        return self._device

    def __len__(self) -> int:
        return len(self.paths)

    def draw_batches(
        self, batch_size: int, recipe: Augmentation, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield augmented batches of one epoch; the last, incomplete one is left out."""
        order = torch.randperm(len(self), generator=generator)[: len(self) // batch_size * batch_size].tolist()
        # A seed for each picture, so that it does not matter which process reads it.
        seeds = torch.randint(2**62, (len(order),), generator=generator).tolist()
        policies = Policies.read(recipe.policy)
        transform = _for_training(self.size, recipe.flip, policies)
        files = _Files(self.paths, self.labels, transform, list(zip(order, seeds, strict=True)))
        for images, labels in self._load_batches(files, batch_size):
            yield policies.mix_images(images, labels, self.classes, generator)

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all images as they are."""
        places = [(index, 0) for index in range(len(self))]
        yield from self._load_batches(
            _Files(self.paths, self.labels, _for_evaluation(self.size), places), _EVALUATION_BATCH
        )

    def _load_batches(self, files: _Files, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        is_cuda = self.device.type == "cuda"
        loader = DataLoader(files, batch_size, num_workers=self.workers, pin_memory=is_cuda)
        for images, labels in loader:
            images = images.to(self.device, memory_format=torch.channels_last, non_blocking=is_cuda)
            yield images, labels.to(self.device, non_blocking=is_cuda)


class _Files(Dataset[tuple[Tensor, Tensor]]):
    """Pictures in an order of their own, each with the seed of its augmentation."""

    def __init__(
        self, paths: Sequence[Path], labels: Tensor, transform: Any, places: Sequence[tuple[int, int]]
    ) -> None:
        self.paths, self.labels, self.transform, self.places = paths, labels, transform, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        index, seed = self.places[position]
        picture = _read_colours(self.paths[index])
        with draw_from_seed(seed):
            return self.transform(picture), self.labels[index]


def read_centre(path: Path, size: int) -> Tensor:
    """Return the centre of a picture, float32 of shape (3, size, size), as evaluation sees it.

    Raises:
        DataError: naming the file, if it cannot be decoded.
    """
    centre: Tensor = _for_evaluation(size)(_read_colours(path))
    return centre


def _read_colours(path: Path) -> Image:
    with open_picture(path) as file:
        return file.convert("RGB")


def _for_training(size: int, flip: bool, policies: Policies) -> Any:
    from torchvision.transforms import v2

    flips = [v2.RandomHorizontalFlip()] if flip else []
    changes = [policies.build_change(MEAN)] if policies.change is not None else []
    return v2.Compose([v2.RandomResizedCrop(size, antialias=True), *flips, *changes, *_as_numbers()])


def _for_evaluation(size: int) -> Any:
    from torchvision.transforms import v2

    return v2.Compose([v2.Resize(round(size / CENTRE), antialias=True), v2.CenterCrop(size), *_as_numbers()])


def _as_numbers() -> list[Any]:
    from torchvision.transforms import v2

    return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
