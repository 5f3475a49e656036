"""The data set card, ``README.md`` of a built data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["data_card"]

_SAMPLINGS = {
    "none": "Every entry with at least one of the four properties.",
    "paper": (
        "Property-driven, after ProtCLIP (AAAI 2025): a cluster of N entries of confidence C and "
        "coverage R is due a share proportional to (1/C)^a R^b N^c."
    ),
    "release": (
        "Property-driven, as in the official release of ProtCLIP: at least 3 of the 4 properties "
        "and C of at most 3, then kept with probability R^b / C^a."
    ),
    "uniform": "Every entry with at least one of the four properties has the same chance.",
}


def data_card(index: Mapping[str, Any], table: Sequence[str]) -> str:
    """Return the card as Markdown.

    Parameters
    ----------
    index
        The content of ``index.json``.
    table
        Lines of the table of counts, tab-separated, the header first.
    """
    options = index["options"]
    sampling = options["sampling"]
    entries = f"{index['entries']:,}"
    splits = [f"| {name or '(none)'} | {n:,} |" for name, n in index["splits"].items()]
    sources = [
        f"| {s['name']} | {s['kind']} | {s['records']:,} | {s['broken']:,} | `{s['sha256']}` |"
        for s in index["sources"]
    ]
    header, *rows = (f"| {line.replace(chr(9), ' | ')} |" for line in table)
    settings = {**{k: v for k, v in options.items() if k != "sampling"}, **sampling}
    shown = [f"| {name.replace('_', ' ')} | {value} |" for name, value in settings.items()]
    return "\n".join(
        [
            "---",
            "license: cc-by-4.0",
            "tags: [proteins, protein-text]",
            "---",
            f"# ProtAnno: {entries} pairs of proteins and texts",
            "",
            "Protein sequences with what UniProt says of them: name, function, subcellular",
            "location and family, with the level of evidence for the protein (`pe`, 1 the best).",
            "",
            "## Files",
            "`shards/*.jsonl.gz` are JSON Lines in BGZF (any gzip program reads them); `*.idx` are",
            "the virtual offsets of the lines (unsigned 64 bit, little-endian). `index.json` has",
            "the sha256 of each. Fields: `accession`, `sequence`, `name`, `function`, `location`,",
            "`similarity`, `go`, `pe`, `reviewed`, `organism`, `split`, `source` (file:record).",
            "A field that is absent is unknown or empty. With tags, the text of an entry is",
            "`PROTEIN NAME: … . FUNCTION: … . SUBCELLULAR LOCATION: … . SIMILARITY: … .`",
            "",
            "## Sampling",
            _SAMPLINGS[sampling["form"]],
            "The choice depends on the seed and the accession only. C is the existence level (`?`:",
            "the source does not say), R the number of properties divided by 4.",
            "",
            header,
            "|---:" * 6 + "|",
            *rows,
            "",
            "## Splits",
            "| split | entries |",
            "|---|---:|",
            *splits,
            "",
            "## Sources",
            "The sha256 is that of the decompressed content.",
            "",
            "| file | kind | records | broken, skipped | sha256 |",
            "|---|---|---:|---:|---|",
            *sources,
            "",
            "## Options",
            f"Built with protclip {index['protclip_version']}.",
            "",
            "| option | value |",
            "|---|---|",
            *shown,
            "",
            "## Limits",
            "- Texts were cleaned by rules: evidence, notes and labels of isoforms are cut away",
            "  unless the options say otherwise. What is left of them is in a few texts.",
            "- An absent property or GO term is unknown, not negative.",
            "- An accession that two sources hold is here twice; equal sequences are not merged.",
            "- Where no split is given, none is made: similar proteins are not kept apart.",
            "",
            "## Licence",
            "UniProt is © the UniProt Consortium, under CC BY 4.0",
            "(https://creativecommons.org/licenses/by/4.0/). Name it where this data set, or a",
            "model trained on it, is used. The texts were shortened and the entries selected as",
            "described above. That of other sources is theirs.",
            "",
        ]
    )
