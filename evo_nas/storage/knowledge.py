"""Knowledge of other runs: read from their folders once, and kept in the folder of the run that learns from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from evo_nas.errors import RunFolderError, UsageError
from evo_nas.storage.opening import describe_damage
from evo_nas.storage.reader import HistoryReader
from evo_nas.storage.run_folder import RunFolder
from evo_nas.system.text import read_text
from genotypes.donor import Donor
from genotypes.genotype import Genotype, GenotypeError, shorten
from genotypes.plain import readable
from genotypes.space import SearchSpace

_VERSION: Final = 1

_KEPT: Final = 2_000
"""Networks that are kept of a donor: one half are its best, the others the last that it told."""


def read_donor(path: Path, space: SearchSpace) -> tuple[Donor, int]:
    """Return what the run in a folder found in a space, and how many of its networks are not of that space.

    A network that was trained several times counts once, with the mean of its fitnesses.

    Raises:
        RunFolderError: if there is no run, it is still running, damaged, or has no trial that succeeded.
        UsageError: if no network of it is of the space.
    """
    folder = RunFolder.existing(path)
    if holder := folder.holder():
        raise RunFolderError(f"the run {path} is in use by {holder}: to learn from it, wait for it or stop it")
    fitnesses: dict[str, list[float]] = {}
    genotypes: dict[str, Genotype] = {}
    foreign: dict[str, str] = {}  # key of a network that is not of the space -> its space
    with HistoryReader.read(folder.history) as history:
        for id, key, text, fitness in history.read_successes():
            if key not in genotypes and key not in foreign:
                try:
                    genotypes[key] = Genotype.parse(text)
                except GenotypeError as error:
                    raise describe_damage(folder.history, f"at trial {id}: {error}") from None
                if not _contains(space, genotypes[key]):
                    foreign[key] = genotypes.pop(key).space
            if key in genotypes:
                fitnesses.setdefault(key, []).append(fitness)
    if not genotypes and not foreign:
        raise RunFolderError(f"there is nothing to learn from the run {path}: no trial of it has succeeded")
    if not genotypes:
        other = shorten(next(iter(foreign.values())), 200)
        raise UsageError(
            f"the run {path} searched the space {other}, and nothing of that is in the space {space.spelling}: learn "
            "from runs in the same space"
        )
    means = {key: sum(values) / len(values) for key, values in fitnesses.items()}
    donor = Donor(readable(path.absolute().name), tuple(genotypes.values()), tuple(means[key] for key in genotypes))
    return donor.limit(_KEPT), len(foreign)


def _contains(space: SearchSpace, genotype: Genotype) -> bool:
    try:
        space.check(genotype)
    except GenotypeError:
        return False
    return True


def spell_knowledge(donors: Iterable[Donor]) -> str:
    """Write donors as the text of ``knowledge.json``; :func:`read_knowledge` reads it back."""
    records = [{"run": donor.name, "digest": digest(donor), "trials": _trials(donor)} for donor in donors]
    return json.dumps({"version": _VERSION, "donors": records}) + "\n"


def read_knowledge(folder: RunFolder, space: SearchSpace) -> tuple[Donor, ...]:
    """Return the donors that a run folder keeps.

    Raises:
        RunFolderError: if the file is missing or damaged.
    """
    path = folder.knowledge
    try:
        record = json.loads(read_text(path))
        if record["version"] != _VERSION:
            raise ValueError(f"it has version {record['version']}, and this evo_nas reads {_VERSION}")
        donors = tuple(_read_record(one, space) for one in record["donors"])
        if not donors:
            raise ValueError("it holds nothing")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunFolderError(
            f"{path} is missing or damaged, and a search that learns from other runs cannot be resumed without it: "
            f"{shorten(str(error), 200)}; put it back from a copy"
        ) from None
    return donors


def _read_record(record: Any, space: SearchSpace) -> Donor:
    """Return the donor of a record.

    Raises:
        ValueError: if it is not what was written.
    """
    genotypes = tuple(Genotype.parse(text) for text, _ in record["trials"])
    donor = Donor(str(record["run"]), genotypes, tuple(float(fitness) for _, fitness in record["trials"]))
    if digest(donor) != record["digest"]:
        raise ValueError(f"the digest of {shorten(donor.name)} is not that of its trials")
    for genotype in genotypes:
        space.check(genotype)
    return donor


def digest(donor: Donor) -> str:
    """Return the SHA-256 of a donor's networks and fitnesses, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(_trials(donor)).encode()).hexdigest()


def _trials(donor: Donor) -> list[tuple[str, float]]:
    return list(zip(map(str, donor.genotypes), donor.fitnesses, strict=True))


def fingerprint(donors: Sequence[Donor]) -> dict[str, str]:
    """Return a digest for each donor, by its number and name."""
    return {f"run learned from, {number}: {donor.name}": digest(donor) for number, donor in enumerate(donors, start=1)}
