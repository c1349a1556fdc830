"""What oneDNN gets wrong is not asked of it, and what else it may get wrong is found before it counts."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from evo_nas.commands.export.standalone import standalone
from evo_nas.phenotypes import onednn
from evo_nas.phenotypes.blueprint import CellBlueprint
from evo_nas.phenotypes.fast.kernels import library, trust
from evo_nas.phenotypes.fast.network import FastNetwork
from evo_nas.phenotypes.fast.shortcuts import apply
from evo_nas.phenotypes.fast.states import HiddenState, layers_of
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.phenotypes.onednn import SafeConvolutions, conv2d, guard_convolutions
from evo_nas.phenotypes.ops import OPS, SameConv2d
from evo_nas.training.devices import seed_torch, warn_of_faults
from genotypes.catalogue import build_space
from genotypes.cell import CellPair

pytestmark = pytest.mark.slow

BACKWARD = torch.ops.aten.convolution_backward.default


class StridedPointwise(TorchDispatchMode):
    """Counts the calls of which oneDNN would write past its memory, and all gradients of convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.found = self.gradients = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is BACKWARD:
            self.gradients += 1
            self.found += tuple(args[2].shape[2:]) == (1, 1) and max(args[4]) > 1
        return func(*args, **(kwargs or {}))


def counted(forward: Callable[[], Tensor]) -> StridedPointwise:
    with StridedPointwise() as calls:
        forward().square().sum().backward()  # type: ignore[no-untyped-call]
    return calls


