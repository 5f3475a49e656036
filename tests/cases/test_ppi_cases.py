"""Inputs that users bring to ``classify``, ``ppi`` and ``similarity``."""

from __future__ import annotations

import gzip
import subprocess
import sys

import numpy as np
import pytest

from tests.support.cases import Case, copied
from tests.support.inprocess import run_here

QUICK = "-o h.head --overwrite --resamples 0 --no-search"


def fit(table, options="--split random", vectors="l75.h5"):
    return f"classify fit {table} --embeddings {vectors} {QUICK} {options}"


CLASSIFY = [
    Case("20", fit("c20_labels_comma.csv"), said=("3 labels", "task: classes", "61 proteins")),
    Case(
        "22",
        fit("c22_value_beyond_float32.tsv", "--task regression --split none"),
        3,
        "input.value_too_large",
        ("line 6", "1e39"),
    ),
    Case(
        "22-skip",
        fit("c22_value_beyond_float32.tsv", "--task regression --split none --on-error skip"),
        6,
        said=("L1381", "1e39", "74 proteins to fit on"),
    ),
    Case(
        "23",
        fit("c23_values_some_missing.tsv", "--task regression --split random"),
        said=("2 proteins", "L1381, L1256", "59 proteins to fit on"),
    ),
    Case(
        "24",
        fit("c24_values_decimal_comma.tsv", "--task regression --split random"),
        3,
        "input.not_a_number",
        ("line 2", "'40,0'", "a comma"),
    ),
    Case(
        "24-skip",
        fit("c24_values_decimal_comma.tsv", "--task regression --split random --on-error skip"),
        3,
        "input.no_labels",
    ),
    Case(
        "26",
        fit("c26_column_named_set.tsv", ""),
        said=("column 'set'", "56 proteins to fit on", "19 to measure on (split: column)"),
    ),
    Case(
        "26-random",
        fit("c26_column_named_set.tsv"),
        said=("14 to measure on (split: random)",),
        unsaid=("column 'set'",),
    ),
    Case("27", fit("c27_group_column.tsv"), said=("15 groups of column 'group'", "60 proteins")),
    Case(
        "27-none",
        fit("c27_group_column.tsv", "--split random --group-column clan"),
        3,
        "input.missing_column",
        ("'clan'", "protein_id, label, group"),
    ),
    Case(
        "29",
        fit("c29_one_contradiction.tsv"),
        said=("1 of 75", "L1133 (Mitochondrion, Nucleus)", "--task classes", "task: labels"),
    ),
    Case(
        "29-labels",
        fit("c29_one_contradiction.tsv", "--split random --task labels"),
        said=("task: labels",),
        unsaid=("--task classes",),
    ),
    Case(
        "29-classes",
        fit("c29_one_contradiction.tsv", "--split random --task classes"),
        3,
        "input.several_labels",
        ("L1133",),
    ),
    Case("30", fit("c30_one_class.tsv"), 3, "input.one_class", ("'Nucleus'",)),
    Case(
        "31",
        fit("c31_two_of_each_class.tsv", "--split random --min-members 1"),
        3,
        "input.small_classes",
        ("2 proteins", "0.2"),
    ),
    Case("33", fit("c33_wide_multilabel.tsv"), said=("task: labels", "head of 3 labels")),
    Case(
        "34",
        fit("c34_multilabel_commas.tsv", "--split random --task labels"),
        said=("--label-separator ','", "head of 6 labels"),
    ),
    Case(
        "34-separator",
        fit("c34_multilabel_commas.tsv", "--split random --label-separator ,"),
        said=("task: labels", "head of 5 labels"),
    ),
    Case(
        "38",
        fit("l75.tsv", "--split random --per-class"),
        said=(
            "head\tsupport\t5\t\t\ttest\t14\tExtracellular\t",
            "head\tconfusion\t5\t\t\ttest\t14\tExtracellular\tExtracellular",
        ),
    ),
    Case(
        "38-evaluate",
        fit("l75.tsv", "--split random") + " && classify evaluate l75.tsv l75.h5 --head h.head "
        "--resamples 0 --include-seen --per-class",
        said=("head\tsupport\t22\t\t\ttest\t75\tNucleus\t",),
    ),
    Case(
        "38-regression",
        fit("c23_values_some_missing.tsv", "--task regression --split random --per-class"),
        said=("spearman",),
        unsaid=("precision",),
    ),
    Case(
        "40",
        fit("l75.tsv", vectors="c40_uniprot_per-protein.h5"),
        4,
        "model.unknown_vectors",
        ("c40_uniprot_per-protein.h5", "--vectors-model"),
    ),
]

