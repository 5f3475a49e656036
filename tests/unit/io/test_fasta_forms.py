"""Alignments and records of several chains, once the user says what they are."""

from __future__ import annotations

import random
import re

import pytest

from protclip_core.errors import InputError
from protclip_core.io.fasta import InputSummary, read_fasta
from protclip_core.io.fasta_forms import FastaForm
from protclip_core.records import RecordFlag

STRIP, SPLIT, JOIN = (
    FastaForm(gaps="strip"),
    FastaForm(complexes="split"),
    FastaForm(complexes="join"),
)
GAPS, CHAINS = RecordFlag.GAPS_STRIPPED, RecordFlag.CHAINS
STOP, LOWER = RecordFlag.STOP_STRIPPED, RecordFlag.LOWERCASE
LINKER = "G" * 25


def read(tmp_path, text, form, **more):
    path = tmp_path / "x.fa"
    path.write_text(text)
    return [(one.id, one.sequence, one.flags) for one in read_fasta(path, form=form, **more)]


@pytest.mark.parametrize(
    ("residues", "form", "sequences", "flags"),
    [
        ("MK--V.T", STRIP, ["MKVT"], GAPS),
        ("--MK\n-VT-\n", STRIP, ["MKVT"], GAPS),
        ("MKtaVT", STRIP, ["MKTAVT"], RecordFlag.LOWERCASE),
        ("mk-T*", STRIP, ["MKT"], GAPS | LOWER | STOP),
        ("MKT.", STRIP, ["MKT"], GAPS),
        ("MKT.", SPLIT, ["MKT"], RecordFlag.STOP_STRIPPED),
        ("MKT", SPLIT, ["MKT"], RecordFlag.NONE),
        ("MKT:", SPLIT, ["MKT"], RecordFlag.NONE),
        ("MKT:AV", SPLIT, ["MKT", "AV"], CHAINS),
        ("MKT/\nAV|X", SPLIT, ["MKT", "AV", "X"], CHAINS | RecordFlag.UNUSUAL_RESIDUES),
        (
            "MKT*:av*",
            SPLIT,
            ["MKT", "AV"],
            CHAINS | STOP | LOWER,
        ),
        ("MKT::AV", JOIN, [f"MKT{LINKER}AV"], CHAINS),
        ("MKT", JOIN, ["MKT"], RecordFlag.NONE),
        ("M-T:A-", FastaForm("strip", "split"), ["MT", "A"], CHAINS | GAPS),
    ],
)
def test_a_record_gives_its_sequences(tmp_path, residues, form, sequences, flags):
    found = read(tmp_path, f">p one\n{residues}\n", form)
    ids = ["p"] if len(sequences) == 1 else [f"p_{n + 1}" for n in range(len(sequences))]
    assert found == [(id, one, flags) for id, one in zip(ids, sequences, strict=True)]


@pytest.mark.parametrize(
    ("residues", "form", "code", "place"),
    [
        ("MK-V", SPLIT, "input.gap", "residue 3 (line 2)"),
        ("MKT:AV", STRIP, "input.several_chains", "residue 4 (line 2)"),
        ("MK-\nV1T", STRIP, "input.digits_inside", "residue 5 (line 3)"),
        ("MK*V:T", SPLIT, "input.stop_inside", "residue 3 (line 2)"),
        ("----", STRIP, "input.no_sequence", "line 1"),
        ("::", SPLIT, "input.no_sequence", "line 1"),
        ("/", JOIN, "input.no_sequence", "line 1"),
        ("MKT:MetLysThr", SPLIT, "input.three_letter_code", "line 2"),
    ],
)
def test_what_remains_a_fault(tmp_path, residues, form, code, place):
    with pytest.raises(InputError) as caught:
        read(tmp_path, f">p\n{residues}\n", form)
    assert caught.value.code == code
    assert place in caught.value.message


def test_random_alignments_give_their_letters(tmp_path):
    rng = random.Random(5)
    rows = ["".join(rng.choices("ACDEFGHIKLMNPQRSTVWYacd-.", k=200)) + "M" for _ in range(50)]
    text = "".join(f">r{n}\n{row[:90]}\n{row[90:]}\n" for n, row in enumerate(rows))
    summary = InputSummary()
    found = read(tmp_path, text, STRIP, summary=summary)
    assert [one for _, one, _ in found] == [re.sub("[-.]", "", row).upper() for row in rows]
    assert summary.gaps_stripped == sum(bool(set("-.") & set(row)) for row in rows)


def test_chains_of_one_record_share_its_number(tmp_path):
    path, summary = tmp_path / "x.fa", InputSummary()
    path.write_text(">a\nMK:TA\n>b\nMKV\n")
    records = list(read_fasta(path, form=SPLIT, summary=summary))
    assert [(one.id, one.number) for one in records] == [("a_1", 1), ("a_2", 1), ("b", 2)]
    assert (summary.records, summary.chains) == (3, 2)
