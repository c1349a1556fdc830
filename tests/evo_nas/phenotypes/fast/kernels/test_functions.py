"""The compiled kernels: torch's numbers and gradients for any size, and torch's own operations where there are none."""

from __future__ import annotations

import ctypes
import platform
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evo_nas.phenotypes.fast.kernels import builds, library, trust
from evo_nas.phenotypes.fast.kernels.functions import (
    Window,
    batch_norm,
    depthwise_conv2d,
    max_pool2d,
    pointwise,
    unit,
)
from evo_nas.phenotypes.ops import SameConv2d, SamePool2d, same_padding

CHANNELS = (1, 3, 8, 20)
SIZES = ((1, 1), (2, 5), (7, 6), (16, 16))


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kernels")]


def image(*shape: int) -> Tensor:
    x = torch.randn(*shape, dtype=torch.double).contiguous(memory_format=torch.channels_last)
    return x.requires_grad_()


def same(x: Tensor, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int, int, int]:
    height, width = (same_padding(size, kernel, stride, dilation) for size in x.shape[2:])
    return (*width, *height)


def compared(ours: Callable[[], Tensor], plain: Callable[[], Tensor], leaves: Sequence[Tensor]) -> None:
    """Compare the outputs, and the gradients of the leaves by a random direction."""
    y, z = ours(), plain()
    direction = torch.randn(z.shape, dtype=z.dtype)
    mine, theirs = (torch.autograd.grad((out * direction).sum(), leaves) for out in (y, z))
    for a, b in zip((y, *mine), (z, *theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rectifies", [False, True])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_a_depthwise_convolution_of_any_size(kernel: int, stride: int, dilation: int, rectifies: bool) -> None:
    torch.manual_seed(0)
    for channels, size in product(CHANNELS, SIZES):
        x = image(3, channels, *size)
        layer = SameConv2d(channels, channels, (kernel, kernel), (stride, stride), dilation, groups=channels).double()
        window = Window(stride, dilation, same(x, kernel, stride, dilation), rectifies)
        compared(
            lambda x=x, w=layer.weight, window=window: depthwise_conv2d(x, w, window),  # type: ignore[misc]
            lambda x=x, layer=layer: layer(x.relu() if rectifies else x),  # type: ignore[misc]
            [x, layer.weight],
        )


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [2, 3, 5, 7])
def test_a_max_pooling_of_any_size_and_among_equals(kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    for channels, size in product(CHANNELS, SIZES):
        x = torch.randint(3, (3, channels, *size)).double().contiguous(memory_format=torch.channels_last)
        layer = SamePool2d("max", kernel, stride)
        compared(
            lambda x=x: max_pool2d(x, (kernel, kernel), stride, same(x, kernel, stride)),  # type: ignore[misc]
            lambda x=x, layer=layer: layer(x),  # type: ignore[misc]
            [x.requires_grad_()],
        )


def norm(channels: int) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels).double()
    with torch.no_grad():
        layer.weight.normal_()
        layer.bias.normal_()
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
    return layer


def twin(layer: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """Make one of the same weights, which are the same tensors, with running statistics of its own."""
    other = nn.BatchNorm2d(layer.num_features).double()
    other.load_state_dict(layer.state_dict())
    other.weight, other.bias = layer.weight, layer.bias
    return other


def assert_same_statistics(one: nn.BatchNorm2d, other: nn.BatchNorm2d) -> None:
    torch.testing.assert_close(one.running_mean, other.running_mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(one.running_var, other.running_var, rtol=1e-9, atol=1e-9)


def test_a_batch_norm_of_any_size_and_what_it_remembers() -> None:
    torch.manual_seed(0)
    for channels, size in product(CHANNELS, SIZES):
        x, ours = image(3, channels, *size), norm(channels)
        plain = twin(ours)
        compared(lambda x=x, n=ours: batch_norm(x, n), lambda x=x, n=plain: n(x), [x, ours.weight, ours.bias])  # type: ignore[misc]
        assert_same_statistics(ours, plain)


def test_a_small_variance_does_not_drown_in_a_large_mean() -> None:
    torch.manual_seed(0)
    x = (torch.randn(64, 8, 16, 16) * 1e-2 + 100).contiguous(memory_format=torch.channels_last)
    layer = nn.BatchNorm2d(8)
    exact = F.batch_norm(x.double(), None, None, training=True)
    torch.testing.assert_close(batch_norm(x, layer).double(), exact, rtol=0, atol=1e-2)
    assert layer.running_var is not None
    torch.testing.assert_close(layer.running_var, torch.full((8,), 0.9 + 0.1 * 1e-4), rtol=1e-4, atol=0)


def test_a_pointwise_convolution_of_parts() -> None:
    torch.manual_seed(0)
    for widths, out, size in product(((8,), (1, 3), (20, 2, 8)), (1, 2, 8, 19), SIZES):
        parts = [image(3, width, *size) for width in widths]
        weight = torch.randn(out, sum(widths), 1, 1, dtype=torch.double, requires_grad=True)
        compared(
            lambda p=parts, w=weight: pointwise(p, w),  # type: ignore[misc]
            lambda p=parts, w=weight: F.conv2d(torch.cat(p, 1), w),  # type: ignore[misc]
            [*parts, weight],
        )


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(None, 1, 1), (3, 1, 1), (5, 2, 1), (3, 2, 2)])
def test_a_unit_in_training_and_in_evaluation(kernel: int | None, stride: int, dilation: int) -> None:
    torch.manual_seed(0)
    for channels, out, size in product(CHANNELS, (1, 8, 17), SIZES):
        assert_same_unit(image(3, channels, *size), out, kernel, stride, dilation)


def assert_same_unit(x: Tensor, out: int, kernel: int | None, stride: int, dilation: int) -> None:
    channels, ours = x.shape[1], norm(out)
    plain = twin(ours)
    mixing = torch.randn(out, channels, 1, 1, dtype=torch.double, requires_grad=True)
    leaves = [x, mixing, ours.weight, ours.bias]
    depthwise, window, kernels = None, Window(), None
    if kernel is not None:
        depthwise = SameConv2d(channels, channels, (kernel, kernel), (stride, stride), dilation, channels).double()
        window = Window(stride, dilation, same(x, kernel, stride, dilation), rectifies=True)
        kernels = depthwise.weight
        leaves.append(kernels)

    def by_torch() -> Tensor:
        between = x if depthwise is None else depthwise(x.relu())
        y: Tensor = plain(F.conv2d(between, mixing))
        return y

    compared(lambda: unit([x], kernels, window, mixing, ours), by_torch, leaves)
    assert_same_statistics(ours, plain)
    ours.eval()
    plain.eval()
    with torch.inference_mode():
        torch.testing.assert_close(unit([x], kernels, window, mixing, ours), by_torch(), rtol=1e-9, atol=1e-9)


def test_what_nobody_wants_a_gradient_of_gets_none() -> None:
    x, layer = torch.randn(2, 4, 5, 5).contiguous(memory_format=torch.channels_last), nn.BatchNorm2d(3)
    kernels, mixing = torch.randn(4, 1, 3, 3), torch.randn(3, 4, 1, 1, requires_grad=True)
    y = unit([x], kernels, Window(padding=(1, 1, 1, 1)), mixing, layer)
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is None
    assert mixing.grad is not None


def test_no_number_comes_through_everything() -> None:
    x = torch.zeros(2, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    x[0, 0, 2, 2] = torch.nan
    ring = (1, 1, 1, 1)
    kernels, layer = torch.ones(8, 1, 3, 3), nn.BatchNorm2d(8)
    mixing = torch.eye(8)[:, :, None, None]
    for out in (
        depthwise_conv2d(x, kernels, Window(padding=ring, rectifies=True)),
        max_pool2d(x, (3, 3), 1, ring),
        max_pool2d(x, (3, 3), 2, ring),
    ):
        assert torch.equal(out.isnan().flatten(1).any(1), torch.tensor([True, False]))
        assert not out[:, 1:].isnan().any()
    for out in (batch_norm(x, layer), unit([x], kernels, Window(padding=ring, rectifies=True), mixing, layer)):
        assert out[:, 0].isnan().all()


def test_a_window_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 256 pixels here, not 17 x 17"):
        max_pool2d(torch.zeros(1, 1, 20, 20), (17, 17), 1, (8, 8, 8, 8))


def test_more_threads_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert trust.are_there(x)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert not trust.are_there(x)
    assert not trust.are_there(x.half())


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Forget what was loaded, and give the place where libraries are kept: an empty one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(library.SWITCH, raising=False)
    library.library.cache_clear()
    trust.why_not.cache_clear()
    yield tmp_path / "evo_nas" / "kernels"
    library.library.cache_clear()
    trust.why_not.cache_clear()


def test_they_are_compiled_once_and_kept(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trust.why_not() is None
    [kept] = fresh.iterdir()
    written = kept.stat().st_mtime_ns
    library.library.cache_clear()
    assert isinstance(library.library("float"), ctypes.CDLL)
    assert kept.stat().st_mtime_ns == written
    monkeypatch.setattr(library, "FLAGS", (*library.FLAGS, "-DANOTHER"))
    library.library.cache_clear()
    assert isinstance(library.library("float"), ctypes.CDLL)
    assert len(list(fresh.iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut off", "cut in half", "filled with zeros"])
def test_a_damaged_library_is_made_again(fresh: Path, damage: str) -> None:
    assert isinstance(library.library("float"), ctypes.CDLL)
    [kept] = fresh.iterdir()
    whole = kept.read_bytes()
    half = len(whole) // 2
    kept.unlink()  # not written over: it is in use
    kept.write_bytes({"cut off": b"\x7fELF", "cut in half": whole[:half]}.get(damage, whole[:half] + bytes(half)))
    library.library.cache_clear()
    assert isinstance(library.library("float"), ctypes.CDLL)
    assert [path.read_bytes() == whole for path in fresh.iterdir()] == [True]


def test_their_code_is_on_the_disk_before_they_have_their_name(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(library, "sync", lambda file: synced.append((file.read_bytes()[:4], list(fresh.glob("*.so")))))
    assert isinstance(library.library("float"), ctypes.CDLL)
    assert synced == [(b"\x7fELF", [])]


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (library.SWITCH, "off", "switched off by EVO_NAS_KERNELS"),
        ("CC", "no-such-compiler", "there is no C compiler no-such-compiler; install one"),
        ("CC", "false", "the C compiler failed: exit code 1"),
        ("CC", "cc --no-such-option", "the C compiler failed: cc: error: .*no-such-option"),
        ("CC", "cc '", "could not be compiled or loaded: No closing quotation"),
    ],
)
def test_without_them_it_says_why(name: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    found = trust.why_not()
    assert found is not None
    assert re.search(reason, found), found
    assert not trust.are_there(torch.zeros(1))


@pytest.fixture
def installed(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a wheel's libraries, that of the poorer instruction set for float, where no compiler is."""
    assert isinstance(library.library("float"), ctypes.CDLL)
    (made,) = fresh.iterdir()
    (folder := tmp_path / "installed" / "built").mkdir(parents=True)
    made.rename(folder / "kernels-x86-64-v3-float.so")
    monkeypatch.setattr(builds, "SOURCES", folder.parent)
    monkeypatch.setenv("CC", "no-such-compiler")
    library.library.cache_clear()
    return folder


def test_those_of_a_wheel_need_no_compiler(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "_processor_flags", lambda: builds.LEVELS["x86-64-v3"])
    found = library.library("float")
    assert isinstance(found, ctypes.CDLL)
    assert found._name == str(installed / "kernels-x86-64-v3-float.so")
    assert trust.why_not() is None
    assert "there is no C compiler" in str(library.library("double"))


def test_the_processor_chooses_among_those_of_a_wheel(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poorer, better = (installed / f"kernels-{level}-float.so" for level in ("x86-64-v3", "x86-64-v4"))
    better.touch()
    for flags, chosen in (
        (builds.LEVELS["x86-64-v4"], better),
        (builds.LEVELS["x86-64-v4"] - {"avx512vl"}, poorer),
        (builds.LEVELS["x86-64-v3"] - {"fma"}, None),
    ):
        monkeypatch.setattr(builds, "_processor_flags", lambda flags=flags: flags)
        assert builds.find_library("float") == chosen


def test_a_damaged_one_of_a_wheel_is_compiled(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "_processor_flags", lambda: builds.LEVELS["x86-64-v3"])
    (installed / "kernels-x86-64-v3-float.so").write_bytes(b"\x7fELF")
    assert "there is no C compiler" in str(library.library("float"))


def test_the_flags_of_this_processor_are_read() -> None:
    has_flags = sys.platform == "linux" and platform.machine() == "x86_64"
    assert bool(builds._processor_flags()) is has_flags


@pytest.mark.usefixtures("fresh")
def test_a_compiler_that_does_not_know_the_processor_by_itself_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picky = tmp_path / "picky"
    picky.write_text(
        """#!/bin/sh\ncase "$*" in *=native*) echo "error: what is native?" >&2; exit 1;; esac\nexec cc "$@"\n"""
    )
    picky.chmod(0o700)
    monkeypatch.setenv("CC", str(picky))
    assert trust.why_not() is None


@pytest.mark.usefixtures("fresh")
def test_what_computes_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "FLAGS", (*library.FLAGS, "-D__builtin_sqrt="))
    assert trust.why_not() == "the kernels, as they were compiled here, do not compute what torch computes"
    assert not trust.are_there(torch.zeros(1))


def test_where_the_cache_cannot_be_written_they_are_kept_among_temporary_files(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh.parent.mkdir()
    fresh.write_text("a file in its place")
    monkeypatch.setattr(library, "spare_cache", lambda: tmp_path / "evo_nas-0")
    (tmp_path / "evo_nas-0").mkdir(mode=0o700)
    assert trust.why_not() is None
    assert len(list(tmp_path.glob("evo_nas-*/kernels-*.so"))) == 1
