"""The command detect: what it prints, writes and draws, and what becomes of files that are no images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from evo_nas.cli import main
from evo_nas.commands.detect import name_pictures
from evo_nas.phenotypes.blueprint import DetectorBlueprint, save_network
from tests.evo_nas.data.boxes.sets import write_picture

QUICK = ["--device", "cpu", "--threads", "1", "--score", "0.005", "--most", "3"]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with the weights of a detector, ``w.safetensors``, and two images in ``photos``."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    blueprint = DetectorBlueprint(
        classes=("cat", "a\x1b[31m bird"),
        channels=1,
        image=64,
        mean=(0.5,),
        std=(0.2,),
        backbone="thin",
        neck="none",
        width=8,
        repeats=1,
        depth=0,
        finest_stride=4,
    )
    save_network(Path("w.safetensors"), blueprint, blueprint.network().state_dict())
    write_picture(Path("photos/b.png"), (40, 20))
    write_picture(Path("photos/below/b.jpg"), (20, 30))
    return tmp_path


def test_images_get_a_row_a_picture_and_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", "w.safetensors", "photos", *QUICK, "-o", "found"]) == 0
    out, err = capsys.readouterr()
    heading, first, second, total, *places = out.splitlines()
    assert heading.split() == ["image", "objects", "classes"]
    assert (first.split()[:2], second.split()[:2]) == (["photos/b.png", "3"], ["photos/below/b.jpg", "3"])
    assert total.startswith("all 2 images ")
    assert places == ["detections: found/detections.json", "pictures: 2 in found"]
    assert "\x1b" not in out
    assert err == ""
    results = json.loads(Path("found/detections.json").read_text())
    assert [each["image_id"] for each in results] == [1, 1, 1, 2, 2, 2]
    for each, (width, height) in zip(results, [(40, 20)] * 3 + [(20, 30)] * 3, strict=True):
        x, y, w, h = each["bbox"]
        assert min(x, y) >= 0
        assert min(w, h) > 0
        assert (x + w, y + h) <= (width + 0.02, height + 0.02)
        assert each["category_name"] == ("cat", "a\x1b[31m bird")[each["category_id"] - 1]
        assert 0.005 < each["score"] < 1
    assert results[0]["file_name"] == "photos/b.png"
    for name, shape in (("b.png", (900, 450)), ("b-2.png", (600, 900))):
        with Image.open(Path("found", name)) as picture:
            assert picture.size == shape
    assert main(["detect", "w.safetensors", "photos", *QUICK, "-o", "found", "--pictures", "0"]) == 0  # once more


def test_json_tells_size_and_objects_and_a_broken_file_does_not_stop_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("photos/a.png").write_bytes(b"no image")
    assert main(["detect", "w.safetensors", "photos", *QUICK, "--json", "-o", "found", "--pictures", "1"]) == 4
    out, err = capsys.readouterr()
    assert "1 of 3 images cannot be read: photos/a.png" in err
    assert err.count("\n") == 1
    broken, first, second = json.loads(out)["images"]
    assert set(broken) == {"image", "fault"}
    assert (first["width"], first["height"], len(first["objects"])) == (40, 20, 3)
    assert first["picture"] == "found/b.png"
    assert "picture" not in second
    assert {each["image_id"] for each in json.loads(Path("found/detections.json").read_text())} == {1, 2}


def test_only_broken_files_leave_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/a.png").write_bytes(b"no image")
    assert main(["detect", "w.safetensors", "photos/a.png", *QUICK, "-o", "found"]) == 4
    assert capsys.readouterr().out == "detections: found/detections.json\n"
    assert json.loads(Path("found/detections.json").read_text()) == []


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["w.safetensors"], 2, "name images or folders of them, or a set with boxes"),
        (["w.safetensors", "photos", "--part", "test"], 2, "--part is of --dataset NAME"),
        (["w.safetensors", "photos", "--dataset", "voc"], 2, "either images or --dataset NAME"),
        (["w.safetensors", "--dataset", "voc", "--part", "all"], 2, "there is no part 'all'"),
        (["w.safetensors", "--dataset", "cifar10"], 2, "there is no data set with boxes 'cifar10'"),
        (["w.safetensors", "--dataset", "voc", "--data-dir", "photos"], 4, "photos"),
        (["w.safetensors", "photos", "-o", "full"], 2, "full is not empty, and holds no detections.json"),
        (["w.safetensors", "photos", "-o", "w.safetensors"], 2, "is a file: name a folder with -o"),
        (["w.safetensors", "mine", "-o", "mine"], 2, "mine/a.png lies in mine, where pictures are written"),
        (["w.safetensors", "missing.png"], 4, "there is no image or folder missing.png"),
        (["missing.safetensors", "photos"], 4, "there is no file of weights"),
        (["photos/b.png", "photos"], 4, "holds no weights that can be read"),
        (["w.safetensors", "photos", "--device", "tpu"], 2, "unknown device"),
    ],
)
def test_bad_input_is_one_line(words: list[str], code: int, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(Path("full/a.png"))
    write_picture(Path("mine/a.png"))
    Path("mine/detections.json").write_text("[]")
    assert main(["detect", *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
    assert err.splitlines()[-1].startswith("evo_nas: ")
    assert "Traceback" not in err
    assert not Path("detections").exists()


def test_pictures_of_one_name_are_numbered() -> None:
    images = [Path(name) for name in ("a/x.jpg", "b/X.png", "b/x-2.png", "c/x.png")]
    assert name_pictures(images) == ["x.png", "X-2.png", "x-2-2.png", "x-3.png"]
