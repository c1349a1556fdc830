"""How well surrogates extrapolate: the protocol of Liu et al. 2017, section 5.1 and table 1, on a landscape.

For each size b, a sample of 256 random cells (136 of one block: all there are) is scored, with noise. A surrogate is
fitted level by level; its rank correlation is taken on what it was just fitted on, and on other random cells of the
next size, without their noise. Each repetition has a landscape and samples of its own. The paper repeats on
trained networks; its numbers, quoted without its text at hand, are printed beside ours.

    python -m benchmarks.pnas_correlation --repetitions 20
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from benchmarks.landscape import Interactions
from genotypes.genotype import Genotype
from genotypes.spaces.growing import GrowingSpace
from genotypes.spaces.pnas import PNASSpace
from strategies.models.lstm_surrogate import Surrogate
from strategies.progressive import ProgressiveSearch, rank_correlation

METHODS = {"MLP": ("mlp", 1), "RNN": ("lstm", 1), "MLP-ensemble": ("mlp", 5), "RNN-ensemble": ("lstm", 5)}
PAPER = {
    "MLP": (0.938, 0.113, 0.857, 0.450, 0.714, 0.469, 0.641, 0.444),
    "RNN": (0.970, 0.198, 0.996, 0.424, 0.693, 0.401, 0.787, 0.413),
    "MLP-ensemble": (0.975, 0.164, 0.786, 0.532, 0.634, 0.504, 0.645, 0.468),
    "RNN-ensemble": (0.972, 0.164, 0.906, 0.418, 0.801, 0.465, 0.579, 0.424),
}
"""The table of the paper: fit on b, then prediction of b + 1, for b from 1 to 4."""
TESTED = 500
"""Cells of the next size that are predicted."""


def different(space: GrowingSpace, n: int, rng: np.random.Generator) -> list[Genotype]:
    """Draw n different cells, their blocks spelled in order."""
    cells: dict[str, Genotype] = {}
    while len(cells) < n:
        genotype = space.sample(rng)
        blocks = np.reshape(genotype.choices, (space.blocks, -1))
        ordered = [block if space.in_order(block) else block[[1, 0, 3, 2]] for block in blocks]
        genotype = space.genotype(np.ravel(ordered).tolist())
        cells.setdefault(space.key(genotype), genotype)
    return list(cells.values())


def repeat(seed: int, epochs: int) -> dict[str, list[float]]:
    """Run the protocol once: method -> eight correlations, in the order of the table."""
    space = PNASSpace()
    landscape = Interactions(landscape=seed)
    landscape.bind(space)
    rng = np.random.default_rng(seed)
    choices, scores, unseen, truths = {}, {}, {}, {}
    for b in range(1, 6):
        cells = different(space.at(b), 136 if b == 1 else 256, rng)
        choices[b] = np.reshape([cell.choices for cell in cells], (-1, b, 4))
        scores[b] = [landscape.truth(cell) + landscape.noise * rng.standard_normal() for cell in cells]
        others = different(space.at(b), TESTED, rng) if b > 1 else cells
        unseen[b] = np.reshape([cell.choices for cell in others], (-1, b, 4))
        truths[b] = [landscape.truth(cell) for cell in others]
    rows: dict[str, list[float]] = {}
    for method, (kind, members) in METHODS.items():
        own = np.random.default_rng([seed, members])
        surrogate = Surrogate(space.last_block(5), kind, members, epochs, own)
        rows[method] = []
        for b in range(1, 5):
            surrogate.fit(choices[b], scores[b], own)
            for cells_, values in ((choices[b], scores[b]), (unseen[b + 1], truths[b + 1])):
                rows[method].append(rank_correlation(surrogate.predict(cells_).mean(0), values) or 0.0)
    return rows


def main() -> None:
    """Print the table, ours with the standard deviation over the repetitions, and the paper's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=ProgressiveSearch.epochs)
    arguments = parser.parse_args()
    start = time.process_time()
    repetitions = [repeat(seed, arguments.epochs) for seed in range(arguments.repetitions)]
    heads = [f"{word} b={b + shift}" for b in range(1, 5) for word, shift in (("fit", 0), ("predict", 1))]
    print(f"| method | {' | '.join(heads)} |")
    print(f"|{' --- |' * 9}")
    for method in METHODS:
        values = np.array([rows[method] for rows in repetitions])
        cells = [f"{mean:.2f} +- {sd:.2f}" for mean, sd in zip(values.mean(0), values.std(0), strict=True)]
        print(f"| {method} | {' | '.join(cells)} |")
        print(f"| the paper's | {' | '.join(f'{value:.2f}' for value in PAPER[method])} |")
    print(f"n = {arguments.repetitions} landscapes, mean and sd; {time.process_time() - start:.0f} s of CPU")


if __name__ == "__main__":
    main()
