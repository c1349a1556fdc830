import fcntl
import io
import itertools
import os
import re
import shutil
import signal
import stat
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from evo_nas.data.sources.catalogue import DATA_SETS
from evo_nas.data.sources.check import check
from evo_nas.data.sources.fetch import fetch
from evo_nas.data.sources.locate import locate
from evo_nas.errors import DataError, UsageError

Make = Callable[..., Path]
SMALL = replace(DATA_SETS["cifar10"], train=30, test=10)
SMALLER = replace(SMALL, train=20, test=4)


@pytest.fixture
def small_cifar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATA_SETS, "cifar10", SMALL)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target" / "data"


def packed(tmp_path: Path, content: Path, form: str, wrapped: bool = False) -> Path:
    base = content.parent if wrapped else content
    return Path(shutil.make_archive(str(tmp_path / "archive"), form, base, content.name if wrapped else None))


@pytest.mark.parametrize("form", ["tar", "gztar", "bztar", "xztar", "zip"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_image_folder_is_unpacked(
    form: str, wrapped: bool, make_cifar_folder: Make, small_cifar: None, tmp_path: Path, target: Path
) -> None:
    archive = packed(tmp_path, make_cifar_folder("made/pictures"), form, wrapped)
    assert fetch("cifar10", target, archive) == f"cifar10 is now complete in {target / 'cifar10'}"
    assert sorted(path.name for path in (target / "cifar10").iterdir()) == ["test", "train"]
    assert len(locate("cifar10", target).labels("train")) == 30
    assert fetch("cifar10", target, archive) == f"cifar10 is already complete in {target / 'cifar10'}"


def test_torchvisions_files_are_unpacked(
    make_cifar_files: Make, tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATA_SETS, "cifar10", SMALLER)
    archive = packed(tmp_path, make_cifar_files("cifar10", "made"), "gztar")
    fetch("cifar10", target, archive)
    assert locate("cifar10", target).place == str(target / "cifar10" / "cifar-10-batches-py")


def test_own_images_are_unpacked_to_a_folder_of_their_own(make_folder: Make, tmp_path: Path, target: Path) -> None:
    archive = packed(tmp_path, make_folder(), "zip", wrapped=True)
    assert fetch("folder", target, archive) == f"folder is now complete in {target / 'folder'}"
    assert sorted(path.name for path in (target / "folder").iterdir()) == ["test", "train"]
    assert locate("folder", target).place == str(target / "folder")


def test_the_val_folder_of_imagenet_is_fetched_as_it_is_read(make_folder: Make, tmp_path: Path, target: Path) -> None:
    root = make_folder()
    (root / "test").rename(root / "val")
    fetch("folder", target, packed(tmp_path, root, "tar"))
    assert sorted(path.name for path in (target / "folder").iterdir()) == ["train", "val"]
    assert len(locate("folder", target).labels("test")) == 4


def zipped(path: Path, root: Path, more: Sequence[str] = (), spell: Callable[[str], str] = str) -> Path:
    """Pack a folder below ``mine/``, with more files, under names that are spelled in some way."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                archive.write(file, spell(f"mine/{file.relative_to(root)}"))
        for name in more:
            archive.writestr(spell(name), "thumbnail")
    return path


ARCHIVES: dict[str, tuple[tuple[str, ...], Callable[[str], str], int]] = {
    "of a Mac": (("__MACOSX/mine/train/cat/._000.png", "mine/.DS_Store", "mine/train/cat/._000.png"), str, 3),
    "of a NAS": (("mine/train/cat/@eaDir/000.png/SYNOPHOTO_THUMB_M.jpg", "mine/#recycle/x/train/1.png"), str, 2),
    "of Windows": (("mine/train/cat/Thumbs.db", "Desktop.ini"), lambda name: name.replace("/", "\\"), 2),
    "with other folders": (("docs/read.txt", "LICENSE", "mine/labels.csv", "tools/train.py"), str, 0),
    "in a folder in a folder": ((), lambda name: f"a/b/{name}", 0),
    "of everything below a dot": ((), lambda name: f"./{name}", 0),
    "with copies of a notebook": (("mine/train/dog/.ipynb_checkpoints/000-checkpoint.png",), str, 1),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_as_people_have_them_gives_the_images_that_were_packed(
    kind: str, make_folder: Make, tmp_path: Path, target: Path
) -> None:
    more, spell, left_out = ARCHIVES[kind]
    said = fetch("folder", target, zipped(tmp_path / "a.zip", make_folder(), more, spell))
    left = re.search(r"; (\d+) left by systems and tools (is|are) not unpacked$", said)
    assert (int(left[1]) if left else 0) == left_out
    assert sorted(path.name for path in (target / "folder").iterdir()) == ["test", "train"]
    report = check("folder", target)
    assert report.sound
    assert report.lines[1:] == (
        "train: 8 images in 2 classes of 3 to 5: dog 3, cat 5",
        "test: 4 images in 2 classes of 2",
    )
    assert len([path for path in target.rglob("*") if path.is_file()]) == 12


def test_names_that_macos_writes_in_utf_8_without_saying_so_are_read(
    make_folder: Make, tmp_path: Path, target: Path
) -> None:
    root = make_folder(train={"K\u00e4fer": 1, "dog": 1}, test={"K\u00e4fer": 1, "dog": 1})
    archive = zipped(tmp_path / "a.zip", root)
    bare = bytearray(archive.read_bytes())
    for signature, at in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):  # the flag that names are UTF-8 is taken off
        for found in re.finditer(re.escape(signature), bytes(bare)):
            bare[found.start() + at] &= ~0x08
    archive.write_bytes(bare)
    fetch("folder", target, archive)
    assert locate("folder", target).classes() == ("K\u00e4fer", "dog")


def test_two_sets_in_an_archive_are_named(make_folder: Make, tmp_path: Path, target: Path) -> None:
    for name in ("made/one", "made/two"):
        make_folder(name)
    with pytest.raises(DataError, match=r"more than one data set folder: \S+tar/one, \S+tar/two; pack one of them"):
        fetch("folder", target, packed(tmp_path, tmp_path / "made", "tar"))
    assert not target.parent.exists()


def test_an_archive_of_archives_says_what_is_in_it(make_folder: Make, tmp_path: Path, target: Path) -> None:
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as outer:
        outer.write(packed(tmp_path, make_folder(), "zip"), "kaggle/train.zip")
        outer.writestr("kaggle/labels.csv", "")
    with pytest.raises(DataError, match=r"no images in train/<class>/; it holds labels.csv, train.zip\)$"):
        fetch("folder", target, tmp_path / "outer.zip")


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("train", r"holds no data set folder \(no images in train/<class>/; it holds cat, dog\)"),
        ("test", "there is no .*archive.tar/test: .* or val/<class>/; .*archive.tar holds train"),
        ("test/dog", "test has other classes than .*archive.tar/train: dog is in only one of them"),
        ("train/dog/*", "archive.tar/train/dog holds no image"),
    ],
)
def test_a_set_that_lacks_something_is_not_taken_over(
    missing: str, says: str, make_folder: Make, tmp_path: Path, target: Path
) -> None:
    root = make_folder()
    for path in list(root.glob(missing)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DataError, match=says) as raised:
        fetch("folder", target, packed(tmp_path, root, "tar"))
    assert ".fetch" not in str(raised.value)
    assert not target.parent.exists()


def test_an_archive_that_needs_more_room_than_there_is_is_refused(
    make_folder: Make, tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2_000))
    with pytest.raises(DataError, match=rf"needs more than the 2,000 bytes that are free in {target}$"):
        fetch("folder", target, packed(tmp_path, make_folder(size=(40, 40)), "gztar"))
    assert not target.parent.exists()


@pytest.mark.parametrize("form", ["zip", "gztar", "xztar"])
def test_an_archive_that_unpacks_to_much_more_than_it_weighs_is_refused(
    form: str, make_folder: Make, tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = make_folder()
    (content / "train" / "zeros").write_bytes(bytes(10**6 + 1))
    archive = packed(tmp_path, content, form)
    monkeypatch.setattr("evo_nas.data.sources.fetch.ROOMY", 10**6)
    written: list[int] = []
    monkeypatch.setattr(shutil, "copyfileobj", lambda packed, file: written.append(file.write(packed.read(1))))
    with pytest.raises(DataError, match=rf"{archive} unpacks to more than 100 times what it weighs: "):
        fetch("folder", target, archive)
    assert form != "zip" or not written, "a zip says beforehand what is in it"
    assert not target.parent.exists()


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_a_set_in_a_hidden_folder_is_not_found_and_the_message_says_why(
    form: str, make_folder: Make, tmp_path: Path, target: Path
) -> None:
    archive = packed(tmp_path, make_folder("made/.pictures"), form, wrapped=True)
    with pytest.raises(DataError, match=r"; \d+ files were passed over, hidden or left by systems and tools, such as "):
        fetch("folder", target, archive)


def test_what_is_no_file_is_no_archive(tmp_path: Path, target: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(UsageError, match=rf"^{path} is no file: save it first, and name a folder with --data-dir"):
            fetch("folder", target, path)


@pytest.mark.slow
def test_a_fetch_killed_at_any_moment_leaves_the_whole_set_or_none(make_folder: Make, tmp_path: Path) -> None:
    archive = packed(tmp_path, make_folder(train={"a": 1, "b": 1}, test={"a": 1, "b": 1}), "zip")
    whole = 0
    for moment in itertools.count(1):
        root = tmp_path / f"target{moment}"
        if not killed(moment, partial(fetch, "folder", root, archive)):
            break
        if (root / "folder").exists():
            assert check("folder", root).sound
            assert "already complete" in fetch("folder", root, archive)
            whole += 1
        else:
            assert "now complete" in fetch("folder", root, archive)
            assert [path.name for path in root.iterdir()] == ["folder"], "of the one that was killed nothing is left"
    assert moment > 20
    assert 1 <= whole <= 5, "the name comes last"


def killed(moment: int, work: Callable[[], object]) -> bool:
    """Kill a child that does some work as it is to change the disk for the Nth time; return whether it was killed."""
    child = os.fork()
    if child == 0:
        left = itertools.count(moment - 1, -1)

        def hear(event: str, args: tuple[object, ...]) -> None:
            writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if (writes or event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir")) and next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hear)
        try:
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_name_that_no_file_system_takes_is_a_data_error(make_folder: Make, tmp_path: Path) -> None:
    archive = packed(tmp_path, make_folder(), "tar")
    with pytest.raises(DataError, match=r"cannot be read or written \(File name too long\): mend that, make room"):
        fetch("folder", tmp_path / ("x" * 300), archive)


def test_two_fetches_do_not_disturb_each_other(make_folder: Make, tmp_path: Path, target: Path) -> None:
    archive = packed(tmp_path, make_folder(), "tar")
    (target / ".fetch-other").mkdir(parents=True)
    other = os.open(target, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(DataError, match=rf"another process fetches a set into {target}: wait until it has ended"):
        fetch("folder", target, archive)
    assert (target / ".fetch-other").exists()
    os.close(other)
    fetch("folder", target, archive)
    assert [path.name for path in target.iterdir()] == ["folder"]


def test_incomplete_archive_is_not_taken_over(make_cifar_folder: Make, tmp_path: Path, target: Path) -> None:
    archive = packed(tmp_path, make_cifar_folder("made"), "tar")
    with pytest.raises(DataError, match=rf"{archive} holds 30 train images, not the 50,000 of cifar10$"):
        fetch("cifar10", target, archive)
    assert not target.parent.exists()


def test_archive_of_something_else_is_not_taken_over(make_folder: Make, tmp_path: Path, target: Path) -> None:
    with pytest.raises(DataError, match=r"archive.tar holds no data set cifar10 "):
        fetch("cifar10", target, packed(tmp_path, make_folder(), "tar"))
    assert not target.parent.exists()


def test_nothing_is_overwritten(make_cifar_folder: Make, make_folder: Make, small_cifar: None, tmp_path: Path) -> None:
    archive = packed(tmp_path, make_cifar_folder("made"), "tar")
    root = make_folder("target/cifar10").parent
    before = sorted(root.rglob("*"))
    with pytest.raises(DataError, match=rf"{root}/cifar10 is in the way, and nothing is overwritten"):
        fetch("cifar10", root, archive)
    assert sorted(root.rglob("*")) == before


def test_incomplete_set_in_place_is_not_mended_in_secret(make_cifar_folder: Make, tmp_path: Path) -> None:
    make_cifar_folder("target/cifar10")
    with pytest.raises(DataError, match=r"holds 30 train images.*; move it away, then: python -m evo_nas data fetch"):
        fetch("cifar10", tmp_path / "target")


def evil_tar(path: Path, member: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as tar:
        member.size = 4 if member.isreg() else 0
        tar.addfile(member, io.BytesIO(b"evil"))
    return path


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "train/../../evil"])
def test_tar_member_that_reaches_outside_is_refused(name: str, tmp_path: Path, target: Path) -> None:
    archive = evil_tar(tmp_path / "evil.tar", tarfile.TarInfo(name))
    with pytest.raises(DataError, match=rf"evil.tar is refused: its member '{name}' would be unpacked outside"):
        fetch("cifar10", target, archive)
    assert not target.parent.exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_tar_member_that_is_no_file_is_refused(kind: bytes, tmp_path: Path, target: Path) -> None:
    member = tarfile.TarInfo("train/cat/1.png")
    member.type, member.linkname = kind, "2.png"
    with pytest.raises(DataError, match=r"its member 'train/cat/1.png' is a link or a device: pack files"):
        fetch("folder", target, evil_tar(tmp_path / "evil.tar", member))
    assert not target.parent.exists()


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "..\\evil"])
def test_zip_member_that_reaches_outside_is_refused(name: str, tmp_path: Path, target: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as packed:
        packed.writestr(name, "evil")
    with pytest.raises(DataError, match="would be unpacked outside"):
        fetch("cifar10", target, tmp_path / "evil.zip")


def test_zip_member_that_is_a_link_is_refused(tmp_path: Path, target: Path) -> None:
    info = zipfile.ZipInfo("train/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as packed:
        packed.writestr(info, "/etc")
    with pytest.raises(DataError, match="is a link or a device"):
        fetch("cifar10", target, tmp_path / "evil.zip")


@pytest.mark.parametrize("form", ["tar", "gztar", "bztar", "xztar", "zip"])
def test_truncated_archive_is_damaged(
    form: str, make_cifar_folder: Make, small_cifar: None, tmp_path: Path, target: Path
) -> None:
    archive = packed(tmp_path, make_cifar_folder("made"), form)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2 + 100])
    with pytest.raises(DataError, match=rf"^{archive} is damaged or no tar or zip archive \(.+\): get it again"):
        fetch("cifar10", target, archive)
    assert not target.parent.exists()


def test_file_that_is_no_archive_is_refused_in_a_few_words(tmp_path: Path, target: Path) -> None:
    (tmp_path / "code.py").write_text("print('no archive')\n" * 1000)
    with pytest.raises(DataError) as raised:
        fetch("folder", target, tmp_path / "code.py")
    assert str(raised.value) == (
        f"{tmp_path / 'code.py'} is damaged or no tar or zip archive (it opens as neither): get it again, or in one of "
        "these forms"
    )


def test_missing_archive_is_a_usage_error(tmp_path: Path, target: Path) -> None:
    with pytest.raises(UsageError, match=rf"there is no archive {tmp_path}/gone.tar"):
        fetch("cifar10", target, tmp_path / "gone.tar")


def test_own_images_cannot_be_downloaded(target: Path) -> None:
    with pytest.raises(UsageError, match="cannot be downloaded"):
        fetch("folder", target)


def test_digits_need_no_fetching(target: Path) -> None:
    assert fetch("digits", target) == "digits is already complete in scikit-learn"
    assert not target.exists()


def test_failed_download_is_one_line_and_leaves_nothing(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    def offline(self: object) -> None:
        (Path(self.root) / "cifar-10-python.tar.gz").write_bytes(b"half")  # type: ignore[attr-defined]
        raise OSError("<urlopen error\n no route>")

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", offline)
    with pytest.raises(DataError) as raised:
        fetch("cifar10", target)
    assert str(raised.value) == (
        "cifar10 could not be downloaded (<urlopen error no route>); get an archive of it by other means, then: "
        f"python -m evo_nas data fetch --dataset cifar10 --data-dir {target} --archive FILE"
    )
    assert not target.parent.exists()


def test_download_ends_in_its_place(
    make_cifar_files: Make, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torchvision.datasets

    ready = make_cifar_files("cifar10", "server") / "cifar-10-batches-py"
    monkeypatch.setitem(DATA_SETS, "cifar10", SMALLER)

    def download(self: object) -> None:
        print("progress")
        shutil.copytree(ready, Path(self.root) / ready.name)  # type: ignore[attr-defined]

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", download)
    fetch("cifar10", target)
    assert [path.name for path in (target / "cifar10").iterdir()] == ["cifar-10-batches-py"]
    assert capsys.readouterr().out == ""
