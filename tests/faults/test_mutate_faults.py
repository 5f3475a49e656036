"""Faulty variants: each row is answered with its reason, and nothing is shifted."""

from __future__ import annotations

import csv
import io
import json

import pytest

from tests.support.helpers import random_proteins, write_fasta

((_, SEQUENCE),) = random_proteins(1, seed=3, shortest=40, longest=40)
WRONG = "W" if SEQUENCE[4] != "W" else "Y"
GOOD = f"{SEQUENCE[1]}2{'A' if SEQUENCE[1] != 'A' else 'G'}"

#: Row, whether it has a score all the same, and what its reason says.
BAD = [
    (f"p\t{WRONG}5A", False, f"position 5 is {SEQUENCE[4]} in the sequence, not {WRONG}"),
    ("p\tM0A", False, "position 0"),
    ("p\tA41G", False, "position 41 is outside the sequence (1 to 40)"),
    (f"p\t{SEQUENCE[4]}5B", False, "stands for D or N"),
    (f"p\t{SEQUENCE[4]}5=", True, "changes nothing"),
    (f"p\t{SEQUENCE[4]}5*", False, "cuts the protein to 4 of 40"),
    ("p\tA12", False, "'A12'"),
    ("p\tA12-", False, "'A12-'"),
    (f"p\t{GOOD}", True, "repeats line 2"),
    ("q\tA1G", False, "no protein 'q'"),
]


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text), delimiter="\t"))


@pytest.fixture
def mutate(protclip, tiny_bundle, tmp_path):
    def run(sequence, lines, *arguments, model=tiny_bundle):
        write_fasta(tmp_path / "x.fa", [("p", sequence)])
        (tmp_path / "v.tsv").write_text("protein_id\tvariant\n" + "\n".join(lines) + "\n")
        fixed = ["--device", "cpu", "--model", model, "x.fa", "--variants", "v.tsv"]
        return protclip("-q", "mutate", *fixed, *arguments, cwd=tmp_path)

    return run


def test_ten_bad_variants_each_have_their_reason(mutate):
    done = mutate(SEQUENCE, [f"p\t{GOOD}", *(line for line, _, _ in BAD)])
    good, *rows = rows_of(done.out)
    assert done.rc == 6 and "Traceback" not in done.err
    assert good["reason"] == "" and float(good["score"]) != 0
    for row, (line, scored, said) in zip(rows, BAD, strict=True):
        assert f"{row['protein_id']}\t{row['variant']}" == line
        assert said in row["reason"], line
        assert (row["score"] != "") == scored, line
    assert rows[8]["score"] == good["score"]
    assert done.err.count("warning: v.tsv:line ") == 5
    assert "8 variants not scored" in done.err.splitlines()[-1]


def test_strict_refuses_them_before_a_model_is_loaded(mutate):
    done = mutate(
        SEQUENCE, [line for line, _, _ in BAD], "--on-error", "fail", model="protclip-mini"
    )
    assert (done.rc, done.out) == (3, "")
    assert done.err.count("error: v.tsv:line ") == 5
    assert "8 of 10 variants cannot be scored" in done.err.splitlines()[-1]


def test_x_at_the_site_and_elsewhere(mutate):
    holed = SEQUENCE[:9] + "X" + SEQUENCE[10:]
    done = mutate(holed, ["p\tA10G", f"p\t{GOOD}"])
    at_x, beside = rows_of(done.out)
    assert done.rc == 6
    assert at_x["score"] == "" and "position 10 is X" in at_x["reason"]
    assert float(beside["score"]) and beside["reason"] == ""


def test_variants_at_the_edges_of_windows(protclip, mutate, tiny_bundle, tmp_path):
    """A protein of 60 in windows of 20 equals, place by place, the window cut out by hand."""
    from protclip_core.weights.bundle import open_bundle, write_bundle

    bundle = open_bundle(tiny_bundle)
    config = dict(bundle.config)
    config["protein_encoder"] = {**config["protein_encoder"], "max_residues": 20}
    write_bundle(tmp_path / "narrow", config, bundle.tensors())
    ((_, sequence),) = random_proteins(1, seed=5, shortest=60, longest=60)
    places = [0, 9, 10, 19, 20, 29, 30, 39, 40, 49, 50, 59]
    new = {p: "A" if sequence[p] != "A" else "G" for p in places}
    lines = [f"p\t{sequence[p]}{p + 1}{new[p]}" for p in places]
    done = mutate(sequence, lines, model=tmp_path / "narrow")
    assert done.rc == 0, done.err
    found = rows_of(done.out)
    cut = []
    for p in places:
        start = min(max(p - 10, 0), 40)
        window = sequence[start : start + 20]
        own = p - start
        mutated = window[:own] + new[p] + window[own + 1 :]
        cut.append(json.dumps({"original_sequence": window, "mutated_sequence": mutated}))
    (tmp_path / "v.jsonl").write_text("\n".join(cut) + "\n")
    arguments = ["--variants", "v.jsonl", "--model", tiny_bundle, "--device", "cpu"]
    alone = rows_of(protclip("-q", "mutate", *arguments, cwd=tmp_path).out)
    for row, single in zip(found, alone, strict=True):
        assert row["flags"].split(",")[0] == "windowed" and single["flags"] == ""
        assert float(row["score"]) == pytest.approx(float(single["score"]), abs=1e-4)
