"""Augmentation policies of torchvision.transforms.v2 by name, drawn from an explicit generator.

RandAugment (Cubuk et al. 2020) and TrivialAugment (Mueller and Hutter 2021) change the uint8 pixels of images; MixUp
(Zhang et al. 2018) and CutMix (Yun et al. 2019) join the images of a batch, and their labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch

NONE: Final = "none"

CHANGES: Final = {"randaugment": "RandAugment", "trivialaugment": "TrivialAugmentWide"}
"""Name of a policy that changes images -> its class in torchvision, with the strength that it has by default."""

MIXES: Final = {"mixup": ("MixUp", 0.2), "cutmix": ("CutMix", 1.0)}
"""Name of a policy that joins images -> its class in torchvision, and the alpha of torchvision's own recipes."""

GROUP: Final = 8
"""Images of a batch in memory that one draw of operations is for: one draw each would take several times as long."""


@dataclass(frozen=True)
class Policies:
    """One policy that changes images, if any, and those of which one per batch joins images, drawn with equal chances.

    :meth:`read` makes them of their names.
    """

    change: str | None = None
    mixes: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> Policies:
        """Read ``none``, or names of policies with commas between.

        Raises:
            ValueError: if there is no such policy, one is named twice, or two would change the same images.
        """
        if text == NONE:
            return cls()
        names = [name.strip() for name in text.split(",")]
        known = (*CHANGES, *MIXES)
        if wrong := [name for name in names if name not in known]:
            raise ValueError(f"there is no policy {wrong[0][:80]!r}; there are: {', '.join(known)}, or {NONE}")
        if len(set(names)) < len(names):
            raise ValueError(f"the policy names one twice: {text[:80]}")
        changes = [name for name in names if name in CHANGES]
        if len(changes) > 1:
            raise ValueError(f"the policies {' and '.join(changes)} exclude each other: name one of them")
        return cls(changes[0] if changes else None, tuple(name for name in names if name in MIXES))

    def change_images(self, images: torch.Tensor, mean: Sequence[float], generator: torch.Generator) -> torch.Tensor:
        """Return changed images, uint8 of shape (n, c, h, w), :data:`GROUP` after another alike.

        What moves into a picture has its ``mean`` colour, fractions in [0, 1].
        """
        if self.change is None:
            return images
        import torch

        from evo_nas.data.augment import keep_format

        transform = self.build_change(mean)
        with draw_from(generator):
            changed = torch.cat([transform(group) for group in torch.split(images, GROUP)])
        return keep_format(changed, images)

    def build_change(self, mean: Sequence[float]) -> Any:
        """Return the transform of uint8 pixels, (..., c, h, w), which draws from torch's default generator."""
        from torchvision.transforms import v2

        assert self.change is not None, "one is named"
        return getattr(v2, CHANGES[self.change])(fill=[255 * value for value in mean])

    def mix_images(
        self, images: torch.Tensor, labels: torch.Tensor, classes: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images (n, c, h, w) joined with others of the batch, and shares of the classes, float (n, classes).

        ``labels`` are int64 of shape (n,). Without such a policy all stays as it is.
        """
        if not self.mixes:
            return images, labels
        from torchvision.transforms import v2

        chosen = [MIXES[name] for name in self.mixes]
        transforms = [getattr(v2, kind)(alpha=alpha, num_classes=classes) for kind, alpha in chosen]
        with draw_from(generator):
            mixed, shares = v2.RandomChoice(transforms)(images, labels)
        return mixed, shares


@contextmanager
def draw_from(generator: torch.Generator) -> Iterator[None]:
    """Let torch's default generator of the CPU continue from a seed that ``generator`` draws, and restore it."""
    import torch

    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with draw_from_seed(seed):
        yield


@contextmanager
def draw_from_seed(seed: int) -> Iterator[None]:
    """Let torch's default generator of the CPU continue from a seed, and restore it."""
    import torch

    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)  # that of a GPU is left alone
        yield
