import numpy as np
import pytest

from evo_nas.data.split import split_indices, subset_indices
from evo_nas.errors import UsageError

BALANCED = np.repeat(np.arange(10), 50)
SKEWED = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [1, 2, 3, 40, 400]))


@pytest.mark.parametrize("labels", [BALANCED, SKEWED], ids=["balanced", "skewed"])
@pytest.mark.parametrize("validation", [10, 50, 200, 440])
def test_split_is_a_partition_with_every_class_on_both_sides(labels: np.ndarray, validation: int) -> None:
    train, held = split_indices(labels, validation, 0)
    assert sorted([*train, *held]) == list(range(len(labels)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(held) > 0).all()
    assert train.dtype == held.dtype == np.int64
    for label, count in enumerate(np.bincount(labels)):
        assert (labels[train] == label).sum() >= 1
        assert (labels[held] == label).sum() >= (count >= 2)
    assert len(held) == validation


def test_each_class_gives_its_share() -> None:
    labels = np.repeat(np.arange(10), 5000)
    train, held = split_indices(labels, 5000, 3)
    assert np.bincount(labels[held]).tolist() == [500] * 10
    assert len(train) == 45_000
    assert np.bincount(SKEWED[split_indices(SKEWED, 112, 0)[1]]).tolist()[3:] == [10, 100]


def test_largest_remainders_get_what_rounding_left() -> None:
    labels = np.repeat(np.arange(3), [10, 16, 14])  # shares of 2.5, 4 and 3.5
    assert np.bincount(labels[split_indices(labels, 10, 0)[1]]).tolist() == [3, 4, 3]


def test_seed_alone_decides_which_images_are_held_out() -> None:
    assert split_indices(SKEWED, 134, 1)[1].tolist() == split_indices(SKEWED, 134, 1)[1].tolist()
    assert split_indices(SKEWED, 134, 1)[1].tolist() != split_indices(SKEWED, 134, 2)[1].tolist()


def test_split_is_permanent() -> None:
    """Histories compare only runs with the same split: if this must change, say so in the changelog."""
    assert split_indices(np.repeat([0, 1], 8), 4, 0)[1].tolist() == [2, 4, 10, 14]


@pytest.mark.parametrize("number", [0, 9, 491, 500, -1])
def test_number_that_cannot_be_met_is_refused_with_the_possible_ones(number: int) -> None:
    with pytest.raises(UsageError, match=rf"^{number} of 500 images .* 10 to 490; choose .* such as 245$"):
        split_indices(BALANCED, number, 0)


@pytest.mark.parametrize("labels", [[], [0, 1, 2]])
def test_classes_of_one_image_cannot_be_split(labels: list[int]) -> None:
    with pytest.raises(UsageError, match="no class has the 2 images"):
        split_indices(np.array(labels, dtype=np.int64), 1, 0)


@pytest.mark.parametrize(("labels", "size"), [(BALANCED, 10), (BALANCED, 123), (SKEWED, 5), (SKEWED, 6), (SKEWED, 445)])
def test_subset_has_its_size_and_every_class(labels: np.ndarray, size: int) -> None:
    drawn = subset_indices(labels, size, 0)
    assert drawn.dtype == np.int64
    assert len(drawn) == size
    assert (np.diff(drawn) > 0).all()
    assert set(labels[drawn]) == set(labels)


def test_subset_keeps_the_shares_of_the_classes() -> None:
    labels = np.repeat([2, 5, 9], [10, 16, 14])  # shares of 2.5, 4 and 3.5; some classes do not exist
    assert np.unique(labels[subset_indices(labels, 10, 0)], return_counts=True)[1].tolist() == [3, 4, 3]


def test_subset_of_all_images_is_all_of_them() -> None:
    assert subset_indices(SKEWED, len(SKEWED), 3).tolist() == list(range(len(SKEWED)))


def test_seed_alone_decides_which_images_are_drawn() -> None:
    assert subset_indices(SKEWED, 40, 1).tolist() == subset_indices(SKEWED, 40, 1).tolist()
    assert subset_indices(SKEWED, 40, 1).tolist() != subset_indices(SKEWED, 40, 2).tolist()
    assert subset_indices(np.repeat([0, 1], 8), 4, 0).tolist() == [2, 4, 10, 14]  # permanent, as the split is


@pytest.mark.parametrize("size", [-1, 0, 9, 501])
def test_subset_that_cannot_be_drawn_is_refused_with_the_possible_sizes(size: int) -> None:
    with pytest.raises(UsageError, match=rf"^{size} of 500 images .* 10 to 500; choose .* such as 500$"):
        subset_indices(BALANCED, size, 0)


def test_there_is_no_subset_of_no_images() -> None:
    with pytest.raises(UsageError, match=r"^0 of 0 images"):
        subset_indices(np.array([], dtype=np.int64), 0, 0)
