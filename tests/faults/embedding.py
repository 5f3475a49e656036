"""What the fault tests of ``protclip embed`` share: slowed programs, a bench, comparisons.

PROTCLIP_KILLS sets how many runs are killed.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.spool_file import SpoolFile
from protclip_core.store.tools import verify_store
from tests.support.environment import patient
from tests.support.helpers import random_proteins

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("PROTCLIP_KILLS", "6"))

#: Parts of 20 proteins, and a note of every sequence that goes through the model.
SMALL_PARTS = """
import hashlib, os
import protclip_core.tasks.embed.compute as compute
from protclip_core.models.protein import ProteinModel
compute._PART_BYTES, compute._WINDOW_SEQUENCES = 20 * 64 * 4, 100
embed_batch = ProteinModel.embed_batch
def noting(self, sequences, *arguments):
    found = embed_batch(self, sequences, *arguments)
    with open("computed.log", "ab", buffering=0) as log:
        names = [hashlib.sha256(s.encode()).hexdigest() for s in sequences]
        log.write("".join(name + "\\n" for name in names).encode())
    return found
ProteinModel.embed_batch = noting
from protclip_core.store.work import Work
commit = Work.commit
def noted(self, done):
    commit(self, done)
    with open("commits.log", "ab", buffering=0) as log:
        log.write(b".")
Work.commit = noted
"""
#: The same, and so slow that a test can act meanwhile.
SLOW = (
    SMALL_PARTS
    + """
import time
def slow(self, sequences, *arguments):
    time.sleep(0.03)
    return noting(self, sequences, *arguments)
ProteinModel.embed_batch = slow
"""
)
#: The same, and after ten batches it waits for a file named ``go``.
HELD = (
    SMALL_PARTS
    + """
import time
batches = []
def held(self, sequences, *arguments):
    batches.append(1)
    end = time.monotonic() + 600
    while len(batches) > 10 and not os.path.exists("go") and time.monotonic() < end:
        time.sleep(0.005)
    return noting(self, sequences, *arguments)
ProteinModel.embed_batch = held
"""
)


class Bench:
    """A folder with ``x.fa``, and the program in it."""

    def __init__(self, protclip, folder, bundle):
        self.program, self.folder, self.bundle = protclip, folder, bundle
        self.store, self.partial = folder / "x.h5", folder / "x.h5.partial"

    def arguments(self, *more):
        model = [] if "--model" in more else ["--model", self.bundle]
        return ["embed", "x.fa", *model, "--device", "cpu", "--batch-tokens", "500", *more]

    def start(self, *more, prelude=SMALL_PARTS, **options):
        if not self.partial.exists():
            with suppress(OSError):  # the disk may be read-only by now
                (self.folder / "commits.log").unlink()
        return self.program.start(
            *self.arguments(*more), cwd=self.folder, prelude=prelude, **options
        )

    def run(self, *more, **options):
        return self.start(*more, **options).wait()

    def computed(self):
        """Take the note of the sequences that were computed since the last call."""
        log = self.folder / "computed.log"
        lines = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def finished(self):
        """Digests of the sequences whose vectors are committed."""
        if not (self.partial / "work").exists():
            return set()
        file = SpoolFile(self.partial / "work", "", durable=True)
        try:
            found = file.run("SELECT digest FROM sequences WHERE row = -1").fetchall()
        finally:
            file.close()
        return {digest.hex() for (digest,) in found}

    def until_part(self, count=1):
        """Wait until this many commits of vectors were made."""
        log, end = self.folder / "commits.log", time.monotonic() + patient(30)
        while not log.exists() or log.stat().st_size < count:
            assert time.monotonic() < end, "no vectors were committed"
            time.sleep(0.005)

    def until_computed(self, run, count):
        """Wait until so many more sequences went through the model, or the run ended."""
        log = self.folder / "computed.log"

        def lines():
            return log.read_bytes().count(b"\n") if log.exists() else 0

        end, wanted = time.monotonic() + patient(30), lines() + count
        while lines() < wanted and run.send(0):
            assert time.monotonic() < end, "nothing goes on"
            time.sleep(0.005)

    def names(self):
        return {path.name for path in self.folder.iterdir()} - {"computed.log", "commits.log", "go"}

    def read(self, path=None):
        assert verify_store(path or self.store) == []
        with EmbeddingStore.open(path or self.store) as store:
            residues = [store.residues(id) for id in store.ids] if store.per_residue else None
            return store.ids, store.read(slice(None)), store.flags, store.lengths, residues


def assert_same(found, wanted):
    assert found[0] == wanted[0]
    assert np.linalg.norm(found[1] - wanted[1]) <= 1e-6 * np.linalg.norm(wanted[1])
    assert (found[2] == wanted[2]).all()
    assert (found[3] == wanted[3]).all()
    if wanted[4] is not None:
        assert max(np.abs(a - b).max() for a, b in zip(found[4], wanted[4], strict=True)) <= 1e-6


PROTEINS = random_proteins(280, seed=11, longest=80)
PROTEINS += [(f"twin{i}", PROTEINS[3 * i][1]) for i in range(20)]
CLEAN = {"x.fa", "x.h5"}


def resume_and_compare(bench, wanted):
    """Finish a run; what was finished before is not computed again, and the result is equal."""
    before, whole = bench.finished(), bench.store.exists()
    bench.computed()
    done = bench.run("--resume")
    assert done.rc == 0, done
    again = bench.computed()
    distinct = len({sequence for _, sequence in PROTEINS})
    assert not before & set(again)
    assert len(again) == (0 if whole else distinct - len(before))
    assert before <= {hashlib.sha256(sequence.encode()).hexdigest() for _, sequence in PROTEINS}
    reused = re.search(r"([\d,]+) reused", done.err)
    assert (int(reused[1]) if reused else 0) == distinct - len(again), done
    assert bench.names() == CLEAN
    assert_same(bench.read(), wanted)
    return len(before)


def interrupt(bench, parts=3):
    """Leave finished parts behind, as a killed run does."""
    run = bench.start(prelude=SLOW)
    bench.until_part(parts)
    run.send(signal.SIGKILL)
    run.wait()
    bench.computed()
