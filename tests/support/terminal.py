"""What tests of the program read from its output."""

from __future__ import annotations

import re

from protclip_core.store.reader import EmbeddingStore

CLEAR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # what rich itself sends to draw its bar


def read(path):
    with EmbeddingStore.open(path) as store:
        return store.ids, store.read(slice(None))


def rows_of(text):
    header, *lines = text.splitlines()
    assert header.split("\t")[:4] == ["protein_id", "length", "flags", "e1"]
    assert all(line.count("\t") == header.count("\t") for line in lines)
    return [line.split("\t") for line in lines]


def one_error(outcome, rc, *parts, code=None):
    """Nothing on standard output, one ``error:`` line, no traceback; it ends with its code.

    Assert the code and values (ids, numbers, paths), not the wording.
    """
    assert (outcome.rc, outcome.out) == (rc, ""), outcome
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: ")
    assert line[7].islower() or rc == 1 or not line[7].isalpha()
    for part in parts:
        assert part in line
    if code is not None:
        assert line.endswith(f" [{code}]"), line
    return line


NO_MODEL = """
import protclip_core.vectors.embed_job as job
def load_job(request, info):
    raise SystemExit("the model was loaded")
job.load_job = load_job
"""
