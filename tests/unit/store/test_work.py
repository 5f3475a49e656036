"""The working file keeps finished vectors and never uses a damaged one."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from protclip_core.errors import ModelError, UsageError
from protclip_core.records import ProteinRecord, RecordFlag
from protclip_core.store import spool_file, work
from protclip_core.store.work import Work, partial_folder

KEY = {"weights_sha256": "ab" * 32, "pooling": "mean", "layer": 6}
DIM = 4


class Killed(BaseException):
    """Ends a block without any word of it."""


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.h5"


def vectors_of(sequence, residues=False, dtype=np.float32):
    """Values that only this sequence has."""
    rng = np.random.default_rng(list(hashlib.sha256(sequence.encode()).digest()))
    matrix = rng.normal(size=(1 + len(sequence) * residues, DIM)).astype(dtype)
    return matrix[0], matrix[1:] if residues else None


def read_into(made, proteins):
    for number, (id, sequence) in enumerate(proteins, start=1):
        flag = RecordFlag.LOWERCASE if id.islower() else RecordFlag.NONE
        made.add(ProteinRecord(id, sequence, "", "x.fa", number, flag))


def compute(made, count=None, **options):
    """Finish the first sequences without vector; one commit."""
    items = [item for window in made.pending(1000, 10**9) for item in window][:count]
    made.commit((item.key, *vectors_of(item.content, **options)) for item in items)
    return [item.content for item in items]


@contextmanager
def dying(out, **options):
    """A run that ends in the middle of its block."""
    with suppress(Killed), Work(out, **options) as made:
        yield made
        raise Killed


def interrupted(out, proteins, count, **options):
    with dying(out, **options) as made:
        read_into(made, proteins)
        made.begin(KEY)
        compute(made, count)


def ids(made):
    return [record.id for block in made.records() for record in block]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


PROTEINS = [(f"P{i}", "MKV" + "LA" * i) for i in range(6)]


@pytest.mark.parametrize("residues", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("piece", [64 << 20, 24])
def test_vectors_come_back_as_they_were(out, monkeypatch, residues, dtype, piece):
    monkeypatch.setattr(work, "_PIECE_BYTES", piece)
    with Work(out) as made:
        read_into(made, PROTEINS)
        made.begin(KEY)
        compute(made, 3, residues=residues, dtype=dtype)
        compute(made, residues=residues, dtype=dtype)
        assert made.count_pending() == (0, 0)
        for record in next(made.records()):
            vector, matrix = vectors_of(dict(PROTEINS)[record.id], residues, dtype)
            values = made.read(record.key, DIM, dtype)
            assert values.dtype == dtype
            assert np.array_equal(values[0], vector)
            assert np.array_equal(values[1:], matrix if residues else np.empty((0, DIM)))
        made.finish()
    assert names(out.parent) == []


def test_nothing_is_left_unless_something_is_finished(out):
    with dying(out) as made:
        read_into(made, PROTEINS)
    assert names(out.parent) == []
    interrupted(out, PROTEINS, 0)
    assert names(out.parent) == []
    interrupted(out, PROTEINS, 1)
    assert names(out.parent) == ["out.h5.partial"]


def test_finished_proteins_are_not_discarded_unasked(out):
    interrupted(out, PROTEINS, 5)
    with pytest.raises(UsageError) as caught:
        Work(out)
    assert caught.value.code == "usage.unfinished_run"
    assert caught.value.message.startswith("5 ")
    with Work(out, resume=True) as made:
        assert made.num_finished == 5
    # Refused before it begins, a run that overwrites discards nothing either.
    with dying(out, overwrite=True) as made:
        read_into(made, PROTEINS[:1])
    with Work(out, resume=True) as made:
        assert made.num_finished == 5
    with Work(out, overwrite=True) as made:
        read_into(made, PROTEINS)
        made.begin({"other": 1})
        assert (made.num_finished, made.count_pending()[0]) == (0, 6)
    assert not partial_folder(out).exists()


def test_other_settings_are_named_and_nothing_is_touched(out):
    interrupted(out, PROTEINS, 3)
    before = (partial_folder(out) / "work").read_bytes()
    other = {"weights_sha256": "ab" * 32, "pooling": "cls", "dtype": "float16"}
    with Work(out, resume=True) as made:
        read_into(made, PROTEINS[3:])
        with pytest.raises(UsageError) as caught:
            made.begin(other)
    assert caught.value.code == "usage.other_settings"
    for part in ('pooling is "mean" there, "cls" now', "layer is 6", 'dtype is absent there, "flo'):
        assert part in str(caught.value)
    assert "weights_sha256" not in str(caught.value)
    assert (partial_folder(out) / "work").read_bytes() == before


def test_settings_of_a_run_that_finished_nothing_bind_nobody(out):
    interrupted(out, PROTEINS, 0)
    with Work(out, resume=True) as made:
        read_into(made, PROTEINS)
        made.begin({"pooling": "tokens"})
        assert made.note("key") == {"pooling": "tokens"}


def test_records_that_the_input_does_not_name_are_kept_behind_it(out, caplog):
    interrupted(out, [*PROTEINS, ("low", PROTEINS[1][1])], 3)
    given = [("new", "MMM"), ("P2", PROTEINS[2][1]), ("P0", "MCHANGED"), ("other", PROTEINS[1][1])]
    with Work(out, resume=True) as made:
        read_into(made, given)
        made.begin(KEY)
        # P1 and low share a sequence and were both finished; P0 was, but is another one now.
        assert ids(made) == ["new", "P2", "P0", "other", "P1", "low"]
        assert made.count_done() == 2
        assert compute(made) == ["MMM", "MCHANGED"]
        for record in next(made.records()):
            sequence = {**dict(PROTEINS), **dict(given), "low": PROTEINS[1][1]}[record.id]
            assert np.array_equal(made.read(record.key, DIM, "f4")[0], vectors_of(sequence)[0])
            assert record.length == len(sequence)
            assert (RecordFlag.LOWERCASE in record.flags) == record.id.islower()
    assert "2 finished records of" in caplog.text


def test_records_kept_once_are_kept_again_in_their_order(out):
    interrupted(out, PROTEINS[:4], 2)
    interrupted(out, [PROTEINS[5]], 1, resume=True)
    with Work(out, resume=True) as made:
        read_into(made, [PROTEINS[4]])
        made.begin(KEY)
        assert ids(made) == ["P4", "P5", "P0", "P1"]


def test_a_record_that_the_input_names_in_vain_is_not_kept(out):
    from protclip_core.records import Failure

    interrupted(out, PROTEINS, 3)
    with Work(out, resume=True) as made:
        read_into(made, PROTEINS[4:])
        made.refuse(Failure("x.fa", 3, "P1", "has no sequence", "record.empty"))
        made.begin(KEY)
        assert ids(made) == ["P4", "P5", "P0", "P2"]


def test_long_ones_that_this_run_leaves_out_do_not_take_finished_ones_with_them(out):
    interrupted(out, PROTEINS, 6)
    with Work(out, resume=True) as made:
        read_into(made, [("short", "MK"), ("P4", PROTEINS[4][1])])
        made.fail_longer_than(5)
        made.begin(KEY)
        assert ids(made) == ["short", "P0", "P1", "P2", "P3", "P5"]
        assert [failure.id for failure in made.failures()] == ["P4"]


def test_failures_of_an_earlier_run_are_tried_again(out):
    with dying(out) as made:
        read_into(made, PROTEINS)
        made.begin(KEY)
        made.mark_failed(hashlib.sha256(b"MKV").digest(), "no memory", "record.out_of_memory")
        compute(made, 1)
    with Work(out, resume=True) as made:
        read_into(made, PROTEINS)
        made.begin(KEY)
        assert list(made.failures()) == []
        assert made.count_pending()[0] == 5


def test_damaged_vector_is_computed_again_whether_named_or_not(out, caplog):
    interrupted(out, PROTEINS, 4)
    db = sqlite3.connect(partial_folder(out) / "work")
    key = {
        n: db.execute("SELECT sequence FROM records WHERE id = ?", (n,)).fetchone()[0]
        for n in ("P1", "P2")
    }
    for place in (key["P1"] << 10, key["P2"] << 10):
        (data,) = db.execute("SELECT data FROM vectors WHERE place = ?", (place,)).fetchone()
        flipped = bytes([data[0] ^ 1]) + data[1:]
        db.execute("UPDATE vectors SET data = ? WHERE place = ?", (flipped, place))
    db.commit()
    db.close()
    with Work(out, resume=True) as made:
        read_into(made, [PROTEINS[1]])
        made.begin(KEY)
        assert "the vectors of 2 proteins do not match" in caplog.text
        assert sorted(compute(made)) == sorted(s for _, s in PROTEINS[1:3])
        assert ids(made) == ["P1", "P0", "P2", "P3"]
        for record in next(made.records()):
            wanted = vectors_of(dict(PROTEINS)[record.id])[0]
            assert np.array_equal(made.read(record.key, DIM, "f4")[0], wanted)


def test_killed_in_the_midst_of_a_commit_what_was_committed_is_there(out, tmp_path, monkeypatch):
    """Pages of the next transaction are in the file already; SQLite's journal takes them back."""
    monkeypatch.setattr(spool_file, "_CACHE_KIB", 40)
    long = [(f"L{i}", "M" * (20_000 + i)) for i in range(8)]
    copy = tmp_path / "copy.h5"
    with Work(out) as made:
        read_into(made, long)
        made.begin(KEY)
        finished = compute(made, 4, residues=True)
        size = made.bytes_on_disk
        real = made._file.commit

        def at_the_commit():
            assert made.bytes_on_disk > size
            assert (partial_folder(out) / "work-journal").stat().st_size > 0
            shutil.copytree(partial_folder(out), partial_folder(copy))
            real()

        monkeypatch.setattr(made._file, "commit", at_the_commit)
        compute(made, residues=True)
    with Work(copy, resume=True) as again:
        assert again.num_finished == 4
        read_into(again, long)
        again.begin(KEY)
        for record in again.find([id for id, sequence in long if sequence in finished]):
            values = again.read(record.key, DIM, "f4")
            assert np.array_equal(values[1:], vectors_of("M" * record.length, True)[1])
        assert again.count_pending()[0] == 4


