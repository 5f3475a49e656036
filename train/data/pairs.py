"""Where pairs come from: JSON Lines held in memory, or ProtAnno shards read entry by entry.

**Memory.** `MemoryPairs` takes about 1 byte a residue and 4 bytes a text token: 65 MB for 71,000
proteins (the process grows by 250 MB, as reading leaves gaps). `ShardPairs` takes 20 bytes an
entry, whatever is in it, and reads the entries of a batch at random (0.2 to 1 ms each). The plan
of an epoch (`train.data.batches`) takes 40 bytes an entry while it is made. All of it is per rank.

Legend: N pairs, L residues of a protein.
"""

from __future__ import annotations

import hashlib
import logging
from array import array
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tokenizers import Tokenizer

from protclip_core.encoders.alphabet import encode
from protclip_core.errors import InputError, ModelError, UsageError
from protclip_core.io.atomic import open_atomic
from train.config.run import DataConfig
from train.data.go_terms import GoTerms
from train.data.proteins import NO_KEY, Protein, key_of, read_proteins, split_of
from train.data.texts import GO_TAG, TAGS, Part, parts_of
from train.protanno.entries import Entry
from train.protanno.shards import ShardSet

__all__ = ["MemoryPairs", "PairSource", "ShardPairs", "TokenPart", "open_pairs"]

_log = logging.getLogger(__name__)
_TEXTS_AT_ONCE = 2_000
_NO_TERMS = np.empty(0, dtype=np.int64)
#: Property number in the packed tables.
_TAG_NUMBERS = (*TAGS, GO_TAG)

#: A property: its tag, and the tokens of each piece (sentence, GO name).
TokenPart = tuple[str, list[list[int]]]


class PairSource(Protocol):
    """A sequence of pairs.

    Attributes
    ----------
    lengths
        Residues of each protein, shape ``(N,)``.
    fingerprint
        Hash of which pairs they are, and of their texts.
    clusters
        `key_of` the cluster of each protein, ``(N,)`` int64.
    """

    lengths: np.ndarray
    clusters: np.ndarray

    @property
    def fingerprint(self) -> str:
        """See the class."""

    def residues(self, row: int) -> np.ndarray:
        """Token ids without BOS and EOS, ``(L,)`` uint8."""

    def parts(self, row: int) -> list[TokenPart]:
        """Return the tokens of the properties that are there, in their order."""

    def accession(self, row: int) -> str:
        """Return the accession of a protein."""

    def has_text(self, row: int) -> bool:
        """Whether a protein has any text."""

    def go(self, row: int) -> np.ndarray:
        """Return the propagated GO terms; empty without a table of terms."""

    def go_counts(self) -> np.ndarray:
        """Count the proteins of each GO term, propagated, ``(G,)``."""

    def go_annotated(self) -> int:
        """Count the proteins that have any GO term but a root."""

    def texts(self) -> Iterator[tuple[Part, ...]]:
        """Give the texts of all pairs, to train a tokenizer on."""


