"""Streams: compression by content, every damage one `InputError` (faults 33 and 36)."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from protclip_core.errors import InputError
from protclip_core.io.streams import looks_like, open_input, source_name, wide_encoding

TEXT = b"".join(b">p%d\nMKVLA%s\n" % (n, b"ACDEFGHIKL" * (n % 7)) for n in range(3000))


def _zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": _zst,
}
kinds = pytest.mark.parametrize("kind", COMPRESSORS)


def _read(path: str | Path) -> bytes:
    with open_input(path) as stream:
        return stream.read()


def _write(folder: Path, data: bytes, name: str = "x.fa") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _refusal(path: str | Path) -> str:
    with pytest.raises(InputError) as caught:
        _read(path)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_plain_file_is_read_as_it_is(tmp_path: Path) -> None:
    assert _read(_write(tmp_path, TEXT)) == TEXT
    assert _read(str(_write(tmp_path, b""))) == b""
    assert _read(_write(tmp_path, b">a")) == b">a"


@kinds
def test_compression_is_told_from_content_not_name(tmp_path: Path, kind: str) -> None:
    assert _read(_write(tmp_path, COMPRESSORS[kind](TEXT), "x.txt")) == TEXT
    assert _read(_write(tmp_path, COMPRESSORS[kind](b""))) == b""


def test_plain_file_named_gz_is_plain(tmp_path: Path) -> None:
    assert _read(_write(tmp_path, TEXT, "x.fa.gz")) == TEXT


@kinds
@pytest.mark.parametrize("padding", [b"", b"\0" * 5000], ids=["bare", "padded"])
def test_all_members_are_read(tmp_path: Path, kind: str, padding: bytes) -> None:
    pack = COMPRESSORS[kind]
    members = [pack(TEXT), pack(b""), pack(b">last\nMKV\n")]
    assert _read(_write(tmp_path, b"".join(members) + padding)) == TEXT + b">last\nMKV\n"


def test_many_small_members_are_not_quadratic(tmp_path: Path) -> None:
    assert _read(_write(tmp_path, COMPRESSORS["gzip"](b"MK") * 20_000)) == b"MK" * 20_000


def test_skippable_zstd_frames_are_passed_over(tmp_path: Path) -> None:
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
    assert _read(_write(tmp_path, skippable + _zst(TEXT) + skippable)) == TEXT


@kinds
def test_highly_compressible_data_come_in_full(tmp_path: Path, kind: str) -> None:
    data = b">a\n" + b"M" * 20_000_000
    with open_input(_write(tmp_path, COMPRESSORS[kind](data))) as stream:
        sizes = [len(piece) for piece in iter(lambda: stream.read1(1 << 16), b"")]
    assert sum(sizes) == len(data)
    assert max(sizes) <= 1 << 16


@kinds
@pytest.mark.parametrize("keep", [0.6, -8, -1], ids=["60%", "last 8 bytes", "last byte"])
def test_truncation_is_named(tmp_path: Path, kind: str, keep: float) -> None:
    data = COMPRESSORS[kind](TEXT)
    path = _write(tmp_path, data[: int(len(data) * keep) if keep > 0 else int(keep)])
    message = _refusal(path)
    assert message.startswith(f"{path}: {kind} data end early, after ")
    assert "the file is cut" in message


@kinds
def test_cut_in_the_second_member(tmp_path: Path, kind: str) -> None:
    pack = COMPRESSORS[kind]
    assert "end early" in _refusal(_write(tmp_path, pack(TEXT) + pack(TEXT)[:-9]))


@kinds
def test_every_bit_flip_ends_in_the_same_text_or_a_refusal(tmp_path: Path, kind: str) -> None:
    data = COMPRESSORS[kind](TEXT)
    refusals = []
    for place in range(8, len(data), max(1, len(data) // 40)):
        damaged = data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]
        try:
            assert _read(_write(tmp_path, damaged)) == TEXT  # header fields that mean nothing
        except InputError as error:
            refusals.append(str(error))
    assert len(refusals) >= 30
    assert all(kind in refusal for refusal in refusals)


def test_gzip_checksum_error_is_damage(tmp_path: Path) -> None:
    data = bytearray(COMPRESSORS["gzip"](TEXT))
    data[-5] ^= 1
    path = _write(tmp_path, bytes(data))
    assert _refusal(path).startswith(f"{path}: gzip data are damaged after ")


@kinds
@pytest.mark.parametrize("junk", [b"junk", b"j", b"\0" * 9 + b"<html>", TEXT])
def test_trailing_junk_is_named(tmp_path: Path, kind: str, junk: bytes) -> None:
    path = _write(tmp_path, COMPRESSORS[kind](TEXT) + junk)
    message = _refusal(path)
    assert message.startswith(f"{path}: data that are not {kind} follow {kind} member 1 (0x")
    assert f"after {len(TEXT):,} decompressed bytes" in message


def test_error_repeats_instead_of_turning_into_an_end(tmp_path: Path) -> None:
    path = _write(tmp_path, COMPRESSORS["gzip"](TEXT)[:-8])
    with open_input(path) as stream:
        for _ in range(2):
            with pytest.raises(InputError, match="end early"):
                stream.read()


def test_memory_greed_is_refused(tmp_path: Path) -> None:
    big_window = zstandard.ZstdCompressionParameters(window_log=30, compression_level=1)
    packer = zstandard.ZstdCompressor(compression_params=big_window).compressobj()
    path = _write(tmp_path, packer.compress(TEXT) + packer.flush())
    assert "too much memory" in _refusal(path)


def test_missing_directory_and_bad_paths(tmp_path: Path) -> None:
    assert _refusal(tmp_path / "no.fa") == f"{tmp_path}/no.fa: no such file; check the path"
    assert _refusal(tmp_path).startswith(f"{tmp_path}: is a directory")
    inside = _write(tmp_path, b">a\nM\n") / "b.fa"
    assert "no such file: a part of the path is not a directory" in _refusal(inside)
    assert "has a NUL character" in _refusal("a\0b")
    assert "cannot be read" in _refusal("a" * 5000)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything
    path = tmp_path / "x.fa"
    assert _refusal(path) == f"{path}: no permission to read it; check its access rights"


def test_read_error_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Failing(b">abcdefgh")))
    assert "<stdin>: cannot be read to its end: Input/output error" in _refusal("-")


def test_stdin_is_read_and_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(COMPRESSORS["gzip"](TEXT)))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert _read("-") == TEXT
    assert not stdin.buffer.closed


def test_closed_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert _refusal("-") == "<stdin>: standard input is closed; name a file instead"


@pytest.mark.parametrize("kind", [None, *COMPRESSORS])
def test_unseekable_pipe_that_dribbles(kind: str | None) -> None:
    data = COMPRESSORS[kind](TEXT) if kind else TEXT
    reading, writing = os.pipe()

    def feed() -> None:
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            for start in (0, 1, 2, 3, 7, 50, 4000):  # the magic bytes come one by one
                end = {0: 1, 1: 2, 2: 3, 3: 7, 7: 50, 50: 4000}.get(start, len(data))
                pipe.write(data[start:end])

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        assert _read(f"/dev/fd/{reading}") == TEXT
    finally:
        os.close(reading)
        feeder.join()


def test_file_removed_while_it_is_read(tmp_path: Path) -> None:
    path = _write(tmp_path, TEXT)
    with open_input(path) as stream:
        path.unlink()
        assert stream.read() == TEXT


def test_source_name() -> None:
    assert source_name("-") == source_name(Path("-")) == "<stdin>"
    assert source_name("a/b.fa") == "a/b.fa"
    assert source_name("a\x1b[31m.fa") == r"a\x1b[31m.fa"


def test_looks_like_and_wide_encoding_take_anything() -> None:
    assert looks_like(b"")[0] and looks_like(b"\xff")[0]
    assert looks_like(b"a.fa".ljust(257, b"\0") + b"ustar")[0] == "a tar archive"
    assert [wide_encoding(b) for b in (b"", b">", b">abc", b"\0\0\0\0", b">a\0b")] == [""] * 5
