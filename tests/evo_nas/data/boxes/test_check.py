from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evo_nas.cli import main
from evo_nas.data.boxes.base import Annotation
from evo_nas.data.boxes.check import check_boxes, count_boxes
from evo_nas.data.boxes.source import open_boxes
from tests.evo_nas.data.boxes.sets import coco_content, spell_annotation

Make = Callable[..., Path]


def test_unknown_names_bring_all_that_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "--dataset", "vok"]) == 2
    assert "digits, folder, and with boxes scenes, plates, voc, coco" in capsys.readouterr().err


def test_boxes_are_counted_by_class_and_size() -> None:
    areas = np.array([1023, 1024, 9215, 9216, 5])
    image = Annotation("a", (200, 200), np.zeros((5, 4)), np.array([0, 0, 1, 1, 1]), np.arange(5) == 4, areas)
    assert count_boxes([image], ("x", "y")).tolist() == [[2, 1, 1, 0, 0], [2, 0, 1, 1, 1]]


def test_a_sound_set_is_described(make_voc: Make) -> None:
    report = check_boxes("voc", make_voc())
    assert report.sound
    assert report.lines[1:] == (
        "train: 4 images (1 without boxes), 4 boxes in 2 classes",
        "  class     boxes     small    medium     large   ignored",
        "  cat           2         2         0         0         0",
        "  dog           2         1         1         0         0",
        "test: 1 images (0 without boxes), 1 boxes in 1 classes",
        "  class     boxes     small    medium     large   ignored",
        "  cat           1         1         0         0         0",
        "val: no part of its own; a fifth of the train images by default, which the seed decides",
    )


def test_all_faults_are_named_at_once(make_voc: Make, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_voc()
    (root / "Annotations" / "a.xml").write_text("<annotation>")
    (root / "Annotations" / "b.xml").unlink()
    (root / "JPEGImages" / "c.png").write_bytes(b"")
    (root / "Annotations" / "e.xml").write_text(spell_annotation([("cow", 1, 1, 9, 9)]))
    assert main(["data", "check", "--dataset", "voc", "--data-dir", str(root)]) == 4
    out, error = capsys.readouterr()
    assert "train: 1 images (0 without boxes), 1 boxes in 2 classes; only what can be read; no box of cat" in out
    assert "test: 1 images (0 without boxes), 1 boxes in 1 classes\n" in out
    assert error.count("\n") == 1
    for words in ("a.xml is no XML", "there is no", "c.png cannot be decoded"):
        assert words in error


def test_parts_of_other_classes_are_a_fault(make_coco: Make) -> None:
    other = coco_content()
    other["categories"][0]["name"] = "wolf"
    report = check_boxes("coco", make_coco({"train": coco_content(), "test": other}))
    (fault,) = report.faults
    assert "the test part has other classes than the train part: wolf, dog are in only one of them" in fault


@pytest.mark.parametrize("packs", ["folder", "content", "flat"])
def test_an_archive_is_fetched_whole(make_voc: Make, tmp_path: Path, packs: str) -> None:
    import shutil

    root = make_voc()
    if packs == "flat":
        for path in [*(root / "JPEGImages").iterdir(), *(root / "Annotations").iterdir()]:
            path.rename(root / path.name)
        for name in ("JPEGImages", "Annotations", "ImageSets"):
            shutil.rmtree(root / name)
    archive = shutil.make_archive(
        str(tmp_path / "packed"), "zip", tmp_path if packs == "folder" else root, "voc" if packs == "folder" else None
    )
    words = ["data", "fetch", "--dataset", "voc", "--data-dir", str(tmp_path / "data"), "--archive", archive]
    assert main(words) == 0
    assert main(words) == 0  # it is there already
    assert len(open_boxes("voc", tmp_path / "data", canvas=16).train) > 0


def test_an_archive_of_json_is_fetched_whole(make_coco: Make, tmp_path: Path) -> None:
    import shutil

    make_coco()
    archive = shutil.make_archive(str(tmp_path / "packed"), "gztar", tmp_path, "coco")
    assert main(["data", "fetch", "--dataset", "coco", "--data-dir", str(tmp_path / "data"), "--archive", archive]) == 0
    assert len(open_boxes("coco", tmp_path / "data", canvas=16).test) == 3


def test_a_damaged_set_in_an_archive_is_not_taken_over(
    make_voc: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    (make_voc() / "Annotations" / "a.xml").unlink()
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "voc")
    assert main(["data", "fetch", "--dataset", "voc", "--data-dir", str(tmp_path / "data"), "--archive", archive]) == 4
    assert "nothing was taken over" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
