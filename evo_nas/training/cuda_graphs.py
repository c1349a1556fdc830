"""Loss and gradients as one CUDA graph: a small network spends more time launching kernels than computing.

After the documentation of torch, "CUDA semantics: CUDA Graphs". **Untested on CUDA hardware.**
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

WARM_UP = 3
"""Passes before a capture, in which libraries choose their algorithms and take their memory; as documented."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps images, (n, c, h, w), and labels, (n,), to a mean loss, a scalar."""


class GraphedLoss:
    """Computes a loss and the gradients of a network's weights as one graph, captured for each shape of images.

    The gradients are overwritten by each call: nobody may drop or add to them in between. What the loss draws comes
    from torch's default generator of the device, from which a graph draws anew at each call; it must not depend on
    anything else that changes between calls.
    """

    def __init__(self, loss: Loss, network: nn.Module) -> None:
        self._loss, self._network = loss, network
        self._captured: dict[torch.Size, tuple[Tensor, Tensor, Tensor, Callable[[], None]]] = {}

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss; the gradients are those that the weights hold afterwards."""
        if images.shape not in self._captured:
            self._captured[images.shape] = self._capture(images, labels)
        own_images, own_labels, loss, replay = self._captured[images.shape]
        own_images.copy_(images)
        own_labels.copy_(labels)
        replay()
        return loss

    def _capture(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Callable[[], None]]:
        """Capture the pass on tensors that stay where they are; what it did to buffers and generator is undone."""
        own_images, own_labels, loss = images.clone(), labels.clone(), images.new_zeros(())

        def whole_pass() -> None:
            for parameter in self._network.parameters():
                parameter.grad = None
            found = self._loss(own_images, own_labels)
            found.backward()  # type: ignore[no-untyped-call]
            loss.copy_(found.detach())

        buffers = [buffer.clone() for buffer in self._network.buffers()]
        drawn = torch.cuda.get_rng_state(images.device)
        replay = capture(whole_pass)
        torch.cuda.set_rng_state(drawn, images.device)
        for buffer, before in zip(self._network.buffers(), buffers, strict=True):
            buffer.copy_(before)
        return own_images, own_labels, loss, replay


def capture(function: Callable[[], None]) -> Callable[[], None]:
    """Capture what a function does on the GPU, and give what does it again."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    replay: Callable[[], None] = graph.replay
    return replay
