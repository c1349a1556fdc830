"""The latency of candidates as they are deployed: which spaces have one, and who measures or predicts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evo_nas.errors import DataError
from evo_nas.evaluators.deployment import METRICS, Deployment, measure_deployment, require_runtime, write_model
from evo_nas.evaluators.devices.client import Device
from evo_nas.evaluators.devices.timing import Timing, describe_device, time_in_turns
from evo_nas.evaluators.groundwork import build_once
from evo_nas.evaluators.latency_table import LatencyTable, measure_table, read_table, spell_table
from evo_nas.phenotypes.kinds import brings_network, build_network, kind_of
from evo_nas.phenotypes.onnx.network import draw_graph
from evo_nas.phenotypes.onnx.pieces import Piece, count_pieces
from evo_nas.phenotypes.plan import MACROS
from evo_nas.system.atomic import write_whole
from evo_nas.system.links import refuse_links
from evo_nas.system.text import read_text
from genotypes.cell import CellPair
from genotypes.genotype import Genotype, shorten
from genotypes.space import SearchSpace

TABLE: Final = "latency-table.json"
"""Name of the file, in a run's folder, with the latencies of pieces."""

_FORMAT: Final = 1
"""Version of tables and of how they are measured."""

_DRAWN: Final = 64
"""Networks drawn from a space, whose pieces are the table's."""

_WHOLE: Final = 8
"""How many of them are timed whole."""

_FEW_CELLS: Final = 2
"""Normal cells a stack, or one more where that is odd, with which a network has every piece that it has with more.

Where cells read but the last but one, whether their number is odd decides which of them are read.
"""


@dataclass(frozen=True)
class Deployed:
    """Candidates of a space at their final size, as ``deployment`` uses them; ``macro`` is for pairs of cells."""

    space: SearchSpace
    deployment: Deployment
    macro: str
    size: Mapping[str, int]

    def refuse(self) -> None:
        """Raise if networks of the space cannot be timed as they are deployed.

        Raises:
            ValueError: naming what is missing, or what they are not.
        """
        if brings_network(self.space):
            raise ValueError(
                f"the space {self.space.name} brings networks of its own, for which no ort_latency is known"
            )
        if self.macro not in MACROS:
            raise ValueError(f"deploy_macro must be one of {', '.join(MACROS)}, not {shorten(self.macro)!r}")
        if self.macro != "cifar" and kind_of(self.space) is not CellPair:
            raise ValueError(f"the networks of {self.space.name} have no macro-architecture {self.macro}")
        require_runtime(self.space.decode(self.space.sample(np.random.default_rng(0))))

    def measure(self, genotype: Genotype, *, workers: int) -> dict[str, float]:
        """Time a candidate on this machine, as :func:`measure_deployment` does."""
        return measure_deployment(self._build(genotype), self.deployment, workers=workers)

    def measure_at(self, url: str, device: str, genotype: Genotype) -> dict[str, float]:
        """Time a candidate on the machine of an agent, which described itself as ``device``.

        Raises:
            DataError: if it cannot be measured there, or the machine is another one.
        """
        content = write_model(self._build(genotype), self.deployment)
        timing = _ask(url, device, content, self.deployment)
        return dict(zip(METRICS, (timing.latency, timing.spread, float(timing.is_noisy)), strict=True))

    def predict(self, genotype: Genotype, table: LatencyTable) -> dict[str, float]:
        """Predict the latency of a candidate, as :meth:`LatencyTable.predict` does; nothing is timed."""
        return table.predict(self.count_pieces(genotype))

    def count_pieces(self, genotype: Genotype) -> Counter[Piece]:
        """Return how often each piece occurs in the graph of a candidate."""
        network, how = self._build(genotype).eval(), self.deployment
        return count_pieces(*draw_graph(network, channels=how.channels, image=how.image_size))

    def open_table(self, folder: Path, hear: Callable[[str], None], agent: tuple[str, str] | None) -> LatencyTable:
        """Return the table in a run's folder, which gets one if it has none: from the cache, or measured now.

        ``agent`` is the address of the agent that measures, and how it describes itself; ``None`` for this machine.

        Raises:
            DataError: if it cannot be measured or kept, is damaged, or is the table of something else.
        """
        key = {"format": _FORMAT, "space": self.space.spelling, "macro": self.macro, "size": dict(self.size)}
        key["deployment"] = asdict(self.deployment)
        refuse_links(folder, [TABLE])
        path = folder / TABLE
        if not path.exists():
            device = describe_device() if agent is None else agent[1]

            def build(place: Path) -> None:
                write_whole(place / TABLE, spell_table(self.measure_table(hear, agent), key))

            place = build_once("latency-table", {**key, "device": device}, build, hear)
            write_whole(path, read_text(place / TABLE))
        return read_table(path, key)

    def measure_table(self, hear: Callable[[str], None], agent: tuple[str, str] | None = None) -> LatencyTable:
        """Draw networks of the space, and measure the table of all their pieces, here or by an agent.

        Raises:
            DataError: if the agent cannot measure them, or the machine is another one.
        """
        rng = np.random.default_rng(0)
        drawn = [self.space.sample(rng) for _ in range(_DRAWN)]
        cells = self.size["cells_per_stack"]
        few = replace(self, size={**self.size, "cells_per_stack": min(cells, _FEW_CELLS + cells % 2)})
        hear(f"latency table: drawing {_DRAWN} networks of {self.space.name}")
        pieces = Counter(piece for genotype in drawn for piece in few.count_pieces(genotype))
        networks = []
        for genotype in drawn[:_WHOLE]:
            counts = self.count_pieces(genotype)
            pieces.update(counts)
            networks.append((write_model(self._build(genotype), self.deployment), counts))
        hear(f"latency table: timing {len(pieces)} pieces, and {len(networks)} networks whole")
        if agent is None:
            device, time_all = describe_device(), self._time_here
        else:
            device, time_all = agent[1], lambda contents: self._time_at(agent, contents, hear)
        table, error = measure_table(pieces, networks, time_all, device)
        hear(f"latency table: its sums differ from the latencies of these networks by {100 * error:.1f} % (mean)")
        return table

    def _time_here(self, contents: Sequence[bytes]) -> NDArray[Any]:
        return time_in_turns(contents, self.deployment.settings)

    def _time_at(self, agent: tuple[str, str], contents: Sequence[bytes], hear: Callable[[str], None]) -> NDArray[Any]:
        """Have an agent time models; return one round."""
        seconds: list[float] = []
        for content in contents:
            seconds.append(_ask(*agent, content, self.deployment).latency)
            if len(seconds) % 50 == 0:
                hear(f"latency table: {len(seconds)} of {len(contents)} timed")
        return np.array([seconds])

    def _build(self, genotype: Genotype) -> Any:
        """Build a network; the training's random numbers are left as they are."""
        import torch

        size: dict[str, Any] = dict(self.size)
        if kind_of(self.space) is CellPair:
            size["macro"] = self.macro
        shape = {"channels": self.deployment.channels, "image_size": self.deployment.image_size}
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            return build_network(self.space, genotype, **shape, **size)


def _ask(url: str, device: str, content: bytes, deployment: Deployment) -> Timing:
    """Have the agent that described itself as ``device`` time a model.

    Raises:
        DataError: if it cannot be measured there, or the machine is another one.
    """
    timing = Device(url).measure(content, deployment.settings)
    if timing.device != device:
        raise DataError(f"the device {url} is now {timing.device}, and this part of the run began with {device}")
    return timing
