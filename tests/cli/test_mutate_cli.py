"""``protclip mutate`` at the shell: files and pipes, every form, a VCF, a picture, refusals."""

from __future__ import annotations

import csv
import io
import json
import struct

import pytest

from protclip_cli.commands.mutate import mutate_group
from protclip_cli.commands.mutate.score import COLUMNS
from tests.support.helpers import random_proteins, write_fasta
from tests.support.terminal import one_error

PROTEINS = random_proteins(3, seed=9, shortest=25, longest=40)
IDS = [id for id, _ in PROTEINS]
FIRST = PROTEINS[0][1]


def substitution(sequence, place):
    old = sequence[place]
    return f"{old}{place + 1}{'A' if old != 'A' else 'G'}"


ONE, OTHER = substitution(FIRST, 4), substitution(FIRST, 9)


@pytest.fixture
def mutate(protclip, tiny_bundle, tmp_path):
    """``mutate(*arguments)`` beside x.fa (three proteins), one.fa (the first) and v.tsv."""
    write_fasta(tmp_path / "x.fa", PROTEINS)
    write_fasta(tmp_path / "one.fa", PROTEINS[:1])
    (tmp_path / "v.tsv").write_text(f"protein_id\tvariant\np0\t{ONE}\np0\t{ONE}:{OTHER}\n")

    def run(*arguments, **options):
        fixed = ["mutate", "--device", "cpu", "--model", tiny_bundle]
        return protclip("-q", *fixed, *arguments, cwd=tmp_path, **options)

    return run


def rows_of(text, separator="\t"):
    return list(csv.DictReader(io.StringIO(text), delimiter=separator))


def test_a_table_of_variants(mutate):
    done = mutate("x.fa", "--variants", "v.tsv")
    assert (done.rc, done.err) == (0, "")
    assert done.out.splitlines()[0] == "\t".join(COLUMNS)
    one, two = rows_of(done.out)
    assert (one["protein_id"], one["variant"], one["effect"]) == ("p0", ONE, "")
    assert 0 <= float(one["percentile"]) <= 100 and two["percentile"] == ""
    assert float(one["score"]) != float(two["score"]) and two["variant"] == f"{ONE}:{OTHER}"


def test_pipes_of_both_kinds_give_the_same(mutate, tmp_path):
    straight = mutate("one.fa", "--variants", "v.tsv")
    by_fasta = mutate("--variants", "v.tsv", stdin=(tmp_path / "one.fa").read_bytes())
    by_list = mutate("one.fa", "--variants", "-", stdin=f"{ONE}\n{ONE}:{OTHER}\n".encode())
    for done in (by_fasta, by_list):
        assert (done.rc, done.err, done.out) == (0, "", straight.out)


def test_every_form_says_the_same(mutate):
    table = rows_of(mutate("x.fa", "--variants", "v.tsv").out)
    as_csv = rows_of(mutate("x.fa", "--variants", "v.tsv", "--format", "csv").out, ",")
    assert as_csv == table
    lines = mutate("x.fa", "--variants", "v.tsv", "--format", "jsonl").out.splitlines()
    objects = json.loads(mutate("x.fa", "--variants", "v.tsv", "--format", "json").out)
    for text, line, row in zip(lines, objects, table, strict=True):
        found = json.loads(text)
        assert list(found) == list(COLUMNS)
        assert found["score"] == line["predicted_fitness_score"]
        assert found["score"] == pytest.approx(float(row["score"]), rel=1e-8)
        assert line["original_sequence"] == FIRST and line["mutation_effect"] is None
        assert line["mutated_sequence"][4] == ONE[-1]


def test_json_lines_that_bring_their_sequences_need_no_fasta(mutate, tmp_path):
    mutated = FIRST[:4] + ONE[-1] + FIRST[5:]
    pair = {"original_sequence": FIRST, "mutated_sequence": mutated}
    (tmp_path / "v.jsonl").write_text(json.dumps(pair) + "\n" + json.dumps(pair) + "\n")
    done = mutate("--variants", "v.jsonl", "--format", "json")
    assert (done.rc, done.err) == (0, "")
    first, second = json.loads(done.out)
    assert (first["variant"], first["mutated_sequence"]) == (ONE, mutated)
    expected = rows_of(mutate("x.fa", "--variants", "v.tsv").out)[0]["score"]
    assert first["predicted_fitness_score"] == pytest.approx(float(expected), abs=1e-4)
    assert second["reason"] == "repeats line 1"


