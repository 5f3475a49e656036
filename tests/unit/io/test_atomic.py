"""Files appear whole, and one process at a time writes them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading

import pytest

from protclip_core.errors import BusyError, ResourceError, UsageError
from protclip_core.io import atomic


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_write_atomic_writes_and_replaces(tmp_path):
    path = tmp_path / "a.txt"
    atomic.write_atomic(path, b"old")
    atomic.write_atomic(path, b"")
    assert path.read_bytes() == b""
    assert names(tmp_path) == ["a.txt"]


def test_write_atomic_keeps_access_rights_and_follows_links(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real)
    atomic.write_atomic(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert real.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_is_a_resource_error_and_leaves_the_old_file(tmp_path, monkeypatch, code):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def fail(_fd):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ResourceError) as caught:
        atomic.write_atomic(path, b"new")
    assert (caught.value.code, caught.value.where) == ("resource.disk_full", str(path))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.txt"]


def test_open_atomic_drops_the_file_on_any_error_and_passes_it_on(tmp_path):
    path = tmp_path / "a.txt"

    def work():
        with atomic.open_atomic(path) as handle:
            handle.write(b"half")
            raise FileNotFoundError(errno.ENOENT, "other file")

    with pytest.raises(FileNotFoundError, match="other file"):
        work()
    assert names(tmp_path) == []


def test_require_space_names_both_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "free_bytes", lambda _path: 2_500_000)
    atomic.require_space(tmp_path / "x", 2_500_000)
    with pytest.raises(ResourceError, match="4 MB needed, 3 MB free"):
        atomic.require_space(tmp_path / "x", 3_000_001)


def test_free_bytes_of_a_path_that_does_not_exist_yet(tmp_path):
    assert atomic.free_bytes(tmp_path / "no" / "such" / "file") > 0


def test_check_writable_target_accepts_and_leaves_nothing(tmp_path):
    atomic.check_writable_target(tmp_path / "new.h5")
    assert names(tmp_path) == []


def test_check_writable_target_refuses(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path, code in [
        (tmp_path / "no" / "a.h5", "usage.no_such_folder"),
        (tmp_path / "file" / "a.h5", "usage.not_a_folder"),
        (tmp_path, "usage.not_a_file"),
        ("/dev/null", "usage.not_a_file"),
        (tmp_path / ("x" * 254), "usage.not_writable"),
    ]:
        with pytest.raises(UsageError) as caught:
            atomic.check_writable_target(path)
        assert caught.value.code == code


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_check_writable_target_refuses_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError) as caught:
        atomic.check_writable_target(tmp_path / "a.h5")
    assert caught.value.code == "usage.not_writable"


def test_stale_temporary_files_of_this_target_only_are_removed(tmp_path):
    made = [".a[1].h5.0123456789abcdef.tmp", ".b.h5.0123456789abcdef.tmp", ".a[1].h5.mine.tmp"]
    for name in made:
        (tmp_path / name).write_bytes(b"")
    atomic.remove_stale_temps(tmp_path / "a[1].h5")
    assert names(tmp_path) == sorted(made[1:])


def test_next_writer_removes_what_a_killed_one_left(tmp_path):
    path = tmp_path / "a.txt"
    killed = """
import os, sys
from protclip_core.io.atomic import open_atomic
with open_atomic(sys.argv[1]) as handle:
    handle.write(b"half")
    handle.flush()
    os.kill(os.getpid(), 9)
