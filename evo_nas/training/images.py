"""The images of one training: held in memory or streamed, split, and compared with those that it began with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evo_nas.errors import UsageError
from evo_nas.phenotypes.blueprint import DetectorBlueprint
from evo_nas.training.train_task import TrainPlacement, TrainTask

if TYPE_CHECKING:
    import torch

    from evo_nas.data.boxes.value import BoxedImages
    from evo_nas.training.task import Data


@dataclass(frozen=True)
class TrainingImages:
    """The images of a task on the device; the test part is put there when it is asked for.

    ``check_test`` raises what ``test`` would, as far as that can be known without looking at the images.
    """

    train: Data
    validation: Data | None
    test: Callable[[], Data]
    check_test: Callable[[], object]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str | None

    @classmethod
    def open(cls, task: TrainTask, place: TrainPlacement, device: torch.device) -> TrainingImages:
        """Open the images that a task names.

        Raises:
            DataError: if they are missing or damaged.
            UsageError: if they are none that this task can take.
        """
        if isinstance(task.blueprint, DetectorBlueprint):
            return cls._hold_boxes(task, place, device)
        return (
            cls._stream(task, place, device)
            if task.recipe.augmentation == "imagenet"
            else cls._hold(task, place, device)
        )

    def complete(self, task: TrainTask) -> TrainTask:
        """Fill in what the images say, and refuse images that are not those the training was begun with."""
        if task.fingerprint not in (None, self.fingerprint):
            raise UsageError(
                f"the images of {task.dataset} are not those that this training was begun with; name their folder with "
                "--data-dir, or begin anew with --train-dir"
            )
        blueprint = replace(task.blueprint, classes=self.classes, mean=self.mean, std=self.std)
        return replace(task, blueprint=blueprint, fingerprint=self.fingerprint)

    @classmethod
    def _hold(cls, task: TrainTask, place: TrainPlacement, device: torch.device) -> TrainingImages:
        """Return all images, held in the device's memory."""
        from evo_nas.data.images import open_images
        from evo_nas.training.loop import Examples

        blueprint = task.blueprint
        images = open_images(task.dataset, place.data_dir, size=blueprint.image, channels=blueprint.channels)
        train, validation = _split(images.train.labels, task)

        def examples(part: Any, indices: Any = None) -> Examples:
            pixels, labels = part.tensors(device, indices)
            return Examples(pixels, labels, images.mean, images.std, len(images.classes))

        return cls(
            examples(images.train, train),
            None if validation is None else examples(images.train, validation),
            lambda: examples(images.test),
            lambda: images.test,  # which decodes them
            images.classes,
            images.mean,
            images.std,
            images.fingerprint,
        )

    @classmethod
    def _hold_boxes(cls, task: TrainTask, place: TrainPlacement, device: torch.device) -> TrainingImages:
        """Return all images with boxes, held in the device's memory; the test part is opened when it is asked for."""
        from evo_nas.data.boxes.source import open_boxes
        from evo_nas.training.boxed import BoxedExamples
        from evo_nas.training.precision import require_coco

        require_coco()
        blueprint = task.blueprint
        images = open_boxes(
            task.dataset,
            place.data_dir,
            canvas=blueprint.image,
            channels=blueprint.channels,
            seed=task.split_seed,
            counts={"train": task.train_images, "val": task.validation_images},
        )

        def examples(part: BoxedImages, wanted: int) -> BoxedExamples:
            rows = np.random.default_rng(task.split_seed).permutation(len(part))[: wanted or len(part)]
            return BoxedExamples.open(part, np.sort(rows), images.mean, images.std, device)

        return cls(
            examples(images.train, task.train_images),
            examples(images.val, task.validation_images),
            lambda: examples(images.test, 0),
            lambda: images.test,
            images.classes,
            images.mean,
            images.std,
            images.fingerprint,
        )

    @classmethod
    def _stream(cls, task: TrainTask, place: TrainPlacement, device: torch.device) -> TrainingImages:
        """Read images from their files as they are needed."""
        import torch

        from evo_nas.data.sources.image_folder import ImageFolder
        from evo_nas.data.sources.locate import locate
        from evo_nas.data.stream import MEAN, STD, Stream

        source = locate(task.dataset, place.data_dir)
        if not isinstance(source, ImageFolder):
            raise UsageError(
                f"augmentation imagenet reads image files, and {task.dataset} is no folder of them; "
                "choose --dataset folder, or --set augmentation=crop"
            )
        if task.blueprint.channels != 3:
            raise UsageError(f"augmentation imagenet reads colour images: 3 channels, not {task.blueprint.channels}")

        def stream(part: Any, indices: Any = None) -> Stream:
            paths, labels = source.paths(part), source.labels(part)
            if indices is not None:
                paths, labels = [paths[index] for index in indices], labels[indices]
            read = torch.from_numpy(labels)
            return Stream(paths, read, task.blueprint.image, device, place.loaders, len(source.classes()))

        train, validation = _split(source.labels("train"), task)
        return cls(
            stream("train", train),
            None if validation is None else stream("train", validation),
            lambda: stream("test"),
            lambda: source.paths("test"),
            source.classes(),
            MEAN,
            STD,
            None,
        )


def _split(labels: Any, task: TrainTask) -> tuple[Any, Any]:
    """Return the indices of the images to train on, and of those held out, ``None`` if there are none."""
    from evo_nas.data.split import hold_out

    most = max(int(task.validation_share * len(labels)), len(np.unique(labels)))
    train, validation = hold_out(labels, min(task.validation_images, most), task.train_images, task.split_seed)
    return train, validation if len(validation) else None
