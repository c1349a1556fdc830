"""Layers of our networks as nodes of ONNX, in evaluation: what only a training does is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from evo_nas.phenotypes.cell import DropPath, SumNorm
from evo_nas.phenotypes.onnx.graph import Graph, Value
from evo_nas.phenotypes.ops import FactorizedReduction, SameConv2d, SamePool2d, same_padding

Pads = tuple[int, int, int, int]
"""Pixels above, left, below and right, as ONNX has them."""

_NOTHING: Final = (nn.Identity, nn.Dropout, DropPath)
"""Layers that compute nothing in evaluation."""


class Layers:
    """Writes modules of a network to a graph; nodes have the names of their modules.

    With ``fold``, a batch norm becomes part of the convolution before it, which gets a bias then.
    """

    def __init__(self, network: nn.Module, graph: Graph, *, fold: bool) -> None:
        self.graph, self._fold = graph, fold
        self._names: dict[int, str] = {
            id(module): name for name, module in network.named_modules(remove_duplicate=False)
        }

    def name(self, module: nn.Module) -> str:
        """Return the path of a module in the network."""
        return self._names[id(module)]

    def chain(self, module: nn.Module, x: Value) -> Value:
        """Write a layer, or layers one after another."""
        layers = list(_flatten(module))
        while layers:
            layer, *layers = layers
            norm = layers[0] if layers and isinstance(layers[0], nn.BatchNorm2d) else None
            if isinstance(layer, nn.Conv2d):
                x = self.convolve(layer, x, norm)
                layers = layers if norm is None else layers[1:]
            else:
                x = self._write(layer, x)
        return x

    def convolve(self, layer: nn.Conv2d, x: Value, norm: nn.BatchNorm2d | None = None) -> Value:
        """Write a convolution, and the batch norm behind it if there is one."""
        rows, columns = (
            same_padding(size, *numbers) if isinstance(layer, SameConv2d) else (pad, pad)
            for size, *numbers, pad in zip(
                (x.height, x.width), layer.kernel_size, layer.stride, layer.dilation, _padding(layer), strict=True
            )
        )
        pads = rows[0], columns[0], rows[1], columns[1]
        if norm is None:
            return self._convolve(layer, x, pads, _array(layer.weight), _maybe(layer.bias))
        if not self._fold:
            return self.normalise(norm, self._convolve(layer, x, pads, _array(layer.weight), _maybe(layer.bias)))
        scale, shift = _scale_and_shift(norm)
        bias = _maybe(layer.bias)
        weight = _array(layer.weight) * scale[:, None, None, None]
        return self._convolve(layer, x, pads, weight, shift if bias is None else shift + scale * bias)

    def normalise(self, layer: nn.BatchNorm2d, x: Value) -> Value:
        """Write a batch norm of its own."""
        tensors = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
        words = ("weight", "bias", "running_mean", "running_var")
        name = self.name(layer)
        constants = [
            self.graph.hold(f"{name}.{word}", _array(tensor)) for word, tensor in zip(words, tensors, strict=True)
        ]
        shape = x.channels, x.height, x.width
        return self.graph.add("BatchNormalization", name, [x, *constants], shape, epsilon=layer.eps)

    def rectify(self, x: Value, owner: str) -> Value:
        """Write a ReLU."""
        return self.graph.add("Relu", f"{owner}.relu", [x], (x.channels, x.height, x.width))

    def join(self, op: str, values: Sequence[Value], owner: str) -> Value:
        """Write the sum (``Add``) or the concatenation (``Concat``) of values."""
        if len(values) == 1:
            return values[0]
        first = values[0]
        if op == "Add":
            return self.graph.add("Add", f"{owner}.add", values, (first.channels, first.height, first.width))
        channels = sum(value.channels for value in values)
        return self.graph.add("Concat", f"{owner}.concat", values, (channels, first.height, first.width), axis=1)

    def erase(self, x: Value, owner: str) -> Value:
        """Write zeros of the shape of a value."""
        zero = self.graph.hold(f"{owner}.zero", np.zeros(1))
        return self.graph.add("Mul", f"{owner}.zeros", [x, zero], (x.channels, x.height, x.width))

    def classify(self, layer: nn.Linear, x: Value) -> Value:
        """Write the mean over the pixels, and the linear layer that ends a network."""
        name = self.name(layer)
        mean = self.graph.add("GlobalAveragePool", f"{name}.mean", [x], (x.channels, 1, 1))
        flat = self.graph.add("Flatten", f"{name}.flatten", [mean], (x.channels, 1, 1), axis=1)
        constants = [self.graph.hold(f"{name}.{word}", _array(getattr(layer, word))) for word in ("weight", "bias")]
        return self.graph.add("Gemm", name, [flat, *constants], (layer.out_features, 1, 1), transB=1)

    def _write(self, layer: nn.Module, x: Value) -> Value:
        """Write a layer that is no convolution."""
        if isinstance(layer, nn.ReLU):
            return self.rectify(x, self.name(layer))
        if isinstance(layer, nn.BatchNorm2d):
            return self.normalise(layer, x)
        if isinstance(layer, SamePool2d):
            return self._pool(layer, x)
        if isinstance(layer, FactorizedReduction):
            return self._reduce(layer, x)
        if isinstance(layer, SumNorm):
            return self._normalise_groups(layer, x)
        raise TypeError(f"no node is known for a {type(layer).__name__}")

    def _convolve(
        self, layer: nn.Conv2d, x: Value, pads: Pads, weight: NDArray[Any], bias: NDArray[Any] | None
    ) -> Value:
        name = self.name(layer)
        inputs: list[Value | str] = [x, self.graph.hold(f"{name}.weight", weight)]
        if bias is not None:
            inputs.append(self.graph.hold(f"{name}.bias", bias))
        height, width = (
            (size + before + after - dilation * (kernel - 1) - 1) // stride + 1
            for size, before, after, kernel, stride, dilation in zip(
                *((x.height, x.width), pads[:2], pads[2:], layer.kernel_size, layer.stride, layer.dilation), strict=True
            )
        )
        return self.graph.add(
            *("Conv", name, inputs, (len(weight), height, width)),
            kernel_shape=list(layer.kernel_size),
            strides=list(layer.stride),
            dilations=list(layer.dilation),
            pads=list(pads),
            group=layer.groups,
        )

    def _pool(self, layer: SamePool2d, x: Value) -> Value:
        """Write a pooling: what is padded wins no maximum, and counts in an average only if the layer pads zeros.

        So the window of two pixels that hangs over the edge needs no copy of its only pixel.
        """
        rows, columns = (same_padding(size, layer.kernel, layer.stride) for size in (x.height, x.width))
        counts = {} if layer.kind == "max" else {"count_include_pad": int(layer.pads_zeros)}
        return self.graph.add(
            "MaxPool" if layer.kind == "max" else "AveragePool",
            self.name(layer),
            [x],
            (x.channels, -(-x.height // layer.stride), -(-x.width // layer.stride)),
            kernel_shape=[layer.kernel] * 2,
            strides=[layer.stride] * 2,
            pads=[rows[0], columns[0], rows[1], columns[1]],
            **counts,
        )

    def _reduce(self, layer: FactorizedReduction, x: Value) -> Value:
        """Write a factorized reduction: strided 1x1 convolutions of all pixels, and of those from the second on."""
        name = self.name(layer)
        axes = self.graph.hold(f"{name}.axes", np.array([2, 3]))
        starts = self.graph.hold(f"{name}.from", np.array([1, 1]))
        ends = self.graph.hold(f"{name}.to", np.array([x.height, x.width]))
        odd = self.graph.add("Slice", f"{name}.slice", [x, starts, ends, axes], (x.channels, x.height - 1, x.width - 1))
        # An odd size has one odd row fewer than even ones: a row of zeros stands in.
        pads = [(x, (0, 0, 0, 0)), (odd, (0, 0, x.height % 2, x.width % 2))]
        scale, shift = _scale_and_shift(layer.norm)
        parts, first = [], 0
        for path, (value, pad) in zip((layer.even, layer.odd), pads, strict=True):
            weight, bias = _array(path.weight), None
            if self._fold:
                some = slice(first, first + len(weight))
                weight, bias = weight * scale[some, None, None, None], shift[some]
            first += len(weight)
            parts.append(self._halve(path, value, pad, weight, bias))
        joined = self.join("Concat", parts, name)
        return joined if self._fold else self.normalise(layer.norm, joined)

    def _halve(self, path: nn.Conv2d, x: Value, pads: Pads, weight: NDArray[Any], bias: NDArray[Any] | None) -> Value:
        """Write a 1x1 convolution of every second pixel; its own module has no stride."""
        name = self.name(path)
        inputs: list[Value | str] = [x, self.graph.hold(f"{name}.weight", weight)]
        if bias is not None:
            inputs.append(self.graph.hold(f"{name}.bias", bias))
        height, width = ((size + pad - 1) // 2 + 1 for size, pad in zip((x.height, x.width), pads[2:], strict=True))
        shape = len(weight), height, width
        return self.graph.add("Conv", name, inputs, shape, kernel_shape=[1, 1], strides=[2, 2], pads=list(pads))

    def _normalise_groups(self, layer: SumNorm, x: Value) -> Value:
        """Write a group norm as an instance norm of groups, which every opset has alike."""
        name = self.name(layer)
        shape = x.channels, x.height, x.width
        scale, shift = (_array(tensor) for tensor in (layer.weight, layer.bias))
        if layer.num_groups == x.channels:
            constants = [self.graph.hold(f"{name}.weight", scale), self.graph.hold(f"{name}.bias", shift)]
            return self.graph.add("InstanceNormalization", name, [x, *constants], shape, epsilon=layer.eps)
        split = layer.num_groups, x.channels // layer.num_groups * x.height * x.width, 1
        groups = self.graph.hold(f"{name}.groups", np.array([0, *split]))
        whole = self.graph.hold(f"{name}.shape", np.array([0, *shape]))
        ones, zeros = (
            self.graph.hold(f"{name}.{word}", make(layer.num_groups))
            for word, make in (("ones", np.ones), ("zeros", np.zeros))
        )
        grouped = self.graph.add("Reshape", f"{name}.split", [x, groups], split)
        normed = self.graph.add("InstanceNormalization", name, [grouped, ones, zeros], split, epsilon=layer.eps)
        back = self.graph.add("Reshape", f"{name}.join", [normed, whole], shape)
        weight = self.graph.hold(f"{name}.weight", scale[:, None, None])
        bias = self.graph.hold(f"{name}.bias", shift[:, None, None])
        return self.graph.add(
            "Add", f"{name}.shift", [self.graph.add("Mul", f"{name}.scale", [back, weight], shape), bias], shape
        )


def _flatten(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers of nested sequences, without those that compute nothing."""
    if isinstance(module, nn.Sequential):
        for each in module:
            yield from _flatten(each)
    elif not isinstance(module, _NOTHING):
        yield module


def _padding(layer: nn.Conv2d) -> tuple[int, ...]:
    assert not isinstance(layer.padding, str), "ours have numbers"
    return layer.padding


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the factor and the summand of each channel that a batch norm is in evaluation."""
    scale = _array(norm.weight) / np.sqrt(_array(norm.running_var) + norm.eps)
    return scale, _array(norm.bias) - _array(norm.running_mean) * scale


def _array(tensor: Tensor | None) -> NDArray[Any]:
    """Return the numbers in double precision, in which they are multiplied before they are rounded."""
    assert tensor is not None, "running statistics are kept"
    array: NDArray[Any] = tensor.detach().cpu().double().numpy()
    return array


def _maybe(tensor: Tensor | None) -> NDArray[Any] | None:
    return None if tensor is None else _array(tensor)
