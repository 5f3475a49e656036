"""Stanzas of OBO and the values in them: escapes, quoted text, qualifiers and comments."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from protclip_core.ontology.assemble import GO_ID

__all__ = ["Stanza", "definition_value", "id_value", "has_odd_reference", "plain_value"]

_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "W": " "}
_BEFORE_COMMENT = re.compile(r"(?:[^\\!]|\\.)*", re.DOTALL)
#: ``{key="value", other="value"}`` at the end of a clause.
_QUALIFIERS = re.compile(r'\s*(?<!\\)\{\s*[^\s={}]+\s*=\s*"(?:[^"\\]|\\.)*"[^{}]*\}\s*$', re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*', re.DOTALL)
_REFERENCES = re.compile(r'\[((?:[^\]\\"]|\\.|"(?:[^"\\]|\\.)*")*)\]', re.DOTALL)
_REFERENCE = r'(?:[^\s,\\"]|\\.)+(?:\s+"(?:[^"\\]|\\.)*")?'
_LIST = re.compile(rf'\s*(?:(?:{_REFERENCE}|"[^"]*")\s*(?:,\s*(?:{_REFERENCE}|"[^"]*")\s*)*)?')


@dataclass
class Stanza:
    """One stanza of a term, as far as it is read."""

    line: int
    id: str = ""
    seen: set[bytes] = field(default_factory=set)
    foreign: bool = False  # a term of another ontology
    parents: int = 0
    is_obsolete: bool = False
    name: str = ""
    namespace: str = ""
    definition: str = ""
    #: Ids and names by tag: alt_id, replaced_by, consider, subset.
    lists: dict[bytes, set[str]] = field(default_factory=dict)

    def ids(self, tag: bytes) -> tuple[str, ...]:
        """Return the ids of a tag that are GO's, sorted; some lead to other ontologies."""
        return tuple(sorted(id for id in self.lists.get(tag, ()) if GO_ID.fullmatch(id)))


def plain_value(text: str) -> str:
    r"""Return an unquoted value without its qualifiers and comment, with escapes undone.

    Examples
    --------
    >>> plain_value(r'D\:E \{f\} {source="x"} ! note')
    'D:E {f}'
    """
    if "!" in text:
        text = _BEFORE_COMMENT.match(text)[0]  # type: ignore[index]  # matches empty
    if "{" in text:
        text = _QUALIFIERS.sub("", text)
    return _unescaped(text.strip())


def id_value(text: str) -> str:
    """Return the id at the start of a value, with escapes undone; empty where there is none.

    Examples
    --------
    >>> id_value('GO:0000001 {source="x"} ! name')
    'GO:0000001'
    """
    words = plain_value(text).split(None, 1)
    return words[0] if words else ""


def definition_value(text: str) -> tuple[str, str] | None:
    r"""Split ``"text" [references]`` into text, with escapes undone, and what is between brackets.

    Returns
    -------
    tuple of str or None
        None where the quotation does not end, or the brackets are missing or do not close.

    Examples
    --------
    >>> definition_value(r'"A \"b\"." [GOC:x, PMID:1] {comment="c"}')
    ('A "b".', 'GOC:x, PMID:1')
    """
    quoted = _QUOTED.match(text)
    found = _REFERENCES.match(text, quoted.end()) if quoted else None
    if quoted is None or found is None:
        return None
    return _unescaped(quoted[1]), found[1]


def has_odd_reference(references: str) -> bool:
    """Tell whether a list of references breaks the format, as one with a space in it does.

    Examples
    --------
    >>> has_odd_reference('GOC:x, PMID:1 "a title"'), has_odd_reference("GOC:x y")
    (False, True)
    """
    return _LIST.fullmatch(references) is None


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), text)
