"""The spool: records of a run on disk."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from protclip_core.errors import InputError, ResourceError
from protclip_core.records import Failure, ProteinRecord, RecordFlag
from protclip_core.store.spool import Spool


def record(id, sequence, number=1, source="x.fa", flags=RecordFlag.NONE):
    return ProteinRecord(id, sequence, "", source, number, flags)


def digest(sequence):
    return hashlib.sha256(sequence.encode()).digest()


def digests(*sequences):
    return np.frombuffer(b"".join(map(digest, sequences)), np.uint8).reshape(-1, 32)


@pytest.fixture
def spool(tmp_path):
    with Spool(tmp_path / "records") as made:
        yield made


@pytest.fixture
def filled(spool):
    """Four records, three sequences: b and d are the same protein."""
    for number, (id, sequence) in enumerate(
        [("a", "MKV"), ("b", "MKVLA"), ("c", "M"), ("d", "MKVLA")], start=1
    ):
        spool.add(record(id, sequence, number))
    return spool


def test_counts(filled):
    assert (filled.num_records, filled.num_sequences, filled.num_residues) == (4, 3, 9)
    assert (filled.longest, filled.num_repeated, filled.num_refused) == (5, 0, 0)
    assert list(filled.lengths()) == [3, 5, 1]
    assert filled.output_residues() == (4, 14)
    assert filled.output_residues(limit=3) == (4, 10)
    assert filled.count_pending() == (3, 9)


def test_records_keep_input_order_in_blocks(filled):
    blocks = list(filled.records(block=3))
    assert [[r.id for r in block] for block in blocks] == [["a", "b", "c"], ["d"]]
    assert [r.digest for block in blocks for r in block][1] == digest("MKVLA")
    assert {r.row for block in blocks for r in block} == {-1}
    assert filled.contents_of(blocks[0]) == {digest(s): s for s in ("MKV", "MKVLA", "M")}


def test_what_is_embedded_in_place_of_the_sequence_makes_the_identity(spool):
    assert spool.add(record("a", "MKV", 1), b"\0one") is None
    assert spool.add(record("b", "MKV", 2), b"\0one") is None
    assert spool.add(record("a", "MKV", 3), b"\0one")  # its place: it was there before
    assert spool.add(record("c", "MKV", 4), b"\0other") is None
    with pytest.raises(InputError) as caught:
        spool.add(record("a", "MKV", 5), b"\0other")
    assert caught.value.code == "input.duplicate_id"
    (window,) = spool.pending(10, 100)
    assert [(item.content, item.length) for item in window] == [(b"\0one", 3), (b"\0other", 3)]
    (block,) = spool.records()
    assert set(spool.contents_of(block).values()) == {b"\0one", b"\0other"}


def test_record_repeated_is_dropped_with_the_place_of_the_first(filled):
    assert filled.add(record("b", "MKVLA", 9, source="-")) == "x.fa:record 2"
    assert (filled.num_records, filled.num_repeated) == (4, 1)


def test_same_id_with_another_sequence_is_an_error_naming_both(filled):
    with pytest.raises(InputError) as caught:
        filled.add(record("a", "MKVLA", 7, source="y.fa"))
    assert str(caught.value).startswith(
        "y.fa:record 7 (a): same id as x.fa:record 1, but another sequence; "
    )
    assert filled.num_records == 4


def test_places_are_safe_for_a_terminal(spool):
    spool.add(record("a", "MKV", source="-"))
    spool.add(record("b", "MKV", source="\x1b[31m.fa"))
    spool.add(record("c", "MKV", source="odd\udcff.fa"))
    assert spool.add(record("a", "MKV", 2)) == "<stdin>:record 1"
    assert spool.add(record("b", "MKV", 2)) == "\\x1b[31m.fa:record 1"
    assert spool.add(record("c", "MKV", 2)) == "odd\\udcff.fa:record 1"


def test_content_hash_names_ids_and_sequences_in_order(tmp_path):
    def content(*items):
        with Spool(tmp_path / "other") as spool:
            for number, (id, sequence) in enumerate(items, start=1):
                spool.add(record(id, sequence, number))
            return spool.content_sha256

    plain = content(("a", "MKV"), ("b", "ML"))
    expected = hashlib.sha256(b"a\0" + digest("MKV") + b"b\0" + digest("ML")).hexdigest()
    assert plain == expected
    assert content(("a", "MKV"), ("b", "ML"), ("a", "MKV")) == plain
    assert len({plain, content(("b", "ML"), ("a", "MKV")), content(("a", "ML"), ("b", "MKV"))}) == 3


def test_pending_windows_end_before_either_limit(filled):
    def windows(count, residues):
        return [[item.content for item in w] for w in filled.pending(count, residues)]

    assert windows(10, 100) == [["MKV", "MKVLA", "M"]]
    assert windows(2, 100) == [["MKV", "MKVLA"], ["M"]]
    assert windows(10, 8) == [["MKV", "MKVLA"], ["M"]]
    assert windows(10, 4) == [["MKV"], ["MKVLA"], ["M"]]


def test_pending_leaves_out_what_is_done_or_failed_meanwhile(spool):
    for number in range(600):
        spool.add(record(f"p{number}", "M" + "K" * number, number))
    seen = []
    for window in spool.pending(100, 1 << 40):
        seen += [item.content for item in window]
        for item in window[:50]:
            spool.mark_failed(item.digest, "why", "record.other")
        spool.mark_stored(digests(*[item.content for item in window[50:]]))
    assert seen == ["M" + "K" * number for number in range(600)]
    assert spool.count_pending() == (0, 0)
    assert list(spool.pending(100, 100)) == []


def test_stored_counts_only_what_the_run_needs(filled):
    assert filled.mark_stored(digests("MKVLA", "WWW", "M"), 10) == 2
    assert filled.mark_stored(digests("MKVLA", "M")) == 0  # the same again, in other rows
    places = {r.id: r.row for block in filled.records() for r in block}
    assert places == {"a": -1, "b": 10, "c": 12, "d": 10}
    assert filled.count_pending() == (1, 3)
    assert filled.mark_stored(np.empty((0, 32), np.uint8)) == 0


def test_failures_list_refused_records_first_then_failed_ones_in_order(filled):
    filled.refuse(Failure("x.fa", 5, "e", "has no sequence", "record.empty"))
    filled.mark_failed(digest("MKVLA"), "too long", "record.too_long")
    found = [(f.where, f.reason, f.code) for f in filled.failures()]
    assert found == [
        ("x.fa:record 5 (e)", "has no sequence", "record.empty"),
        ("x.fa:record 2 (b)", "too long", "record.too_long"),
        ("x.fa:record 4 (d)", "too long", "record.too_long"),
    ]
    assert [r.id for block in filled.records() for r in block] == ["a", "c"]
    assert filled.output_residues() == (2, 4)
    assert list(filled.names(["a", "e", "z"])) == [True, True, False]
    found = filled.find(["a", "b", "e", "z"])
    assert [r and (r.id, r.length) for r in found] == [("a", 3), None, None, None]
    assert list(filled.lengths()) == [3, 1]


def test_longer_than(filled):
    assert filled.count_longer_than(3) == 2
    assert list(filled.longer_than(3)) == [("x.fa:record 2 (b)", 5), ("x.fa:record 4 (d)", 5)]
    filled.fail_longer_than(3)
    assert {f.code for f in filled.failures()} == {"record.too_long"}
    assert filled.count_pending() == (2, 4)


@pytest.mark.parametrize(
    "id", ["../../etc/passwd", "a/b", ".", "\x1b[31m", "é", "e\u0301", "x" * 100_000]
)
def test_any_id_comes_back_as_it_was(spool, id):
    spool.add(record(id, "MKV"))
    assert next(spool.records())[0].id == id
    assert list(spool.names([id, id + "x"])) == [True, False]


def test_file_of_a_killed_run_is_replaced_and_ours_removed(tmp_path):
    path = tmp_path / "records"
    path.write_bytes(b"what a killed run left")
    with Spool(path) as spool:
        spool.add(record("a", "MKV"))
    assert list(tmp_path.iterdir()) == []


def test_place_that_cannot_be_written_is_a_resource_error(tmp_path):
    with pytest.raises(ResourceError) as caught:
        Spool(tmp_path / "missing" / "records")
    assert (caught.value.code, caught.value.where) == (
        "resource.disk_full",
        str(tmp_path / "missing"),
    )


def test_residues_may_be_left_out_and_nothing_else_changes(tmp_path, filled):
    with Spool(tmp_path / "lean", keep_residues=False) as lean:
        for number, (id, sequence) in enumerate(
            [("a", "MKV"), ("b", "MKVLA"), ("c", "M"), ("d", "MKVLA")], start=1
        ):
            lean.add(record(id, sequence, number))
        assert set(lean.contents_of(next(lean.records())).values()) == {""}
        assert list(lean.lengths()) == list(filled.lengths())
        assert lean.content_sha256 == filled.content_sha256
        assert lean.full_bytes == filled.full_bytes


def test_size_is_told_before_it_is_reached(tmp_path):
    for length in (1, 100, 5000):
        with Spool(tmp_path / "records") as spool:
            for number in range(3000):
                sequence = f"{number:0{length}d}"
                spool.add(record(f"sp|P{number:05d}|NAME_HUMAN", sequence, number))
            pages, size = (spool._file.one(f"PRAGMA {n}")[0] for n in ("page_count", "page_size"))
            assert 0.8 * pages * size < spool.full_bytes < 1.6 * pages * size


def test_hint_of_the_caller_stands_in_the_error(tmp_path):
    with pytest.raises(ResourceError) as caught:
        Spool(tmp_path / "missing" / "records", hint="name another folder")
    assert caught.value.hint == "name another folder"
