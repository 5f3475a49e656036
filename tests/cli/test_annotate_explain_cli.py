"""``protclip annotate --explain``: columns, pictures, refusals."""

from __future__ import annotations

import json
import struct
import xml.etree.ElementTree as ET

import pytest

from protclip_core.terms.index_file import add_to_bundle
from protclip_core.weights.bundle import open_bundle
from tests.support.go_indexes import index_of
from tests.support.helpers import random_proteins, write_fasta
from tests.support.terminal import one_error
from tests.unit.models.dual import Dual

PROTEINS = random_proteins(8, seed=4, shortest=20, longest=60)
LAST = ["go_release", "residues", "cosine_without"]


@pytest.fixture(scope="module")
def dual(tmp_path_factory):
    folder = Dual().write(tmp_path_factory.mktemp("models") / "dual")
    add_to_bundle(index_of(folder), open_bundle(folder))
    return folder


@pytest.fixture
def annotate(protclip, dual, tmp_path):
    """``annotate(*arguments)`` beside ``x.fa`` of eight proteins and ``one.fa`` of one."""
    write_fasta(tmp_path / "x.fa", PROTEINS)
    write_fasta(tmp_path / "one.fa", PROTEINS[:1])

    def annotate(*arguments, **options):
        fixed = ["--go", "--model", dual, "--device", "cpu"]
        return protclip("annotate", *fixed, *arguments, cwd=tmp_path, **options)

    return annotate


def table(text):
    header, *lines = [line.split("\t") for line in text.splitlines()]
    return [dict(zip(header, line, strict=True)) for line in lines]


def ranges(text):
    return [tuple(map(int, part.split("-"))) for part in text.split(",") if part]


def test_columns(annotate):
    done = annotate("x.fa", "--explain")
    assert done.rc == 0
    assert done.out.partition("\n")[0].split("\t")[-3:] == LAST
    lengths = {id: len(sequence) for id, sequence in PROTEINS}
    rows, some = table(done.out), 0
    for row in rows:
        found = ranges(row["residues"])
        assert (row["cosine_without"] == "") == (not found)
        if found:
            some += 1
            assert float(row["cosine_without"]) < float(row["cosine"])
        places = [place for pair in found for place in pair]
        assert places == sorted(set(places))
        assert not places or (places[0] >= 1 and places[-1] <= lengths[row["protein_id"]])
    assert 5 < some < len(rows)
    # Without the option, the same rows and no such columns.
    bare = [[v for k, v in row.items() if k not in LAST[1:]] for row in rows]
    assert [line.split("\t") for line in annotate("x.fa").out.splitlines()[1:]] == bare
    lines = [
        json.loads(line)
        for line in annotate("x.fa", "--explain", "--format", "jsonl").out.splitlines()
    ]
    assert [one["residues"] for one in lines] == [row["residues"] for row in rows]
    without = [
        None if row["cosine_without"] == "" else float(row["cosine_without"]) for row in rows
    ]
    assert [one["cosine_without"] for one in lines] == without


def test_a_protein_is_explained_as_if_it_were_alone(annotate, tmp_path):
    def explained(outcome):
        rows = [row for row in table(outcome.out) if row["protein_id"] == chosen]
        return [[row[name] for name in ("term", *LAST[1:])] for row in rows]

    every = annotate("x.fa", "--explain")
    chosen = next(row["protein_id"] for row in table(every.out) if row["residues"])
    text = f">{chosen}\n{dict(PROTEINS)[chosen]}\n"
    assert any(residues for _, residues, _ in explained(every))
    assert explained(annotate("--explain", stdin=text.encode())) == explained(every)


def png_size(data):
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.endswith(b"IEND\xaeB`\x82")
    return struct.unpack(">II", data[16:24])


def test_pictures(annotate, tmp_path):
    drawn = annotate("one.fa", "--top-k", "1", "--plot", "one.PNG")
    assert drawn.rc == 0
    # The rows are those without the picture.
    assert drawn.out == annotate("one.fa", "--top-k", "1").out
    width, low = png_size((tmp_path / "one.PNG").read_bytes())
    assert annotate("one.fa", "--top-k", "2", "--plot", "two.png").rc == 0
    same, high = png_size((tmp_path / "two.png").read_bytes())
    assert (width, same) == (1430, 1430)
    # A track of 0.78 inch for each of three terms more, at 130 dots an inch.
    assert high - low == pytest.approx(3 * 0.78 * 130, abs=2)
    assert annotate("x.fa", "--protein", "p3", "--plot", "x.pdf").rc == 0
    assert (tmp_path / "x.pdf").read_bytes().startswith(b"%PDF-")


