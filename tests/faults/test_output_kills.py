"""Commands that are killed while they write a file: it is the old or the new one, whole.

What such a run leaves next to it, the next run of the same command removes.
"""

from __future__ import annotations

import signal

import pytest

from tests.support.helpers import random_proteins, write_fasta

PROTEINS = random_proteins(24, seed=5, longest=60)
#: Kills at the n-th of the moments of making a file: made, full, on the disk, renamed.
KILL_AT = """
import os
from pathlib import Path
import protclip_core.io.atomic as atomic
count = 0
def deadly(inner):
    def call(*arguments, **options):
        global count
        result = inner(*arguments, **options)
        count += 1
        if count == {n}: os.kill(os.getpid(), 9)
        return result
    return call
for place, name in ((atomic, "open_temp"), (os, "fsync"), (os, "fchmod"), (Path, "replace")):
    setattr(place, name, deadly(getattr(place, name)))
"""
COMMANDS = {
    "labels": "classify fit l.tsv --embeddings x.h5 -o x.head --plot pl --split random --no-search "
    "--resamples 0",
    "pairs": "ppi fit p.tsv --embeddings x.h5 -o x.head --split random --plot pl",
    "split": "ppi split p.tsv --split random -o x.csv",
    "network": "ppi predict p.tsv --embeddings x.h5 --head own.head -o x.graphml",
    "table": "ppi predict --all --embeddings x.h5 --head own.head -o x.tsv.gz",
    "predicted": "classify predict x.h5 --head own2.head -o x.jsonl",
    "map": "similarity x.h5 --model {bundle} -o x.tsv --plot x.png",
    "export": "store export x.h5 -o x.npz",
    "merged": "store merge x.h5 -o y.h5 --layout per-protein",
    "embedded": "embed x.fa --device cpu --model {bundle} -o y.h5",
}


@pytest.fixture(scope="module")
def place(protclip, tiny_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    write_fasta(folder / "x.fa", PROTEINS)
    ids = [id for id, _ in PROTEINS]
    lines = [f"{id}\t{'ab'[n % 2]}\n" for n, id in enumerate(ids)]
    (folder / "l.tsv").write_text("protein_id\tlabel\n" + "".join(lines))
    pairs = [f"{a}\t{b}\t{(n + m) % 2}\n" for n, a in enumerate(ids) for m, b in enumerate(ids[:n])]
    (folder / "p.tsv").write_text("protein_a\tprotein_b\tlabel\n" + "".join(pairs))
    for command in (
        f"embed x.fa --device cpu --model {tiny_bundle}",
        "ppi fit p.tsv --embeddings x.h5 -o own.head --split random",
        "classify fit l.tsv --embeddings x.h5 -o own2.head --split random --resamples 0",
    ):
        done = protclip(*command.split(), cwd=folder)
        assert done.rc == 0, done.err
    return folder


def files(folder):
    """Content of all files by name, without what differs from run to run."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.full(but="split")
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_every_moment_of_a_file(protclip, place, tiny_bundle, tmp_path, name):
    command = [word.format(bundle=tiny_bundle) for word in COMMANDS[name].split()]
    inputs = files(place)

    def fresh():
        for path in tmp_path.rglob("*"):
            if path.is_file():
                path.unlink()
        for own, content in inputs.items():
            (tmp_path / own).write_bytes(content)

    fresh()
    assert protclip(*command, cwd=tmp_path).rc == 0
    wanted = files(tmp_path)
    assert len(wanted) > len(inputs)
    for n in range(1, 100):
        fresh()
        done = protclip(*command, cwd=tmp_path, prelude=KILL_AT.format(n=n))
        if done.rc == 0:
            break
        assert done.rc == -signal.SIGKILL, done.err
        left = files(tmp_path)
        for own, content in left.items():  # the old one, none, or the new one
            assert own not in wanted or own.endswith(".head") or content == wanted[own], (n, own)
        done = protclip(*command, "--overwrite", cwd=tmp_path)
        assert done.rc == 0, done.err
        assert files(tmp_path).keys() == wanted.keys(), n  # nothing temporary is left
    assert n > 3
