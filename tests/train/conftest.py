"""Tiny synthetic pairs in the format that the trainer reads."""

import gzip
import json
import random

import pytest

GO_TABLE = (
    "id\tname\tnamespace\tis_obsolete\tis_a\tdefinition\n"
    "GO:0008150\tbiological_process\tbiological_process\t0\t\t\n"
    "GO:0005524\tATP binding\tmolecular_function\t0\tGO:0003674\t\n"
    "GO:0005634\tnucleus\tcellular_component\t0\tGO:0005575\t\n"
    "GO:0000008\tobsolete thing\tmolecular_function\t1\t\t\n"
)
FAMILIES = ("kinase", "protease", "transporter", "histone")


@pytest.fixture(scope="session")
def write_pairs():
    """Return a function that writes entries as gzipped JSON Lines and gives back the path."""
    return _write_pairs


def _write_pairs(path, entries):
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for entry in entries:
            file.write(json.dumps(entry) + "\n")
    return path


@pytest.fixture(scope="session")
def go_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("go") / "go_terms.tsv.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write(GO_TABLE)
    return path


@pytest.fixture(scope="session")
def pairs_path(tmp_path_factory):
    """150 proteins; the composition of a sequence follows its family, and so does its text."""
    draw = random.Random(0)
    entries = []
    for number in range(150):
        family = number % len(FAMILIES)
        letters = "ACDEFGHIKLMNPQRSTVWY"[family * 5 : family * 5 + 8]
        entry = {
            "accession": f"T{number:05d}",
            "sequence": "M" + "".join(draw.choices(letters, k=draw.randint(8, 90))),
            "split": "train" if number < 110 else "valid" if number < 130 else "test",
            "name": f"{FAMILIES[family]} {number}",
        }
        if number % 2:
            entry["function"] = f"Acts as a {FAMILIES[family]}. Binds partner {number % 7}."
        if number % 3 == 0:
            entry |= {"location": "Nucleus", "go": ["GO:0005634", "GO:0008150"]}
        entries.append(entry)
    return _write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.jsonl.gz", entries)
