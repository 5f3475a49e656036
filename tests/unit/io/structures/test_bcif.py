"""BinaryCIF: a real file, and each encoding against what it stands for."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from protclip_core.errors import InputError
from protclip_core.io.structures import read_structures
from protclip_core.io.structures.bcif import decode_bcif

#: 1AKI to residue 12, written by biotite 1.6.0.
FILE = Path(__file__).parents[3] / "data/structures/lysozyme_12.bcif"


def test_a_file_of_another_program_is_read():
    (record,) = read_structures([FILE])
    chain = record.chain
    assert (chain.id, chain.sequence, record.expected) == ("lysozyme_12", "KVFGRCELAAAM", 129)
    # As printed in the PDB file.
    assert chain.backbone[0, 0].tolist() == pytest.approx([35.365, 22.342, -11.98], abs=1e-4)
    assert chain.backbone[11, 3].tolist() == pytest.approx([36.906, 21.637, 5.84], abs=1e-4)
    assert chain.starts.tolist() == [True] + [False] * 11
    assert chain.confidence is None


@pytest.mark.parametrize("size", [3, 100, 5000, 10_000])
def test_a_cut_file_is_damaged(tmp_path, size):
    content = FILE.read_bytes()
    (tmp_path / "cut.bcif").write_bytes(content[:size])
    with pytest.raises(InputError) as caught:
        list(read_structures([tmp_path / "cut.bcif"]))
    assert caught.value.code == ("input.bad_structure" if size > 50 else "input.unknown_format")


def byte_array(values, kind):
    kinds = {1: "i1", 2: "<i2", 3: "<i4", 4: "u1", 5: "<u2", 6: "<u4", 32: "<f4", 33: "<f8"}
    return np.asarray(values, kinds[kind]).tobytes(), [{"kind": "ByteArray", "type": kind}]


def column(data, encoding, mask=None):
    return {"name": "x", "data": {"data": data, "encoding": encoding}, "mask": mask}


def decoded(column):
    categories = [{"name": "_entity", "columns": [column], "rowCount": 0}]
    blocks = [{"header": "T", "categories": categories}]
    (block,) = decode_bcif(msgspec.msgpack.encode({"dataBlocks": blocks}))
    return list(block.find_values("_entity.x"))


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 6, 32, 33])
def test_every_type_of_number(kind):
    assert [float(v) for v in decoded(column(*byte_array([1, 2, 100], kind)))] == [1, 2, 100]


@pytest.mark.parametrize(
    ("kind", "unsigned", "packed", "plain"),
    [
        (1, False, [1, 127, 3, -128, -2, 127, 0, -5], [1, 130, -130, 127, -5]),
        (4, True, [255, 255, 4, 255, 0, 7], [514, 255, 7]),
        (2, False, [32767, 1, -32768, 0], [32768, -32768]),
    ],
)
def test_integer_packing(kind, unsigned, packed, plain):
    data, encoding = byte_array(packed, kind)
    packing = {"kind": "IntegerPacking", "isUnsigned": unsigned, "srcSize": len(plain)}
    assert decoded(column(data, [packing, *encoding])) == [str(value) for value in plain]


def test_chained_encodings_are_undone_from_the_last():
    data, encoding = byte_array([1000, 1, 5, 3], 3)  # runs: 1000 once, 5 three times
    runs, delta = {"kind": "RunLength", "srcSize": 4}, {"kind": "Delta", "origin": 10}
    fixed = {"kind": "FixedPoint", "factor": 1000}
    found = decoded(column(data, [fixed, delta, runs, *encoding]))
    assert [float(v) for v in found] == [1.01, 1.015, 1.02, 1.025]


def test_quantised_intervals():
    data, encoding = byte_array([0, 1, 4], 4)
    steps = {"kind": "IntervalQuantization", "min": -1, "max": 1, "numSteps": 5}
    assert [float(v) for v in decoded(column(data, [steps, *encoding]))] == [-1, -0.5, 1]


def test_strings_and_masks():
    offsets, offset_encoding = byte_array([0, 1, 4], 3)
    places, place_encoding = byte_array([1, 0, 1, -1], 1)
    encoding = {"kind": "StringArray", "stringData": "AB C", "offsets": offsets}
    encoding |= {"offsetEncoding": offset_encoding, "dataEncoding": place_encoding}
    mask, mask_encoding = byte_array([0, 1, 2, 1], 4)
    found = decoded(column(places, [encoding], {"data": mask, "encoding": mask_encoding}))
    assert found == ["'B C'", ".", "?", "."]


@pytest.mark.parametrize("bad", [{"kind": "Zip"}, {"kind": "ByteArray", "type": 99}, {}])
def test_an_unknown_encoding_is_an_error(bad):
    with pytest.raises(ValueError, match="Zip|99|kind"):
        decoded(column(b"abc", [bad]))


def test_a_run_without_bound_is_refused():
    data, encoding = byte_array([1, 2_000_000_000], 3)
    with pytest.raises(ValueError, match="2,000,000,000"):
        decoded(column(data, [{"kind": "RunLength", "srcSize": 1}, *encoding]))
