"""Reading of entries: the three formats, what is cut from texts, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import re
import tracemalloc

import pytest
import zstandard

from protclip_core.errors import InputError
from tests.train.protanno_data import DATA
from train.data import texts
from train.protanno.entries import PROPERTIES, Entry
from train.protanno.properties import clean_text, make_entry, names_of
from train.protanno.records import BrokenRecord
from train.protanno.sources import open_source

FLAT, TABLE, LINES = (DATA / f"proteins.{kind}" for kind in ("dat", "tsv", "jsonl"))
GLIMMER = (
    "PROTEIN NAME: Glimmer kinase 1. "
    "FUNCTION: Phosphorylates nothing in particular when light falls on it. Takes part in an "
    "ATP-dependent switch between pre- and post-glimmer states, by similarity with others. "
    "Blocks the switch. "
    "SUBCELLULAR LOCATION: Cell membrane; Single-pass membrane protein. Nucleus. Cytoplasm. "
    "SIMILARITY: Belongs to the glimmer kinase family."
)


def read(path, **options):
    with open_source(path) as source:
        return [make_entry(source.parse(r), source="x", **options) for r in source.records()]


def broken(path):
    """The first record that cannot be parsed: its place and what is wrong."""
    with open_source(path) as source:
        for record in source.records():
            try:
                source.parse(record)
            except BrokenRecord as error:
                return f"{source.where(record, error)}: {error.reason}"
    raise AssertionError("nothing is broken")


def test_flat_file_gives_every_field():
    first, second, third, fourth, fifth = read(FLAT)
    assert first.text == GLIMMER
    assert first.accession == "Z9AAA1"
    assert len(first.sequence) == 64 and first.sequence.startswith("MKLSVIAGLLWATAGHKDEQ")
    assert (first.existence, first.reviewed, first.coverage) == (1, True, 4)
    assert first.go == ("GO:0004672", "GO:0005524")
    assert first.organism == "Inventus imaginarius (Made-up moss)"
    assert second.similarity == "Belongs to the hush superfamily. Contains 1 silence domain"
    assert (third.text, third.reviewed, third.existence) == ("", False, 4)
    assert fourth.name == "tRNA (dusk(9)-N(1))-methyltransferase"
    assert (fifth.coverage, fifth.existence) == (1, 5)


@pytest.mark.parametrize("options", [{}, {"keep_evidence": True}, {"all_names": True}])
def test_table_export_gives_the_same_entries_as_the_flat_file(options):
    assert read(TABLE, **options) == read(FLAT, **options)


def test_json_lines_give_the_same_texts_and_a_split():
    entries = read(LINES)
    assert [entry.split for entry in entries] == ["train", "train", "valid", "train", "test"]
    for ours, flat in zip(entries, read(FLAT)):
        assert (ours.existence, ours.go, ours.reviewed) == (flat.existence, flat.go, flat.reviewed)
        for field in PROPERTIES:
            if (ours.accession, field) != ("Z9AAA1", "location"):
                assert getattr(ours, field) == getattr(flat, field)


def test_evidence_and_all_names_stay_on_request():
    entry = read(FLAT, keep_evidence=True, all_names=True)[0]
    assert "falls on it (PubMed:11111111). Takes" in entry.function
    assert "ECO:0000269|PubMed:22222222}" in entry.function
    assert entry.location.startswith("Cell membrane {ECO:0000269|PubMed:11111111}; Single")
    assert entry.name == "Glimmer kinase 1 (GlimK) (Light-switch (third) kinase)"
    plain = " ".join(entry.text for entry in read(FLAT))
    assert not any(word in plain for word in ("ECO:", "PubMed", "Note=", "Isoform", "EC 2"))


@pytest.mark.parametrize(
    ("text", "field", "clean"),
    [
        ("Binds ATP (By similarity). Is small {ECO:0000305}.", "function", "Binds ATP. Is small"),
        ("Binds ATP. {ECO:0000305}. Is small.", "function", "Binds ATP. Is small"),
        ("Moves (Probable). Stops (PubMed:1, PubMed:2).", "function", "Moves. Stops"),
        ("A whole sentence. A torso of a sen [...]", "function", "A whole sentence"),
        ("[Isoform 2]: Nucleus. Note=Only {ECO:1} at night.", "location", "Nucleus"),
        ("Uncharacterized protein YzzX {ECO:0000313}", "name", ""),
        (" . ", "function", ""),
    ],
)
def test_cleaning(text, field, clean):
    assert clean_text(text, field) == clean


def test_cleaning_agrees_with_the_trainers():
    for entry in read(FLAT, keep_evidence=True, all_names=True):
        for field in PROPERTIES:
            text = getattr(entry, field)
            if ". {" not in text:  # the trainer's leaves the stops on both sides of evidence
                assert clean_text(text, field) == texts._clean(text, field)


def test_clean_entries_stay_as_they_are_when_the_trainer_cleans_them_again():
    for entry in read(FLAT):
        for field in PROPERTIES:
            assert texts._clean(getattr(entry, field), field) == getattr(entry, field)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Globin", ("Globin",)),
        ("Globin (Glb) (EC 1.1.1.1) (Haem (red) thing)", ("Globin", "Glb", "Haem (red) thing")),
        ("Globin (Glb) [Cleaved into: Alpha (A); Beta]", ("Globin", "Glb")),
        ("Alcohol dehydrogenase [NADP(+)] (EC 1.1.1.2)", ("Alcohol dehydrogenase [NADP(+)]",)),
        ("Factor ANT(2)", ("Factor ANT(2)",)),
        ("Unbalanced) thing)", ("Unbalanced) thing)",)),
        ("(R)-lyase", ("(R)-lyase",)),
        ("(Only)", ("(Only)",)),
        ("Globin (Fragment)", ("Globin",)),
    ],
)
def test_names(text, names):
    assert names_of(text) == names


def test_names_of_before_2008_and_families_of_new_tables(tmp_path):
    old = FLAT.read_text().replace(
        "DE   RecName: Full=Hush protein {ECO:0000305};", "DE   Hush protein (Silencer)."
    )
    (tmp_path / "old.dat").write_text(old)
    assert read(tmp_path / "old.dat", all_names=True)[1].name == "Hush protein (Silencer)"
    table = TABLE.read_text().replace("Sequence similarities", "Protein families")
    table = table.replace("SIMILARITY: Belongs to the glimmer", "glimmer")
    (tmp_path / "new.tsv").write_text(table)
    assert read(tmp_path / "new.tsv")[0].similarity == "Belongs to the glimmer kinase family"


def test_entry_survives_json():
    for entry in read(LINES):
        assert Entry.from_json(entry.to_json()) == entry


@pytest.mark.parametrize("path", [FLAT, TABLE, LINES])
@pytest.mark.parametrize(
    "change",
    [
        gzip.compress,
        bz2.compress,
        lzma.compress,
        zstandard.compress,
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: b"\n\n" + data + b"\n\n",
        lambda data: data.replace(b"\n", b"\r\n"),
    ],
    ids=["gz", "bz2", "xz", "zst", "byte order mark", "blank lines", "CRLF"],
)
def test_kind_is_told_by_content(tmp_path, path, change):
    other = tmp_path / "misnamed.txt"
    other.write_bytes(change(path.read_bytes()))
    assert read(other) == read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"<!DOCTYPE html>\n<html>Not found</html>", "an HTML page"),
        (b">sp|Z9AAA1|X\nMKL\n", "FASTA"),
        (b"%PDF-1.4", "a PDF"),
        (b"PK\x03\x04abc", "zip"),
        ("ID   x\n".encode("utf-16"), "UTF-16"),
        (b"some words\n", "text of another kind"),
        (b"Entry\tOrganism\nA\tB\n", "has no column 'Sequence'"),
        (b"Entry\tSequence\tSequence\nA\tB\tC\n", "two columns 'Sequence'"),
        (gzip.compress(FLAT.read_bytes())[:-400], "data end early"),
    ],
)
def test_wrong_files_are_named(tmp_path, content, message):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("PE   3: Inferred", "PE   9: Inferred", r":55 \(Z9AAA2\): .*existence is 9"),
        ("PE   3: Inferred", "PE   x: Inferred", r":55 \(Z9AAA2\): cannot be parsed"),
        ("MAGHKDEQRN PSTV", "MAGHKDEQRN STV", r"\(Z9AAA2\): .*states 21 residues, 20 follow"),
        ("MAGHKDEQRN PSTV", "MAGHKDEQRN 1STV", r"\(Z9AAA2\): its sequence holds '1'"),
        ("CC   -!- FUNCTION: Keeps", "XX   -!- FUNCTION: Keeps", r":61 \(Z9AAA2\): 'XX   -!-"),
        ("//\nID   Z9AAA3", "ID   Z9AAA3", r":67 \(Z9AAA2\): 'ID   Z9AAA3"),
        ("AC   Z9AAA2;\n", "", ":55: it has no accession"),
        ("Full=Hush protein", "Full=Hush; nonsense", r"'nonsense' is not"),
        ("LLPTAAA\n//\n", "LLPTAAA\n", r"\(Z9AAA5\): it ends without '//'"),
    ],
)
def test_broken_records_of_a_flat_file_are_named(tmp_path, old, new, message):
    text = FLAT.read_text()
    assert text.count(old) == 1
    path = tmp_path / "x.dat"
    path.write_text(text.replace(old, new))
    assert re.search(message, broken(path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"pe": 3', '"pe": 0', ":2 (Z9AAA2): its protein existence is 0, not 1 to 5"),
        ('"pe": 3', '"pe": true', ":2 (Z9AAA2): its protein existence is True, not 1 to 5"),
        ('"pe": 3', '"pe": ', ":2 (Z9AAA2): it is not a JSON object on one line"),
        ('"Hush protein"', "7", ":2 (Z9AAA2): its 'name' is not text"),
        ('["GO:0016020"]', '["16020"]', ":3 (Z9AAA3): '16020' is not a GO id"),
        ('["GO:0016020"]', '"GO:0016020"', ":3 (Z9AAA3): its 'go' is not a list"),
        ('"sequence": "MKKLLPTAAA"', '"sequence": ""', ":5 (Z9AAA5): it has no 'sequence'"),
    ],
)
def test_broken_lines_of_json_are_named(tmp_path, old, new, message):
    path = tmp_path / "x.jsonl"
    path.write_text(LINES.read_text().replace(old, new))
    assert broken(path).startswith(f"{path}{message}")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\tPredicted\t", "\tPerhaps\t", ":4 (Z9AAA3): its protein existence is 'Perhaps'"),
        ("\tPredicted\t", "\t", ":4 (Z9AAA3): it has 11 cells, the header 12"),
        ("Z9AAA3\tunrev", "\tunrev", ":4: it has no accession"),
        ("MKKLLPTAAA", "", ":6 (Z9AAA5): it has no sequence"),
    ],
)
def test_broken_rows_of_a_table_are_named(tmp_path, old, new, message):
    path = tmp_path / "x.tsv"
    path.write_text(TABLE.read_text().replace(old, new))
    assert broken(path).startswith(f"{path}{message}")


def test_unknown_existence_stays_unknown(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("Entry\tProtein names\tSequence\nA1\tGlobin\tmkl\n")
    with open_source(path) as source:
        (entry,) = (source.parse(record) for record in source.records())
        assert source.notes == [
            "has no column 'Function [CC]'",
            "has no column 'Subcellular location [CC]'",
            "has no column 'Sequence similarities'",
            "has no column 'Protein existence'",
        ]
    assert (entry.existence, entry.reviewed, entry.sequence) == (None, None, "MKL")


def test_memory_does_not_grow_with_the_input(tmp_path):
    record = FLAT.read_bytes()
    peaks = []
    for copies in (40, 1600):
        path = tmp_path / f"{copies}.dat.gz"
        path.write_bytes(gzip.compress(record) * copies)
        tracemalloc.start()
        with open_source(path) as source:
            assert sum(1 for _ in source.records()) == 5 * copies
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 300_000


def test_content_hash_is_that_of_the_plain_bytes(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"\n" + FLAT.read_bytes() + b"\n"))
    with open_source(path) as source:
        list(source.records())
        assert source.sha256 == hashlib.sha256(b"\n" + FLAT.read_bytes() + b"\n").hexdigest()
