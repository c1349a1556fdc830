import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from evo_nas.data.boxes.source import locate_boxes, open_boxes
from evo_nas.data.boxes.voc import read_annotation
from evo_nas.errors import DataError
from tests.evo_nas.data.boxes.sets import spell_annotation, write_picture

Make = Callable[..., Path]


def test_corners_count_from_one(make_voc: Make) -> None:
    boxes = open_boxes("voc", make_voc(), canvas=20)
    assert boxes.classes == ("cat", "dog")
    assert len(boxes.train) + len(boxes.val) == 4
    source = locate_boxes("voc", make_voc(root="other"))
    first = source.annotations("train")[0]
    assert first.boxes.tolist() == [[10, 5, 20, 15], [0, 0, 40, 30]]
    assert first.areas.tolist() == [100, 1200]
    assert boxes.train.canvas == boxes.val.canvas == 20


def test_a_zero_corner_counts_from_zero(make_voc: Make) -> None:
    root = make_voc({"train": {"a": [("cat", 0, 3, 10, 9)], "b": [("cat", 1, 3, 10, 9)]}, "test": {"e": []}})
    images = locate_boxes("voc", root).annotations("train")
    assert [image.boxes.tolist() for image in images] == [[[0, 3, 10, 9]], [[0, 2, 10, 9]]]
    (note,) = locate_boxes("voc", root).notes("train")
    assert "1 file has a corner at 0 and so count from 0, others from 1 (a)" in note


def test_difficult_objects_are_ignored(make_voc: Make) -> None:
    root = make_voc()
    (root / "Annotations" / "c.xml").write_text(spell_annotation([("cat", 1, 1, 9, 9)], difficult=1))
    assert [image.ignored.tolist() for image in locate_boxes("voc", root).annotations("train")] == [
        [False, False],
        [],
        [True],
        [False],
    ]


def test_boxes_without_size_and_outside_are_dropped_with_a_count(make_voc: Make) -> None:
    wrong = [
        ("cat", 5, 5, 5, 9),
        ("cat", 9, 5, 5, 9),
        ("cat", 50, 5, 60, 9),
        ("cat", 30, 5, 60, 9),
        ("cat", 1, 1, 41, 31),
    ]
    source = locate_boxes("voc", make_voc({"train": {"a": wrong, "b": [("cat", 2, 2, 9, 9)]}, "test": {"c": []}}))
    assert source.annotations("train")[0].boxes.tolist() == [[29, 4, 40, 9], [0, 0, 40, 30]]
    assert source.notes("train") == [
        "2 boxes without width or height dropped (in a)",
        "1 box outside of the image dropped (in a)",
        "1 box over the image's edge cut (in a)",
    ]


def test_parts_are_lists_folders_or_a_fifth(make_voc: Make, tmp_path: Path) -> None:
    assert locate_boxes("voc", make_voc()).parts == ("train", "test")
    images = {f"n{k:02d}": [("cat", 1, 1, 9, 9)] for k in range(10)}
    undivided = locate_boxes("voc", make_voc({"all": images}, "undivided", has_lists=False))
    assert undivided.parts == ("train", "test")
    names = [{image.name for image in undivided.annotations(part)} for part in undivided.parts]
    assert [len(each) for each in names] == [8, 2]
    assert names[0] | names[1] == set(images)
    folders = tmp_path / "folders"
    for part in ("train", "valid", "test"):
        for name in images:
            write_picture(folders / part / f"{name}.jpg")
            (folders / part / f"{name}.xml").write_text(spell_annotation(images[name]))
    source = locate_boxes("voc", folders)
    assert source.parts == ("train", "val", "test")
    assert [source.count_images(part) for part in source.parts] == [10, 10, 10]


def test_val_is_the_test_part_where_there_is_no_other(make_voc: Make) -> None:
    one = {"a": [("cat", 1, 1, 9, 9)], "b": [("cat", 1, 1, 9, 9)]}
    source = locate_boxes("voc", make_voc({"train": one, "val": {"c": one["a"]}}))
    assert source.parts == ("train", "test")
    assert [image.name for image in source.annotations("test")] == ["c"]


def test_a_search_reads_no_test_file(make_voc: Make) -> None:
    root = make_voc()
    (root / "JPEGImages" / "e.png").unlink()
    (root / "Annotations" / "e.xml").unlink()
    boxes = open_boxes("voc", root, canvas=16)
    assert len(boxes.train) + len(boxes.val) == 4
    with pytest.raises(DataError, match=r"e.xml, which .*test.txt names"):
        _ = boxes.test


def test_labels_of_parts_are_those_of_the_train_part(make_voc: Make) -> None:
    train = {"a": [("cat", 1, 1, 9, 9)], "b": [("dog", 1, 1, 9, 9)]}
    boxes = open_boxes("voc", make_voc({"train": train, "test": {"c": [("dog", 1, 1, 9, 9)]}}), canvas=16)
    assert boxes.test.labels.tolist() == [1]
    other = open_boxes("voc", make_voc({"train": train, "test": {"c": [("cow", 1, 1, 9, 9)]}}, "other"), canvas=16)
    with pytest.raises(DataError, match="the test part has other classes than the train part: cow is in only one"):
        _ = other.test


def test_a_changed_file_is_read_again(make_voc: Make) -> None:
    root = make_voc()
    before = open_boxes("voc", root, canvas=16)
    (root / "Annotations" / "b.xml").write_text(spell_annotation([("cat", 2, 2, 30, 20)]))
    after = open_boxes("voc", root, canvas=16)
    assert before.fingerprint != after.fingerprint


