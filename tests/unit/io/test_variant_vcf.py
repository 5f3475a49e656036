"""Variants from annotated VCF files: every record is answered, the transcripts by one rule."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from protclip_core.errors import InputError
from protclip_core.io.protein_names import ProteinNames
from protclip_core.io.variants.files import read_variants

DATA = Path(__file__).parents[2] / "data/variants"
VEP, SNPEFF = DATA / "vep.vcf", DATA / "snpeff.vcf"

OTHER = "intron_variant&non_coding_transcript_variant"


def told(path, **options):
    return [
        (row.number, row.protein, str(row.variant) if row.variant else row.reason)
        for row in read_variants(path, **options)
    ]


def test_each_record_of_vep_gives_its_changes_or_a_reason():
    first = "ENSP00000000011.2"
    assert told(VEP) == [
        (1, first, "K3R"),
        (2, first, "Q4E"),
        (2, first, "Q4*"),
        (3, first, "V5="),
        (4, first, "L6Dfs*9"),
        (4, first, "L6fs"),
        (5, first, "H8del"),
        (6, None, "1:116 G>GAAA has no protein change: inframe_insertion"),
        (
            7,
            None,
            "1:300 A>T has no protein change: intron_variant, " + OTHER,
        ),
        (8, None, "1:400 A>T is not annotated"),
        (9, None, r"'1\t500\t.\tA' has 4 columns, a VCF record at least 8"),
        (10, "ENSP00000000077.1", "A9V"),
    ]


def test_all_transcripts_on_request():
    rows = told(VEP, transcripts="all")
    assert rows[:2] == [(1, "ENSP00000000011.2", "K3R"), (1, "ENSP00000000012.1", "K13R")]
    assert len(rows) == 13


@pytest.mark.parametrize(
    ("id", "protein", "changes"),
    [
        ("ENSP00000000012", "ENSP00000000012.1", ["K13R"]),
        ("ENSP00000000012.1", "ENSP00000000012.1", ["K13R"]),
        ("ENSP00000000012.9", "ENSP00000000012.1", ["K13R"]),
        ("ENSP12|ENST00000000012.1|GENA", "ENST00000000012.1", ["K13R"]),
        ("sp|P90001|GENA_HUMAN", "P90001.57", ["K3R", "K13R"]),
    ],
)
def test_transcripts_are_those_of_the_fasta_file(id, protein, changes):
    rows = list(read_variants(VEP, proteins=ProteinNames([id])))
    assert [(row.protein, str(row.variant)) for row in rows if row.number == 1] == [
        (protein, change) for change in changes
    ]
    assert ProteinNames([id]).find(protein).id == id
    last = rows[-1]
    assert (last.number, last.variant, last.protein) == (10, None, None)
    assert last.reason == "1:600 A>T changes no protein of the FASTA file: ENSP00000000077.1"
    assert {row.number for row in rows} == set(range(1, 11))


def test_one_change_of_one_protein_is_given_once(tmp_path):
    record = next(line for line in VEP.read_text("utf-8").splitlines() if "p.Val5%3D" in line)
    head = VEP.read_text("utf-8").split("\n1\t")[0]
    entry = record.split("CSQ=")[1]
    path = tmp_path / "x.vcf"
    path.write_text(f"{head}\n{record},{entry}\n", "utf-8")
    (row,) = read_variants(path)
    assert (row.text, str(row.variant)) == ("p.Val5=", "V5=")


def test_snpeff(tmp_path):
    packed = tmp_path / "x.txt"
    packed.write_bytes(gzip.compress(SNPEFF.read_bytes().replace(b"\n", b"\r\n")))
    for path in (SNPEFF, packed):
        assert told(path) == [
            (1, "ENST00000000011.2", "K3R"),
            (2, "ENST00000000011.2", "Q4_V5insR"),
            (2, "ENST00000000011.2", "Q4*"),
            (3, "ENST00000000011.2", "*11Kext*?"),
        ]


def test_extra_says_where_in_the_genome():
    row = next(read_variants(SNPEFF))
    assert row.extra == {
        "chrom": "1",
        "pos": "101",
        "id": "rs1",
        "ref": "G",
        "alt": "A",
        "gene": "GENA",
        "transcript": "ENST00000000011.2",
        "consequence": "missense_variant",
    }
    assert (row.text, row.line) == ("p.Lys3Arg", 5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("##fileformat=VCFv4.2\n#CHROM\tPOS\n1\t2\t.\tA\tT\t.\t.\t.\n", "annotate it first"),
        (SNPEFF.read_text("utf-8").split("\n1\t")[0] + "\n", "a VCF without records"),
    ],
)
def test_what_is_no_annotated_vcf_is_refused(tmp_path, text, said):
    path = tmp_path / "x.vcf"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=said):
        list(read_variants(path))
