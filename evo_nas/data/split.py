"""Stratified draws of labelled images: splits into train and validation, and subsets."""

from __future__ import annotations

import numpy as np

from evo_nas.errors import UsageError


def hold_out(labels: np.ndarray, validation: int, train: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the images to train on, at most ``train`` (0 for all), and of those held out, if any.

    Raises:
        UsageError: as :func:`split_indices` and :func:`subset_indices`.
    """
    labels = np.asarray(labels)
    rest, held = np.arange(len(labels)), np.arange(0)
    if validation:
        rest, held = split_indices(labels, validation, seed)
    return (rest[subset_indices(labels[rest], train, seed)] if 0 < train < len(rest) else rest), held


def split_indices(labels: np.ndarray, validation: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split image indices into train and validation: disjoint, together all, each sorted, int64.

    ``labels`` is an integer array of shape (n,), ``validation`` the number of images to hold out. Each class gives its
    share, up to rounding (largest remainders); one with at least 2 images stands on both sides, one with a single image
    on the train side. Which images of a class are held out is drawn from ``seed`` alone.

    Raises:
        UsageError: if the number cannot be met with every class on both sides.
    """
    labels = np.asarray(labels)
    _, members, counts = np.unique(labels, return_inverse=True, return_counts=True)
    lowest = np.where(counts >= 2, 1, 0)
    highest = np.maximum(counts - 1, 0)
    if lowest.sum() == 0:
        raise UsageError(f"no class has the 2 images that a split needs ({len(labels)} images, {len(counts)} classes)")
    if not lowest.sum() <= validation <= highest.sum():
        raise UsageError(
            f"{validation} of {len(labels)} images cannot be held out for validation: with every class on both sides "
            f"it must be {lowest.sum()} to {highest.sum()}; choose another validation_images, such as "
            f"{max(lowest.sum(), highest.sum() // 2)}"
        )
    held = _draw_quotas(members, _shares(counts, lowest, highest, validation), seed)
    return np.flatnonzero(~held).astype(np.int64), np.flatnonzero(held).astype(np.int64)


def subset_indices(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Return the sorted indices of ``size`` random images, int64 of shape (size,).

    ``labels`` is an integer array of shape (n,). Each class gives its share, up to rounding (largest remainders), and
    at least one image. Which images of a class are drawn depends on ``seed`` alone.

    Raises:
        UsageError: if there are fewer images than ``size``, or more classes.
    """
    labels = np.asarray(labels)
    _, members, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if not 1 <= len(counts) <= size <= len(labels):
        raise UsageError(
            f"{size} of {len(labels)} images cannot be drawn for training: with every class among them it must be "
            f"{len(counts)} to {len(labels)}; choose another train_images, such as {len(labels)}"
        )
    shares = _shares(counts, np.ones_like(counts), counts, size)
    return np.flatnonzero(_draw_quotas(members, shares, seed)).astype(np.int64)


def _draw_quotas(members: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """Return a random draw of each class's quota as a mask of shape (n,); ``members`` holds the class of each image."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(len(members), dtype=bool)
    for label, share in enumerate(shares):
        (indices,) = np.nonzero(members == label)
        mask[rng.permutation(indices)[:share]] = True
    return mask


def _shares(counts: np.ndarray, lowest: np.ndarray, highest: np.ndarray, total: int) -> np.ndarray:
    """Apportion ``total`` to the classes by their counts, by largest remainders, each within its bounds."""
    quotas = counts * (total / counts.sum())
    shares: np.ndarray = np.clip(np.floor(quotas).astype(np.int64), lowest, highest)
    # Each turn moves the class that is furthest from its quota by one; there are about as many turns as classes.
    while (missing := total - int(shares.sum())) != 0:
        step = 1 if missing > 0 else -1
        movable = shares < highest if missing > 0 else shares > lowest
        shares[np.argmax(np.where(movable, step * (quotas - shares), -np.inf))] += step
    return shares
