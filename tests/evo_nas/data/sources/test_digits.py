import numpy as np

from evo_nas.data.sources.digits import Digits


def test_last_fifth_of_each_class_is_the_test_part() -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    source = Digits()
    found = {part: (next(source.batches(part, 8, 1)), source.labels(part)) for part in ("train", "test")}
    for digit in range(10):
        greys = np.rint(bunch.images[bunch.target == digit] * 255 / 16).astype(np.uint8)
        cut = len(greys) - len(greys) // 5
        for part, expected in (("train", greys[:cut]), ("test", greys[cut:])):
            images, labels = found[part]
            assert (images[labels == digit][..., 0] == expected).all()


def test_parts_are_all_the_digits_in_full_range() -> None:
    train, test = (next(Digits().batches(part, 8, 1)) for part in ("train", "test"))
    assert (len(train), len(test)) == (1442, 355)
    assert (train.min(), train.max()) == (0, 255)


def test_digits_grow_to_another_size_and_to_colour() -> None:
    assert next(Digits().batches("test", 16, 3)).shape == (355, 16, 16, 3)
