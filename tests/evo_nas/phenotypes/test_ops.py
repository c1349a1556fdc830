import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evo_nas.phenotypes.ops import OPS, FactorizedReduction, SameConv2d, SamePool2d, same_padding
from genotypes.operations import OPERATIONS

SIZES = [(1, 1), (2, 2), (4, 4), (7, 7), (8, 8), (7, 8), (5, 2)]


def padded(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], dilation: int, value: float) -> Tensor:
    """Pad as TensorFlow documents SAME: the outputs' extent, less the size; the smaller half first."""
    for axis in (2, 3):
        size, reach = x.shape[axis], dilation * (kernel[axis - 2] - 1) + 1
        outputs = (size + stride[axis - 2] - 1) // stride[axis - 2]
        missing = max((outputs - 1) * stride[axis - 2] + reach - size, 0)
        sides = (missing // 2, missing - missing // 2)
        x = F.pad(x, (0, 0, *sides) if axis == 2 else (*sides, 0, 0), value=value)
    return x


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_registry_and_vocabulary_are_in_step() -> None:
    assert list(OPS) == list(OPERATIONS)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((8, 3, 1), (1, 1)),
        ((8, 3, 2), (0, 1)),
        ((7, 3, 2), (1, 1)),
        ((8, 5, 2), (1, 2)),
        ((8, 7, 2), (2, 3)),
        ((331, 7, 2), (3, 3)),
        ((2, 7, 2), (2, 3)),
        ((1, 3, 2), (1, 1)),
        ((8, 1, 2), (0, 0)),
        ((8, 3, 2, 2), (1, 2)),
        ((8, 3, 1, 2), (2, 2)),
    ],
)
def test_same_padding_is_that_of_tensorflow(arguments: tuple[int, ...], expected: tuple[int, int]) -> None:
    assert same_padding(*arguments) == expected


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("kernel", "dilation"), [((1, 1), 1), ((3, 3), 1), ((3, 3), 2), ((5, 5), 1), ((7, 7), 1), ((1, 7), 1), ((3, 1), 1)]
)
def test_convolution_equals_explicit_padding(kernel: tuple[int, int], dilation: int, stride: int) -> None:
    strides = (1 if kernel[0] < kernel[1] else stride, 1 if kernel[0] > kernel[1] else stride)
    conv = SameConv2d(3, 5, kernel, strides, dilation).double()
    for size in SIZES:
        x = torch.randn(2, 3, *size, dtype=torch.float64)
        expected = F.conv2d(padded(x, kernel, strides, dilation, 0), conv.weight, None, strides, 0, dilation)
        torch.testing.assert_close(conv(x), expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [2, 3, 5, 7])
def test_max_pooling_pads_with_what_never_wins(kernel: int, stride: int) -> None:
    for size in SIZES:
        x = torch.randn(2, 3, *size) - 10  # all negative: a zero of the padding would win
        explicit = padded(x, (kernel, kernel), (stride, stride), 1, -torch.inf)
        assert torch.equal(SamePool2d("max", kernel, stride)(x), F.max_pool2d(explicit, kernel, stride))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [2, 3, 5])
def test_average_pooling_does_not_count_padded_pixels(kernel: int, stride: int) -> None:
    window = torch.ones(1, 1, kernel, kernel, dtype=torch.float64)
    for size in SIZES:
        x = torch.randn(2, 1, *size, dtype=torch.float64)
        sums, counts = (
            F.conv2d(padded(y, (kernel, kernel), (stride, stride), 1, 0), window, stride=stride)
            for y in (x, torch.ones_like(x))
        )
        torch.testing.assert_close(SamePool2d("avg", kernel, stride)(x), sums / counts)


def test_average_pooling_of_stride_2_may_count_zeros_beyond_the_border() -> None:
    for size in SIZES:
        x = torch.randn(2, 3, *size, dtype=torch.float64)
        pooling = SamePool2d("avg", 3, 2)
        pooling.pads_zeros = True
        torch.testing.assert_close(pooling(x), F.avg_pool2d(padded(x, (3, 3), (2, 2), 1, 0), 3, 2))


def test_skip_connect_at_stride_2_is_relu_and_a_factorized_reduction() -> None:
    relu, reduction = OPS["skip_connect"](3, 5, 2).children()
    assert isinstance(relu, nn.ReLU)
    assert isinstance(reduction, FactorizedReduction)
    assert [type(layer) for layer in OPS["skip_connect"](3, 5, 1).children()] == [
        *(nn.ReLU, SameConv2d, nn.BatchNorm2d),
    ]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPS)
