import io
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from evo_nas.data.sources.catalogue import DATA_SETS, DataSet
from evo_nas.data.sources.fetch import fetch
from evo_nas.data.sources.locate import locate
from evo_nas.errors import DataError, UsageError

Make = Callable[..., Path]
SMALL = DataSet("cifar10", "CIFAR-10 in small", 32, 3, 10, train=30, test=10)


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
    monkeypatch.setitem(DATA_SETS, "cifar10", DataSet("cifar10", "small", 32, 3, 10, train=20, test=4))
    archive = packed(tmp_path, make_cifar_files("cifar10", "made"), "gztar")
    fetch("cifar10", target, archive)
    assert locate("cifar10", target).place == str(target / "cifar10" / "cifar-10-batches-py")


def test_own_images_are_unpacked_to_the_folder_itself(make_folder: Make, tmp_path: Path, target: Path) -> None:
    fetch("folder", target, packed(tmp_path, make_folder(), "zip", wrapped=True))
    assert sorted(path.name for path in target.iterdir()) == ["test", "train"]


def test_incomplete_archive_is_not_taken_over(make_cifar_folder: Make, tmp_path: Path, target: Path) -> None:
    archive = packed(tmp_path, make_cifar_folder("made"), "tar")
    with pytest.raises(DataError, match=rf"{archive} holds 30 train images, not the 50,000 of cifar10$"):
        fetch("cifar10", target, archive)
    assert not target.parent.exists()


def test_archive_of_something_else_is_not_taken_over(make_folder: Make, tmp_path: Path, target: Path) -> None:
    with pytest.raises(DataError, match=r"archive.tar holds no cifar10"):
        fetch("cifar10", target, packed(tmp_path, make_folder(), "tar"))
    assert not target.parent.exists()


def test_nothing_is_overwritten(make_cifar_folder: Make, make_folder: Make, small_cifar: None, tmp_path: Path) -> None:
    archive = packed(tmp_path, make_cifar_folder("made"), "tar")
    root = make_folder("target/cifar10").parent
    before = sorted(root.rglob("*"))
    with pytest.raises(DataError, match=rf"{root}/cifar10/train is in the way, and nothing is overwritten"):
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
    with pytest.raises(DataError, match=r"its member 'train/cat/1.png' is a link or a device"):
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
    with pytest.raises(DataError, match=rf"^{archive} is damaged or no tar or zip archive \(.+\): get it again$"):
        fetch("cifar10", target, archive)
    assert not target.parent.exists()


def test_file_that_is_no_archive_is_refused_in_a_few_words(tmp_path: Path, target: Path) -> None:
    (tmp_path / "code.py").write_text("print('no archive')\n" * 1000)
    with pytest.raises(DataError) as raised:
        fetch("folder", target, tmp_path / "code.py")
    assert str(raised.value) == (
        f"{tmp_path / 'code.py'} is damaged or no tar or zip archive (it opens as neither): get it again"
    )


def test_missing_archive_is_a_usage_error(tmp_path: Path, target: Path) -> None:
    with pytest.raises(UsageError, match=rf"there is no archive {tmp_path}/gone.tar"):
        fetch("cifar10", target, tmp_path / "gone.tar")


def test_own_images_cannot_be_downloaded(target: Path) -> None:
    with pytest.raises(UsageError, match="cannot be downloaded"):
        fetch("folder", target)


def test_digits_need_no_fetching(target: Path) -> None:
    assert "nothing to fetch" in fetch("digits", target)
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
    monkeypatch.setitem(DATA_SETS, "cifar10", DataSet("cifar10", "small", 32, 3, 10, train=20, test=4))

    def download(self: object) -> None:
        print("progress")
        shutil.copytree(ready, Path(self.root) / ready.name)  # type: ignore[attr-defined]

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", download)
    fetch("cifar10", target)
    assert [path.name for path in (target / "cifar10").iterdir()] == ["cifar-10-batches-py"]
    assert capsys.readouterr().out == ""
