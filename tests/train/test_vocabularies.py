"""Vocabularies from records: what counts as a term, what it is called, and into a bundle."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from protclip_core.errors import InputError
from protclip_core.io.phrases import Phrase, read_phrases
from protclip_core.models.info import describe_model
from protclip_core.terms.vocabularies import SHIPPED, TextSide, find_vocabulary
from protclip_core.weights.bundle import open_bundle
from tests.support.helpers import RESIDUES
from tests.unit.models.dual import Dual
from train.release import vocabularies, vocabulary_terms
from train.release.vocabulary_terms import (
    LEAST,
    ec_phrases,
    flat_phrases,
    implied_pairs,
    is_no_enzyme,
    keywords_of,
    locations_of,
)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("Nucleus; Plasma membrane; Mitochondria", ["Cell membrane", "Mitochondrion", "Nucleus"]),
        ("Nucleus, nucleolus {ECO:0000250}.", ["Nucleolus", "Nucleus"]),
        ("Cell membrane {ECO:0000305}; Multi-pass membrane protein.", ["Cell membrane"]),
        ("[Isoform 2]: Cytoplasm. Note=Moves to the Nucleus when cold.", ["Cytoplasm"]),
        ("relocalizes to the cytosol in response to hypoxia", []),
        ("Secreted, cell wall {ECO:0000250}. Membrane {ECO:0000305}; Lipid-anchor, GPI-anchor",
         ["Cell wall", "Membrane", "Secreted"]),
        ("Endoplasmic reticulum membrane; Cytoplasmic side", ["Endoplasmic reticulum membrane"]),
    ],
)  # fmt: skip
def test_places(text, places):
    assert locations_of({"location": text}) == places
    assert locations_of({}) == []


def test_keywords():
    words = ["Kinase", "Reference proteome", "PHI-base phenotype: lethal", "Deafness", "Zinc"]
    assert keywords_of({"keywords": words}) == ["Kinase", "Zinc"]
    assert keywords_of({"keywords": None}) == []


def record(name, ec, times=3):
    return [{"name": name, "ec": ec}] * times


def test_a_number_has_the_name_of_most_of_its_proteins():
    phrases = ec_phrases(
        record("Hexokinase-1 (EC 2.7.1.1) (HK1)", ["2.7.1.1"], 2)
        + record("Putative glucokinase", ["2.7.1.1", "2.7.1.-"], 3)
        + record("tRNA (guanine(9)-N1)-methyltransferase 2 (EC 2.1.1.221)", "2.1.1.221")
        + record("DNA ligase, mitochondrial", ["6.5.1.1"])
        + record("Uncharacterized protein", ["1.1.1.1"])
        + record("Rare synthase", ["4.2.1.1"], LEAST["ec"] - 1)
        # Which of the two is a kinase is not said.
        + record("Two-headed kinase", ["2.7.1.2", "3.1.3.2"])
        + record("Two-headed kinase (EC 2.7.1.3)", ["2.7.1.3", "3.1.3.3"])
    )
    names = {p.id: p.text for p in phrases}
    assert names == {
        "2.-.-.-": "transferase",
        "2.1.-.-": "transferase of one-carbon groups",
        "2.1.1.-": "methyltransferase",
        "2.1.1.221": "tRNA (guanine(9)-N1)-methyltransferase",
        "2.7.-.-": "transferase of phosphorus-containing groups",
        "2.7.1.-": "kinase of alcohol groups",
        "2.7.1.1": "glucokinase",
        "2.7.1.3": "two-headed kinase",
        "6.-.-.-": "ligase",
        "6.5.-.-": "ligase forming phosphoric ester bonds",
        "6.5.1.-": "DNA or RNA ligase",
        "6.5.1.1": "DNA ligase",
    }
    assert [p.id for p in phrases] == list(names)


def test_names_of_classes_are_of_classes():
    classes = [p.id for p in read_phrases(vocabulary_terms._CLASSES)]
    assert len(set(classes)) == len(classes) > 200
    assert {c for c in classes if "." not in c} == set("1234567")
    for number in classes:
        assert number.rpartition(".")[0] in (*classes, "")


def test_frequent_terms_alone():
    least = LEAST["keywords"]
    many = [{"keywords": ["Zinc", "Kinase"]}] * least + [{"keywords": ["Rare"]}] * (least - 1)
    assert flat_phrases(many, "keywords") == [Phrase("Kinase", "Kinase"), Phrase("Zinc", "Zinc")]


def test_terms_that_never_come_without_another():
    records = [{"keywords": ["Helix", "Span", "Membrane"]}] * 30
    records += [{"keywords": ["Span", "Membrane"]}] * 30 + [{"keywords": ["Membrane", "Zinc"]}] * 40
    records += [{"keywords": ["Zinc"]}] * 20 + [{"keywords": ["Rare", "Zinc"]}] * 19
    pairs = implied_pairs(records, "keywords")
    # What follows over another is left out; Zinc comes without; of Rare there are too few.
    assert pairs == [("Helix", "Span"), ("Span", "Membrane")]
    assert implied_pairs([*records, {"keywords": ["Helix"]}], "keywords") == [("Span", "Membrane")]


def test_what_is_plainly_no_enzyme():
    plain = {"name": "Keratin", "go": ["GO:0005198"], "reviewed": True}
    assert is_no_enzyme(plain)
    changes = [{"name": "Some kinase"}, {"name": None}, {"go": []}, {"go": ["GO:0003824"]}]
    changes += [{"reviewed": False}, {"ec": ["1.-.-.-"]}, {"name": "Uncharacterized protein"}]
    assert not any(is_no_enzyme(plain | change) for change in changes)


def made_records(number=240):
    rng = random.Random(2)
    for row in range(number):
        kind = row % 3
        entry = {
            "accession": f"P{row}",
            "sequence": "".join(rng.choices(RESIDUES, k=40)),
            "split": ("train", "train", "valid", "test")[row // 3 % 4],
            "reviewed": True,
            "go": ["GO:0005198"],
        }
        entry |= [
            {"name": "Zinc kinase", "ec": ["2.7.1.1"], "keywords": ["Zinc", "Kinase"]},
            {"name": "Zinc ligase", "ec": ["6.5.1.1"], "location": "Nucleus; Cytoplasm"},
            {"name": "Membrane thing", "location": "Membrane", "keywords": ["Zinc"]},
        ][kind]
        yield entry


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabularies")
    bundle = Dual().write(folder / "dual")
    data = folder / "pairs.jsonl"
    data.write_text("".join(json.dumps(entry) + "\n" for entry in made_records()))
    records = vocabularies._read(data)
    sizes = vocabularies.write_tables(records["train"], folder / "tables")
    figures = vocabularies.add_vocabularies(bundle, records, tables=folder / "tables")
    return folder, bundle, sizes, figures


def test_the_bundle_has_them_and_is_whole(made):
    _, bundle, sizes, figures = made
    assert sizes == {"ec": 8, "location": 3, "keywords": 2}
    open_bundle(bundle).verify()
    texts = TextSide(describe_model(bundle))
    for name in SHIPPED:
        index = find_vocabulary(texts, name)
        assert len(index) == figures[name]["terms"] == sizes[name]
        assert index.calibration is not None


def test_an_enzyme_number_is_behind_a_gate(made):
    _, bundle, _, figures = made
    for name in SHIPPED:
        index = find_vocabulary(TextSide(describe_model(bundle)), name)
        assert (index.gate is not None) is (name == "ec")
        assert (index.lines is None) is (name == "ec")
    for split in ("valid", "test"):
        assert 0 <= figures["ec"][split]["bare_listed"] <= 1
        assert "bare_listed" not in figures["location"][split]


def test_priors_are_shares_of_those_of_which_something_is_known(made):
    _, bundle, _, figures = made
    index = find_vocabulary(TextSide(describe_model(bundle)), "ec")
    # A third of 120 has each number; a third is plainly no enzyme, and counts.
    assert figures["ec"]["train_proteins"] == 120
    share = (40 + 0.5) / 120
    for id in ("2.7.1.1", "2.-.-.-"):
        prior = index.log_prior[index.ontology.index[id]]
        assert prior == pytest.approx(np.log(share / (1 - share)), abs=1e-4)
    assert figures["location"]["train_proteins"] == 80


def test_figures(made):
    *_, figures = made
    for name in SHIPPED:
        aspect = SHIPPED[name].aspect.lower()
        for split in ("valid", "test"):
            found = figures[name][split]
            assert 0 < found["fmax_prior"] <= 1
            assert 0 < found[f"fmax_{aspect}"] <= 1
    # Proteins that have none are looked at, but Fmax is of those that have some.
    assert figures["ec"]["test"]["proteins"] == 60
    assert figures["ec"]["test"]["with_terms"] == 40
    assert figures["location"]["test"]["with_terms"] == 40
    # The prior lists all three classes above either number: right are half of them.
    assert figures["ec"]["test"]["fmax_prior"] == pytest.approx(2 / 3, abs=1e-6)


def test_the_program_prints_figures_and_refuses_bad_data(made, tmp_path, capsys):
    folder, *_ = made
    argv = ["--data", str(folder / "pairs.jsonl"), "--tables", str(tmp_path / "t")]
    assert vocabularies.main(argv) == 0
    assert json.loads(capsys.readouterr().out)["tables"]["location"] == 3
    assert (tmp_path / "t" / "ec.tsv").read_text().splitlines()[0] == "2.-.-.-\ttransferase"
    (tmp_path / "bad.jsonl").write_text("{}\n")
    with pytest.raises(InputError) as caught:
        vocabularies._read(tmp_path / "bad.jsonl")
    assert caught.value.code == "input.bad_line"
    assert vocabularies.main(["--data", str(tmp_path / "bad.jsonl"), *argv[2:]]) != 0