def test_every_operation_gives_its_width_and_half_the_size(name: str, stride: int) -> None:
    for in_channels, filters in [(1, 1), (3, 7), (7, 3), (6, 6), (12, 4)]:
        if (name, stride, filters) == ("skip_connect", 2, 1):
            continue  # each of the two paths of its factorized reduction needs a filter
        module = OPS[name](in_channels, filters, stride)
        for height, width in SIZES:
            x = torch.randn(2, in_channels, height, width)
            y = module.eval()(x)
            assert y.shape == (2, filters, -(-height // stride), -(-width // stride)), (in_channels, filters)


@pytest.mark.parametrize("name", OPS)
def test_only_an_identity_that_changes_nothing_is_a_no_op(name: str) -> None:
    no_ops = {
        (in_channels, stride)
        for in_channels in (4, 6)
        for stride in (1, 2)
        if isinstance(OPS[name](in_channels, 4, stride), nn.Identity)
    }
    assert no_ops == ({(4, 1)} if name in ("identity", "skip_connect") else set())


def test_parameters_follow_the_released_code() -> None:
    c, f = 10, 17  # F/4 = 4, 3F/8 = 6, both rounded down
    quarter, three_eighths = 4, 6
    expected = {
        "identity": c * f + 2 * f,
        "conv_1x3_3x1": c * 6 + 2 * 6 + 2 * (three_eighths**2 * 3 + 2 * 6) + 6 * f + 2 * f,
        "conv_1x7_7x1": c * 4 + 2 * 4 + 2 * (quarter**2 * 7 + 2 * 4) + 4 * f + 2 * f,
        "conv_3x3": c * 4 + 2 * 4 + quarter**2 * 9 + 2 * 4 + 4 * f + 2 * f,
        "dil_conv_3x3": c * 4 + 2 * 4 + quarter**2 * 9 + 2 * 4 + 4 * f + 2 * f,
        "conv_1x1": c * f + 2 * f,
        # Twice depthwise, pointwise, norm: the first depthwise still has the width that comes in.
        "sep_conv_3x3": (c * 9 + c * f + 2 * f) + (f * 9 + f * f + 2 * f),
        "sep_conv_5x5": (c * 25 + c * f + 2 * f) + (f * 25 + f * f + 2 * f),
        "sep_conv_7x7": (c * 49 + c * f + 2 * f) + (f * 49 + f * f + 2 * f),
        "dil_sep_conv_3x3": c * 9 + c * f + 2 * f,
        "dil_sep_conv_5x5": c * 25 + c * f + 2 * f,
    }
    # A skip at stride 2 makes 8 filters of the even pixels and 9 of the odd ones: as many weights as one convolution.
    for name in OPS:
        for stride in (1, 2):
            default = c * f + 2 * f  # a pooling, and the 1x1 convolution after it
            assert parameters(OPS[name](c, f, stride)) == expected.get(name, default), name


def test_pooling_of_the_right_width_has_no_parameters() -> None:
    assert parameters(OPS["max_pool_3x3"](5, 5, 2)) == 0


def test_layers_stand_in_the_order_of_the_paper() -> None:
    def layers(name: str) -> list[str]:
        short = {"ReLU": "relu", "BatchNorm2d": "bn", "SamePool2d": "pool"}
        return [
            f"conv{m.kernel_size} s{m.stride} d{m.dilation[0]} g{m.groups}"
            if isinstance(m, SameConv2d)
            else short[type(m).__name__]
            for m in OPS[name](6, 8, 2).children()
        ]

    one = "conv(1, 1) s(1, 1) d1 g1"
    assert layers("sep_conv_5x5") == [
        *("relu", "conv(5, 5) s(2, 2) d1 g6", one, "bn"),
        *("relu", "conv(5, 5) s(1, 1) d1 g8", one, "bn"),
    ]
    assert layers("conv_1x7_7x1") == [
        *("relu", one, "bn"),
        *("relu", "conv(1, 7) s(1, 2) d1 g1", "bn"),
        *("relu", "conv(7, 1) s(2, 1) d1 g1", "bn"),
        *("relu", one, "bn"),
    ]
    assert layers("dil_conv_3x3") == ["relu", one, "bn", "relu", "conv(3, 3) s(2, 2) d2 g1", "bn", "relu", one, "bn"]
    assert layers("dil_sep_conv_5x5") == ["relu", "conv(5, 5) s(2, 2) d2 g6", one, "bn"]
    assert layers("max_pool_7x7") == ["pool", one, "bn"]
    assert layers("identity") == ["relu", "conv(1, 1) s(2, 2) d1 g1", "bn"]


@pytest.mark.parametrize("filters", [2, 5, 8])
@pytest.mark.parametrize("size", SIZES)
def test_factorized_reduction_reads_even_and_odd_pixels(size: tuple[int, int], filters: int) -> None:
    module = FactorizedReduction(3, filters).double().eval()
    assert (module.even.out_channels, module.odd.out_channels) == (filters // 2, (filters + 1) // 2)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    height, width = size
    y = module(x) * (1 + module.norm.eps) ** 0.5  # a norm that has seen nothing only divides by this
    assert y.shape == (2, filters, (height + 1) // 2, (width + 1) // 2)
    for row in range(y.shape[2]):
        for column in range(y.shape[3]):
            even = x[:, :, 2 * row, 2 * column] @ module.even.weight.flatten(1).T
            beyond = 2 * row + 1 >= height or 2 * column + 1 >= width
            pixel = torch.zeros_like(x[:, :, 0, 0]) if beyond else x[:, :, 2 * row + 1, 2 * column + 1]
            odd = pixel @ module.odd.weight.flatten(1).T
            torch.testing.assert_close(y[:, :, row, column], torch.cat([even, odd], dim=1))


def test_factorized_reduction_refuses_a_path_without_filters() -> None:
    with pytest.raises(ValueError, match="at least 2 filters, not 1"):
        FactorizedReduction(3, 1)


@pytest.mark.parametrize("size", [2, 5, 8])
def test_a_factorized_reduction_computes_the_same_with_and_without_gradients(size: int) -> None:
    torch.manual_seed(size)
    module = FactorizedReduction(6, 5).double()
    x = torch.randn(3, 6, size, size, dtype=torch.double, requires_grad=True)
    grown = module(x)
    with torch.no_grad():
        plain = module(x)
    torch.testing.assert_close(grown, plain, rtol=1e-9, atol=1e-9)
    even, odd = x[:, :, ::2, ::2], F.pad(x[:, :, 1::2, 1::2], (0, size % 2, 0, size % 2))
    by_hand = module.norm(torch.cat([module.even(even), module.odd(odd)], dim=1))
    parameters = (x, *module.parameters())
    grad = torch.randn_like(by_hand)
    for mine, theirs in zip(
        torch.autograd.grad(grown, parameters, grad), torch.autograd.grad(by_hand, parameters, grad), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
