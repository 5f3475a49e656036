"""``protclip ppi`` and its sub-commands."""

from __future__ import annotations

from protclip_cli.commands.ppi import command
from protclip_cli.groups import Entry, new_group

_PAIRS = """\
PAIRS: two names a line. A header names protein_a, protein_b and, if the list has them,
label (1 or 0), types ('binding;catalysis') and split. A table without a header has the
label in its third column.
"""
_FIT = Entry(
    command.fit,
    _PAIRS
    + """
Examples:
  protclip ppi fit parts.tsv --embeddings x.h5 -o ppi.head    with a column split
  protclip ppi fit a.tsv --valid b.tsv --test c.tsv --embeddings x.fa -o ppi.head
  protclip ppi fit pairs.tsv --embeddings x.h5 -o ppi.head
    part       pairs  interacting  metric  value  low    high
    valid all  1,500  750          auroc   0.871  0.853  0.888""",
)
ppi_group = new_group(
    "Predict which proteins interact; fit such a predictor to your own pairs.",
    {
        "split": Entry(
            command.split,
            """\
random: pairs are sampled. c1, c2, c3: of a test pair, both proteins, one, or none are in
training pairs. bfs, dfs: a neighbourhood of the graph is held out. cluster: as c3, with
clusters of similar sequences (needs --sequences, and mmseqs or diamond). Shares are of
pairs; with c2, c3 and cluster, of proteins.

Example:
  protclip ppi split pairs.tsv --split c3 --sequences x.fa -o parts.tsv
    protein_a  protein_b  split
    P69905     P68871     train""",
        ),
        "fit": _FIT,
        "predict": Entry(
            command.predict,
            """\
Columns: protein_a protein_b probability, or interaction_type and confidence for a head
for types; for a list also note. json is an array of protein_A, protein_B,
interaction_type, confidence_score.

"""
            + _PAIRS
            + """
Examples:
  protclip ppi predict --all --embeddings x.h5 --top-k 5
  protclip ppi predict --bipartite virus.fa host.fa --min-probability 0.8 -o net.graphml
  protclip ppi predict pairs.tsv --embeddings x.h5
    protein_a  protein_b  probability  note
    P69905     P68871     0.93""",
        ),
        "evaluate": Entry(
            command.evaluate,
            _PAIRS
            + """If the list has a split, the head is measured on its test.

Example:
  protclip ppi evaluate pairs.tsv --embeddings x.h5 --head ppi.head --plot curves
    part  pairs  interacting  metric  value  low    high
    all   1,500  750          auroc   0.865  0.846  0.883""",
        ),
        "train": Entry(command.fit, _FIT.epilog, hidden=True, instead="fit"),
    },
)
