"""Archives that come from elsewhere: unpacked whole inside one folder, or refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import stat
import tarfile
import zipfile

import pytest
import zstandard

from protclip_core.errors import ModelError
from protclip_core.io.archives import extract, is_archive

FILES = {"m/config.json": b"{}", "m/deep/weights.bin": bytes(range(256)) * 20, "m/empty": b""}
COMPRESS = {
    "tar": bytes,
    "tar.gz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
    "tar.zst": zstandard.compress,
}


def tar_bytes(entries):
    """A tar of ``(TarInfo, content)``; a name stands for a plain file."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for info, content in entries:
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
            if content is not None:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content or b""))
    return raw.getvalue()


def zip_bytes(entries, mode=0):
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.filename = name  # ZipInfo itself would tidy it
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return raw.getvalue()


def write(folder, data, name="archive"):
    path = folder / name
    path.write_bytes(data)
    return path


def archive_of(kind, entries):
    return zip_bytes(entries) if kind == "zip" else COMPRESS[kind](tar_bytes(entries))


def refused(tmp_path, data, max_bytes=1_000_000):
    """Message for an archive; nothing may be left, inside the folder or beside it."""
    path = write(tmp_path, data)
    inside = tmp_path / "inside"
    inside.mkdir(exist_ok=True)
    assert is_archive(path)
    with pytest.raises(ModelError) as caught:
        extract(path, inside / "out", max_bytes=max_bytes)
    assert list(inside.iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["archive", "inside"]
    assert str(path) in str(caught.value)
    return caught.value.message


@pytest.mark.parametrize("kind", ["zip", *COMPRESS])
def test_what_is_unpacked_is_what_was_packed(tmp_path, kind):
    path = write(tmp_path, archive_of(kind, FILES.items()), "no.ending")
    assert is_archive(path)
    found = extract(path, tmp_path / "a" / "out", max_bytes=10_000)
    assert found == [tmp_path / "a" / "out" / name for name in FILES]
    assert {str(p.relative_to(tmp_path / "a/out")): p.read_bytes() for p in found} == FILES
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["out"]


def test_folders_and_the_folder_itself(tmp_path):
    here, deep = tarfile.TarInfo("./"), tarfile.TarInfo("./deep")
    here.type = deep.type = tarfile.DIRTYPE
    data = tar_bytes([(here, None), (deep, None), ("./deep/x", b"1"), ("./y", b"2")])
    found = extract(write(tmp_path, data), tmp_path / "out", max_bytes=10)
    assert [str(p.relative_to(tmp_path / "out")) for p in found] == ["deep/x", "y"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        b"{}",
        b"\x1f\x8b",
        gzip.compress(b"x" * 1000, mtime=0),
        bytes(2000),
        b"PK\x03\x04x",
    ],
)
def test_what_is_no_archive(tmp_path, data):
    assert not is_archive(write(tmp_path, data))


def test_checkpoint_of_torch_is_no_archive(tmp_path):
    """It is a zip file, and a model; so is one whose inner folder has another name."""
    import torch

    torch.save({"a": torch.zeros(3)}, tmp_path / "x.pt")
    assert not is_archive(tmp_path / "x.pt")
    assert not is_archive(tmp_path / "missing")
    assert not is_archive(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["../evil", "m/../../evil", "/tmp/protclip-evil", "m/..", "a\\..\\evil", "C:\\evil", "a\nb"],
)
def test_names_that_lead_out_of_the_folder(tmp_path, name):
    """Fault 45."""
    for data in (tar_bytes([("ok", b"1"), (name, b"2")]), zip_bytes([("ok", b"1"), (name, b"2")])):
        assert "which is not a name inside a folder" in refused(tmp_path, data)


@pytest.mark.parametrize("kind", ["SYMTYPE", "LNKTYPE", "CHRTYPE", "BLKTYPE", "FIFOTYPE"])
def test_links_and_devices(tmp_path, kind):
    """Fault 45: a link, even one that stays inside, is no file of a model."""
    info = tarfile.TarInfo("m/link")
    info.type, info.linkname = getattr(tarfile, kind), "ok"
    data = tar_bytes([("m/ok", b"1"), (info, None)])
    assert "is a link or a device" in refused(tmp_path, data)


def test_symbolic_link_in_a_zip(tmp_path):
    data = zip_bytes([("link", b"/etc/passwd")], mode=stat.S_IFLNK | 0o777)
    assert "'link', which is a link or a device" in refused(tmp_path, data)