VCF = """##fileformat=VCFv4.2
##INFO=<ID=CSQ,Number=.,Type=String,Description="Consequence annotations from Ensembl VEP. \
Format: Allele|Consequence|SYMBOL|Feature|Protein_position|Amino_acids|HGVSp|ENSP">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
1\t100\t.\tA\tG\t.\t.\tCSQ=G|missense_variant|GENE|T1|5|{old}/{new}|ENSP1.2:p.{old3}5{new3}|ENSP1
1\t103\t.\tC\tT\t.\t.\tCSQ=T|synonymous_variant|GENE|T1|6|{same}|ENSP1.2:p.{same3}6=|ENSP1
1\t120\t.\tA\tT\t.\t.\tCSQ=T|stop_gained|GENE|T1|8|{stop}/*|ENSP1.2:p.{stop3}8Ter|ENSP1
1\t130\t.\tA\tC\t.\t.\tCSQ=C|missense_variant|OTHER|T2|3|K/Q|ENSP9.1:p.Lys3Gln|ENSP9
"""


def test_a_vcf_end_to_end(mutate, tmp_path):
    from protclip_core.variants.residues import THREE_LETTERS

    letters = {"old": FIRST[4], "new": ONE[-1], "same": FIRST[5], "stop": FIRST[7]}
    letters |= {f"{name}3": THREE_LETTERS[letter] for name, letter in letters.items()}
    (tmp_path / "v.vcf").write_text(VCF.format(**letters))
    write_fasta(tmp_path / "ensp.fa", [("ENSP1.2", FIRST), ("ENSP2.1", PROTEINS[1][1])])
    done = mutate("ensp.fa", "--variants", "v.vcf")
    rows = rows_of(done.out)
    assert done.rc == 6, done.err
    expected = rows_of(mutate("x.fa", "--variants", "v.tsv").out)[0]
    assert rows[0]["protein_id"] == "ENSP1.2"
    assert float(rows[0]["score"]) == pytest.approx(float(expected["score"]), abs=1e-4)
    assert rows[1]["score"] == "0" and "synonymous" in rows[1]["flags"]
    assert "cuts the protein to 7" in rows[2]["reason"] and rows[2]["score"] == ""
    assert rows[3]["score"] == "" and "ENSP9" in rows[3]["reason"]


def test_a_scan_with_its_picture(mutate, tmp_path):
    done = mutate("one.fa", "--scan", "--region", "3-6", "--plot", "heat.png")
    assert (done.rc, done.err) == (0, "")
    assert [row["variant"][1:-1] for row in rows_of(done.out)] == [
        str(p) for p in (3, 4, 5, 6) for _ in range(19)
    ]
    picture = (tmp_path / "heat.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", picture[16:24])
    assert width > 300 and height > 300
    one_error(
        mutate("one.fa", "--scan", "--plot", "heat.png"), 2, "heat.png", code="usage.output_exists"
    )
    again = mutate("one.fa", "--scan", "--plot", "heat.png", "--overwrite")
    assert again.rc == 0 and (tmp_path / "heat.png").read_bytes() != picture


def test_the_cost_is_told_before_a_long_scan(protclip, tiny_bundle, tmp_path):
    write_fasta(tmp_path / "x.fa", random_proteins(1, shortest=60, longest=60))
    arguments = ["x.fa", "--scan", "--device", "cpu", "--model", tiny_bundle]
    done = protclip("mutate", *arguments, cwd=tmp_path)
    cost, summary = done.err.splitlines()
    assert cost.startswith("tiny: 60 forward passes over 1 protein (") and ", about " in cost
    assert summary.startswith("1,140 of 1,140 variants scored by masked-marginals of tiny")


