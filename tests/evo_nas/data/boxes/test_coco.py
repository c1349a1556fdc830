import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evo_nas.data.boxes.source import locate_boxes, open_boxes
from evo_nas.errors import DataError
from tests.evo_nas.data.boxes.sets import coco_content, write_picture

Make = Callable[..., Path]


def test_ids_are_names_and_labels_count_them(make_coco: Make) -> None:
    source = locate_boxes("coco", make_coco())
    assert source.name_classes("train") == ("cat", "dog")
    images = source.annotations("train")
    assert [image.name for image in images] == ["a.png", "b.png", "c.png"]
    assert [image.labels.tolist() for image in images] == [[1], [], [0, 0]]
    assert [image.ignored.tolist() for image in images] == [[False], [], [True, False]]
    assert images[2].boxes.tolist() == [[0, 0, 40, 30], [1.5, 2.5, 6.5, 7.5]]
    assert [image.areas.tolist() for image in images] == [[60], [], [1200, 25]]


def test_labels_of_parts_are_mapped_by_name(make_coco: Make) -> None:
    other = coco_content()
    for category in other["categories"]:
        category["id"] = {90: 1, 7: 2}[category["id"]]
    for box in other["annotations"]:
        box["category_id"] = {90: 1, 7: 2}[box["category_id"]]
    boxes = open_boxes("coco", make_coco({"train": coco_content(), "val": coco_content(), "test": other}), canvas=16)
    assert boxes.test.labels.tolist() == boxes.train.labels.tolist() == boxes.val.labels.tolist() == [1, 0, 0]


def test_parts_that_declare_other_classes_are_refused(make_coco: Make) -> None:
    other = coco_content()
    other["categories"].append({"id": 1, "name": "cow"})
    root = make_coco({"train": coco_content(), "val": other, "test": other})
    with pytest.raises(DataError, match="the val part has other classes than the train part: cow is in only one"):
        open_boxes("coco", root, canvas=16)


@pytest.mark.parametrize(
    ("files", "images", "parts"),
    [
        (["train/_annotations.coco.json", "valid/_annotations.coco.json"], ["train", "valid"], ("train", "test")),
        (["train.json", "val.json", "test.json"], ["images"], ("train", "val", "test")),
        (["annotations/instances_train2017.json", "annotations/instances_val2017.json",
          "annotations/captions_train2017.json"], ["train2017", "val2017"], ("train", "test")),
        (["annotations/instances_default.json"], ["images/default"], ("train", "test")),
        (["result.json"], ["images"], ("train", "test")),
        (["data.json"], ["."], ("train", "test")),
    ],
)  # fmt: skip
def test_layouts_of_other_tools(tmp_path: Path, files: list[str], images: list[str], parts: tuple[str, ...]) -> None:
    for file in files:
        (tmp_path / "set" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / file).write_text(json.dumps(coco_content()))
    for folder in images:
        for name in "abc":
            write_picture(tmp_path / "set" / folder / f"{name}.png")
    source = locate_boxes("coco", tmp_path / "set")
    assert source.parts == parts
    whole = 3 if len(files) > 1 else 2
    assert source.count_images("train") == whole
    assert len(source.stamp("train").splitlines()) == 5


@pytest.mark.parametrize("name", ["sub/a.png", "train/a.png", "/home/me/a.png", "..\\pictures\\a.png", "C:\\a.png"])
def test_names_of_other_machines_are_found_below_the_folder(make_coco: Make, tmp_path: Path, name: str) -> None:
    root = make_coco()
    if name.startswith("sub"):
        (root / "train" / "sub").mkdir()
        (root / "train" / "a.png").rename(root / "train" / "sub" / "a.png")
    content = coco_content()
    content["images"][0]["file_name"] = name
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    assert locate_boxes("coco", root).count_images("train") == 3