PPI = "--embeddings p60.fa"
HOSTS = "--embeddings c14_host_pathogen.fa"
FIT_HOSTS = f"ppi fit c14_host_pathogen_train.tsv --split random {HOSTS} -o hp.head --overwrite"
#: The answer for V0 and H0, whose vectors come from sequences or from stores.
V0_H0 = ("V0\tH0\t0.545882", "V2\tH4\t0.")
OTHERS = [
    Case(
        "01",
        f"ppi fit c01_label_column_class.tsv {PPI} -o p.head --overwrite --split random",
        said=("valid all\t18\t8\tauroc",),
        unsaid=("sampled", "taken as the label"),
    ),
    Case(
        "01-beside",
        f"ppi fit o01_label_beside_source.tsv {PPI} -o p.head --overwrite --split random",
        said=("valid all\t18\t8\tauroc", "column 'is_ppi' is taken as the label"),
        unsaid=("sampled",),
    ),
    Case(
        "01-two",
        f"ppi evaluate o01_two_flags.csv {PPI} --resamples 0",
        said=("'curated', 'same_complex'", "119 negatives sampled"),
    ),
    Case(
        "06",
        "ppi predict c06_string_prefix_pairs.txt --embeddings c06_string_prefix.fa --format tsv",
        said=("9606.ENSP00000000233\t9606.ENSP00000211287\t0.", "15 of 15 pairs"),
    ),
    Case(
        "07",
        "ppi predict c07_intact_mitab25.txt --embeddings p60_uniprot.fa --format tsv",
        said=("P10000\tP10001\t0.",),
    ),
    Case(
        "09",
        "ppi predict c09_biogrid_tab3.txt --embeddings p60_uniprot.fa --format tsv",
        said=("20 genetic interactions", "P10"),
    ),
    Case(
        "12",
        "ppi predict c12_sequences_instead_of_names.csv --embeddings l75.h5 --format tsv",
        3,
        "input.sequences_for_names",
        ("line 2", "FASTA"),
    ),
    Case(
        "13",
        f"ppi evaluate c13_imbalanced_pairs.tsv.gz {PPI} --resamples 0",
        said=("all\t1206\t6\taupr\t0.00522", "all\t1206\t6\tauroc\t0.4188"),
    ),
    Case(
        "14",
        f"{FIT_HOSTS} && ppi evaluate c14_host_pathogen_test_positives.tsv {HOSTS} --head hp.head",
        said=("no protein is in both columns", "all\t160\t80\tauroc\t0.4375", "unseen\t142\t62"),
    ),
    Case(
        "14-labelled",
        f"{FIT_HOSTS} && ppi evaluate c14_host_pathogen_test_labelled.tsv {HOSTS} --head hp.head",
        said=("all\t160\t80\tauroc\t0.534", "45 of 160 test pairs", "unseen\t115\t62"),
        unsaid=("no protein is in both columns",),  # no negatives are drawn
    ),
    Case(
        "15",
        "ppi predict --bipartite c15_virus.fa c15_host.fa --embeddings c15_virus.fa "
        "--embeddings c15_host.fa --format tsv",
        said=V0_H0,
    ),
    Case("15-alone", "ppi predict --bipartite c15_virus.fa c15_host.fa --format tsv", said=V0_H0),
    Case(
        "15-stores",
        "-q embed c15_virus.fa -o v.h5 --overwrite && -q embed c15_host.fa -o t.h5 --overwrite && "
        "ppi predict --bipartite v.h5 t.h5 --format tsv",
        said=V0_H0,
    ),
    Case(
        "15-mixed",
        "-q embed c15_host.fa -o t.h5 --overwrite && "
        "ppi predict --bipartite c15_virus.fa t.h5 --format tsv",
        said=V0_H0,
    ),
    Case(
        "15-repeated",
        "-q embed c15_virus.fa -o v.h5 --overwrite && ppi predict --bipartite c15_virus.fa "
        "c15_host.fa --embeddings v.h5 --embeddings c15_virus.fa --embeddings c15_host.fa",
        said=(*V0_H0, "3 proteins in several inputs"),
    ),
    Case(
        "16",
        "-q ppi fit c16_leak_train.tsv --valid c16_leak_valid.tsv --test c16_leak_test.tsv "
        f"{PPI} -o p.head --overwrite",
        said=("60 of 60 test pairs are training pairs", "1 of 30 valid", "valid unseen\t29\t15"),
    ),
    Case(
        "16-head",
        "-q ppi fit c16_leak_train.tsv --valid c16_leak_valid.tsv "
        f"{PPI} -o p.head --overwrite && -q ppi evaluate c16_leak_test.tsv {PPI} --head p.head",
        said=("60 of 60 test pairs are training pairs", "nothing new is measured"),
    ),
    Case(
        "18",
        f"ppi predict pairs10.tsv {PPI} --format sif",
        said=("9606.ENSP00000000233\tpp\t9606.ENSP00000250971",),
        unsaid=("protein_a",),
    ),
    Case(
        "18-graphml",
        f"ppi predict pairs10.tsv {PPI} --format graphml",
        said=('<node id="9606.ENSP00000000233"/>', '<data key="probability">0.531643</data>'),
    ),
    Case(
        "18-csv",
        f"ppi predict pairs10.tsv {PPI} --format csv",
        said=("9606.ENSP00000000233,9606.ENSP00000250971,0.531643,",),
    ),
    Case(
        "42",
        "similarity c42_one_row_each.h5 --top-k 1 --format tsv",
        said=("L1088\tL1330\t0.5689", "L1111\tL1189\t0.6218"),
    ),
    Case(
        "44",
        "similarity c44_vectors.npz --top-k 1 --format tsv",
        said=("L1133\tL1291\t0.6312", "L1676\tL2117\t0.6547"),
    ),
    Case(
        "45",
        "similarity c45_vectors.csv --top-k 1 --format tsv",
        said=("L1133\tL1291\t0.6312", "L1676\tL2117\t0.6547"),
    ),
    Case(
        "46",
        "-q embed l75.fa -o own.tsv && similarity own.tsv --top-k 1 --format tsv",
        said=("L1133\tL1176\t0.9999", "L1255\tL1125\t0.9998"),
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = copied("ppi", tmp_path_factory.mktemp("cases"))
    done = run_here("-q", "embed", "l75.fa", cwd=folder)
    assert done.rc == 0, done.err
    return folder


@pytest.mark.parametrize("case", CLASSIFY, ids=lambda case: case.id)
def test_classify(case, folder):
    case.check(folder)


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.id)
def test_ppi_and_similarity(case, folder):
    case.check(folder)


def test_an_output_that_ends_in_gz_is_compressed(folder):
    """Case 17."""
    command = "ppi predict pairs10.tsv --embeddings p60.fa -o"
    Case("17", f"{command} out.tsv && {command} out.tsv.gz").check(folder)
    with gzip.open(folder / "out.tsv.gz", "rb") as stream:
        assert stream.read() == (folder / "out.tsv").read_bytes()


def test_the_calibration_that_is_drawn_is_of_interactions(folder):
    """Case 13: the picture is that of P(interaction) against what interacts, of all pairs."""
    from protclip_core.report.head_curves import plot_calibration
    from protclip_core.tasks.ppi.evaluate import evaluate
    from protclip_core.tasks.ppi.request import EvaluateRequest

    pairs = "c13_imbalanced_pairs.tsv.gz"
    Case("13", f"ppi evaluate {pairs} {PPI} --resamples 0 --plot c13").check(folder)
    request = EvaluateRequest(
        pairs=str(folder / pairs), inputs=(str(folder / "p60.fa"),), resamples=0
    )
    said = evaluate(request).measured.said.astype(np.float64)
    with gzip.open(folder / pairs, "rt") as stream:
        right = np.array([line.split("\t")[2].strip() == "1" for line in stream][1:])
    assert right.sum() == 6 and len(said) == len(right) == 1206 and said.min() < 0.4
    plot_calibration(folder / "own.png", said, right, f"default head, {pairs}")
    assert (folder / "own.png").read_bytes() == (folder / "c13/calibration.png").read_bytes()


def test_what_is_confused_is_drawn(folder):
    """Case 38, of a fit and of a measurement."""
    Case(
        "38",
        fit("l75.tsv", "--split random --plot one") + " && classify evaluate l75.tsv l75.h5 "
        "--head h.head --resamples 0 --include-seen --plot other",
    ).check(folder)
    for name in ("one", "other"):
        assert (folder / name / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_a_head_needs_no_scikit_learn(folder):
    """Case 47: another version, or none, gives the same answers."""
    command = ("-q", "ppi", "predict", "pairs10.tsv", "--embeddings", "p60.fa", "--format", "tsv")
    wanted = run_here(*command, cwd=folder)
    block = "import sys; sys.modules['sklearn'] = None; "
    run = "from protclip_cli.main import run; run()"
    done = subprocess.run(
        [sys.executable, "-c", block + run, *command], cwd=folder, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, wanted.out), done.stderr


def test_a_group_is_in_one_part_and_in_one_fold(folder):
    """The groups of the table, with equal sequences, decide which proteins are together."""
    from protclip_core.tasks.classify.fit import fit as fit_head
    from protclip_core.tasks.classify.request import FitRequest

    report = fit_head(
        FitRequest(
            labels=str(folder / "c27_group_column.tsv"),
            inputs=[str(folder / "l75.h5")],
            output=folder / "g.head",
            split="random",
            search=False,
            resamples=0,
        )
    )
    lines = (folder / "c27_group_column.tsv").read_text().splitlines()[1:]
    family = dict(line.split("\t")[::2] for line in lines)
    ids = [line.split()[0][1:] for line in (folder / "l75.fa").read_text().splitlines()[::2]]
    assert len(set(family.values())) == 15 and len(ids) == len(report.split.parts) == 75
    for of in (report.split.parts, report.split.groups):
        places: dict[str, set[int]] = {}
        for id, number in zip(ids, of.tolist(), strict=True):
            places.setdefault(family[id], set()).add(number)
        assert all(len(numbers) == 1 for numbers in places.values())
    assert len(set(report.split.groups.tolist())) == 15
