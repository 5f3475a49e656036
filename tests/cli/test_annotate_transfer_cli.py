"""``protclip annotate --go --annotations`` at the shell: columns, forms, refusals, provenance."""

from __future__ import annotations

import io
import os
import shutil

import pytest
from Bio.UniProt import GOA

from protclip_core.terms.index_file import add_to_bundle
from protclip_core.terms.transfer import TransferWeights, add_transfer
from protclip_core.weights.bundle import open_bundle
from tests.support.aligner_programs import write_aligner
from tests.support.go_indexes import index_of
from tests.support.helpers import random_proteins, write_fasta
from tests.support.ontology_files import go_id
from tests.support.terminal import one_error
from tests.unit.models.dual import Dual
from tests.unit.terms.test_transfer import weights_of

COLUMNS = ["protein_id", "term", "name", "aspect", "cosine", "probability", "rank", "go_release"]
FURTHER = ["evidence", "source", "identity", "coverage", "evalue"]
IDS = ("sp|P69905|HBA_HUMAN", "mine")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transfer")
    model = Dual().write(folder / "dual")
    bundle = add_to_bundle(index_of(model), open_bundle(model))
    add_transfer(TransferWeights(weights_of(3).rules, bundle.weights_sha256), bundle)
    reference = random_proteins(2, seed=1, shortest=60)
    write_fasta(folder / "reference.fa", [(id, s) for id, (_, s) in zip(IDS, reference)])
    (folder / "known.tsv").write_text(f"P69905\t{go_id(5)}\nmine\t{go_id(16)}\n")
    queries = [(f"q{n}", sequence[:50]) for n, (_, sequence) in enumerate(reference)]
    write_fasta(folder / "x.fa", [*queries, *random_proteins(1, seed=5, prefix="far")])
    return folder


@pytest.fixture
def annotate(protclip, made, tmp_path):
    """Run in a copy of the files, with the stand-in of an aligner on the path."""
    for path in made.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)

    def annotate(*arguments, program="mmseqs", fault="", **options):
        if program:
            write_aligner(tmp_path / "bin", program, fault=fault)
        (tmp_path / "bin").mkdir(exist_ok=True)
        fixed = ["--go", "--model", made / "dual", "--device", "cpu", "x.fa"]
        env = {**os.environ, "PATH": str(tmp_path / "bin")}
        return protclip("annotate", *fixed, *arguments, cwd=tmp_path, env=env, **options)

    return annotate


HOMOLOGY = ("--homology", "reference.fa", "--annotations", "known.tsv")


def test_further_columns_come_last_and_only_where_asked_for(annotate):
    plain = annotate().out.splitlines()[0].split("\t")
    assert plain == COLUMNS
    done = annotate(*HOMOLOGY, "--min-probability", "0.01")
    assert done.rc == 0, done
    header, *lines = [line.split("\t") for line in done.out.splitlines()]
    assert header == COLUMNS + FURTHER
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    told = {(row["protein_id"], row["evidence"], row["source"], row["identity"]) for row in rows}
    assert ("q0", "text+homology", IDS[0], "100") in told
    assert {one[1:] for one in told if one[0] == "far0"} == {("text", "", "")}
    assert "homology: mmseqs 15-6f452, in 2 annotated proteins of reference.fa" in done.err


def test_gaf_names_the_homolog_where_it_is_of_uniprot(annotate):
    done = annotate(*HOMOLOGY, "--format", "gaf")
    assert done.rc == 0, done
    rows = list(GOA.gafiterator(io.StringIO(done.out)))
    with_from = {(row["DB_Object_ID"], tuple(row["With"])) for row in rows}
    assert ("q0", ("UniProtKB:P69905",)) in with_from
    assert {own for id, own in with_from if id == "q1"} == {("",)}
    assert "!homology: mmseqs 15-6f452, in 2 annotated proteins" in done.out


def test_json_lines_and_neighbours(annotate, protclip, made, tmp_path):
    wanted = ["embed", "reference.fa", "--model", made / "dual", "--space", "joint"]
    assert protclip(*wanted, cwd=tmp_path).rc == 0
    options = ("--neighbours", "reference.h5", "--annotations", "known.tsv", "--format", "jsonl")
    done = annotate(*options, program=None)
    assert done.rc == 0, done
    assert '"evidence": "text+neighbours", "source": "' in done.out
    assert '"identity": null' in done.out
    assert "neighbours: of 2 annotated proteins of reference.h5" in done.err


def test_refusals(annotate):
    one_error(annotate(*HOMOLOGY, program=None), 2, "neither diamond nor mmseqs is on the path")
    one_error(annotate(*HOMOLOGY, "--aligner", "diamond"), 2, "diamond is not on the path")
    one_error(annotate(*HOMOLOGY, "--aligner", "blast"), 2, "aligner 'blast' is not known")
    one_error(annotate(*HOMOLOGY[:2]), 2, "--homology", "--annotations")
    one_error(annotate(*HOMOLOGY[2:]), 2, "add --neighbours or --homology")
    one_error(annotate("--exclude-self"), 2, "--exclude-self", "--annotations")
    options = ("--neighbours", "r.h5", "--annotations", "known.tsv", "--aligner", "mmseqs")
    one_error(annotate(*options), 2, "--aligner is for --homology")
    one_error(annotate("--homology", "-", *HOMOLOGY[2:]), 2, "--homology")


def test_a_failing_aligner_is_one_line(annotate):
    done = annotate(*HOMOLOGY, fault="fails")
    one_error(done, 8, "mmseqs easy-search: ended with code 3: Try again")


@pytest.mark.parametrize("name", ["reference.fa", "known.tsv"])
def test_what_is_learned_from_is_not_replaced(annotate, tmp_path, name):
    kept = (tmp_path / name).read_bytes()
    one_error(annotate(*HOMOLOGY, "-o", name, "--overwrite"), 2, f"{name}: is an input as well")
    assert (tmp_path / name).read_bytes() == kept
