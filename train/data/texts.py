"""From the fields of an entry to clean, tagged texts, and the tokenizer trained on them.

The four properties and their order are ProtAnno's (ProtCLIP, AAAI 2025); names of GO terms
follow as a fifth part, which is ours.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import processors as post_processors
from tokenizers.trainers import WordPieceTrainer

__all__ = ["GO_TAG", "SPECIAL_TOKENS", "TAGS", "Part", "parts_of", "read_go_names"]
__all__ += ["train_tokenizer"]

#: Property tag to field of the entry, in the order of the text.
TAGS = {
    "PROTEIN NAME": "name",
    "FUNCTION": "function",
    "SUBCELLULAR LOCATION": "location",
    "SIMILARITY": "similarity",
}
GO_TAG = "GENE ONTOLOGY"
#: What every annotated protein has says nothing about any of them.
_GO_ROOTS = frozenset({"GO:0003674", "GO:0005575", "GO:0008150"})
# They come first in the vocabulary: a token's place here is its id.
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

EVIDENCE = re.compile(r"\s*\{ECO:[^}]*\}|\s*\((?:PubMed:[^)]*|By similarity)\)|\s*\(VFC?\d+\)")
CUT = re.compile(r"\s*\[\.\.\.\]\s*$")
NOTE = re.compile(r"\s*\.?\s*Note=.*$", re.DOTALL)
ISOFORM = re.compile(r"\[[^\]]{3,80}\]:\s*")
SENTENCE_END = re.compile(r"(?<=[A-Za-z0-9)\]]\.)\s+(?=[A-Z])")
SAYS_NOTHING = re.compile(
    r"(?:putative )?(?:uncharacteri[sz]ed|hypothetical|unknown|unnamed|predicted|unclassified)\b.*"
    r"|dubious open reading frame.*|(?:putative )?protein of unknown function.*"
    r"|\W*",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Part:
    """One property of one protein: a tag and the pieces (sentences, GO names) behind it."""

    tag: str
    pieces: tuple[str, ...]


def parts_of(entry: Mapping[str, Any], go_names: Mapping[str, str]) -> tuple[Part, ...]:
    """Return the texts of an entry in the order of the tags; absent and empty ones are left out.

    Examples
    --------
    >>> entry = {"name": "Uncharacterized protein", "location": "Nucleus {ECO:0000250}."}
    >>> parts_of(entry, {})
    (Part(tag='SUBCELLULAR LOCATION', pieces=('Nucleus',)),)
    """
    parts = []
    for tag, field in TAGS.items():
        text = _clean(str(entry.get(field) or ""), field)
        if text:
            pieces = SENTENCE_END.split(text) if field == "function" else [text]
            parts.append(Part(tag, tuple(piece.rstrip(".") for piece in pieces)))
    names = [go_names[term] for term in entry.get("go") or () if term in go_names]
    if names:
        parts.append(Part(GO_TAG, tuple(names)))
    return tuple(parts)


def read_go_names(path: str | Path) -> dict[str, str]:
    """Read names of active GO terms from a gzipped table (``id``, ``name``, ``is_obsolete``).

    The three roots are left out.
    """
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {
            row["id"]: row["name"]
            for row in rows
            if row["is_obsolete"] == "0" and row["id"] not in _GO_ROOTS
        }


def train_tokenizer(proteins: Iterable[tuple[Part, ...]], vocab_size: int) -> Tokenizer:
    """Train a lower-case WordPiece tokenizer on the texts of the training split."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIAL_TOKENS), show_progress=False
    )
    tokenizer.train_from_iterator(_lines(proteins), trainer)
    last, first = ((token, SPECIAL_TOKENS.index(token)) for token in ("[SEP]", "[CLS]"))
    tokenizer.post_processor = post_processors.BertProcessing(last, first)
    return tokenizer


def _lines(proteins: Iterable[tuple[Part, ...]]) -> Iterator[str]:
    for parts in proteins:
        for part in parts:
            yield f"{part.tag}: {'; '.join(part.pieces)}."


def _clean(text: str, field: str) -> str:
    """Remove evidence, notes and a sentence that was cut off; nothing where nothing is said."""
    if CUT.search(text):
        # The last sentence is a torso: keep the whole ones before it.
        kept = SENTENCE_END.split(CUT.sub("", text))[:-1]
        text = " ".join(kept)
    text = EVIDENCE.sub("", text)
    if field == "location":
        text = NOTE.sub("", text)
    text = " ".join(ISOFORM.sub("", text).split()).strip(" .;")
    return "" if SAYS_NOTHING.fullmatch(text) else text
