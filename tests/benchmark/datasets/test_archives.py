import io
import stat
import tarfile
import zipfile

import pytest

from headwater.benchmark.datasets.archives import unpack
from headwater.benchmark.datasets.download import file_checksum


def entry(name, kind=tarfile.REGTYPE, target="", size=0):
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, target, size
    return member


def tar(path, *members):
    """A .tar.gz of names and contents, or of entries as they are."""
    with tarfile.open(path, "w:gz") as file:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                file.addfile(member, io.BytesIO(b"x" * member.size))
            else:
                name, content = member
                file.addfile(entry(name, size=len(content)), io.BytesIO(content))
    return path


@pytest.fixture
def archive(tmp_path):
    return tmp_path / "data.tar.gz"


def refuse(archive, match):
    """Unpacking says why it refuses, and leaves nothing beside the archive, nor above."""
    folder = archive.parent
    before = sorted(folder.parent.iterdir()), sorted(folder.iterdir())
    with pytest.raises(ValueError, match=match):
        unpack(archive, folder / "out", file_checksum(archive))
    assert (sorted(folder.parent.iterdir()), sorted(folder.iterdir())) == before


def test_tar_and_zip_come_out_whole(tmp_path):
    contents = {"top/a.bin": b"digits", "top/sub/b.txt": b"", "c": b"\0" * 70_000}
    tar(tmp_path / "one.tar.gz", entry("top", tarfile.DIRTYPE), *contents.items())
    with zipfile.ZipFile(tmp_path / "two.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("top/", b"")
        for name, content in contents.items():
            file.writestr(name, content)
    for archive in (tmp_path / "one.tar.gz", tmp_path / "two.zip"):
        folder = unpack(archive, tmp_path / "deep" / archive.stem, file_checksum(archive))
        found = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        assert found == contents
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["one.tar", "two"]


def test_owners_and_permissions_stay_in_the_archive(archive):
    member = entry("tool")
    member.mode = 0o6777
    folder = unpack(tar(archive, member), archive.parent / "out", file_checksum(archive))
    assert not stat.S_IMODE((folder / "tool").stat().st_mode) & 0o6111


def test_another_checksum_is_refused_before_anything_is_read(archive):
    archive.write_bytes(b"not an archive at all")
    with pytest.raises(ValueError, match=r"data.tar.gz must have sha256 0000.*, got "):
        unpack(archive, archive.parent / "out", "0" * 64)
    assert [path.name for path in archive.parent.iterdir()] == ["data.tar.gz"]


@pytest.mark.parametrize(
    "name", ["../escaped", "a/../../escaped", "/escaped", "a/..", "..\\escaped", "C:escaped"]
)
def test_names_that_lead_out_are_refused(tmp_path, name):
    (tmp_path / "in").mkdir()
    refuse(
        tar(tmp_path / "in/data.tar.gz", ("fine", b"1"), (name, b"2")), "names within its folder"
    )
    (tmp_path / "in2").mkdir()
    with zipfile.ZipFile(tmp_path / "in2/data.zip", "w") as file:
        file.writestr("fine", b"1")
        file.writestr(name, b"2")
    refuse(tmp_path / "in2/data.zip", "names within its folder")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
)
def test_links_and_devices_are_refused(archive, kind):
    refuse(
        tar(archive, ("fine", b"1"), entry("link", kind, "fine")), "plain files and folders only"
    )


def test_a_link_in_a_zip_is_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as file:
        file.writestr("fine", b"1")
        file.writestr(link, "/etc/passwd")
    refuse(tmp_path / "data.zip", "plain files and folders only")


@pytest.mark.parametrize("twin", ["a/b", "./a/b", "a//b", "a/./b"])
def test_a_name_twice_is_refused(archive, twin):
    refuse(tar(archive, ("a/b", b"1"), (twin, b"2")), "each name once")


def test_a_file_that_is_a_folder_too_is_refused(archive):
    refuse(tar(archive, ("a", b"1"), ("a/b", b"2")), "files that can be read")


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_a_truncated_archive_with_the_right_checksum_is_refused(tmp_path, kept):
    noise = bytes(i * i * i % 251 for i in range(40_000))
    whole = tar(tmp_path / "whole.tar.gz", ("a", noise), ("b", noise)).read_bytes()
    (tmp_path / "in").mkdir()
    archive = tmp_path / "in/data.tar.gz"
    archive.write_bytes(whole[: int(len(whole) * kept)])
    refuse(archive, "data.tar.gz must hold")
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as file:
        file.writestr("a", noise)
    whole = (tmp_path / "whole.zip").read_bytes()
    archive.unlink()
    (tmp_path / "in/data.zip").write_bytes(whole[: int(len(whole) * kept)])
    refuse(tmp_path / "in/data.zip", "must hold a whole archive")


def test_a_damaged_member_of_a_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as file:
        file.writestr("a", b"digits")
    content = (tmp_path / "data.zip").read_bytes().replace(b"digits", b"digitS")
    (tmp_path / "data.zip").write_bytes(content)
    refuse(tmp_path / "data.zip", "files that can be read")


def test_other_kinds_are_refused(tmp_path):
    (tmp_path / "data.rar").write_bytes(b"")
    refuse(tmp_path / "data.rar", r"must be a .tar.gz or .zip file")


def test_what_is_unpacked_stays(archive):
    digest = file_checksum(tar(archive, ("a", b"1")))
    folder = unpack(archive, archive.parent / "out", digest)
    archive.unlink()
    assert (unpack(archive, folder, digest) / "a").read_bytes() == b"1"
