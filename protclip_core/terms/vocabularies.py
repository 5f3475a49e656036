"""Vocabularies other than GO as a model sees them: those that ship, and any list of phrases.

A vocabulary is a `GoIndex` with one aspect. Three tables ship: enzyme numbers, subcellular
locations and keywords of UniProt. The bundled model has their vectors, with priors and a
calibration; for another one the texts go through its text encoder, and the vectors are kept in the
cache.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from protclip_core.errors import InputError, ModelError
from protclip_core.fetch.cache import cache_folder
from protclip_core.io.json_fields import one_line
from protclip_core.io.phrases import Phrase, read_phrases
from protclip_core.models.info import BUNDLED, ModelInfo
from protclip_core.ontology.ontology import Ontology
from protclip_core.ontology.vocabulary import flat_vocabulary, tree_of_ec
from protclip_core.records import counted
from protclip_core.terms.index import GoIndex, text_side_sha256
from protclip_core.terms.index_file import INDEX_FILE, read_go_index, write_go_index
from protclip_core.terms.known_words import tell_unknown_words
from protclip_core.weights.bundle import Bundle

if TYPE_CHECKING:
    from protclip_core.models.text import TextModel

__all__ = ["SHIPPED", "TABLES", "Shipped", "TextSide", "find_vocabulary", "index_facts"]
__all__ += ["index_of_phrases", "shipped_ontology", "vocabulary_file"]

_log = logging.getLogger(__name__)

#: Folder of the tables that ship, ``NAME.tsv``: ids, a tab and names, or names alone; and
#: ``NAME_implied.tsv``: a term, a tab, and a term that always goes with it.
TABLES = BUNDLED / "vocabularies"
_MOST_META = 1 << 20


@dataclass(frozen=True)
class Shipped:
    """A vocabulary that ships.

    Attributes
    ----------
    name, aspect
        Of its table and option, and of its rows.
    words
        What it holds, for people.
    """

    name: str
    aspect: str
    words: str


#: By name, in the order of results.
SHIPPED = {
    one.name: one
    for one in (
        Shipped("ec", "EC", "enzyme numbers"),
        Shipped("location", "LOCATION", "subcellular locations"),
        Shipped("keywords", "KEYWORD", "keywords"),
    )
}


class TextSide:
    """The text encoder of a model, loaded when a text is first there to embed.

    Parameters
    ----------
    info
        The model.
    device
        Where it runs.
    """

    def __init__(self, info: ModelInfo, device: str = "auto") -> None:
        self.info, self.device = info, device

    @cached_property
    def model(self) -> TextModel:
        """The text side; loading it imports transformers."""
        from protclip_core.models.loading import load_text_model

        return load_text_model(self.info, device=self.device)


def vocabulary_file(name: str) -> str:
    """Return the name of the file of a shipped vocabulary in a bundle."""
    return f"vocab_{name}.npz"


def shipped_ontology(name: str, folder: Path = TABLES) -> Ontology:
    """Read the terms of a shipped vocabulary.

    Parameters
    ----------
    name
        Of `SHIPPED`.
    folder
        Where the tables lie.

    Raises
    ------
    ModelError
        Its table is missing or damaged.
    """
    path, pairs = folder / f"{name}.tsv", folder / f"{name}_implied.tsv"
    try:
        phrases, aspect = read_phrases(path), SHIPPED[name].aspect
        if name == "ec":
            return tree_of_ec(phrases, aspect, str(path))
        implied = [(p.id, p.text) for p in read_phrases(pairs)] if pairs.is_file() else []
        return flat_vocabulary(phrases, aspect, str(path), implied)
    except InputError as error:
        hint = "install protclip again"
        raise ModelError(
            error.message, code="model.bad_vocabulary", where=error.where or str(path), hint=hint
        ) from error


def find_vocabulary(texts: TextSide, name: str, cache: str | Path | None = None) -> GoIndex:
    """Find a shipped vocabulary as a model sees it: in its bundle, in the cache, or made now.

    Parameters
    ----------
    texts
        The model; its text encoder is not loaded unless vectors have to be made.
    name
        Of `SHIPPED`.
    cache
        Cache folder, see `protclip_core.fetch.cache.cache_folder`.

    Returns
    -------
    GoIndex
        Calibrated where it is in the bundle, and the calibration is of this model.

    Raises
    ------
    ModelError
        The model takes no texts, or a file is damaged.
    ResourceError, UsageError
        The cache folder cannot be written.
    """
    info = texts.info
    bundle = _bundle_with_texts(info)
    if (file := vocabulary_file(name)) in bundle.files:
        bundle.verify((file,))
        return _expected(read_go_index(bundle.path / file), name).for_model(info)
    ontology = shipped_ontology(name)
    path = _cache_path(name, ontology, text_side_sha256(bundle), cache)
    if path.is_file():
        try:
            return _expected(read_go_index(path), name).for_model(info)
        except ModelError as error:
            _log.warning("%s; it is made again", error)
    index = _index(texts.model, ontology)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_go_index(index, path)
    return replace(index, source=str(path))


def index_of_phrases(
    texts: TextSide, phrases: Sequence[Phrase], aspect: str, source: str
) -> GoIndex:
    """Make an index of phrases as they are, without priors and calibration.

    Raises
    ------
    InputError
        An id that is there twice.
    ModelError
        The model takes no texts, or gives no usable vector for one.
    """
    _bundle_with_texts(texts.info)
    once = list(dict.fromkeys(phrases))
    if repeated := len(phrases) - len(once):
        _log.warning("%s: %s kept once", source, counted(repeated, "repeated line"))
    ontology = flat_vocabulary(once, aspect, source)
    found = _index(texts.model, ontology)
    tell_unknown_words(texts.model, ontology.names)
    return found


def index_facts(info: ModelInfo) -> list[tuple[str, str]]:
    """Return the indexes that a bundle has, as pairs of a name and a value for people.

    Only what the files say of themselves is read, not their vectors; a file that cannot be read
    is reported as damaged.
    """
    if info.bundle is None:
        return []
    named = [("GO index", INDEX_FILE)]
    named += [(f"vocabulary {name}", vocabulary_file(name)) for name in SHIPPED]
    return [
        (name, _fact(info.bundle.path / file, is_go=file == INDEX_FILE))
        for name, file in named
        if file in info.bundle.files
    ]


def _bundle_with_texts(info: ModelInfo) -> Bundle:
    if info.bundle is None or not info.text_encoder or info.joint_dim is None:
        raise ModelError(
            f"model {info.name} takes no texts, so it has no terms",
            code="model.no_text_encoder",
            where=str(info.path),
            hint="use a ProtCLIP model",
        )
    return info.bundle


def _index(model: TextModel, ontology: Ontology) -> GoIndex:
    """Make the index of names as they are: words put before them did not help."""
    from protclip_core.terms.build import build_go_index

    return replace(build_go_index(model, ontology, template="name"), source=ontology.source)


def _expected(index: GoIndex, name: str) -> GoIndex:
    if index.ontology.aspect_names != (SHIPPED[name].aspect,):
        raise ModelError(
            f"is no vocabulary of {SHIPPED[name].words}",
            code="model.bad_vocabulary",
            where=index.source,
            hint="remove the file, or install the model again",
        )
    return index


def _cache_path(name: str, ontology: Ontology, text_side: str, cache: str | Path | None) -> Path:
    """Return where vectors are kept: by what is said, and by the encoder that it is said to."""
    content = json.dumps([ontology.ids, ontology.names])
    table = hashlib.sha256(content.encode()).hexdigest()
    return (
        cache_folder(cache) / "vocabularies" / f"{name}-{text_side[:32]}-{table[:16]}.safetensors"
    )


def _fact(path: Path, *, is_go: bool) -> str:
    """Say what the head of an index file says."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("meta.npy") as entry:
            data = entry.read(_MOST_META)
        meta = json.loads(data[data.index(b"\n") + 1 :])
        told = [f"{int(meta['terms']):,} terms"]
        if is_go:
            told.insert(0, f"release {one_line(str(meta['release']), 40)}")
        told.append("calibrated" if meta["calibration"] is not None else "not calibrated")
    except (
        OSError, ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile
    ) as error:  # fmt: skip
        _log.debug("%s: %s", path, error)
        return "damaged: see protclip models verify"
    return ", ".join(told)
