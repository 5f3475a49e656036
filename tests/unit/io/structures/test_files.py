"""Where structures come from: compressed, in folders, lists, tars, from standard input."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import sys
import tarfile

import pytest
import zstandard

from protclip_core.errors import InputError
from protclip_core.io.structures import StructureSummary, holds_structures, read_structures
from protclip_core.io.structures.formats import stem_of, structure_form
from tests.support.structures import mmcif, pdb, peptide

PDB, CIF = pdb(peptide("MKTAY")).encode(), mmcif(peptide("AYVKM")).encode()
PACKERS = {
    "plain": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
}


def outcome(inputs):
    failures, summary = [], StructureSummary()
    records = list(read_structures(inputs, on_failure=failures.append, summary=summary))
    return [(r.chain.id, r.chain.sequence) for r in records], failures, summary


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
@pytest.mark.parametrize("content", [PDB, CIF], ids=["pdb", "cif"])
def test_compression_and_format_are_told_by_content(tmp_path, pack, content):
    (tmp_path / "model.txt").write_bytes(pack(content))
    assert holds_structures(str(tmp_path / "model.txt"))
    (found,), failures, _ = outcome([tmp_path / "model.txt"])
    assert found == ("model.txt", "MKTAY" if content is PDB else "AYVKM")
    assert not failures


@pytest.mark.parametrize("pack", [*PACKERS.values()][1:], ids=[*PACKERS][1:])
def test_a_cut_compressed_file_is_an_error_and_no_model(tmp_path, pack):
    packed = pack(CIF * 30)
    for size in (len(packed) - 1, len(packed) - 9, len(packed) // 2):
        (tmp_path / "x.cif").write_bytes(packed[:size])
        found, (failure,), _ = outcome([tmp_path / "x.cif"])
        assert found == []
        assert (failure.code, failure.id) == ("record.truncated", "x")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("AF-P12345-F1-model_v4.cif.gz", "AF-P12345-F1-model_v4"),
        ("a/b/pdb1abc.ent.gz", "pdb1abc"),
        ("1abc.CIF", "1abc"),
        ("1abc.v2.pdb.zst", "1abc.v2"),
        ("my.model", "my.model"),
        ("1abc.bcif", "1abc"),
    ],
)
def test_an_id_is_the_name_without_its_suffixes(name, stem):
    assert stem_of(name) == stem


@pytest.mark.parametrize(
    ("start", "form"),
    [
        (b"HEADER    HYDROLASE    01-JAN-00   1ABC\n", "pdb"),
        (b"ATOM      1  N   MET A   1 ", "pdb"),
        (b"HETATM    1  N   MSE A   1 ", "pdb"),
        (b"MODEL        1\nATOM ", "pdb"),
        (b"REMARK 250\n", "pdb"),
        (b"REMARK   made by hand\n", "pdb"),
        (b"CRYST1    1.000", "pdb"),
        (b"PARENT N/A\n", "pdb"),
        (b"\n\nATOM      1  N ", "pdb"),
        (b"data_1ABC\n", "mmcif"),
        (b"# a comment\n\n#\nDATA_1ABC", "mmcif"),
        (b"\xef\xbb\xbfdata_1ABC", "mmcif"),
        (b"\x83\xa7encoder\xa3me", "bcif"),
        (b"\x83\xaadataBlocks", "bcif"),
        (b">x\nMKT", None),
        (b"ATOMIC PHYSICS IS", None),
        (b"MODEL organisms are", None),
        (b"TITLE", None),
        (b"data_", None),
        (b"", None),
        (b"\x89HDF\r\n", None),
    ],
)
def test_formats_by_their_first_bytes(start, form):
    assert structure_form(start) == form


def test_a_folder_is_read_in_order_of_names_and_twins_once(tmp_path):
    (tmp_path / "b.pdb").write_bytes(PDB)
    (tmp_path / "a.cif.gz").write_bytes(gzip.compress(CIF))
    (tmp_path / "a.pdb.gz").write_bytes(gzip.compress(PDB))
    (tmp_path / "unnamed").write_bytes(PDB)
    (tmp_path / "README.md").write_text("what this is\n")
    (tmp_path / "sub").mkdir()
    found, failures, summary = outcome([tmp_path])
    assert found == [("a", "AYVKM"), ("b", "MKTAY"), ("unnamed", "MKTAY")]
    assert not failures
    assert (summary.files, summary.other_files, summary.repeated_files) == (3, 1, 1)


def test_only_structures_by_name_are_twins(tmp_path):
    (tmp_path / "1abc").write_text("notes\n")
    (tmp_path / "1abc.pdb").write_bytes(PDB)
    (tmp_path / "2abc.cif").write_text("")
    found, (failure,), summary = outcome([tmp_path])
    assert found == [("1abc", "MKTAY")]
    assert (failure.id, failure.code) == ("2abc", "record.empty")
    assert (summary.other_files, summary.repeated_files) == (1, 0)


def test_one_bad_file_does_not_stop_the_others(tmp_path):
    (tmp_path / "a.pdb").write_bytes(b"")
    (tmp_path / "b.pdb.gz").write_bytes(gzip.compress(PDB)[:-3])
    (tmp_path / "c.pdb").write_bytes(PDB)
    paths = [tmp_path / name for name in ("a.pdb", "b.pdb.gz", "gone.pdb", "c.pdb")]
    found, failures, summary = outcome(paths)
    assert found == [("c", "MKTAY")]
    codes = ["record.empty", "record.truncated", "record.no_such_file"]
    assert [failure.code for failure in failures] == codes
    assert summary.refused == 3


def test_a_list_names_files_folders_and_tars(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.pdb").write_bytes(PDB)
    (tmp_path / "b.cif").write_bytes(CIF)
    (tmp_path / "list").write_text("b.cif\n\nd\n")
    assert holds_structures("@list")
    assert [id for id, _ in outcome(["@list"])[0]] == ["b", "a"]
    (tmp_path / "none").write_text("\n")
    with pytest.raises(InputError) as caught:
        outcome(["@none"])
    assert caught.value.code == "input.empty"


def tar(members, mode="w"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "x"
            else:
                info.size = len(content)
            archive.addfile(info, None if content is None else io.BytesIO(content))
    return out.getvalue()


PROTEOME = {
    "up/AF-P1-F1-model_v4.cif.gz": gzip.compress(CIF),
    "up/AF-P1-F1-model_v4.pdb.gz": gzip.compress(PDB),
    "up/AF-P1-F1-predicted_aligned_error_v4.json.gz": gzip.compress(b'[{"pae": []}]'),
    "up/AF-P2-F1-model_v4.cif.gz": gzip.compress(PDB),
    "up/._AF-P2-F1-model_v4.cif": b"\0\5\x16\7",
    "up/link.pdb": None,
}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_of_a_proteome_is_read_as_it_passes_by(tmp_path, mode):
    (tmp_path / "p.tar").write_bytes(tar(PROTEOME, mode))
    assert holds_structures(str(tmp_path / "p.tar"))
    found, failures, summary = outcome([tmp_path / "p.tar"])
    assert found == [("AF-P1-F1-model_v4", "AYVKM"), ("AF-P2-F1-model_v4", "MKTAY")]
    assert not failures
    assert (summary.other_files, summary.repeated_files) == (3, 1)


def test_a_bad_member_is_named_and_the_rest_of_the_tar_read(tmp_path):
    members = {"a.pdb.gz": gzip.compress(PDB)[:-5], "b.cif": CIF, "c.pdb": b""}
    (tmp_path / "p.tar").write_bytes(tar(members))
    found, failures, _ = outcome([tmp_path / "p.tar"])
    assert found == [("b", "AYVKM")]
    assert [(f.code, f.id) for f in failures] == [("record.truncated", "a"), ("record.empty", "c")]
    assert failures[0].source == f"{tmp_path / 'p.tar'}/a.pdb.gz"


def test_a_cut_tar_is_an_error_after_what_it_still_gave(tmp_path):
    filler = random.Random(1).randbytes(1 << 20)  # more than is decompressed at once
    whole = tar({**PROTEOME, "filler": filler}, "w:gz")
    (tmp_path / "p.tar.gz").write_bytes(whole[:-4])
    found, (failure,), _ = outcome([tmp_path / "p.tar.gz"])
    assert len(found) == 2
    assert (failure.code, failure.id) == ("record.truncated", "p.tar")
    plain = tar({"a.pdb": PDB, "b.pdb": PDB})
    (tmp_path / "p.tar").write_bytes(plain[:1500])
    found, (failure,), _ = outcome([tmp_path / "p.tar"])
    assert failure.code in ("record.truncated", "record.damaged")


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        (PDB, ["stdin"]),
        (CIF, ["TEST"]),
        (gzip.compress(CIF), ["TEST"]),
        (tar(PROTEOME, "w:gz"), ["AF-P1-F1-model_v4", "AF-P2-F1-model_v4"]),
    ],
    ids=["pdb", "cif", "cif.gz", "tar.gz"],
)
def test_standard_input_is_looked_at_and_then_read_whole(monkeypatch, content, ids):
    class Standard:
        buffer = io.BufferedReader(io.BytesIO(content))

    monkeypatch.setattr(sys, "stdin", Standard)
    assert holds_structures("-")
    found, failures, _ = outcome(["-"])
    assert [id for id, _ in found] == ids
    assert not failures


@pytest.mark.parametrize("content", [b"", b">a\nMKT\n", b"\x1f\x8b", b"PK\x03\x04", b"MKT"])
def test_other_files_hold_no_structures(tmp_path, content):
    (tmp_path / "x.pdb").write_bytes(content)
    assert not holds_structures(str(tmp_path / "x.pdb"))
    assert not holds_structures(str(tmp_path / "gone"))
