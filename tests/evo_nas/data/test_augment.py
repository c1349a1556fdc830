"""Each function is held to a naive loop that draws the same random numbers."""

import pytest
import torch

from evo_nas.data.augment import augment, cutout, normalise, random_crop, random_flip, shrink

FORMATS = [torch.contiguous_format, torch.channels_last]


def batch(memory_format: torch.memory_format, n: int = 40, channels: int = 3, size: int = 12) -> torch.Tensor:
    images = torch.randn((n, channels, size, size + 2), generator=torch.Generator().manual_seed(5)) + 10
    return images.contiguous(memory_format=memory_format)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(11)


@pytest.mark.parametrize("memory_format", FORMATS)
def test_normalise_is_the_formula_of_each_channel(memory_format: torch.memory_format) -> None:
    images = torch.randint(0, 256, (6, 3, 5, 5), dtype=torch.uint8).contiguous(memory_format=memory_format)
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.4)
    result = normalise(images, mean, std)
    for channel in range(3):
        expected = (images[:, channel].double() / 255 - mean[channel]) / std[channel]
        torch.testing.assert_close(result[:, channel].double(), expected, atol=2e-6, rtol=2e-6)
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=memory_format)
    half = normalise(images, mean, std, torch.float16)
    torch.testing.assert_close(half, result.half())


def test_normalise_refuses_other_numbers_of_channels_and_no_deviation() -> None:
    images = torch.zeros((1, 3, 4, 4), dtype=torch.uint8)
    with pytest.raises(ValueError, match="3 channels need as many means and stds, not 1 and 3"):
        normalise(images, (0.5,), (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="must be positive, not 0"):
        normalise(images, (0.5,) * 3, (1.0, 0.0, 1.0))


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("padding", [0, 1, 4])
def test_random_crop_is_a_window_of_the_padded_image(
    padding: int, channels: int, memory_format: torch.memory_format
) -> None:
    images = batch(memory_format, channels=channels)
    result = random_crop(images, padding, generator())
    offsets = torch.randint(2 * padding + 1, (2, len(images)), generator=generator())
    for image, cropped, top, left in zip(images, result, *offsets.tolist(), strict=True):
        padded = torch.zeros(channels, 12 + 2 * padding, 14 + 2 * padding)
        padded[:, padding : padding + 12, padding : padding + 14] = image
        assert (cropped == padded[:, top : top + 12, left : left + 14]).all()
    assert result.is_contiguous(memory_format=memory_format)
    assert set(offsets.flatten().tolist()) == set(range(2 * padding + 1))  # every offset, both ends included


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
def test_random_flip_mirrors_about_half(channels: int, memory_format: torch.memory_format) -> None:
    images = batch(memory_format, channels=channels)
    result = random_flip(images, generator())
    flips = (torch.rand(len(images), generator=generator()) < 0.5).tolist()
    for image, flipped, flip in zip(images, result, flips, strict=True):
        for column in range(14):
            assert (flipped[:, :, column] == image[:, :, 13 - column if flip else column]).all()
    assert 10 <= sum(flips) <= 30
    assert result.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("length", [0, 1, 4, 5, 30])
def test_cutout_is_a_clipped_square(length: int, memory_format: torch.memory_format) -> None:
    images = batch(memory_format)
    result = cutout(images, length, generator())
    draws = torch.rand((2, len(images)), generator=generator())
    for image, cut, y, x in zip(images, result, *draws.tolist(), strict=True):
        top, left = int(y * 12) - length // 2, int(x * 14) - length // 2
        for row in range(12):
            for column in range(14):
                inside = top <= row < top + length and left <= column < left + length
                assert (cut[:, row, column] == (0 if inside else image[:, row, column])).all()
    assert result.is_contiguous(memory_format=memory_format)


def test_nothing_is_changed_in_place() -> None:
    images = batch(torch.channels_last)
    before = images.clone()
    augment(images, generator(), cutout_length=6)
    assert (images == before).all()


def test_uint8_images_can_be_augmented() -> None:
    images = torch.randint(1, 256, (8, 3, 16, 16), dtype=torch.uint8)
    result = augment(images, generator(), cutout_length=4)
    assert (result.dtype, result.shape) == (torch.uint8, images.shape)


def test_augment_crops_by_an_eighth_flips_and_cuts_out() -> None:
    images = batch(torch.channels_last, size=32)
    draws = generator()
    expected = cutout(random_flip(random_crop(images, 4, draws), draws), 16, draws)
    assert (augment(images, generator(), cutout_length=16) == expected).all()
    assert (augment(images, generator(), padding=0, flip=False) == images).all()


def test_shrunken_images_keep_their_mean_and_format() -> None:
    images = batch(torch.channels_last, size=32)
    small = shrink(images, 16)
    assert small.shape == (*images.shape[:2], 16, 16)
    assert small.is_contiguous(memory_format=torch.channels_last)
    flat = torch.full((1, 3, 32, 32), 0.25)
    torch.testing.assert_close(shrink(flat, 20), torch.full((1, 3, 20, 20), 0.25))
    assert shrink(flat, 32) is flat


def test_same_seed_gives_the_same_batch() -> None:
    images = batch(torch.channels_last)
    assert (augment(images, generator()) == augment(images, generator())).all()
    assert (augment(images, generator()) != augment(images, torch.Generator().manual_seed(12))).any()


def test_negative_extents_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 0 pixels, not -1"):
        random_crop(batch(torch.channels_last), -1, generator())
    with pytest.raises(ValueError, match="at least 0 pixels, not -1"):
        cutout(batch(torch.channels_last), -1, generator())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cpu_generator_gives_the_same_crops_on_the_gpu() -> None:
    images = batch(torch.channels_last)
    on_gpu = augment(images.cuda(), generator(), cutout_length=4)
    assert on_gpu.is_contiguous(memory_format=torch.channels_last)
    assert (on_gpu.cpu() == augment(images, generator(), cutout_length=4)).all()
