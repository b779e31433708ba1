import pytest

from headwater.benchmark.datasets.download import file_checksum
from headwater.benchmark.datasets.official import OfficialArchive, OfficialFile, find_official
from tests.benchmark.datasets.servers import pack, served


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """A folder to be served with an archive in it, and no mirror."""
    monkeypatch.delenv("HEADWATER_DATA_MIRROR", raising=False)
    (tmp_path / "content/top").mkdir(parents=True)
    (tmp_path / "content/top/a.bin").write_bytes(b"digits")
    (tmp_path / "served").mkdir()
    return pack(tmp_path / "content", tmp_path / "served/set.tar.gz").parent


def test_an_archive_is_downloaded_verified_and_unpacked_once(offered, tmp_path):
    digest, downloads = file_checksum(offered / "set.tar.gz"), tmp_path / "downloads"
    with served(offered) as address:
        source = OfficialArchive("set", address + "set.tar.gz", digest)
        path = find_official("set", "top/a.bin", source, downloads)
    assert path == downloads / "set/top/a.bin"
    assert path.read_bytes() == b"digits"
    assert sorted(p.name for p in downloads.iterdir()) == ["set", "set.tar.gz"]
    # The server is gone, and the archive: nothing is fetched again.
    (downloads / "set.tar.gz").unlink()
    assert find_official("set", "top/a.bin", source, downloads) == path
    with pytest.raises(FileNotFoundError, match=r"must hold top/b.bin, got a folder without it"):
        find_official("set", "top/b.bin", source, downloads)


def test_a_wrong_archive_leaves_nothing(offered, tmp_path):
    with served(offered) as address:
        source = OfficialArchive("set", address + "set.tar.gz", "0" * 64)
        with pytest.raises(ValueError, match=r"set.tar.gz must have sha256 0000"):
            find_official("set", "top/a.bin", source, tmp_path / "downloads")
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_file_goes_to_the_folder_of_its_data_set(offered, tmp_path):
    digest = file_checksum(offered / "set.tar.gz")
    with served(offered) as address:
        source = OfficialFile("set", address + "set.tar.gz", digest)
        path = find_official("set", "set.tar.gz", source, tmp_path / "downloads")
    assert path == tmp_path / "downloads/set/set.tar.gz"
    assert file_checksum(path) == digest


def test_a_mirror_is_taken_as_it_is_and_never_completed(offered, tmp_path, monkeypatch):
    digest = file_checksum(offered / "set.tar.gz")
    source = OfficialArchive("set", (offered / "set.tar.gz").as_uri(), digest)
    (tmp_path / "mirror/other/top").mkdir(parents=True)
    (tmp_path / "mirror/other/top/a.bin").write_bytes(b"others")
    monkeypatch.setenv("HEADWATER_DATA_MIRROR", str(tmp_path / "mirror"))
    path = find_official("other", "top/a.bin", source, tmp_path / "downloads")
    assert path.read_bytes() == b"others"
    with pytest.raises(FileNotFoundError, match=r"must hold set/top/a.bin, got .* without it"):
        find_official("set", "top/a.bin", source, tmp_path / "downloads")
    assert not (tmp_path / "downloads").exists()