def damage(**changes: Any) -> Callable[[dict[str, Any]], None]:
    """Change values: ``annotations_0_id=3`` sets the id of the first annotation; ``...`` removes it."""

    def change(content: dict[str, Any]) -> None:
        for path, value in changes.items():
            key, place, name = path.split("_", 2)
            if value is ...:
                del content[key][int(place)][name]
            else:
                content[key][int(place)][name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damage(images_1_id=30), "images 2 has the id 30, as another has"),
        (damage(images_1_id=True), "images 2 has no id or no file_name"),
        (damage(images_1_file_name=...), "images 2 has no id or no file_name"),
        (damage(images_1_file_name="a.png"), "a.png 2 times: leave one entry"),
        (damage(images_1_file_name="z.png"), "there is no image .*z.png, which .*instances_train.json has"),
        (damage(images_1_file_name="../../../etc/z.png"), "there is no image .*train/z.png"),
        (damage(images_1_width=30, images_1_height=40), "b.png has 40x30 pixels, but .* says 30x40"),
        (damage(annotations_1_id=1), "annotations 2 has the id 1, as another has"),
        (damage(annotations_1_image_id=99), "annotation 2 is of image 99, which is not among its images"),
        (damage(annotations_1_category_id=8), "annotation 2 is of category 8, which is not among its categories"),
        (damage(annotations_1_category_id=[]), "annotations 2 has no image_id or no category_id"),
        (damage(annotations_1_bbox=[1, 2, 3]), "annotations 2 has no bbox of four numbers"),
        (damage(annotations_1_bbox=[1, 2, 3, "x"]), "annotations 2 has no bbox of four numbers"),
        (damage(annotations_1_bbox=[1, 2, 3, 1e999]), "Infinity is no number of JSON"),
        (damage(annotations_1_bbox=...), "annotations 2 has no bbox of four numbers"),
        (damage(categories_0_id=7), "categories 2 has the id 7, as another has"),
        (damage(categories_0_name=" "), "categories 1 has no id or no name"),
        (damage(categories_0_name="cat "), "classes that look the same"),
        (damage(categories_0_name="dog\n\x1b[2J"), r"no line of at most 100 letters: 'dog.n.x1b.2J'"),
        (lambda content: content.update(categories=[]), "instances_train.json has no categories"),
        (lambda content: content.update(images=[]), "instances_train.json has no images"),
        (lambda content: content.update(images={}), "'images' is no list"),
        (lambda content: content["images"].append(3), "images 4 is no object"),
        (lambda content: content.update(annotations=[]), "no image of the train part has a box"),
    ],
)
def test_damage_is_said_in_a_line(make_coco: Make, change: Callable[[dict[str, Any]], None], message: str) -> None:
    root, content = make_coco(), coco_content()
    change(content)
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as caught:
        open_boxes("coco", root, canvas=16)
    assert "\n" not in str(caught.value)


def test_boxes_without_size_and_outside_are_dropped_with_a_count(make_coco: Make) -> None:
    content = coco_content()
    content["annotations"] = [
        {"id": k, "image_id": 30, "category_id": 7, "bbox": box}
        for k, box in enumerate([[1, 1, 0, 5], [9, 9, -3, 4], [41, 3, 5, 5], [30, 20, 30, 30], [0, 0, 40.5, 30]])
    ]
    source = locate_boxes("coco", make_coco({"train": content}))
    assert source.annotations("train")[0].boxes.tolist() == [[30, 20, 40, 30], [0, 0, 40, 30]]
    assert [note.split(" (")[0] for note in source.notes("train")] == [
        "2 boxes without width or height dropped",
        "1 box outside of the image dropped",
        "1 box over the image's edge cut",
    ]


def test_a_set_without_test_part_says_so(make_coco: Make) -> None:
    boxes = open_boxes("coco", make_coco({"train": coco_content()}), canvas=16)
    with pytest.raises(DataError, match="has no test part, only train"):
        _ = boxes.test


def test_two_files_of_a_part_are_refused(make_coco: Make) -> None:
    root = make_coco()
    (root / "annotations" / "instances_train2.json").write_text("{}")
    with pytest.raises(DataError, match="are both of the train part: keep one"):
        open_boxes("coco", root, canvas=16)


def test_files_that_say_no_part_are_refused(tmp_path: Path) -> None:
    for name in ("one.json", "two.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(DataError, match="do not say of which part they are"):
        open_boxes("coco", tmp_path, canvas=16)


def test_absent_sets_say_where_to_put_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no JSON of boxes.*annotations/train.json.* --archive FILE"):
        open_boxes("coco", tmp_path)
    with pytest.raises(DataError, match=r"no XML files of boxes.*JPEGImages.* --archive FILE"):
        open_boxes("voc", tmp_path)


def test_a_search_reads_no_test_file(make_coco: Make) -> None:
    root = make_coco()
    for path in (root / "test").iterdir():
        path.unlink()
    (root / "annotations" / "instances_test.json").write_text("no JSON")
    assert len(open_boxes("coco", root, canvas=16).train) == 2
