import numpy as np
import pytest
from PIL import Image

from evo_nas.data.sources.base import pixels


def test_halving_is_the_mean_over_two_by_two_pixels() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    means = picture.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    # Pillow rounds twice, once an axis. A nearest or unfiltered bilinear neighbour would be off by dozens.
    assert np.abs(pixels(Image.fromarray(picture), 16, 3) - means).max() <= 1


def test_picture_that_is_not_square_is_squeezed_whole() -> None:
    picture = np.zeros((4, 8), dtype=np.uint8)
    picture[:, 4:] = 200
    assert pixels(Image.fromarray(picture), 4, 1)[..., 0].tolist() == [[0, 0, 200, 200]] * 4


def test_growing_is_smooth() -> None:
    ramp = np.tile(np.linspace(0, 255, 8).astype(np.uint8), (8, 1))
    row = pixels(Image.fromarray(ramp), 32, 1)[16, :, 0].astype(int)
    assert len(set(row.tolist())) > 16
    assert (np.diff(row) >= 0).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_picture_becomes_grey_or_colour(mode: str, channels: int) -> None:
    array = pixels(Image.new(mode, (5, 5)), None, channels)
    assert (array.shape, array.dtype) == ((5, 5, channels), np.uint8)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    deep = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)
    assert pixels(Image.fromarray(deep), None, 1).ravel().tolist() == [0, 1, 128, 255]


def test_grey_becomes_colour_with_equal_channels() -> None:
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4)
    assert (pixels(Image.fromarray(grey), None, 3) == grey[..., None]).all()
