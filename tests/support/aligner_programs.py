"""Programs that stand for an aligner: they take its arguments, and write its tables.

A hit is a pair of sequences with a common word of six residues; its bit score is twice the number
of residues in common words, its identity the share of the query that these are.
"""

from __future__ import annotations

import sys

_PROGRAM = '''#!{python}
"""Speaks like {name}."""
import sys
import time

NAME, FAULT = {name!r}, {fault!r}
arguments = sys.argv[1:]


def option(name, count=1):
    place = arguments.index(name)
    return arguments[place + 1 : place + 1 + count]


def read(path):
    with open(path) as file:
        lines = file.read().split()
    return dict(zip((line[1:] for line in lines[::2]), lines[1::2], strict=True))


def words(sequence):
    return {{sequence[i : i + 6] for i in range(len(sequence) - 5)}}


def search(queries, references, out, coverage_of_all):
    with open(out, "w") as file:
        for query, residues in queries.items():
            for target, others in references.items():
                shared = len(words(residues) & words(others))
                if not shared:
                    continue
                share = min(1.0, (shared + 5) / len(residues))
                cells = [query, target, f"{{100 * share:.1f}}", f"{{10.0 ** -shared:.3g}}"]
                cells += [f"{{2 * shared:.1f}}", f"{{coverage_of_all * share:.3f}}"]
                file.write("\\t".join(cells) + "\\n")


if arguments == ["version"]:
    print({version!r})
elif FAULT == "fails":
    print("Reading the query")
    print("Error: Invalid database read\\n\\nTry again", file=sys.stderr)
    sys.exit(3)
elif FAULT == "hangs":
    open({mark!r}, "w").write("started")
    time.sleep(600)
elif FAULT == "silent":
    pass
elif NAME == "mmseqs":
    command, query, reference, out, _ = arguments[:5]
    assert command == "easy-search"
    assert option("--format-output") == ["query,target,pident,evalue,bits,qcov"]
    if FAULT == "strange":
        open(out, "w").write("0\\t0\\tnan-sense\\t1\\t1\\t1\\n")
    else:
        search(read(query), read(reference), out, 1)
elif arguments[0] == "makedb":
    with open(option("--in")[0]) as file, open(option("--db")[0], "w") as database:
        database.write(file.read())
else:
    assert arguments[0] == "blastp"
    columns = option("--outfmt", 7)
    assert columns == "6 qseqid sseqid pident evalue bitscore qcovhsp".split()
    search(read(option("--query")[0]), read(option("--db")[0]), option("--out")[0], 100)
'''


def write_aligner(folder, name, *, fault="", mark=""):
    """Write a program of this name into a folder; returns its path.

    ``fault``: ``fails``, ``hangs`` (after writing the file ``mark``), ``silent`` (no table),
    ``strange`` (no hits in it).
    """
    folder.mkdir(exist_ok=True)
    path = folder / name
    version = "diamond version 2.1.9" if name == "diamond" else "15-6f452"
    text = _PROGRAM.format(
        python=sys.executable, name=name, fault=fault, version=version, mark=str(mark)
    )
    path.write_text(text)
    path.chmod(0o755)
    return path
