"""A donor: what another search found, as knowledge for a search that begins."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from genotypes.genotype import Genotype


@dataclass(frozen=True, slots=True)
class Donor:
    """Different networks that another search trained, in the order told, and the fitness that each has there.

    That search may have had other data, another budget or another preset: what its fitnesses mean for this one is to be
    found out. ``name`` is that of its run folder.

    Raises:
        ValueError: if there is no network, or not a fitness for each.
    """

    name: str
    genotypes: tuple[Genotype, ...]
    fitnesses: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.genotypes:
            raise ValueError(f"the donor {self.name} has no network with a fitness")
        if len(self.genotypes) != len(self.fitnesses):
            raise ValueError(f"{len(self.genotypes)} networks have a fitness each, not {len(self.fitnesses)}")

    def list_best(self) -> list[Genotype]:
        """Return the networks, the best first; of equals the one that was told first."""
        order = sorted(range(len(self.genotypes)), key=lambda index: -self.fitnesses[index])
        return [self.genotypes[index] for index in order]

    def limit(self, most: int) -> Donor:
        """Return the donor with at most so many of its networks: one half are its best, the others the last told."""
        if len(self.genotypes) <= most:
            return self
        order = sorted(range(len(self.genotypes)), key=lambda index: -self.fitnesses[index])
        best, others = order[: most // 2], sorted(order[most // 2 :])
        kept = sorted([*best, *others[len(best) - most :]])
        return Donor(self.name, tuple(self.genotypes[i] for i in kept), tuple(self.fitnesses[i] for i in kept))


def keep_spelling(donors: Iterable[Donor], spelling: str) -> list[Donor]:
    """Return the donors with their networks of one space alone; those that have none are left out."""
    kept = []
    for donor in donors:
        pairs = zip(donor.genotypes, donor.fitnesses, strict=True)
        if own := [pair for pair in pairs if pair[0].space == spelling]:
            kept.append(Donor(donor.name, *zip(*own, strict=True)))
    return kept


def require_whole(donors: Iterable[Donor], spelling: str) -> tuple[Donor, ...]:
    """Return the donors with their networks of the space itself, for a strategy that can use no smaller ones.

    Raises:
        ValueError: if there is none.
    """
    if whole := tuple(keep_spelling(donors, spelling)):
        return whole
    raise ValueError(f"the other runs trained no whole network of the space {spelling}, only smaller ones")


def list_best_of_all(donors: Sequence[Donor]) -> list[Genotype]:
    """Return the different networks of several donors: the best of each, then the second of each, and so on."""
    rounds = itertools.zip_longest(*(donor.list_best() for donor in donors))
    found = dict.fromkeys(itertools.chain.from_iterable(rounds))
    return [genotype for genotype in found if genotype is not None]
