"""Inputs that users bring to ``protclip embed``: read as they are, or refused with a way on."""

from __future__ import annotations

import os

import pytest

from tests.support.cases import Case, copied

CASES = [
    Case(
        "01",
        "embed 01_short_peptides.fasta -o short.h5 && store show short.h5 --format tsv",
        said=("p0_M\t1\tuninformative", "p6_WW\t2\tuninformative", "p7_ACD\t3\t\t"),
    ),
    Case(
        "01-compared",
        "similarity 01_unknown_residues.fasta --format tsv",
        said=("unknown\tsplit\t0.96", "flag uninformative"),
    ),
    Case(
        "01-unknown",
        "embed 01_unknown_residues.fasta -o unknown.h5 && store list unknown.h5",
        said=("unknown\t12\tunusual_residues,uninformative", "split\t5\tunusual_residues,unin"),
        unsaid=("fine\t5\tunusual_residues,",),
    ),
    Case(
        "01-said", "embed 01_unknown_residues.fasta -o unknown2.h5", said=("2 records that model",)
    ),
    Case("07-csv", "embed 06_plain.fa -o plain.csv"),
    *(
        Case(f"07-{form}", f"embed 06_plain.fa -o x.{form}", 2, "usage.output_suffix")
        for form in ("npy", "npz", "pt", "parquet")
    ),
    Case("07-xlsx", "embed 06_plain.fa -o x.xlsx", 2, "usage.output_suffix", ("x.h5",)),
    Case("07-folder", "embed 06_plain.fa -o .", 2, "usage.is_directory"),
    Case("08", "embed 08_bare_list.txt -o x.h5", 3, "input.sequence_list", ("line 1", "awk")),
    *(
        Case(f"08-{name}", f"embed 08_{name}.txt -o x.h5", 3, "input.sequence_list", ("awk",))
        for name in ("blank_lines", "lower_case")
    ),
    Case("09-csv", "embed 09_table.csv -o x.h5", 3, "input.table", ("id,sequence", "awk -F','")),
    Case("09-tsv", "embed 09_table.tsv -o x.h5", 3, "input.table", ("awk -F'\\t'",)),
    Case("09-semicolon", "embed 09_semicolon.csv -o x.h5", 3, "input.table", ("awk -F';'",)),
    Case("09-quoted", "embed 09_quoted.csv -o x.h5", 3, "input.table", ("$2; print $1",)),
    Case("11", "embed 11_gffread_dots.faa -o x.h5", 3, "input.stop_or_gap", ("residue 11",)),
    Case(
        "11-skip",
        "embed 11_gffread_dots.faa -o dots.h5 --on-error skip",
        6,
        said=("dots.h5: 1 protein", "record 1 (g1.t1)", "dots.h5.failed.tsv"),
    ),
    Case(
        "11-stops",
        "embed 11_stops.faa -o x.h5",
        3,
        "input.bad_records",
        ("record 1 (m1): '.' at residue 4", "record 3 (m3): '*' at residue 6"),
        ("(m2)",),
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
    Case(
        "14",
        "embed 14_chains.fasta -o x.h5",
        3,
        "input.bad_records",
        ("--complexes split",),
    ),
    Case(
        "12-search-engines",
        "embed 12_search_engines.fasta -o x.h5",
        3,
        "input.bad_records",
        ("record 1 (prosit): '['", "(percolator): '.' at residue 2", "between the dots"),
        ("gap", "stop"),
    ),
    Case(
        "14-split",
        "embed 14_chains.fasta --complexes split -o chains.h5 && store list chains.h5",
        said=("ab1_1\t13\tchains", "ab3_2\t13\tchains"),
    ),
    Case(
        "14-join",
        "embed 14_chains.fasta --complexes join -o joined.h5 && store list joined.h5",
        said=("ab1\t51\tchains", "ab3\t51\tchains"),
    ),
    Case(
        "14-oligomers",
        "embed 14_oligomers.fasta --complexes split -o oligo.h5 && store list oligo.h5",
        said=("swissmodel_2\t10\tchains", "stops_2\t11\tstop_stripped,chains", "one\t20\t\n"),
    ),
    Case(
        "15-a3m",
        "embed 15_hits.a3m -o x.h5",
        3,
        "input.bad_records",
        ("record 2 (hitA/3-20)", "record 3 (hitB)", "sed '/^>/!s/[-.]//g'"),
    ),
    Case("15-fasta", "embed 15_aligned.fasta -o x.h5", 3, "input.bad_records", ("--gaps strip",)),
    Case(
        "15-skip",
        "embed 15_aligned.fasta -o x.h5 --on-error skip",
        3,
        "input.bad_records",
        ("none of the 2", "--gaps strip"),
        ("--on-error",),
    ),
    Case(
        "15-a3m-strip",
        "embed 15_hits.a3m --gaps strip -o a3m.h5 && store list a3m.h5",
        said=("query\t22\t\n", "hitA/3-20\t20\tlowercase,gaps_stripped", "hitB\t20\tgaps_str"),
    ),
    Case(
        "15-fasta-strip",
        "embed 15_aligned.fasta --gaps strip -o aligned.h5 && store list aligned.h5",
        said=("chainA\t16\tgaps_stripped", "chainB\t11\tgaps_stripped"),
    ),
    Case(
        "15-empty-row",
        "embed 15_stockholm_like.afa --gaps strip --on-error skip -o afa.h5",
        6,
        said=("2 proteins", "record 3 (P3)"),
    ),
    Case(
        "15-msf", "embed 15_msf_gaps.fasta --gaps strip -o x.h5", 3, "input.bad_residue", ("'~'",)
    ),
    *(
        Case(
            f"19-{name}", f"embed 06_plain.fa --model {name} -o x.h5", 4, "model.not_found", (way,)
        )
        for way in ("models pull esm2-8m",)
        for name in ("facebook/esm2_t6_8M_UR50D", "esm2_t6_8M_UR50D", "esm2_t6_8M_UR50D.pt")
    ),
    *(
        Case(
            f"19-{name}", f"embed 06_plain.fa --model {name} -o x.h5", 4, "model.not_found", (way,)
        )
        for name, way in (
            ("facebook/esm2_t33_650M_UR50D", "models pull esm2-650m"),
            ("Rostlab/prot_bert", "models pull protbert"),
            ("esm2_t36_3B_UR50D.pt", "models pull esm2-3b"),
        )
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
        "24-three",
        "embed 25_first.fa -o three.h5 && embed 25_second.fa -o three.h5 --resume && "
        "embed 25_third.fa -o three.h5 --resume && store info three.h5 --format tsv",
        said=("input\t25_first.fa 25_second.fa 25_third.fa", "3 records, 57 residues"),
    ),
    Case(
        "25-order",
        "embed 25_second.fa -o kept.h5 && embed 25_third.fa 25_first.fa -o kept.h5 --resume && "
        "store list kept.h5",
        said=("flags\nx2\t19\t\nx3\t19\t\nx1\t19\t\n",),
    ),
    Case(
        "28",
        "embed 28_w1500.fa -o long.h5 && store show long.h5 --format tsv",
        said=("a\t1500\t\t",),
        unsaid=("window",),
    ),
    Case(
        "28-longer",
        "embed 35_truncate.fa -o windows.h5 && store list windows.h5",
        said=("long5000\t5000\twindowed\n",),
    ),
    Case(
        "28-given",
        "embed 28_w1500.fa --max-length 1022 -o given.h5 && store list given.h5",
        said=("a\t1500\twindowed\n",),
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
    Case("29-list", "embed 06_plain.fa --layer 0,1 -o x.h5", 2, "usage.bad_option", ("--layer",)),
    Case("30", "embed 30_genes.gff3 -o x.h5", 3, "input.not_fasta", ("GFF", "gffread -y")),
    Case("30-gtf", "embed 30_genes.gtf -o x.h5", 3, "input.not_fasta", ("GTF", "gffread -y")),
    Case("30-genbank", "embed 30_record.gb -o x.h5", 3, "input.not_fasta", ("GenBank",)),
    Case(
        "34-rcsb",
        "embed 34_rcsb.fasta -o rcsb.h5 --on-error skip",
        6,
        said=("2 proteins", "record 1 (1BNA_1|Chains)", "record 3 (2TRA_1|Chain)"),
    ),
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
        said=("long5000\t4096\ttruncated\t5000",),
    ),
    Case(
        "35-layout",
        "embed 35_truncate.fa 28_w1500.fa --long truncate --max-length 20 --layout per-protein "
        "-o each.h5 && store merge each.h5 -o cut2.h5 && store list cut2.h5",
        said=("long5000\t20\ttruncated\t5000", "a\t20\ttruncated\t1500"),
    ),
    Case(
        "35-resume",
        "embed 06_plain.fa --long truncate -o more.h5 && embed 35_truncate.fa --long truncate "
        "-o more.h5 --resume && store list more.h5",
        said=("a\t8\t\t8\n", "long5000\t4096\ttruncated\t5000"),
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return copied("embed", tmp_path_factory.mktemp("cases"))


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"])
def test_the_number_of_workers_follows_the_variables(name, folder, monkeypatch):
    """Case 32."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(6)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv(name, "1")
    Case("32", "doctor --format tsv", said=("threads\tok\t1 worker ",)).check(folder)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_embed(case, folder):
    case.check(folder)