@pytest.mark.parametrize("names", [("a", "a"), ("a", "A"), ("a", "./a"), ("a/b", "a")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_name_twice(tmp_path, names):
    for data in (tar_bytes([(n, b"1") for n in names]), zip_bytes([(n, b"1") for n in names])):
        message = refused(tmp_path, data)
        assert "twice" in message or "as a file and as a folder" in message


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"),
        ("CAF\N{LATIN CAPITAL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"),
        ("stra\N{LATIN SMALL LETTER SHARP S}e", "STRASSE"),
    ],
)
def test_names_that_some_disks_take_for_one(tmp_path, first, second):
    for make in (tar_bytes, zip_bytes):
        assert "twice" in refused(tmp_path, make([(first, b"1"), (second, b"2")]))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("m/" + "a" * 256, "too long for a file"),
        ("m/" + "\N{GREEK SMALL LETTER ALPHA}" * 128, "too long for a file"),
        ("/".join(["a" * 250] * 5), "too long for a file"),
        ("a/" * 64 + "b", "more than 64 folders deep"),
        ("a/" * 2000 + "b", "more than 64 folders deep"),
    ],
)
def test_names_that_no_disk_takes(tmp_path, name, reason):
    """Found before anything is written, and not blamed on the folder of the user."""
    for make in (tar_bytes, zip_bytes):
        assert reason in refused(tmp_path, make([("m/ok", b"1"), (name, b"2")]))


def test_longest_and_deepest_names(tmp_path):
    names = ["a" * 255, "b/" * 63 + "c"]
    for make in (tar_bytes, zip_bytes):
        path = write(tmp_path, make([(name, b"1") for name in names]))
        found = extract(path, tmp_path / make.__name__, max_bytes=10)
        assert [str(p.relative_to(tmp_path / make.__name__)) for p in found] == names


@pytest.mark.parametrize("kind", ["zip", *COMPRESS])
def test_bombs(tmp_path, kind):
    """Fault 45: few bytes that hold many; one file, or many small ones."""
    for entries in ([("a", bytes(2_000_001))], [(str(n), bytes(100_000)) for n in range(21)]):
        data = archive_of(kind, entries)
        assert "holds more than 2,000,000 bytes" in refused(tmp_path, data, max_bytes=2_000_000)


def test_zip_that_lies_about_its_size(tmp_path):
    """The stated size is 10 bytes: what is really written is counted, and found wrong."""
    data = bytearray(zip_bytes([("a", bytes(1_000_000))]))
    central = data.rindex(b"PK\x01\x02")
    for start in (22, central + 24):
        data[start : start + 4] = (10).to_bytes(4, "little")
    refused(tmp_path, bytes(data), max_bytes=100_000)


@pytest.mark.full
def test_tar_whose_names_are_the_bomb(tmp_path):
    """A name of 60 MB, in an archive of 300 kB, is not read into memory."""
    raw = io.BytesIO()
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 60_000_000
    raw.write(info.tobuf(tarfile.GNU_FORMAT))
    raw.write(b"x" * info.size)
    data = gzip.compress(raw.getvalue(), 1)
    assert "holds more than 1,000 bytes" in refused(tmp_path, data, max_bytes=1000)


@pytest.mark.full
def test_too_many_members(tmp_path):
    folders = [tarfile.TarInfo(str(n)) for n in range(10_001)]
    for folder in folders:
        folder.type = tarfile.DIRTYPE
    assert "more than 10,000 members" in refused(tmp_path, tar_bytes([(f, None) for f in folders]))
    data = zip_bytes([(str(n), b"") for n in range(10_001)])
    assert "more than 10,000 members" in refused(tmp_path, data)


@pytest.mark.full(but="zip")
@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
def test_damaged_archives(tmp_path, kind):
    """Cut short, or with a byte that is another."""
    content = random.Random(0).randbytes(600_000)
    whole = archive_of(kind, [("a", content), ("b", content)])
    if kind != "zip":  # a zip that was cut has no list of its members
        assert "damaged" in refused(tmp_path, whole[: len(whole) * 7 // 8], 2_000_000)
    if kind != "tar.zst":  # whose frames have no checksum here
        flipped = bytearray(whole)
        flipped[len(whole) * 7 // 8] ^= 0xFF
        assert "damaged" in refused(tmp_path, bytes(flipped), 2_000_000)


def test_encrypted_zip(tmp_path):
    data = bytearray(zip_bytes([("a", b"secret")]))
    for start in (6, data.rindex(b"PK\x01\x02") + 8):
        data[start] |= 1
    assert "is encrypted" in refused(tmp_path, bytes(data))