"""
    for _ in range(2):
        subprocess.run([sys.executable, "-c", killed, str(path)], check=False)
    (left,) = names(tmp_path)  # the second has removed that of the first
    assert left.endswith(".tmp")
    atomic.write_atomic(path, b"new")
    assert names(tmp_path) == ["a.txt"]


def test_temporary_file_in_use_is_not_taken_for_a_leftover(tmp_path):
    path = tmp_path / "a.txt"
    with atomic.open_atomic(path) as first:
        first.write(b"first")
        atomic.write_atomic(path, b"second")
        assert path.read_bytes() == b"second"
        atomic.remove_stale_temps(path)
        assert len(names(tmp_path)) == 2
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["a.txt"]


def test_temporary_file_taken_before_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    path, real, removed = tmp_path / "a.txt", atomic._lock, []

    def late(fd):
        if not removed:  # another process cleans up between the two steps
            removed.extend(tmp_path.glob(".a.txt.*.tmp"))
            removed[0].unlink()
        return real(fd)

    monkeypatch.setattr(atomic, "_lock", late)
    atomic.write_atomic(path, b"new")
    assert len(removed) == 1
    assert path.read_bytes() == b"new"


HOLDER = """
import sys, time
from protclip_core.io.atomic import file_lock
with file_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def hold(path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "HDF5_USE_FILE_LOCKING": "FALSE"},
    )
    assert process.stdout.readline() == b"held\n"
    return process


def end(process):
    process.kill()
    process.wait()
    process.stdout.close()


def test_second_process_is_refused_at_once_and_a_dead_holder_is_taken_over(tmp_path, caplog):
    path = tmp_path / "out.h5"
    holder = hold(path)
    try:
        with pytest.raises(BusyError, match=f"{holder.pid} on") as caught, atomic.file_lock(path):
            pass
        assert caught.value.code == "busy.output"
    finally:
        end(holder)
    with atomic.file_lock(path):
        assert f"took over the lock of a process ({holder.pid}" in caplog.text
    caplog.clear()
    with atomic.file_lock(path):
        assert not caplog.records


def test_lock_nests_in_one_thread_but_not_across_threads(tmp_path):
    path, seen = tmp_path / "out.h5", []

    def other():
        try:
            with atomic.file_lock(path):
                seen.append("held")
        except BusyError:
            seen.append("busy")

    with atomic.file_lock(path), atomic.file_lock(path):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    with atomic.file_lock(path):
        pass
    assert seen == ["busy"]


def test_no_lock_file_is_left_even_of_a_killed_holder(tmp_path):
    path = tmp_path / "out.h5"
    for _ in range(2):
        with atomic.file_lock(path):
            assert names(tmp_path) == [".out.h5.lock"]
        assert names(tmp_path) == []
        end(hold(path))
        assert names(tmp_path) == [".out.h5.lock"]
    with pytest.raises(ZeroDivisionError), atomic.file_lock(path):
        _ = 1 / 0
    assert names(tmp_path) == []


def test_lock_file_removed_while_another_waits_for_it_guards_nothing(tmp_path, monkeypatch):
    """The other had opened it before: it must see that the name is another file's by now."""
    path, note, real, opened = tmp_path / "out.h5", tmp_path / ".out.h5.lock", atomic._lock, []

    def late(fd):
        if not opened:
            opened.append(os.fstat(fd).st_ino)
            note.rename(tmp_path / "gone")  # so that its inode is not used again
        return real(fd)

    monkeypatch.setattr(atomic, "_lock", late)
    with atomic.file_lock(path):
        assert note.stat().st_ino != opened[0]
    assert names(tmp_path) == ["gone"]


CONTEST = """
import os, sys, time
from protclip_core.errors import BusyError
from protclip_core.io.atomic import file_lock
path, mark, wanted = sys.argv[1], sys.argv[1] + ".inside", int(sys.argv[2])
held = 0
while held < wanted:
    try:
        with file_lock(path):
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))  # fails if anyone else is inside
            os.unlink(mark)
            held += 1
    except BusyError:
        time.sleep(0)
"""


def test_many_processes_never_hold_the_lock_together(tmp_path):
    command = [sys.executable, "-c", CONTEST, str(tmp_path / "out.h5"), "300"]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    for process in processes:
        assert process.communicate()[1] == b""
        assert process.returncode == 0
    assert names(tmp_path) == []