def test_a_set_that_nobody_divided_has_all_classes_in_both_parts(make_voc: Make) -> None:
    images = {f"n{k:02d}": [("cat", 1, 1, 9, 9)] for k in range(5)}
    root = make_voc({"all": images}, has_lists=False)
    (held,) = locate_boxes("voc", root).annotations("test")
    (root / "Annotations" / f"{held.name}.xml").write_text(spell_annotation([("ant", 1, 1, 9, 9)]))
    boxes = open_boxes("voc", root, canvas=16)
    assert boxes.classes == ("ant", "cat")
    assert (boxes.train.labels.tolist(), boxes.test.labels.tolist()) == ([1, 1, 1], [0])
    (root / "Annotations" / f"{held.name}.xml").write_text(spell_annotation([("bee", 1, 1, 9, 9)]))
    assert open_boxes("voc", root, canvas=16).classes == ("bee", "cat")


def break_xml(text: str) -> Callable[[Path], object]:
    return lambda root: (root / "Annotations" / "a.xml").write_text(text)


DOCTYPE = '<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>'
NAMELESS = "<annotation><object><bndbox/></object></annotation>"
BOXLESS = "<annotation><object><name>cat</name><bndbox><xmin>nan</xmin></bndbox></object></annotation>"
LIST = Path("ImageSets/Main/train.txt")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_xml(DOCTYPE), r"a.xml is refused, because it has a DOCTYPE: remove that line"),
        (break_xml("<annotation>"), r"a.xml is no XML .*: mend or remove it"),
        (break_xml("<html/>"), r"its root is <html>, not <annotation>"),
        (break_xml(NAMELESS), r"object 1 has no name: add <name>"),
        (break_xml(BOXLESS), r"object 1 \(cat\) has no box of four numbers: mend its <bndbox>"),
        (break_xml(spell_annotation([], (30, 40))), r"a.png has 40x30 pixels, but its annotation says 30x40"),
        (lambda root: (root / "Annotations/a.xml").unlink(), r"there is no .*a.xml, which .*train.txt names"),
        (lambda root: (root / "JPEGImages/a.png").unlink(), r"there is no image .*a .*train.txt names: add it"),
        (lambda root: (root / "JPEGImages/a.png").write_bytes(b"no"), r"a.png cannot be decoded"),
        (lambda root: shutil.copy(root / "JPEGImages/a.png", root / "JPEGImages/a.jpg"), r"a.jpg and a.png, and one"),
        (lambda root: (root / LIST).write_text("a\nb\na\n"), r"train.txt lists a 2 times: leave one"),
        (lambda root: (root / LIST).write_text("\n"), r"has no image in its train part"),
        (lambda root: (root / LIST).rename(root / LIST.parent / "val.txt"), r"but no train.txt"),
        (lambda root: ((root / "Annotations/a.xml").unlink(), os.mkfifo(root / "Annotations/a.xml")), "is a pipe"),
    ],
)
def test_damage_is_said_in_a_line(make_voc: Make, damage: Callable[[Path], object], message: str) -> None:
    root = make_voc()
    damage(root)
    with pytest.raises(DataError, match=message) as caught:
        open_boxes("voc", root, canvas=16)
    assert "\n" not in str(caught.value)


def test_an_image_in_two_parts_is_refused(make_voc: Make) -> None:
    root = make_voc()
    (root / "ImageSets" / "Main" / "test.txt").write_text("e\na\n")
    with pytest.raises(DataError, match=r"a stands in .*test.txt and in .*train.txt: leave it in one"):
        _ = open_boxes("voc", root, canvas=16).test


def test_names_lead_nowhere_else(make_voc: Make, tmp_path: Path) -> None:
    root = make_voc()
    write_picture(tmp_path / "secret.png")
    (tmp_path / "secret.xml").write_text(spell_annotation([]))
    (root / LIST).write_text("../../secret\n")
    with pytest.raises(DataError, match="there is no"):
        open_boxes("voc", root, canvas=16)


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    with path.open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(DataError, match="more than 16,777,216 bytes"):
        read_annotation(path)


@pytest.mark.data
@pytest.mark.slow
def test_bccd(shared_data: Path, tmp_path: Path) -> None:
    """364 images of blood cells; its counts by part and class, less the two boxes whose corners coincide."""
    shutil.unpack_archive(shared_data / "bccd.tar.xz", tmp_path, filter="data")
    boxes = open_boxes("voc", tmp_path / "BCCD")
    assert boxes.classes == ("Platelets", "RBC", "WBC")
    assert [len(part) for part in (boxes.train, boxes.val, boxes.test)] == [205, 87, 72]
    counts = [Counter(part.labels.tolist()) for part in (boxes.train, boxes.val, boxes.test)]
    assert [[count[label] for label in range(3)] for count in counts] == [
        [209, 2381, 214],
        [83, 967, 87],
        [69, 805, 71],
    ]
    assert boxes.train.sizes.tolist() == [[640, 480]] * 205
    images, targets = boxes.train.tensors()
    assert images.shape == (205, 3, 128, 128)
    assert targets.boxes[:, 3].max() <= 96
    assert (images[:, :, 96:] == images[:, :, 127:]).all()  # padding below pictures of 4 to 3
