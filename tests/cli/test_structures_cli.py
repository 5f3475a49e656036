"""The commands on structure files."""

from __future__ import annotations

import gzip
import tarfile

import pytest

from tests.support.once import once
from tests.support.structures import mmcif, pdb, peptide, residue
from tests.support.terminal import one_error, rows_of
from tests.support.trimodal import write_trimodal

DNA = [atom for n, name in enumerate(("DA", "DC", "DG"), 1) for atom in residue(name, n, "D")]
DNA = [atom for atom in DNA if atom.name != "CA"]


@pytest.fixture(scope="module")
def trimodal(tmp_path_factory):
    return str(once(tmp_path_factory, "trimodal", write_trimodal))


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "AF-P1-F1-model_v4.cif.gz").write_bytes(
        gzip.compress(mmcif(peptide("MKTAYIAKQRQ")).encode())
    )
    (folder / "1abc.pdb").write_text(pdb(peptide("AYVKM"), peptide("MKVLA", "B"), DNA))
    return folder


def test_sequences_of_structures_from_a_folder_a_tar_and_a_pipe(embed, files, tmp_path):
    rows = rows_of(embed("models", "--modality", "sequence", "-o", "-").out)
    ids = ["1abc_A", "1abc_B", "AF-P1-F1-model_v4"]
    assert [row[0] for row in rows] == ids
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as archive:
        for path in sorted(files.iterdir()):
            archive.add(path, path.name)
    assert rows_of(embed("all.tar.gz", "--modality", "sequence", "-o", "-").out) == rows
    content = (tmp_path / "all.tar.gz").read_bytes()
    done = embed("-", "--modality", "sequence", "-o", "-", stdin=content)
    assert rows_of(done.out) == rows
    one = embed("models/1abc.pdb", "--modality", "sequence", "--chain", "B", "-o", "-")
    assert rows_of(one.out) == [rows[1]]


def test_a_chain_that_is_passed_over_is_named(embed, files):
    done = embed("models", "--modality", "sequence")
    assert done.rc == 0
    assert "1abc.pdb:record 3 (1abc_D)" in done.err


def test_a_model_without_structures_says_what_to_do(embed, files):
    error = one_error(embed("models"), 2, code="usage.no_structure_encoder")
    assert "--modality sequence" in error
    one_error(embed("models", "--modality", "structure"), 2, code="usage.no_structure_encoder")


def test_the_default_model_embeds_structures(protclip, files, tmp_path):
    rows = rows_of(protclip("embed", "models", "-o", "-", cwd=tmp_path).out)
    assert [row[0] for row in rows] == ["1abc_A", "1abc_B", "AF-P1-F1-model_v4"]
    by = {
        kind: protclip("embed", "models", "--modality", kind, "-o", "-", cwd=tmp_path).out
        for kind in ("structure", "sequence")
    }
    assert rows_of(by["structure"]) == rows
    assert rows_of(by["sequence"]) != rows


LINES = {
    "cut.cif.gz": (gzip.compress(mmcif(peptide("MKTAY")).encode())[:-4], "input.truncated"),
    "empty.pdb": (b"", "input.empty"),
    "text.pdb": (b"Dear all,\n", "input.unknown_format"),
    "dna.pdb": (pdb(DNA).encode(), "input.not_protein"),
    "atoms.pdb": (pdb(residue("ALA", 1, atoms=("N", "CA"))).encode(), "input.too_short"),
}


@pytest.mark.parametrize(("name", "content", "code"), [(n, *rest) for n, rest in LINES.items()])
def test_a_file_that_cannot_be_used_has_its_one_line(embed, tmp_path, name, content, code):
    (tmp_path / name).write_bytes(content)
    one_error(embed(name, "--modality", "sequence"), 3, name, code=code)


def cells(text):
    return [line.split("\t") for line in text.splitlines()]


def test_structures_become_a_store_that_says_so_and_answers_texts(protclip, trimodal, files):
    here = {"cwd": files.parent}
    done = protclip("embed", "models", "--model", trimodal, "-o", "s.h5", **here)
    assert done.rc == 0
    assert "s.h5: 3 proteins; 3 structures embedded" in done.err
    facts = dict(cells(protclip("store", "info", "s.h5", "--format", "tsv", **here).out))
    assert (facts["modality"], facts["space"], facts["proteins"]) == ("structure", "joint", "3")
    _, *found = cells(protclip("search", "s.h5", "zinc binding", "--format", "tsv", **here).out)
    assert sorted(row[2] for row in found) == ["1abc_A", "1abc_B", "AF-P1-F1-model_v4"]
    terms = protclip("annotate", "--location", "s.h5", "--model", trimodal, **here)
    header, *rows = cells(terms.out)
    assert rows and {row[header.index("probability")] for row in rows} == {""}
    assert "no probabilities" in terms.err