class MemoryPairs:
    """Pairs of which everything is in memory, tokenised once.

    Parameters
    ----------
    proteins
        The entries.
    tokenizer
        Of the text encoder; ``None`` as long as there is none: then `parts` cannot be asked for.
    terms
        GO terms, for `go`.
    """

    def __init__(
        self, proteins: list[Protein], tokenizer: Tokenizer | None, terms: GoTerms | None = None
    ) -> None:
        self.accessions = [protein.accession for protein in proteins]
        self.lengths = np.array([len(protein.residues) for protein in proteins], dtype=np.int32)
        self.clusters = np.array([key_of(protein.cluster) for protein in proteins], dtype=np.int64)
        self._residues = np.concatenate([protein.residues for protein in proteins])
        self._starts = _starts(self.lengths)
        self._terms = terms
        numbers = [terms.numbers(protein.go) if terms else [] for protein in proteins]
        self._go = np.array([term for own in numbers for term in own], dtype=np.int32)
        self._go_starts = _starts([len(own) for own in numbers])
        self._texts = [protein.parts for protein in proteins] if tokenizer is None else []
        if tokenizer is not None:
            self._tokenise(proteins, tokenizer)

    def __len__(self) -> int:
        return len(self.lengths)

    def accession(self, row: int) -> str:
        """Return the accession of a protein."""
        return self.accessions[row]

    def has_text(self, row: int) -> bool:
        """Whether a protein has any text."""
        return bool(self._part_starts[row + 1] > self._part_starts[row])

    def residues(self, row: int) -> np.ndarray:
        """Return token ids without BOS and EOS, ``(L,)`` uint8."""
        return self._residues[self._starts[row] : self._starts[row + 1]]

    def parts(self, row: int) -> list[TokenPart]:
        """Return the tokens of the properties that are there, in their order."""
        found = []
        for part in range(self._part_starts[row], self._part_starts[row + 1]):
            bounds = self._piece_starts[self._pieces[part] : self._pieces[part + 1] + 1]
            pieces = [self._tokens[a:b].tolist() for a, b in zip(bounds, bounds[1:])]
            found.append((_TAG_NUMBERS[self._tags[part]], pieces))
        return found

    def go(self, row: int) -> np.ndarray:
        """Return the propagated GO terms."""
        own = self._go[self._go_starts[row] : self._go_starts[row + 1]]
        return _NO_TERMS if self._terms is None else self._terms.propagate(own.tolist())

    def go_counts(self) -> np.ndarray:
        """Count the proteins of each GO term, propagated."""
        return self._go_found[0]

    def go_annotated(self) -> int:
        """Count the proteins that have any GO term but a root."""
        return self._go_found[1]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the accessions and the tokens of the texts."""
        digest = hashlib.sha256("\n".join(self.accessions).encode())
        for table in (self._tokens, self._piece_starts, self._pieces, self._tags):
            digest.update(table.tobytes())
        digest.update(self._part_starts.tobytes())
        return digest.hexdigest()

    @cached_property
    def _go_found(self) -> tuple[np.ndarray, int]:
        return _count(self._terms, (self.go(row) for row in range(len(self))))

    def texts(self) -> Iterator[tuple[Part, ...]]:
        """Give the texts; only without a tokenizer."""
        yield from self._texts

    def _tokenise(self, proteins: list[Protein], tokenizer: Tokenizer) -> None:
        pieces = [piece for p in proteins for part in p.parts for piece in part.pieces]
        tokens, sizes = array("i"), array("i")
        # In parts: what the library returns of a text takes a hundred times its tokens.
        for first in range(0, len(pieces), _TEXTS_AT_ONCE):
            for found in _encode(tokenizer, pieces[first : first + _TEXTS_AT_ONCE]):
                tokens.extend(found)
                sizes.append(len(found))
        self._tokens = np.frombuffer(tokens, dtype=np.int32) if tokens else np.empty(0, np.int32)
        self._piece_starts = _starts(sizes)
        parts = [part for p in proteins for part in p.parts]
        self._pieces = _starts([len(part.pieces) for part in parts])
        self._tags = np.array([_TAG_NUMBERS.index(part.tag) for part in parts], dtype=np.uint8)
        self._part_starts = _starts([len(p.parts) for p in proteins])


class ShardPairs:
    """Pairs of a ProtAnno data set, read when a batch asks for them.

    Parameters
    ----------
    shards
        The data set.
    split
        Which entries; see `split_of` for those without one.
    config
        Names of the splits.
    tokenizer, terms, go_names
        As for `MemoryPairs` and `read_proteins`.
    cache
        File for what one pass over the data has found out (which entries, their lengths, counts
        of GO terms); read where it is there and fits.
    """

    def __init__(
        self,
        shards: ShardSet,
        split: str,
        config: DataConfig,
        tokenizer: Tokenizer | None,
        terms: GoTerms | None,
        go_names: Mapping[str, str],
        cache: Path,
    ) -> None:
        self._shards, self._tokenizer, self._terms = shards, tokenizer, terms
        self._go_names = go_names
        sources = "".join(info.sha256 for info in shards.shards)
        key = f"{sources}{split}{config.holdout}{config.valid_split}{sorted(go_names)[:3]}"
        digest = hashlib.sha256(key.encode()).hexdigest()
        self.fingerprint = hashlib.sha256(
            f"{digest}{sorted(go_names.items())}".encode()
        ).hexdigest()
        found = _read_cache(cache, digest)
        if found is None:
            found = self._scan(split, config)
            with open_atomic(cache) as file:
                np.savez(file, key=np.array(digest), **found)  # type: ignore[arg-type]
        self.numbers, self.lengths, self._counts, self._annotated = (found[name] for name in _FOUND)
        # A data set of ProtAnno does not keep them.
        self.clusters = np.full(len(self.numbers), NO_KEY, dtype=np.int64)
        if not len(self.numbers):
            raise InputError(
                f"no entry of split {split!r} has a text",
                code="input.empty_split",
                where=str(shards.folder),
            )

    def __len__(self) -> int:
        return len(self.numbers)

    def accession(self, row: int) -> str:
        """Return the accession of a protein."""
        return self._entry(row).accession

    def has_text(self, row: int) -> bool:
        """Return true: entries without a text are left out."""
        return True

    def residues(self, row: int) -> np.ndarray:
        """Return token ids without BOS and EOS, ``(L,)`` uint8."""
        return encode(self._entry(row).sequence)[1:-1]

    def parts(self, row: int) -> list[TokenPart]:
        """Return the tokens of the properties that are there, in their order."""
        assert self._tokenizer is not None
        parts = self._parts(self._entry(row))
        tokens = iter(_encode(self._tokenizer, [p for part in parts for p in part.pieces]))
        return [(part.tag, [next(tokens) for _ in part.pieces]) for part in parts]

    def go(self, row: int) -> np.ndarray:
        """Return the propagated GO terms."""
        if self._terms is None:
            return _NO_TERMS
        return self._terms.propagate(self._terms.numbers(self._entry(row).go))

    def go_counts(self) -> np.ndarray:
        """Count the proteins of each GO term, propagated."""
        return self._counts

    def go_annotated(self) -> int:
        """Count the proteins that have any GO term but a root."""
        return int(self._annotated)

    def texts(self) -> Iterator[tuple[Part, ...]]:
        """Give the texts of all pairs."""
        for row in range(len(self)):
            yield self._parts(self._entry(row))

    def close(self) -> None:
        """Close the files of the data set; what is asked for next opens them again."""
        self._shards.close()

    def _entry(self, row: int) -> Entry:
        return self._shards[int(self.numbers[row])]

    def _parts(self, entry: Entry) -> tuple[Part, ...]:
        fields: dict[str, Any] = {field: getattr(entry, field) for field in TAGS.values()}
        return parts_of(fields | {"go": entry.go}, self._go_names)

    def _scan(self, split: str, config: DataConfig) -> dict[str, np.ndarray]:
        numbers, lengths = [], []
        counts = np.zeros(0 if self._terms is None else len(self._terms), dtype=np.int64)
        annotated = 0
        for number, entry in enumerate(self._shards.entries()):
            own = split_of(entry.split, entry.accession, config.holdout, config.valid_split)
            if own != split or not self._parts(entry):
                continue
            numbers.append(number)
            lengths.append(len(entry.sequence))
            if self._terms is not None and entry.go:
                terms = self._terms.propagate(self._terms.numbers(entry.go))
                counts[terms] += 1
                annotated += len(terms) > 0
        _log.info("%s: %d pairs of split %r", self._shards.folder, len(numbers), split)
        return {
            "numbers": np.array(numbers, dtype=np.int64),
            "lengths": np.array(lengths, dtype=np.int32),
            "counts": counts,
            "annotated": np.array(annotated),
        }


def open_pairs(
    path: Path,
    split: str,
    config: DataConfig,
    tokenizer: Tokenizer | None,
    terms: GoTerms | None,
    run_dir: Path,
    structures: Container[str] = (),
) -> MemoryPairs | ShardPairs:
    """Open a file of JSON Lines, or a folder of ProtAnno.

    Proteins that ``structures`` holds need no text; of a folder of ProtAnno, they do.

    Raises
    ------
    InputError, ModelError
        Bad or missing data.
    """
    names: dict[str, str] = {}
    if terms is not None and config.max_go_names:
        names = {id: name for id, name in zip(terms.ids, terms.names) if id not in _ROOT_IDS}
    if path.is_dir():
        if config.structures_only:
            raise UsageError(
                "needs pairs as JSON Lines, not a folder of ProtAnno",
                code="usage.bad_value",
                where="[data] structures_only",
            )
        cache = run_dir / f"pairs-{split}.npz"
        return ShardPairs(ShardSet(path), split, config, tokenizer, terms, names, cache)
    if not path.exists():
        raise ModelError(
            "no such file",
            code="model.not_found",
            where=str(path),
            hint="give the pairs with --data",
        )
    proteins = read_proteins(
        path,
        split,
        names,
        holdout=config.holdout,
        valid_split=config.valid_split,
        structures=structures,
        structures_only=config.structures_only,
    )
    return MemoryPairs(proteins, tokenizer, terms)


#: What one pass over a data set finds out.
_FOUND = ("numbers", "lengths", "counts", "annotated")
_ROOT_IDS = frozenset({"GO:0003674", "GO:0005575", "GO:0008150"})


def _read_cache(path: Path, key: str) -> dict[str, np.ndarray] | None:
    try:
        with np.load(path) as content:
            found = {name: content[name] for name in ("key", *_FOUND)}
    except (OSError, ValueError, KeyError):
        return None
    return found if str(found["key"]) == key else None


def _encode(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [found.ids for found in tokenizer.encode_batch(texts, add_special_tokens=False)]


def _starts(sizes: Iterable[int] | np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.fromiter(sizes, dtype=np.int64))])


def _count(terms: GoTerms | None, annotations: Iterator[np.ndarray]) -> tuple[np.ndarray, int]:
    """Count the proteins of each term, and those that have any."""
    counts, annotated = np.zeros(0 if terms is None else len(terms), dtype=np.int64), 0
    if terms is not None:
        for own in annotations:
            counts[own] += 1
            annotated += len(own) > 0
    return counts, annotated