@pytest.mark.parametrize("data", [b"no database", b"SQLite format 3\0" + b"\xff" * 5000])
def test_file_that_is_not_one_of_ours_is_refused_and_stays(out, data):
    partial_folder(out).mkdir()
    path = partial_folder(out) / "work"
    path.write_bytes(data)
    for resume in (False, True):
        with pytest.raises(ModelError) as caught:
            Work(out, resume=resume)
        assert caught.value.code == "model.damaged_work"
        assert path.read_bytes() == data


def test_file_changed_while_it_is_in_use_is_an_error(out):
    with Work(out) as made:
        read_into(made, PROTEINS)
        made.begin(KEY)
        compute(made)
        made._file.run("DELETE FROM vectors")
        with pytest.raises(ModelError) as caught:
            made.read(1, DIM, "f4")
        assert caught.value.code == "model.damaged_work"


def test_files_of_others_in_the_folder_stay(out, caplog):
    folder = partial_folder(out)
    folder.mkdir()
    for name in ("notes.txt", "journal.jsonl", "part-000003.safetensors", "run.json", "work.new"):
        (folder / name).write_bytes(b"mine")
    with pytest.raises(UsageError) as caught:
        Work(out, resume=True)
    assert caught.value.code == "usage.unfinished_run"
    assert len(names(folder)) == 5
    with Work(out, overwrite=True) as made:
        read_into(made, PROTEINS)
        made.begin(KEY)
        made.finish()
    assert names(folder) == ["notes.txt"]
    assert "holds other files" in caplog.text