def test_several_models(mutate, tiny_bundle):
    done = mutate("x.fa", "--variants", "v.tsv", "--model", tiny_bundle)
    one, _ = rows_of(done.out)
    assert list(one) == [*COLUMNS, "score_tiny", "score_tiny_2"]
    assert one["score_tiny"] == one["score_tiny_2"] != one["score"]


@pytest.mark.full
def test_the_prior_of_the_bundled_model_is_said_and_flagged(protclip, mutate, tmp_path):
    assert mutate("x.fa", "--variants", "v.tsv").err == ""
    run = ["-q", "mutate", "x.fa", "--variants", "v.tsv", "--device", "cpu"]
    done = protclip(*run, cwd=tmp_path)
    assert done.rc == 0 and "a prior of BLOSUM62 and hydropathy is added" in done.err
    assert [row["flags"] for row in rows_of(done.out)] == ["prior", "prior"]
    without = protclip(*run, "--prior", "none", cwd=tmp_path)
    assert (without.rc, without.err) == (0, "")
    assert [row["flags"] for row in rows_of(without.out)] == ["", ""]
    assert rows_of(without.out)[0]["score"] != rows_of(done.out)[0]["score"]


def test_strict_prints_nothing_where_a_row_cannot_be_scored(mutate, tmp_path):
    (tmp_path / "bad.tsv").write_text(f"variant\n{ONE}\nA99G\n")
    done = mutate("one.fa", "--variants", "bad.tsv", "--on-error", "fail")
    assert (done.rc, done.out) == (3, "")
    detail, error = done.err.splitlines()
    assert detail.startswith("error: bad.tsv:line 3: ") and "1 of 2 variants" in error


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["x.fa"], 2, "nothing to score; give --variants FILE, or --scan"),
        (["x.fa", "--scan", "--variants", "v.tsv"], 2, "exclude each other"),
        (["x.fa", "--variants", "v.tsv", "--region", "1-2"], 2, "--region is for scans"),
        (["x.fa", "--scan", "--region", "9-2"], 2, "ends before it begins"),
        (["x.fa", "--scan", "--region", "one"], 2, "--region 'one'"),
        (["one.fa", "--scan", "--region", "1-99"], 3, "p0: region 1-99 is outside"),
        (["x.fa", "--scan", "--plot", "a.png"], 2, "--plot draws one protein, there are 3"),
        (["x.fa", "--variants", "v.tsv", "--plot", "a.png"], 2, "--plot is for scans"),
        (["x.fa", "--scan", "--plot", "a.png", "--method", "pll"], 2, "draws no heat map"),
        (["one.fa", "--scan", "--plot", "a.gif"], 2, "a.gif: a picture"),
        (["-", "--variants", "-"], 2, "[usage.stdin_twice]"),
        (["x.fa", "--variants", "nosuch.tsv"], 3, "nosuch.tsv: no such file"),
        (["nosuch.fa", "--variants", "v.tsv"], 3, "nosuch.fa: no such file"),
        (["x.fa", "--variants", "x.fa"], 3, "FASTA"),
        (["x.fa", "--variants", "v.tsv", "--method", "other"], 2, "'--method'"),
        (["x.fa", "--variants", "v.tsv", "--toward", "heme"], 2, "--method embedding-shift"),
        (["x.fa", "--scan", "--model", "nosuch"], 4, "nosuch"),
    ],
)
def test_errors_are_one_line(mutate, arguments, code, said):
    one_error(mutate(*arguments), code, said)


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        (["x.fa"], "mutate"),
        (["-q", "x.fa"], "mutate"),
        (["./fit"], "mutate"),
        (["fit", "a.csv"], "fit"),
        (["-q", "fit", "a.csv"], "fit"),
        (["--debug", "-vv", "predict", "v.tsv"], "predict"),
    ],
)
def test_a_group_is_a_command_where_no_other_one_is_named(words, runs):
    context = mutate_group.make_context("mutate", list(words))
    if runs == "mutate":
        assert list(context.params["inputs"]) == [words[-1]]
    else:
        assert context.command is mutate_group
        assert context._protected_args == [runs]