def test_the_counter_sees_what_it_is_there_for() -> None:
    weight = torch.randn(4, 16, 1, 1, requires_grad=True)  # so many channels do no harm
    assert counted(lambda: F.conv2d(torch.randn(2, 16, 8, 8), weight, stride=2)).found == 1
    assert counted(lambda: conv2d(torch.randn(2, 16, 8, 8), weight, stride=(2, 2))).found == 0


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("name", OPS)
def test_no_operation_asks_for_it(name: str, kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernels:
        monkeypatch.setattr(trust, "are_there", lambda x: False)
    for inputs, filters in ((3, 4), (4, 4)):
        module = OPS[name](inputs, filters, 2)
        x = torch.randn(2, inputs, 9, 9, requires_grad=True)
        assert not counted(lambda m=module, x=x: m(x)).found  # type: ignore[misc]
        assert not counted(lambda m=module, x=x: HiddenState(x).through(layers_of(m))).found  # type: ignore[misc]


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("name", ["nasnet", "nasnet(combines=concat)", "amoebanet", "darts", "pnas"])
def test_no_network_asks_for_it(name: str, kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernels:
        monkeypatch.setattr(trust, "are_there", lambda x: False)
    space, rng = build_space(name), np.random.default_rng(0)
    for _ in range(4):
        cells = space.decode(space.sample(rng))
        assert isinstance(cells, CellPair)
        network = CellNetwork(cells, cells_per_stack=1, filters=2, classes=3, auxiliary_image=16)
        for forward in (network.forward_both, FastNetwork(network).both_logits):
            calls = counted(lambda f=forward: torch.cat(f(torch.randn(2, 3, 16, 16))))  # type: ignore[misc]
            assert not calls.found


def test_no_exported_module_asks_for_it(tmp_path: Path) -> None:
    space = build_space("nasnet")
    rng = np.random.default_rng(1)
    gradients = 0
    for _ in range(4):
        cells = space.decode(space.sample(rng))
        assert isinstance(cells, CellPair)
        namespace: dict[str, Any] = {}
        exec(compile(standalone(CellBlueprint(cells, 1, 2, classes=("a", "b"))), "module", "exec"), namespace)
        network = namespace["Network"]()
        calls = counted(lambda n=network: n(torch.randn(2, 3, 16, 16)))  # type: ignore[misc]
        assert not calls.found
        gradients += calls.gradients
    assert gradients


class Foreign(nn.Module):
    """A network that is none of ours, with strided 1x1 convolutions in all the ways that torch takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(3, 4, 1, 2),
                nn.Conv2d(3, 4, 1, (1, 2), padding=1, bias=False),
                nn.Conv2d(3, 6, 1, 3, padding="valid", groups=3),
                nn.Conv2d(3, 4, 1, 2, padding=1, padding_mode="reflect"),
                nn.Conv2d(3, 4, 3, padding="same"),
                nn.Conv2d(3, 4, 3, 2, padding=1, dilation=2),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        pooled = [layer(x).flatten(1) for layer in self.layers]
        direct = F.conv2d(x[0], self.layers[0].weight, None, 2).flatten().expand(len(x), -1)  # without a batch
        return torch.cat([*pooled, direct], 1)


def test_networks_of_others_compute_the_same_without_asking_for_it() -> None:
    torch.manual_seed(0)
    network = Foreign().double()
    twin = deepcopy(network)
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    plain = twin(x)
    plain.square().sum().backward()
    calls = counted(lambda: FastNetwork(network).logits(x))
    assert not calls.found
    assert calls.gradients
    with SafeConvolutions():
        assert torch.allclose(network(x), plain, rtol=0, atol=1e-9)
    for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, rtol=0, atol=1e-9)


def test_only_networks_that_may_need_it_pay_for_safety() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, 2), SameConv2d(4, 3, (1, 1), (2, 2)))
    assert not isinstance(guard_convolutions(plain), SafeConvolutions)
    for other in (nn.Conv2d(4, 4, 1, (1, 2)), Foreign()):
        assert isinstance(guard_convolutions(nn.Sequential(plain, other)), SafeConvolutions)


@pytest.mark.parametrize("stride", [(2, 2), (3, 3), (1, 2), (2, 1)])
@pytest.mark.parametrize("size", [1, 2, 7, 8])
def test_a_strided_pointwise_convolution_is_exact(stride: tuple[int, int], size: int) -> None:
    """Against torch's own in float64, which never goes through oneDNN: plain and by shortcut, with gradients."""
    torch.manual_seed(0)
    layer = nn.Conv2d(5, 3, 1, stride, bias=False).double()
    x = torch.randn(2, 5, size, size, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(x, layer.weight, None, stride)
    direction = torch.randn_like(expected)
    truth = torch.autograd.grad(expected, (x, layer.weight), direction)
    ours = SameConv2d(5, 3, (1, 1), stride).double()
    ours.weight = layer.weight
    for y in (ours(x), apply(ours, [x[:, :2], x[:, 2:]])):
        assert torch.allclose(y, expected, rtol=0, atol=1e-9)
        for mine, theirs in zip(torch.autograd.grad(y, (x, layer.weight), direction), truth, strict=True):
            assert torch.allclose(mine, theirs, rtol=0, atol=1e-9)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forget all verdicts, now and afterwards."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for kept in (onednn.why_not, trust.why_not, library.library):
        kept.cache_clear()
    return tmp_path


@pytest.fixture(autouse=True)
def forget() -> Any:
    """Leave no verdict of a test to the next one."""
    yield
    for kept in (onednn.why_not, trust.why_not, library.library):
        kept.cache_clear()


PROGRAM = """
import torch
from evo_nas.phenotypes import onednn, ops
if {unguarded}:
    onednn.conv2d = torch.nn.functional.conv2d
print(onednn.why_not())
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN's kernels for AVX2 are those of x86")
@pytest.mark.parametrize("unguarded", [False, True])
def test_the_check_finds_the_known_fault_and_nothing_else(tmp_path: Path, unguarded: bool) -> None:
    """Held to AVX2, oneDNN corrupts the heap in the strided 1x1 convolutions that ours go around."""
    variables = {"ONEDNN_MAX_CPU_ISA": "AVX2", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(unguarded=unguarded)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    if not unguarded:
        assert done.stdout == "None\n"
    elif done.stdout == "None\n":
        pytest.skip("this release of oneDNN, or this processor, does not have the fault")
    else:
        assert "crashed" in done.stdout or "is wrong" in done.stdout


@pytest.mark.usefixtures("fresh")
def test_a_convolution_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(x: Tensor, weight: Tensor, *arguments: Any) -> Tensor:
        y = conv2d(x, weight, *arguments)
        return y * 1.01 if x.dtype == torch.float32 and weight.shape[2:] == (7, 1) else y

    monkeypatch.setattr(onednn, "conv2d", wrong)
    fault = onednn.why_not()
    assert fault == "a 7x1 convolution of 1 to 4 channels, stride 1, dilation 1, 1 groups, is wrong"


@pytest.mark.usefixtures("fresh")
def test_what_is_at_fault_is_not_used_and_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cpu = torch.device("cpu")
    warn_of_faults(cpu)
    assert not caplog.messages
    with seed_torch(0, cpu, 1):
        assert torch.backends.mkldnn.enabled
    for kept in (onednn.why_not, trust.why_not):
        kept.cache_clear()
    monkeypatch.setattr(onednn, "find_fault", lambda name, probe: "it crashed (SIGSEGV) in the self-check")
    monkeypatch.setattr(trust, "find_fault", lambda name, probe, depends: "it crashed (SIGILL) in the self-check")
    warn_of_faults(cpu)
    assert caplog.messages == [
        "warning: trainings go without the compiled kernels, and take longer: it crashed (SIGILL) in the self-check",
        "warning: trainings go without oneDNN, and take longer: it crashed (SIGSEGV) in the self-check",
    ]
    assert not trust.are_there(torch.zeros(1))
    with seed_torch(0, cpu, 1):
        assert not torch.backends.mkldnn.enabled
    assert torch.backends.mkldnn.enabled
    warn_of_faults(torch.device("cuda"))
    assert len(caplog.messages) == 2


@pytest.mark.usefixtures("fresh")
def test_a_machine_without_a_compiler_is_told_how_to_have_kernels(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    warn_of_faults(torch.device("cpu"))
    assert caplog.messages == [
        "warning: trainings go without the compiled kernels, and take longer: there is no C compiler no-such-compiler; "
        "install one, or name it by the environment variable CC, or install evo_nas from a wheel that carries them"
    ]
    monkeypatch.setenv(library.SWITCH, "off")
    for kept in (trust.why_not, library.library):
        kept.cache_clear()
    warn_of_faults(torch.device("cpu"))
    assert len(caplog.messages) == 1


@pytest.mark.usefixtures("fresh")
def test_a_machine_on_which_the_check_cannot_run_goes_the_safe_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> int:
        raise OSError(11, "Resource temporarily unavailable")

    library.library("float")
    monkeypatch.setattr(os, "fork", full)
    assert onednn.why_not() == "the self-check could not run: Resource temporarily unavailable"
    assert trust.fault() == "the self-check could not run: Resource temporarily unavailable"
    assert not trust.are_there(torch.zeros(1))


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("word", ["AVX3", "", "avx 2"])
def test_a_word_that_onednn_does_not_know_is_named(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", word)
    fault = onednn.why_not()
    assert fault is not None
    assert fault.startswith(f"ONEDNN_MAX_CPU_ISA is {word!r}, which oneDNN does not know")


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("word", ["AVX2", "avx2", "AVX512_CORE", "ALL"])
def test_a_word_that_onednn_knows_is_none_of_our_business(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", word)
    assert onednn.why_not() is None


@pytest.mark.usefixtures("fresh")
def test_a_switch_that_cannot_be_read_is_named_and_there_are_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.SWITCH, "of")
    assert trust.fault() == "EVO_NAS_KERNELS is 'of': write on or off"
    assert not trust.are_there(torch.zeros(1))
    for word, wanted in (("off", False), ("ON", True), ("", True)):
        monkeypatch.setenv(library.SWITCH, word)
        for kept in (trust.why_not, library.library):
            kept.cache_clear()
        assert trust.fault() is None
        assert trust.are_there(torch.zeros(1)) is wanted or isinstance(library.library("float"), str)
