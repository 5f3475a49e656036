"""What a language model is asked of a term, and what is taken of its answer."""

from __future__ import annotations

import hashlib
import json
import re
import string
from pathlib import Path

from protclip_core.errors import UsageError
from train.protanno.augment.release import Release, Term
from train.protanno.augment.rewrites import text_fault

__all__ = ["DEFAULT_PROMPT", "Prompts", "texts_of_answer"]

_ASPECTS = {
    "MF": "molecular function",
    "BP": "biological process",
    "CC": "cellular component",
}
#: Fields in braces are filled in for each term.
DEFAULT_PROMPT = """\
You rewrite descriptions of terms of the Gene Ontology for a data set of protein texts.

Term: {name}
Aspect: {aspect}
Definition: {definition}
Other names: {synonyms}
It is a kind of: {parents}
It is part of: {wholes}

Write {number} descriptions of what a protein with this term does or where it is. Each is one or \
two plain English sentences of at most {words} words, in other words and another order than the \
others. Say nothing that does not follow from the lines above. Give no identifiers.

Answer with JSON alone: {{"texts": ["...", "..."]}}
"""
_FENCE = re.compile(r"^```\w*\s*|\s*```$")


class Prompts:
    """Fills a prompt in for terms.

    Parameters
    ----------
    release
        What is said of a term.
    number, words
        Texts that are asked for, and words of each at most.
    template
        File with fields in braces: ``{name}``, ``{aspect}``, ``{definition}``, ``{synonyms}``,
        ``{parents}``, ``{wholes}``, ``{number}``, ``{words}``; by default `DEFAULT_PROMPT`.

    Raises
    ------
    UsageError
        The file cannot be read, or has another field, or no ``{name}``.
    """

    def __init__(
        self, release: Release, *, number: int, words: int, template: Path | None = None
    ) -> None:
        self.release, self.number, self.words = release, number, words
        self._template = DEFAULT_PROMPT if template is None else _read(template)

    def of(self, term: Term) -> str:
        """Return the prompt of a term."""
        return self._template.format(**self._fields(term))

    def digest(self, term: Term) -> str:
        """Return the sha256 of the prompt of a term: another prompt asks another question."""
        return hashlib.sha256(self.of(term).encode()).hexdigest()

    def _fields(self, term: Term) -> dict[str, str]:
        return {
            "name": term.name,
            "aspect": _ASPECTS[term.aspect],
            "definition": term.definition or "none",
            "synonyms": "; ".join(term.exact) or "none",
            "parents": self._names(term.is_a),
            "wholes": self._names(term.part_of),
            "number": str(self.number),
            "words": str(self.words),
        }

    def _names(self, ids: tuple[str, ...]) -> str:
        return "; ".join(self.release.terms[id].name for id in ids) or "none"


def texts_of_answer(
    answer: str, term: Term, release: Release, *, most: int
) -> tuple[list[str], str]:
    """Take the texts of an answer that may be used, each once, and say what is wrong with it.

    Parameters
    ----------
    answer
        JSON: an object with ``texts``, or the list alone; a fence of Markdown may be around it.
    term, release
        What it is about.
    most
        Words of a text at most.

    Returns
    -------
    list of str, str
        The texts; why the answer or a text of it was not taken, empty where all were.
    """
    try:
        content = json.loads(_FENCE.sub("", answer.strip()))
    except ValueError:
        return [], "the answer is not JSON"
    texts = content.get("texts") if isinstance(content, dict) else content
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return [], "the answer is not a list of texts"
    taken: dict[str, None] = {}
    wrong = "" if texts else "the answer has no text"
    for text in texts:
        fault = text_fault(term.id, text, release, most=most)
        if fault is None:
            taken[" ".join(text.split())] = None
        else:
            wrong = fault.reason
    return list(taken), wrong


def _read(path: Path) -> str:
    try:
        template = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(
            "cannot be read", code="usage.no_such_file", where=str(path), hint="check --prompt"
        ) from error
    known = [name for _, name, _, _ in string.Formatter().parse(DEFAULT_PROMPT) if name]
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
        template.format(**dict.fromkeys(known, ""))
    except (ValueError, LookupError, AttributeError) as error:
        raise UsageError(
            f"is not a prompt with fields in braces ({error})",
            code="usage.bad_value",
            where=str(path),
            hint=f"fields are {', '.join(known)}; write other braces twice",
        ) from error
    if "name" not in fields:
        raise UsageError("does not have the field {name}", code="usage.bad_value", where=str(path))
    return template
