"""Significance of differences between groups of runs: rank test, effect size, and what follows in words.

One value a run, larger is better. Every pair of groups is tested with the two-sided test of Mann and Whitney (1947),
which assumes nothing of how the values are spread; over all pairs together the probability of a single false alarm is
held by the correction of Holm (1979). How large an effect is says the measure of Vargha and Delaney (2000).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.comparison.wording import join_phrases, join_words, probability

Floats = NDArray[np.float64]

ALPHA: Final = 0.05
"""Two groups count as told apart if their corrected p is at most this."""

EFFECTS: Final = ((0.71, "large"), (0.64, "medium"), (0.56, "small"))
"""From which superiority on, whichever side it is on, an effect has which name (Vargha and Delaney 2000)."""

_EXACT: Final = 10_000
"""Pairs of runs up to which the exact distribution is looked up: beyond, it takes seconds, for a third digit."""

_PARTITIONS: Final = 20_000
"""Ways to share out tied values of which all are gone through: 8 runs against 8, and a little more."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two groups compared.

    ``seeds`` is how many runs each has. ``difference`` is the mean of the first minus that of the second, a fraction,
    ``None`` where a run found nothing. ``superiority`` is the probability that a run of the first beats one of the
    second, ties counted half. ``p`` is the two-sided probability of Mann and Whitney, ``p_holm`` after the correction
    over all pairs, and ``least`` the smallest ``p_holm`` that so many seeds can give at all. ``unlike`` says what must
    not differ and does: then nothing is tested, and these five are ``None``.
    """

    first: str
    second: str
    seeds: tuple[int, int]
    difference: float | None = None
    superiority: float | None = None
    p: float | None = None
    p_holm: float | None = None
    least: float | None = None
    unlike: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """``apart``, ``not apart``, ``too few`` (no outcome could have told them apart), or ``unlike``."""
        if self.p_holm is None or self.least is None:
            return "unlike"
        if self.least > ALPHA:
            return "too few"
        return "apart" if self.p_holm <= ALPHA else "not apart"

    @property
    def names(self) -> str:
        """Both names, in a sentence."""
        return f"{self.first} and {self.second}"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: the fields, with the verdict and the name of the effect."""
        return {
            "first": self.first,
            "second": self.second,
            "seeds": list(self.seeds),
            "difference": self.difference,
            "superiority": self.superiority,
            "effect": None if self.superiority is None else effect(self.superiority),
            "p": self.p,
            "p_holm": self.p_holm,
            "least_p_holm": self.least,
            "verdict": self.verdict,
            "unlike": list(self.unlike),
        }


def superiority(first: Floats, second: Floats) -> float:
    """Return the probability that a value of the first is larger than one of the second, ties counted half."""
    signs = np.sign(first[:, None] - second[None, :])
    return float((signs.mean() + 1) / 2)


def effect(superiority: float) -> str:
    """Name the size of an effect: ``large``, ``medium``, ``small`` or ``negligible``."""
    # Rounded, because 0.5 plus the distance from it is not quite the number that it was.
    distance = round(0.5 + abs(superiority - 0.5), 12)
    return next((name for least, name in EFFECTS if distance >= least), "negligible")


def rank_test(first: Floats, second: Floats) -> float:
    """Return the two-sided p of Mann and Whitney.

    It is exact up to 100 runs each without ties, and with ties as long as there are few ways to share the values out;
    else it is that of the normal limit, corrected for ties and for continuity.
    """
    # Loaded here, so that tables come without scipy.
    from scipy import stats

    both = np.concatenate([first, second])
    if len(np.unique(both)) == 1:
        return 1.0
    if len(np.unique(both)) == len(both) and len(first) * len(second) <= _EXACT:
        return float(stats.mannwhitneyu(first, second, method="exact").pvalue)
    if math.comb(len(both), len(first)) > _PARTITIONS:
        return float(stats.mannwhitneyu(first, second, method="asymptotic").pvalue)
    # scipy's exact distribution knows no ties. Twice the ranks are whole numbers, whose sums compare exactly.
    ranks = (2 * stats.rankdata(both)).astype(int).tolist()
    sums = np.array([sum(chosen) for chosen in combinations(ranks, len(first))])
    met = sum(ranks[: len(first)])
    return min(1.0, 2 * min(float((sums <= met).mean()), float((sums >= met).mean())))


def smallest_p(first: int, second: int) -> float:
    """Return the smallest p that so many runs can give: that of all of one group being better than all of the other."""
    return min(1.0, 2 / math.comb(first + second, first))


def holm(values: Sequence[float]) -> list[float]:
    """Correct p values for their number (Holm 1979): the smallest times n, the next times n - 1, never falling."""
    corrected, last = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        last = max(last, min(1.0, values[index] * (len(values) - rank)))
        corrected[index] = last
    return corrected


def count_needed_seeds(pairs: int) -> int:
    """Return the smallest number of seeds of every group with which each of so many pairs could be told apart."""
    return next(n for n in range(2, 1000) if pairs * smallest_p(n, n) <= ALPHA)


