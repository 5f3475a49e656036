"""What about sixty failing commands say; see messages.txt."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.support.inprocess import run_here

FILE = Path(__file__).with_name("messages.txt")
HEADER = (
    "# The words of errors: a command, its exit code, what it says. Other tests look at codes.\n"
    "# Made by: python -m tests.cli.messages\n"
)
COMMANDS = """
nosuch
embe x.fa
embed
embed nosuch.fa
embed . -o x.h5
embed x.fa y.fa
embed - - -o x.h5
embed x.fa -o x.npy
embed x.fa -o results
embed x.fa -o x.fa
embed x.fa -o nosuch/x.h5
embed x.fa -o there.h5
embed x.fa -o there.csv
embed x.fa -o x.npy.gz
embed x.fa -o - --per-residue
embed x.fa --to-tsv --resume
embed x.fa --batch-tokens many
embed x.fa --workers 0
embed x.fa --long cut
embed x.fa --nosuch
embed x.fa --model nosuch
embed double.fa -o x.h5
embed empty.fa -o x.h5
embed table.tsv -o x.h5
embed x.fa -o x.h5 --layer 99
embed --job nosuch.json
embed --job table.tsv
embed --job other.json
embed --job unknown.json
embed x.fa --job wrong.json
search nosuch.h5 zinc
search x.fa zinc
annotate x.fa
annotate x.fa --go --ec --format gaf
annotate x.fa --go --explain --format cafa
annotate x.fa --go --protein P1
annotate x.fa --go --plot x.bmp
annotate x.fa --go --plot x.png -o x.png
annotate x.fa --go --format csv -o x.tsv
annotate x.fa --go -o x.sif
annotate x.fa --go --homology y.fa
annotate x.fa --go --annotations table.tsv --aligner mmseqs
annotate x.fa --go --min-probability 0.5 --fdr 0.1
annotate x.fa --go --aspect XX
annotate x.fa --ec --slim table.tsv
mutate x.fa
mutate x.fa --scan --region 9-2
mutate x.fa --scan --region all
mutate x.fa --scan --variants v.tsv
mutate x.fa --variants v.tsv --plot x.png
mutate x.fa --scan --plot x.gif
mutate x.fa --scan --method pll --plot x.png
mutate x.fa --variants nosuch.tsv
mutate fit
mutate fit v.tsv -o x.head
mutate predict v.tsv --head nosuch.head
similarity x.fa --format matrix --top-k 3
similarity x.fa --pairs table.tsv --min-similarity 0.5
similarity - --pairs -
similarity evaluate x.fa
classify fit table.tsv --embeddings x.fa
classify fit table.tsv --embeddings x.fa -o x.head --task regression --plot curves
classify predict x.fa --head nosuch.head
ppi predict --embeddings x.fa
ppi predict table.tsv --all --embeddings x.fa
ppi split nosuch.tsv
ppi split table.tsv --split nosuch
store info nosuch.h5
store show x.fa
store export x.fa -o x.npz
store merge there.h5 -o there.h5
models info nosuch
models pull nosuch
models import nosuch --name a/b
models remove nosuch
data go build nosuch.obo
"""


def messages():
    with tempfile.TemporaryDirectory() as folder:
        return HEADER + "".join(_said(line, Path(folder)) for line in COMMANDS.split("\n") if line)


def _said(line, folder):
    cache = folder / "cache"
    work = folder / "work"
    work.mkdir(exist_ok=True)
    for name, text in {
        "x.fa": ">a\nMKTAYIAKQR\n",
        "y.fa": ">b\nMKVLAAGIWK\n",
        "double.fa": ">a\nMKT\n>a\nMKV\n",
        "empty.fa": "",
        "table.tsv": "protein_id\tlabel\na\tx\n",
        "v.tsv": "protein_id\tvariant\na\tM1A\n",
        "there.h5": "nothing\n",
        "there.csv": "nothing\n",
        "other.json": '{"command": "search", "store": "x.h5"}',
        "unknown.json": '{"command": "embed", "inputs": ["x.fa"], "poolin": "tokens"}',
        "wrong.json": '{"command": "embed", "workers": "three"}',
    }.items():
        (work / name).write_text(text)
    done = run_here(*line.split(), cwd=work, env={"PROTCLIP_CACHE": str(cache), "COLUMNS": "80"})
    said = (done.out + done.err).replace(str(folder.resolve()), "DIR").replace(str(folder), "DIR")
    if said.endswith("[usage.bad_option]\n"):  # the words are typer's, and change with it
        said = "error: … [usage.bad_option]\n"
    return f"\n$ protclip {line}\n[{done.rc}]\n{said}"


if __name__ == "__main__":
    FILE.write_text(messages(), encoding="utf-8")
