"""Sentences about a term: the templates, by aspect and by the shape of its name.

Each function returns all sentences that fit, without choosing; `train.protanno.augment.composer`
chooses. A text is about what carries the term ("Takes part in DNA replication."), so a sentence
without subject speaks of the protein, and one about the term names it.
"""

from __future__ import annotations

from train.protanno.augment.phrases import (
    Shape,
    a,
    capital,
    continued,
    first_clause,
    is_noun_phrase,
    is_plural,
    noun_phrase,
    preposition,
    process_phrase,
    shape_of,
    verbal,
)
from train.protanno.augment.release import Term

__all__ = ["acts", "appositions", "definitions", "leads", "parents", "regulated", "synonyms"]
__all__ += ["wholes"]

_HEADINGS = {"MF": "Molecular function", "BP": "Biological process", "CC": "Cellular component"}
_PROCESS = ("takes part in", "is involved in", "has a role in", "contributes to", "plays a part in")
_EFFECTS = {
    ("regulation", "BP"): ("regulates", "controls", "modulates"),
    ("positive", "BP"): ("promotes", "stimulates", "positively regulates"),
    ("negative", "BP"): ("inhibits", "suppresses", "negatively regulates"),
    ("regulation", "MF"): ("regulates", "modulates", "adjusts"),
    ("positive", "MF"): ("increases", "stimulates", "raises"),
    ("negative", "MF"): ("reduces", "inhibits", "lowers"),
}
#: Where the release does not say what is regulated: it may be a size, a level, a potential.
_CAUTIOUS = {
    "regulation": ("regulates",),
    "positive": ("positively regulates",),
    "negative": ("negatively regulates",),
}
_PASSIVE = {
    "regulation": ("is regulated by", "is controlled by", "is modulated by"),
    "positive": ("is promoted by", "is stimulated by", "is positively regulated by"),
    "negative": ("is inhibited by", "is suppressed by", "is negatively regulated by"),
}


def leads(term: Term, label: str, target: Term | None) -> list[str]:
    """Return sentences that say of a protein that it carries a term.

    Parameters
    ----------
    term
        The term.
    label
        Its name or an exact synonym.
    target
        What a regulation is of, where the release says so.

    Returns
    -------
    list of str
        Sentences without full stop; at least one.
    """
    shape = shape_of(label, term.aspect)
    plain = [label, f"{_HEADINGS[term.aspect]}: {label}"]
    told = _said(term, label, shape, target)
    return [capital(sentence) for sentence in [*told, *plain]]


def _said(term: Term, label: str, shape: Shape, target: Term | None) -> list[str]:
    rest, kind = shape.rest, shape.kind
    if kind in _PASSIVE:
        begin = label.removesuffix(rest)
        return [*_regulating(shape, target), *_taking_part(f"the {begin}{process_phrase(rest)}")]
    if kind == "process":
        return _taking_part(process_phrase(label))
    if kind == "binding":
        return [f"capable of {label}", f"shows {label}", f"a protein capable of {label}"]
    if kind == "agent":
        return [f"acts as {a(rest)}", f"works as {a(rest)}", f"has {label}", f"shows {label}"]
    if kind == "activity":
        return [f"has {label}", f"shows {label}", f"a protein with {label}"]
    if kind == "role":
        return [f"is {a(label)}"] if "structural constituent" in label else []
    if kind == "complex":
        return [f"part of the {label}", f"a subunit of the {label}", f"belongs to the {label}"]
    if kind == "component":
        return [f"is {a(label)}", a(label)]
    where = preposition(label)
    places = (f"found {where}", f"located {where}", "localizes to")
    return [f"{begin} the {label}" for begin in places]


def _taking_part(phrase: str) -> list[str]:
    return [f"{begin} {phrase}" for begin in _PROCESS]


def _regulating(shape: Shape, target: Term | None) -> list[str]:
    """Say a regulation from both sides: what regulates, and what is regulated."""
    rest, kind = shape.rest, shape.kind
    if target is None:
        return [f"{verb} {process_phrase(rest)}" for verb in _CAUTIOUS[kind]]
    phrase = process_phrase(rest) if target.aspect == "BP" else rest
    effects = _EFFECTS.get((kind, target.aspect), _CAUTIOUS[kind])
    passive = _PASSIVE[kind] if target.aspect == "BP" else _PASSIVE[kind][-1:]
    said = [f"{verb} {phrase}" for verb in effects]
    return said + [f"{phrase} {verb} this protein" for verb in passive]


def definitions(term: Term) -> list[str]:
    """Return a term's definition, whole or its first clause, as sentences of their own."""
    if not term.definition:
        return []
    whole, clause = term.definition.rstrip("."), first_clause(term.definition)
    return list(dict.fromkeys([whole, clause]))


def appositions(term: Term, sentence: str) -> list[str]:
    """Return a definition as what may follow a sentence that ends with the term, after a comma."""
    if not is_noun_phrase(term.definition) or "," in sentence:
        return []
    return [capital(f"{sentence}, {told}") for told in _continuations(term)]


def _continuations(term: Term) -> list[str]:
    told = continued(term.definition), continued(first_clause(term.definition))
    return list(dict.fromkeys(told))


def acts(term: Term) -> list[str]:
    """Return a function's definition said of the protein: "Catalyzes the reaction: …"."""
    told = verbal(term.definition) if term.aspect == "MF" else ""
    return list(dict.fromkeys([capital(told), capital(first_clause(told))])) if told else []


def parents(term: Term, label: str, parent: Term) -> list[str]:
    """Return sentences that name a parent."""
    return [f"{_subject(term, label)} is a {kind} of {parent.name}" for kind in ("kind", "type")]


def wholes(term: Term, label: str, whole: Term) -> list[str]:
    """Return sentences that name what a term is part of."""
    subject, above = _subject(term, label), noun_phrase(whole)
    found = [f"{subject} is part of {above}"]
    if term.aspect == "BP":
        found.append(f"{subject} takes place as part of {above}")
    return found


def regulated(target: Term) -> list[str]:
    """Return sentences that say what it is that is regulated."""
    subject = _subject(target, target.name)
    if not is_noun_phrase(target.definition):
        return []
    # "The … process is the chemical reactions" would be one thing that is many.
    verb = "covers" if is_plural(target.definition) else "is"
    return [f"{subject} {verb} {told}" for told in _continuations(target)]


def synonyms(term: Term, label: str, other: str) -> list[str]:
    """Return sentences that give another name."""
    subject, called = _subject(term, label), noun_phrase(term, other)
    return [f"{subject} is also called {called}", f"{subject} is also known as {called}"]


def _subject(term: Term, label: str) -> str:
    """Begin a sentence with a name; what follows a comma in it is closed by another."""
    closed = ", " in label and "positive, " not in label and "negative, " not in label
    return capital(noun_phrase(term, label)) + ("," if closed else "")
