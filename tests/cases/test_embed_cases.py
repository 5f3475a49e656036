"""Inputs that users bring to ``protclip embed``: read as they are, or refused with a way on."""

from __future__ import annotations

import pytest

from tests.support.cases import Case, copied

CASES = [
    Case(
        "01",
        "embed 01_short_peptides.fasta -o short.h5 && store show short.h5 --format tsv",
        said=("p0_M\t1\t", "p14_GHIKL\t5\t"),
    ),
    Case("07-csv", "embed 06_plain.fa -o plain.csv"),
    *(
        Case(f"07-{form}", f"embed 06_plain.fa -o x.{form}", 2, "usage.output_suffix")
        for form in ("npy", "npz", "pt", "parquet")
    ),
    Case("08", "embed 08_bare_list.txt -o x.h5", 3, "input.sequence_list", ("line 1", "awk")),
    Case("09-csv", "embed 09_table.csv -o x.h5", 3, "input.table", ("id,sequence", "awk -F','")),
    Case("09-tsv", "embed 09_table.tsv -o x.h5", 3, "input.table", ("awk -F'\\t'",)),
    Case("11", "embed 11_gffread_dots.faa -o x.h5", 3, "input.stop_or_gap", ("residue 11",)),
    Case(
        "11-skip",
        "embed 11_gffread_dots.faa -o dots.h5 --on-error skip",
        6,
        said=("dots.h5: 1 protein", "record 1 (g1.t1)", "dots.h5.failed.tsv"),
    ),
    Case(
        "12",
        "embed 12_modified_peptides.fasta -o x.h5",
        3,
        "input.bad_records",
        ("record 1 (pep1): '('", "record 4 (pep4): '-'", "modification", "M(ox)"),
        ("gap",),
    ),
    Case(
        "12-skip",
        "embed 12_modified_peptides.fasta -o modified.h5 --on-error skip",
        6,
        said=("lower case", "5 records"),
    ),
    Case("14", "embed 14_chains.fasta -o x.h5", 3, "input.bad_records", ("residue 14", "chains")),
    Case(
        "15-a3m",
        "embed 15_hits.a3m -o x.h5",
        3,
        "input.bad_records",
        ("record 2 (hitA/3-20)", "record 3 (hitB)", "sed '/^>/!s/[-.]//g'"),
    ),
    Case("15-fasta", "embed 15_aligned.fasta -o x.h5", 3, "input.bad_records", ("chainB", "sed ")),
    *(
        Case(
            f"19-{name}", f"embed 06_plain.fa --model {name} -o x.h5", 4, "model.not_found", (way,)
        )
        for way in ("models pull esm2-8m",)
        for name in ("facebook/esm2_t6_8M_UR50D", "esm2_t6_8M_UR50D", "esm2_t6_8M_UR50D.pt")
    ),
    Case("21", "store show 21_matrix.h5 a", said=("a\t0\t\t8.33331",)),
    Case(
        "21-other-names",
        "similarity 21_of_kinases.h5 --top-k 1 --vectors-model t5",
        said=("P00533\tP04626\t0.90476",),
    ),
    Case("21-nameless", "store show 21_nameless.h5", 4, "model.not_embeddings", ("2 rows",)),
    *(
        Case(f"22-{name}", f"store show 22_{name}.h5ad", 4, "model.not_embeddings", ("AnnData",))
        for name in ("cells", "before_0.7")
    ),
    Case(
        "24",
        "embed 25_first.fa -o two.h5 && embed 25_second.fa -o two.h5 --resume && "
        "store info two.h5 --format tsv",
        said=("input\t25_first.fa 25_second.fa", "2 records, 38 residues"),
    ),
    Case(
        "25",
        "embed 25_first.fa -o order.h5 && embed 25_second.fa -o order.h5 --resume && "
        "store show order.h5 --format tsv",
        said=("x1\t19\t", "x2\t19\t"),
    ),
    Case(
        "28",
        "embed 28_w1500.fa -o long.h5 && store show long.h5 --format tsv",
        said=("a\t1500\t\t",),
        unsaid=("window",),
    ),
    *(
        Case(f"29-{name}", f"embed 06_plain.fa {options}", 2, "usage.conflicting_options", said)
        for name, options, said in (
            ("layers", "--layer 0 --layer 1 -o x.h5", ("0 and as 1", "each --layer")),
            ("models", "--model protclip-mini --model=esm2-8m -o x.h5", ("protclip-mini",)),
            ("outputs", "-o x.h5 --output y.h5", ("x.h5 and as y.h5",)),
        )
    ),
    Case("29-same", "embed 06_plain.fa --layer -1 --layer -1 -o same.h5", said=("2 proteins",)),
    Case("29-list", "embed 06_plain.fa --layer 0,1 -o x.h5", 2, "usage.bad_option", ("0,1",)),
    Case("30", "embed 30_genes.gff3 -o x.h5", 3, "input.not_fasta", ("GFF", "gffread -y")),
    Case("34", "embed 34_pdb_seqres.txt -o x.h5", 3, "input.bad_records", ("100d_A", "1abc_A")),
    Case(
        "34-skip",
        "embed 34_pdb_seqres.txt -o pdb.h5 --on-error skip",
        6,
        said=("2 proteins", "record 2 (100d_A)", "record 3 (1abc_A)"),
    ),
    Case(
        "35",
        "embed 35_truncate.fa --long truncate -o cut.h5 && store show cut.h5 --format tsv",
        said=("long5000\t4096\ttruncated",),
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return copied("embed", tmp_path_factory.mktemp("cases"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_embed(case, folder):
    case.check(folder)
