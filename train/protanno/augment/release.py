"""What a release of GO says of its terms: names, exact synonyms, definitions, relations.

Three forms are read: OBO (``go-basic.obo``), and the tables that list a term's synonyms and
relations, separated by ``|``: with scopes (``exact_synonyms``), or without (``synonyms``). Of a
synonym without scope nobody knows whether it means the same, so it is not used; the scopes can
come from a second release.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from protclip_core.errors import InputError, ModelError
from protclip_core.io.streams import open_input
from protclip_core.ontology.assemble import GO_ID
from protclip_core.ontology.lines import release_faults
from protclip_core.ontology.obo import read_obo
from protclip_core.ontology.obo_values import definition_value, id_value, plain_value
from protclip_core.ontology.terms import ASPECTS, NAMESPACES, ROOTS

__all__ = ["RELATIONS", "Release", "Term", "read_release"]

#: Relations that a text may speak of, as columns and as OBO's relationships.
RELATIONS = ("is_a", "part_of", "regulates", "positively_regulates", "negatively_regulates")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
#: An id within a text, with the brackets that it may stand in.
_ID_IN_TEXT = re.compile(r"\s*[(\[]\s*GO:\d{7}\s*[)\]]|\s*GO:\d{7}\b")
_COLUMNS = ("id", "name", "aspect", "definition", "obsolete", "alt_ids", *RELATIONS)
#: A synonym that names the database, the taxon or the state of the term is no way to call it.
_ODD_SYNONYM = re.compile(
    r"\bGO:\d|\bsensu\b|\bobsolete\b|\[|\]|^\W|;|\(EC|EC \d|, \w+$", re.IGNORECASE
)
_SHORTEST_SYNONYM = 3
#: What a synonym of a function ends with; many name the enzyme, or a product, in its place.
_FUNCTIONS = (" activity", " binding")


@dataclass(frozen=True)
class Term:
    """An active term.

    Attributes
    ----------
    id, name, aspect
        The aspect is MF, BP or CC.
    definition
        Without ids; may be empty.
    exact
        Synonyms of scope EXACT that are not the name of a term.
    is_a, part_of, regulates, positively_regulates, negatively_regulates
        Ids of active terms, in the order of the release.
    """

    id: str
    name: str
    aspect: str
    definition: str = ""
    exact: tuple[str, ...] = ()
    is_a: tuple[str, ...] = ()
    part_of: tuple[str, ...] = ()
    regulates: tuple[str, ...] = ()
    positively_regulates: tuple[str, ...] = ()
    negatively_regulates: tuple[str, ...] = ()

    @property
    def is_root(self) -> bool:
        """Whether it is the root of its aspect."""
        return self.id in ROOTS


@dataclass(frozen=True, eq=False)
class Release:
    """The terms of a release.

    Attributes
    ----------
    name
        Its date; empty where the file states none.
    sha256
        Of the file, and of the one the scopes come from.
    terms
        Active terms by id, in the order of the file.
    obsolete
        Ids of obsolete terms.
    alternatives
        Alternative id to the id of its term.
    """

    name: str
    sha256: tuple[str, ...]
    terms: Mapping[str, Term]
    obsolete: frozenset[str] = frozenset()
    alternatives: Mapping[str, str] = field(default_factory=dict)

    def status(self, id: str) -> str:
        """Say what an id is here: ``active``, ``obsolete``, ``alternative`` or ``unknown``."""
        if id in self.terms:
            return "active"
        if id in self.obsolete:
            return "obsolete"
        return "alternative" if id in self.alternatives else "unknown"


def read_release(path: str | Path, *, scopes: str | Path | None = None) -> Release:
    """Read a release.

    Parameters
    ----------
    path
        OBO or table, compressed or not.
    scopes
        A second release whose exact synonyms are taken for terms that have the same name there;
        for a table that does not tell scopes.

    Raises
    ------
    ModelError
        The file is missing, damaged, not one of these, or without terms.
    """
    with release_faults():
        found = _read(Path(path))
        other = _read(Path(scopes)) if scopes is not None else None
    if other is not None:
        terms = {id: _with_synonyms(term, other.terms.get(id)) for id, term in found.terms.items()}
        found = replace(found, terms=terms, sha256=(*found.sha256, *other.sha256))
    return replace(found, terms=_checked(found.terms))


def _read(path: Path) -> Release:
    if not path.is_file():
        raise ModelError(
            "no such file", code="model.not_found", where=str(path), hint="give a release of GO"
        )
    with open_input(path) as reader:
        data = reader.read()
    digest = hashlib.sha256(data).hexdigest()
    text = data.decode("utf-8", "replace")
    if "\t" in text[:5_000].split("\n[Term]")[0]:
        found = _from_table(text, str(path))
    else:
        read_obo(path, definitions=False)  # refuses what is cut, doubled or circular
        found = _from_obo(text)
    if not found.terms:
        raise InputError(
            "has no active terms",
            code="input.empty",
            where=str(path),
            hint="give a release of GO",
        )
    return replace(found, sha256=(digest,))


def _from_table(text: str, where: str) -> Release:
    head, _, rest = text.partition("\n")
    comment = head if head.startswith("#") else ""
    reader = csv.DictReader(
        io.StringIO(rest if comment else text), delimiter="\t", quoting=csv.QUOTE_NONE
    )
    missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(
            f"does not have a column {missing[0]!r}",
            code="input.missing_column",
            where=where,
            hint="give OBO, or a table with " + ", ".join(_COLUMNS),
        )
    terms: dict[str, Term] = {}
    obsolete, alternatives = set(), {}
    for number, row in enumerate(reader, start=2 + bool(comment)):
        id = row["id"] or ""
        if None in row.values() or not GO_ID.fullmatch(id) or row["aspect"] not in ASPECTS:
            raise InputError(
                f"{id[:20]!r} is not a whole row of a term",
                code="input.bad_line",
                where=f"{where}:line {number}",
                hint="fetch the file again",
            )
        if row["obsolete"] != "0":
            obsolete.add(id)
            continue
        if id in terms:
            raise InputError(
                f"two rows have the id {id}",
                code="input.duplicate_id",
                where=f"{where}:line {number}",
                hint="fetch the file again",
            )
        alternatives.update(dict.fromkeys(_split(row["alt_ids"]), id))
        lists = {name: _split(row[name]) for name in RELATIONS}
        synonyms = _split(row.get("exact_synonyms") or "")
        terms[id] = Term(id, row["name"], row["aspect"], row["definition"], synonyms, **lists)
    date = _DATE.search(comment)
    return Release(date[0] if date else "", (), terms, frozenset(obsolete), alternatives)


def _from_obo(text: str) -> Release:
    head, *stanzas = text.split("\n[")
    date = next((_DATE.search(line) for line in head.split("\n") if "data-version" in line), None)
    namespaces = {name: ASPECTS[place] for name, place in NAMESPACES.items()}
    default = dict(_clauses(head)).get("default-namespace", "")
    terms: dict[str, Term] = {}
    obsolete, alternatives = set(), {}
    for stanza in stanzas:
        kind, _, body = stanza.partition("]")
        clauses = list(_clauses(body)) if kind == "Term" else []
        one = dict(clauses)
        id = id_value(one.get("id", ""))
        if not GO_ID.fullmatch(id):
            continue
        if plain_value(one.get("is_obsolete", "")) == "true":
            obsolete.add(id)
            continue
        alternatives.update({id_value(v): id for tag, v in clauses if tag == "alt_id"})
        lists: dict[str, list[str]] = {name: [] for name in RELATIONS}
        exact = []
        for tag, value in clauses:
            if tag == "is_a":
                lists["is_a"].append(id_value(value))
            elif tag == "relationship":
                kind_of, _, target = value.partition(" ")
                lists.get(kind_of, []).append(id_value(target))
            elif tag == "synonym" and (synonym := _exact_synonym(value)):
                exact.append(synonym)
        definition = definition_value(one.get("def", ""))
        terms[id] = Term(
            id,
            plain_value(one["name"]),
            namespaces[plain_value(one.get("namespace", default))],
            definition[0] if definition else "",
            tuple(exact),
            **{name: tuple(ids) for name, ids in lists.items()},
        )
    return Release(date[0] if date else "", (), terms, frozenset(obsolete), alternatives)


def _clauses(text: str) -> Iterator[tuple[str, str]]:
    for line in text.split("\n"):
        tag, colon, value = line.strip().partition(":")
        if colon and not tag.startswith("!"):
            yield tag.strip(), value.strip()


def _exact_synonym(value: str) -> str:
    """Return the text of a synonym clause of scope EXACT, else nothing."""
    quoted = re.match(r'"((?:[^"\\]|\\.)*)"\s+(\w+)', value)
    if quoted is None or quoted[2] != "EXACT":
        return ""
    return plain_value(quoted[1])


def _split(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split("|") if part.strip())


def _with_synonyms(term: Term, other: Term | None) -> Term:
    same = other is not None and other.name == term.name and other.aspect == term.aspect
    return replace(term, exact=other.exact if same and other is not None else ())


def _checked(terms: Mapping[str, Term]) -> dict[str, Term]:
    """Leave out edges to terms that are not active, ids in texts, and synonyms that mislead.

    A synonym that is also the name of a term, or a synonym of another one, would say two things.
    """
    said = Counter(term.name.lower() for term in terms.values())
    said.update(s for term in terms.values() for s in {s.lower() for s in term.exact})
    found = {}
    for id, term in terms.items():
        edges: dict[str, Any] = {
            name: tuple(other for other in getattr(term, name) if other in terms)
            for name in RELATIONS
        }
        exact = dict.fromkeys(
            synonym
            for synonym in term.exact
            if said[synonym.lower()] == 1
            and (term.aspect != "MF" or synonym.endswith(_FUNCTIONS))
            and len(synonym) >= _SHORTEST_SYNONYM
            and not _ODD_SYNONYM.search(synonym)
        )
        definition = " ".join(_ID_IN_TEXT.sub("", term.definition).split())
        name = term.name.replace("_", " ") if term.is_root else term.name
        found[id] = replace(term, name=name, definition=definition, exact=tuple(exact), **edges)
    return found
