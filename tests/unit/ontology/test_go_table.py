"""GO as a table."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from protclip_core.errors import ModelError
from protclip_core.ontology import read_go_table
from tests.support.ontology_files import go_id

HEADER = "id\tname\tnamespace\tis_obsolete\tis_a\tdefinition\tother\n"
ROWS = (
    "GO:0003674\troot\tmolecular_function\t0\t\t\tx\n"
    'GO:0000002\tgrip\tmolecular_function\t0\tGO:0003674\tHolds "on".\tx\n'
    "GO:0000003\told\t\t1\t\t\tx\n"
    "GO:0000004\tfirm grip\tmolecular_function\t0\tGO:0000002,GO:0000003,GO:0000009\t\tx\n"
)


def table(tmp_path, text):
    path = tmp_path / "go.tsv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_active_terms_are_read_in_order(tmp_path, caplog):
    path = table(tmp_path, gzip.compress((HEADER + ROWS).encode()))
    ontology = read_go_table(path, data_version="releases/2024-01-17")
    assert ontology.ids == (go_id(3674), go_id(2), go_id(4))
    assert ontology.names[1] == "grip" and ontology.definitions[1] == 'Holds "on".'
    assert ontology.ancestors(2).tolist() == [0, 1]
    assert ontology.resolve("GO:0000003").how == "obsolete"
    assert ontology.release == "2024-01-17"
    assert "left out: parent GO:0000003 of GO:0000004 is obsolete (2 such edges)" in caplog.text


def test_the_trainer_reads_the_same_terms(tmp_path):
    from train.data.go_terms import GoTerms

    path = table(tmp_path, HEADER + ROWS)
    theirs, ours = GoTerms(path), read_go_table(path)
    assert list(ours.ids) == theirs.ids and list(ours.names) == theirs.names
    assert list(ours.definitions) == theirs.definitions and ours.index == theirs.index
    assert np.array_equal(ours.aspects, theirs.aspects)
    assert ours.propagate([2], roots=False).tolist() == theirs.propagate([2]).tolist()


def test_part_of_may_be_a_column(tmp_path):
    text = HEADER.replace("other", "part_of") + ROWS.replace("\tx\n", "\t\n")
    text += "GO:0000005\tpart\tmolecular_function\t0\tGO:0003674\t\tGO:0000004\n"
    ontology = read_go_table(table(tmp_path, text))
    assert ontology.ancestors(3).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("<html>\n", "is not a GO table but an HTML page"),
        ("id\tname\n", "has no column 'namespace'"),
        (HEADER + "GO:0000001\tx\n", "line 2: has 2 columns, the header 7"),
        (HEADER + ROWS + ROWS, r"line 6 \(GO:0003674\): is defined a second time"),
        (HEADER + ROWS.replace("\t0\t\t\t", "\tno\t\t\t"), "is_obsolete is 'no', not 0 or 1"),
        (HEADER + ROWS.replace("molecular", "atomic"), "unknown namespace 'atomic_function'"),
        (HEADER + ROWS.replace("GO:0000009", "GO:9"), "'GO:9' is not a GO id"),
        (HEADER + ROWS.replace("GO:0000002\t", "x\t"), "line 3: 'x' is not a GO id"),
        (HEADER + ROWS.replace("\t0\t\t\t", "\t0\tGO:0000004\t\t"), "among its own ancestors"),
        ((HEADER + ROWS).encode().replace(b"grip", b"gr\xefp"), "byte 0xef at column 14 is not"),
        (HEADER + ROWS.split("\n")[2] + "\n", "has no active GO terms"),
    ],
)
def test_what_is_no_table_of_go_is_refused(tmp_path, text, message):
    with pytest.raises(ModelError, match=message):
        read_go_table(table(tmp_path, text))
