"""``protclip embed`` on terminals and in pipes: escapes, bars, closed and full outputs, locales."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np

from tests.support.environment import patient
from tests.support.helpers import write_fasta
from tests.support.terminal import CLEAR, one_error, read, rows_of


def on_terminal(start, *arguments, env=None, **options):
    """Run with all three streams on a terminal; return the exit code and what it showed."""
    ours, theirs = pty.openpty()
    try:
        run = start(
            *arguments,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={"TERM": "xterm", "CI": "", **(env or {})},
            **options,
        )
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            shown += piece
        return run.wait().rc, shown.decode().replace("\r\n", "\n")
    finally:
        os.close(ours)


EVIL = "\x1b]0;title\x07\x1b[31m\x9b32m"


def hostile_runs(folder, model):
    """Write a file whose name and ids hold escape codes; give runs that show them."""
    evil, name = EVIL, f"{EVIL}.fa"
    (folder / name).write_text(f">{evil}\nMKV\n>{evil}2\nM1\n", "utf-8")
    return [
        (6, ["embed", name, "-o", "-", "--on-error", "skip", "--model", model]),
        (6, ["embed", name, "--on-error", "skip", "--model", model]),
        (3, ["embed", name, "--overwrite", "--model", model]),
        (2, ["embed", name, "-o", f"{evil}/x.h5", "--model", model]),
        (4, ["embed", name, "--overwrite", "--model", evil]),
        (2, ["embed", name, f"--{evil}"]),
        (0, ["store", "show", f"{evil}.h5"]),
        (0, ["store", "info", f"{evil}.h5"]),
        (0, ["store", "show", "--format", "tsv", f"{evil}.h5"]),
        (0, ["store", "show", "--format", "jsonl", f"{evil}.h5"]),
        (0, ["store", "verify", f"{evil}.h5"]),
        (0, ["store", "export", f"{evil}.h5"]),
        (3, ["store", "show", f"{evil}.h5", f"{evil}zz"]),
    ]


def test_no_escape_code_of_an_id_reaches_a_terminal(protclip, tiny_bundle, tmp_path):
    """Fault 29: ids, file names and messages are made harmless, in rows, tables and errors."""
    runs = hostile_runs(tmp_path, tiny_bundle)
    for rc, arguments in runs:
        found, shown = on_terminal(protclip.start, *arguments, cwd=tmp_path)
        assert found == rc, shown
        plain = CLEAR.sub("", re.sub(r"\x1b\[(31|32)m", "BAD", shown))
        assert not re.search("BAD|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", plain), (arguments, shown)


def test_no_escape_code_of_an_id_reaches_a_pipe(protclip, tiny_bundle, tmp_path):
    """A pipe may end in a terminal: also there ids, names and attributes are harmless."""
    runs = hostile_runs(tmp_path, tiny_bundle)
    store = f"{EVIL}.h5"
    for form in ("tsv", "csv", "json", "table"):
        runs += [(0, ["store", "list", "--format", form, store])]
        runs += [(0, ["similarity", "foreign.h5", "--space", "encoder", "--format", form])]
        runs += [(0, ["store", "info", "foreign.h5", "--format", form])]
    runs += [
        (0, ["similarity", "foreign.h5", "--format", "matrix"]),
        (0, ["search", "foreign.h5", "--like", f"{EVIL}1", "--space", "encoder"]),
        (3, ["search", "foreign.h5", "--like", f"{EVIL}9", "--space", "encoder"]),
        (2, [EVIL]),
        (3, ["store", "subset", store, "--ids", "names.txt", "-o", "y.h5"]),
    ]
    (tmp_path / "names.txt").write_text(f"{EVIL}x\n", "utf-8")
    with h5py.File(tmp_path / "foreign.h5", "w") as h5:
        h5.attrs[EVIL] = EVIL
        h5.attrs["list"], h5.attrs["bytes"] = [EVIL, "b"], EVIL.encode()
        h5["embeddings"] = np.eye(3, 4, dtype="f4") + 1
        h5.create_dataset("ids", data=[f"{EVIL}{n}" for n in range(3)], dtype=h5py.string_dtype())
    for rc, arguments in runs:
        done = protclip(*arguments, cwd=tmp_path)
        assert done.rc == rc, done
        found = re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", done.out + done.err)
        assert not found, (arguments, done)
    (line,) = protclip("store", "show", "--format", "jsonl", store, cwd=tmp_path).out.splitlines()
    assert json.loads(line)["protein_id"] == EVIL


def test_narrow_terminal_and_bar(protclip, tiny_bundle, fasta, tmp_path):
    fasta(30)
    for env in ({"COLUMNS": "40"}, {"TERM": "dumb"}, {"NO_COLOR": "1"}):
        arguments = ["embed", "x.fa", "--overwrite", "--model", tiny_bundle]
        rc, shown = on_terminal(protclip.start, *arguments, cwd=tmp_path, env=env)
        assert rc == 0
        assert "x.h5: 30 proteins; 30 sequences" in shown
        assert "Traceback" not in shown
    rc, shown = on_terminal(
        protclip.start, "store", "show", "x.h5", cwd=tmp_path, env={"COLUMNS": "40"}
    )
    assert rc == 0
    assert max(map(len, CLEAR.sub("", shown).splitlines())) <= 40
    rc, shown = on_terminal(protclip.start, "embed", "--model", tiny_bundle, cwd=tmp_path)
    assert rc == 2 and shown.endswith(" [usage.no_input]\n")


def shell(command, tmp_path, **environment):
    """Run a line of bash in which ``protclip`` is the program."""
    program = f'protclip() {{ "{sys.executable}" -m protclip_cli "$@"; }}; '
    return subprocess.run(
        ["bash", "-c", program + command],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, **environment},
        timeout=patient(60),
    )


def test_closed_pipe_is_quiet(fasta, tiny_bundle, tmp_path):
    """Fault 64: more rows than a pipe holds, and a reader that leaves."""
    fasta(300)
    command = f"protclip embed x.fa -o - --model {tiny_bundle} | head -3; echo ${{PIPESTATUS[0]}}"
    done = shell(command, tmp_path)
    *lines, status = done.stdout.splitlines()
    assert len(lines) == 3
    assert int(status) in (0, 141)
    assert done.stderr == ""


def test_reader_that_leaves_at_once(protclip, tiny_bundle, fasta, tmp_path):
    fasta(300)
    for arguments in (["embed", "x.fa", "-o", "-", "--model", tiny_bundle], ["embed", "--help"]):
        read_end, write_end = os.pipe()
        os.close(read_end)
        done = protclip(*arguments, stdout=write_end, cwd=tmp_path)
        os.close(write_end)
        assert (done.rc, done.err) == (141, "")


def test_full_or_closed_output(protclip, embed, fasta, tiny_bundle, tmp_path):
    """Fault 64: ``> /dev/full`` and ``>&-``."""
    fasta(300)
    with Path("/dev/full").open("wb") as full:
        for fresh in (False, True):
            arguments = ["embed", "x.fa", "-o", "-", "--model", tiny_bundle]
            done = protclip(*arguments, stdout=full.fileno(), cwd=tmp_path, fresh=fresh)
            one_error(done, 5, "standard output: no space left on device")
        done = embed("x.fa", "--dry-run", stdout=full.fileno())
        one_error(done, 5, "standard output: no space left on device")
        assert embed("x.fa", stderr=full.fileno()).rc == 0
    one_error(embed("x.fa", "-o", "-", closed=[1]), 5, "standard output is closed")
    done = embed("x.fa", "-o", "y.h5", closed=[1])
    assert done.rc == 0
    assert embed("x.fa", "-o", "z.h5", closed=[0, 1, 2]).rc == 0
    assert len(read(tmp_path / "z.h5")[0]) == 300


def test_output_in_any_locale_is_utf_8(protclip, tiny_bundle, tmp_path):
    """Fault 64: LC_ALL=C, and an encoding that lacks the letters."""
    write_fasta(tmp_path / "x.fa", [("é\u0100", "MKV")])
    (tmp_path / "odd\udcff.fa").write_bytes(b">a\nM1\n")
    environment = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    arguments = ["embed", "x.fa", "-o", "-", "--model", tiny_bundle]
    done = protclip(*arguments, cwd=tmp_path, env=environment, fresh=True)
    assert (done.rc, done.err) == (0, "")
    assert rows_of(done.out)[0][0] == "é\u0100"
    done = protclip("embed", "odd\udcff.fa", "--model", tiny_bundle, cwd=tmp_path)
    assert done.rc == 3
    assert done.err.startswith("error: odd\\udcff.fa:record 1 (a): '1' at residue 2")
    (tmp_path / "odd\udcff.fa").write_bytes(b">a\nMKV\n")
    assert protclip("embed", "odd\udcff.fa", "--model", tiny_bundle, cwd=tmp_path).rc == 0
    assert protclip("store", "verify", "odd\udcff.h5", cwd=tmp_path).rc == 0


def test_debug_shows_the_traceback_before_the_line(protclip, tmp_path):
    done = protclip("--debug", "embed", "nosuch.fa", "--model", "nosuch", cwd=tmp_path)
    assert done.rc == 4
    assert done.err.startswith("Traceback")
    assert done.err.splitlines()[-1].startswith("error: nosuch: no model")


def test_bug_of_ours_is_one_line_that_says_so(embed, fasta):
    fasta(2)
    broken = "import protclip_core.vectors.embed_job as t; t.read_inputs = lambda *a, **b: 1 / 0"
    one_error(embed("x.fa", prelude=broken), 1, "ZeroDivisionError", "a bug of protclip", "--debug")


def test_lack_of_memory_outside_the_engine_is_5(embed, fasta):
    fasta(2)
    for error in ("MemoryError()", "OSError(12, 'Cannot allocate memory')"):
        broken = f"""
import protclip_core.vectors.embed_job as t
def fail(*a): raise {error}
t.load_job = fail
"""
        one_error(embed("x.fa", prelude=broken), 5, "memory ran out", "--workers")


def test_fixed_checksum_of_a_gzip_shows_the_flip_test_is_real():
    data = gzip.compress(b"x")
    assert zlib.crc32(b"x").to_bytes(4, "little") == data[-8:-4]