def test_a_picture_names_terms_residues_and_probabilities(annotate, tmp_path):
    done = annotate("x.fa", "--top-k", "2", "--explain", "--plot", "x.svg", "--protein", "p3")
    assert done.rc == 0
    rows = [row for row in table(done.out) if row["protein_id"] == "p3"]
    texts = [
        "".join(node.itertext()).strip()
        for node in ET.fromstring((tmp_path / "x.svg").read_bytes()).iter()
        if node.tag.endswith("}text")
    ]
    assert len(rows) == 6
    for row in rows:
        assert row["name"] in texts
        note = f"{row['term']}  probability {float(row['probability']):.2f}"
        assert any(text.startswith(note) for text in texts)
        for first, last in ranges(row["residues"])[:1]:
            assert f"{first}-{last}" in texts
    assert "p3" in texts
    assert any("model dual" in text for text in texts)
    letters = "".join(text for text in texts if len(text) == 1 and text.isalpha())
    assert PROTEINS[3][1] in letters


def test_a_picture_goes_with_every_format(annotate, tmp_path):
    done = annotate("one.fa", "--format", "gaf", "--plot", "x.svg", "-o", "x.gaf")
    assert done.rc == 0
    assert (tmp_path / "x.svg").is_file()
    assert (tmp_path / "x.gaf").read_text().startswith("!gaf-version")


def test_refusals(annotate, protclip, dual, tmp_path):
    png = ("--plot", "x.png")
    one_error(annotate("x.fa", "--explain", "--format", "gaf"), 2, "--explain adds columns")
    one_error(annotate("x.fa", "--protein", "p1"), 2, "--plot", code="usage.missing_option")
    one_error(annotate("x.fa", "--plot", "x.jpg"), 2, "x.jpg", ".jpg", ".png, .svg, .pdf")
    one_error(annotate("x.fa", "--plot", "x"), 2, "without an ending")
    one_error(annotate("x.fa", "--plot", "no/x.png"), 2, "no")
    one_error(annotate("x.fa", *png), 2, "--protein 'p0'", code="usage.several_proteins")
    for given in (("x.fa",), ("x.fa", "--explain"), ("-",), ("x.fa", "--format", "gaf")):
        stdin = (tmp_path / "x.fa").read_bytes()
        missing = annotate(*given, *png, "--protein", "p99", stdin=stdin)
        assert (missing.rc, missing.out) == (3, "")
        assert missing.err.splitlines()[-1].endswith("[input.unknown_protein]")
    (tmp_path / "there.png").write_text("kept")
    one_error(annotate("one.fa", "--plot", "there.png"), 2, "there.png", code="usage.output_exists")
    assert (tmp_path / "there.png").read_text() == "kept"
    assert not (tmp_path / "x.png").exists()
    assert annotate("one.fa", "--plot", "there.png", "--overwrite").rc == 0
    png_size((tmp_path / "there.png").read_bytes())
    one_error(
        annotate("one.fa", "--min-probability", "1", *png), 2, "no term is listed for p0", "--top-k"
    )
    assert protclip("embed", "x.fa", "--model", dual, cwd=tmp_path).rc == 0
    one_error(annotate("x.h5", "--explain"), 2, "x.h5: is a store", "FASTA")
    one_error(annotate("x.h5", *png, "--protein", "p1"), 2, "x.h5: is a store")


def test_a_failed_picture_leaves_no_table_behind(annotate, tmp_path):
    arguments = ("--plot", "x.png", "--protein", "p99", "-o", "x.tsv")
    failed = annotate("x.fa", *arguments)
    assert (failed.rc, failed.out) == (3, "")
    assert "p99" in failed.err and failed.err.endswith(" [input.unknown_protein]\n")
    assert not (tmp_path / "x.tsv").exists()


def test_table_and_picture_do_not_share_a_file(annotate, tmp_path):
    both = annotate("one.fa", "--explain", "--plot", "x.svg", "-o", "x.svg", "--format", "tsv")
    one_error(both, 2, "x.svg", code="usage.outputs_collide")
    assert not (tmp_path / "x.svg").exists()