def pairs_of(
    values: Mapping[str, Floats], unlike: Mapping[tuple[str, str], tuple[str, ...]] | None = None
) -> list[Pair]:
    """Compare every two groups, in the order given. ``values``: name -> one value per run, NaN if it found nothing.

    A run that found nothing is worse than any that found something. ``unlike`` says of pairs (in that order) why they
    are not to be tested; the correction counts those that are.
    """
    unlike = unlike or {}
    every = list(combinations(values, 2))
    tested = [pair for pair in every if not unlike.get(pair)]
    ranked = {name: np.nan_to_num(value, nan=-1.0) for name, value in values.items()}
    raw = [rank_test(ranked[a], ranked[b]) for a, b in tested]
    corrected = dict(zip(tested, zip(raw, holm(raw), strict=True), strict=True))
    # Corrected p never fall if any p rises, so that of the smallest ones is a bound for every pair at once.
    least = dict(zip(tested, holm([smallest_p(len(values[a]), len(values[b])) for a, b in tested]), strict=True))
    pairs = []
    for pair in every:
        first, second = (values[name] for name in pair)
        seeds = (len(first), len(second))
        if pair not in corrected:
            pairs.append(Pair(*pair, seeds, unlike=unlike[pair]))
            continue
        difference = float(first.mean() - second.mean())
        p, p_holm = corrected[pair]
        pairs.append(
            Pair(
                *pair,
                seeds,
                None if math.isnan(difference) else difference,
                superiority(ranked[pair[0]], ranked[pair[1]]),
                p,
                p_holm,
                least[pair],
            )
        )
    return pairs


def conclusions(pairs: Sequence[Pair]) -> list[str]:
    """Return in sentences what may be concluded from pairs, and what may not."""
    by_verdict: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_verdict.setdefault(pair.verdict, []).append(pair)
    said = []
    if unlike := by_verdict.get("unlike"):
        shown = join_phrases([f"{pair.names} ({join_words(pair.unlike)})" for pair in unlike])
        said.append(f"Not tested, because their fitness is not measured alike: {shown}.")
    tested = len(pairs) - len(unlike or ())
    apart = by_verdict.get("apart", ())
    said += [_apart(pair, tested) for pair in apart[:_SENTENCES]]
    if left := apart[_SENTENCES:]:
        said.append(f"Told apart too: {join_phrases([pair.names for pair in left])}.")
    if same := by_verdict.get("not apart"):
        shown = join_phrases([f"{pair.names} ({probability(pair.p_holm or 0.0)})" for pair in same])
        said.append(f"Not told apart: {shown}. That shows neither that one is better nor that they are equal.")
    few: dict[tuple[int, ...], list[Pair]] = {}
    for pair in by_verdict.get("too few", ()):
        few.setdefault(tuple(sorted(pair.seeds)), []).append(pair)
    said += [_too_few(seeds, group, len(group) == len(pairs), tested) for seeds, group in few.items()]
    return said


_SENTENCES: Final = 6
"""Pairs that were told apart and get a sentence of their own."""


def _apart(pair: Pair, tested: int) -> str:
    """Return for a pair which is better, how surely, and by how much."""
    assert pair.superiority is not None
    assert pair.p_holm is not None
    swapped = pair.superiority < 0.5
    better, worse = (pair.second, pair.first) if swapped else (pair.first, pair.second)
    ahead = 1 - pair.superiority if swapped else pair.superiority
    corrected = f", corrected for {tested} pairs" if tested > 1 else ""
    text = f"{better} ends better than {worse} ({probability(pair.p_holm)}{corrected}): "
    text += f"one run beats another in {_percent(ahead)} of cases, a {effect(ahead)} effect"
    if pair.difference is None:
        return f"{text}."
    points = 100 * (-pair.difference if swapped else pair.difference)
    return f"{text}, and its mean is {abs(points):.2f} percentage points {'higher' if points >= 0 else 'lower'}."


def _too_few(seeds: tuple[int, ...], pairs: Sequence[Pair], is_all: bool, tested: int) -> str:
    """Return for pairs that no outcome could have told them apart, and what could."""
    low, high = seeds
    if high == 1:
        who = "One run each" if is_all else f"One run each of {join_phrases([pair.names for pair in pairs])}"
        return f"{who}: differences may be luck. Repeat with other seeds to know."
    count = f"{high} seeds each" if low == high else f"{low} and {high} seeds"
    who = "" if is_all else f" about {join_phrases([pair.names for pair in pairs])}"
    least = min(pair.least or 1.0 for pair in pairs)
    corrected = f" after the correction for {tested} pairs" if tested > 1 else ""
    text = (
        f"{count} are not enough to say anything{who}: even if all runs of one were better than all of the other, "
        f"p would be {least:.2g}{corrected}. It is possible with {count_needed_seeds(tested)} seeds each."
    )
    whole = [pair for pair in pairs if pair.superiority in (0.0, 1.0)]
    if not whole:
        return text
    shown = [f"{p.first} over {p.second}" if p.superiority == 1.0 else f"{p.second} over {p.first}" for p in whole]
    return f"{text} That all runs were better, as for {join_words(shown)}, is a reason for more seeds and no result."


def _percent(share: float) -> str:
    """Write a share; one that only rounds to all is not all."""
    return "100 %" if share == 1.0 else f"{min(share, 0.99):.0%}".replace("%", " %")
