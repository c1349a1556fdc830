"""Augmentation policies in a training: what they do to images and labels, and that a resume draws the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from evo_nas.cli import main
from evo_nas.data.policies import GROUP, Policies, draw_from
from evo_nas.data.stream import Stream
from evo_nas.training.classification import Classification
from evo_nas.training.loop import Examples, Training
from evo_nas.training.recipes import Recipe

RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=0.1, padding=1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def examples(count: int = 32, channels: int = 3) -> Examples:
    images = torch.randint(0, 256, (count, channels, 8, 8), dtype=torch.uint8, generator=generator(1))
    grey = (0.5,) * channels
    return Examples(images.contiguous(memory_format=torch.channels_last), torch.arange(count) % 4, grey, grey, 4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["randaugment", "trivialaugment"])
def test_images_are_changed_in_groups(name: str, channels: int) -> None:
    images = examples(channels=channels).images
    images[: 2 * GROUP] = images[0]
    changed = Policies.read(name).change_images(images, (0.5,) * channels, generator(3))
    assert changed.dtype == torch.uint8
    assert changed.shape == images.shape
    assert changed.is_contiguous(memory_format=torch.channels_last)
    assert (changed[:GROUP] == changed[0]).all()
    assert (changed != images).any()
    other = Policies.read(name).change_images(images, (0.5,) * channels, generator(4))
    assert (changed != other).any()


@pytest.mark.parametrize("name", ["mixup", "cutmix", "mixup,cutmix"])
def test_labels_are_mixed_as_the_images_are(name: str) -> None:
    images = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 16, 16).clone()  # each is its class
    mixed, shares = Policies.read(name).mix_images(images, torch.arange(4), 4, generator(5))
    assert shares.sum(1).tolist() == pytest.approx([1.0] * 4)
    assert (shares.max(1).values < 1).any()
    means = mixed.mean((1, 2, 3))
    torch.testing.assert_close(means, shares @ torch.arange(4.0))


def test_what_is_drawn_depends_on_the_generator_alone() -> None:
    seen = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        recipe = replace(RECIPE, policy="trivialaugment,cutmix")
        seen.append(list(examples().draw_batches(16, recipe, generator())))
        assert torch.equal(torch.get_rng_state(), before)
    for (images, shares), (again, same) in zip(*seen, strict=True):
        assert torch.equal(images, again)
        assert torch.equal(shares, same)
        assert shares.shape == (16, 4)
    with draw_from(generator()):
        first = torch.rand(1)
    with draw_from(generator(1)):
        assert torch.rand(1) != first


def test_without_a_policy_nothing_more_is_drawn() -> None:
    drawn = generator()
    images, labels = next(examples().draw_batches(16, replace(RECIPE, padding=0, flip=False), drawn))
    order = torch.randperm(32, generator=(alike := generator()))[:16]
    assert labels.dtype == torch.int64
    assert torch.equal(labels, examples().labels[order])
    assert torch.equal(images, examples().batch(order)[0])
    torch.randint(1, (2, 16), generator=alike)  # the offsets of crops
    assert torch.equal(drawn.get_state(), alike.get_state())


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 64, 4))


def test_a_resumed_training_draws_the_same() -> None:
    recipe = replace(RECIPE, policy="randaugment,mixup", label_smoothing=0.1, class_weights="1,2,3,4")
    data = examples()

    def begin() -> Training:
        return Training(network(), Classification.of(recipe, data.labels), recipe, generator())

    whole = begin()
    losses = [epoch.loss for epoch in whole.epochs(data, None)]
    first = begin()
    next(first.epochs(data, None))
    state = {name: tensor.clone() for name, tensor in first.state().items()}
    torch.manual_seed(99)
    second = begin()
    second.restore(state, 1)
    assert [epoch.loss for epoch in second.epochs(data, None)] == losses[1:]
    for name, tensor in whole.state().items():
        assert torch.equal(second.state()[name], tensor), name


@pytest.mark.parametrize("weights", ["none", "balanced", "1,2,3,4"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_whole_shares_are_labels(weights: str, smoothing: float) -> None:
    images, labels = torch.randn(9, 3, 8, 8, generator=generator()), torch.tensor([0, 0, 0, 0, 1, 1, 2, 3, 3])
    task = Classification(label_smoothing=smoothing, class_weights=weights, labels=labels)
    plain = network().eval()
    shares = functional.one_hot(labels, 4).float()
    torch.testing.assert_close(task.loss(plain, (images, shares)), task.loss(plain, (images, labels)))


def test_streamed_pictures_take_policies_too(tmp_path: Path) -> None:
    paths = []
    for number in range(4):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (12, 10), (60 * number, 90, 20)).save(paths[-1])
    stream = Stream(paths, torch.arange(4), 8, torch.device("cpu"), classes=4)

    def draw(policy: str) -> tuple[torch.Tensor, torch.Tensor]:
        return next(stream.draw_batches(4, replace(RECIPE, policy=policy), generator(2)))

    (plain, labels), (changed, shares) = draw("none"), draw("trivialaugment,mixup")
    assert labels.shape == (4,)
    assert shares.shape == (4, 4)
    assert changed.shape == plain.shape
    assert not torch.equal(changed, plain)
    assert torch.equal(draw("trivialaugment,mixup")[0], changed)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (
            "autoaugment",
            "there is no policy 'autoaugment'; there are: randaugment, trivialaugment, mixup, cutmix, or none",
        ),
        ("mixup,mixup", "names one twice"),
        ("randaugment,trivialaugment", "exclude each other"),
        ("", "there is no policy ''"),
    ],
)
def test_unknown_policies_are_one_line(policy: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--cell", "darts-v2", "--dataset", "digits", "--policy", policy]) == 2
    err = capsys.readouterr().err
    assert reason in err
    assert err.count("\n") == 1


def test_detectors_take_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    size = ["--set", "backbone=thin", "--image-size", "64", "--train-images", "8", "--validation-images", "8"]
    command = ["train", "--neck", "fpn", "--dataset", "plates", *size]
    for setting, reason in (
        ("policy=mixup", "policies are for classifiers"),
        ("class_weights=balanced", "class_weights are for classifiers"),
        ("smallest_image=32", "smallest_image is for classifiers"),
    ):
        assert main([*command, "--set", setting]) == 2
        assert reason in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
