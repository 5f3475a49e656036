"""English for names of GO terms: articles, capitals, clauses, and the shape of a name.

Names of GO are noun phrases without an article. In a sentence some need one ("the cell cycle"),
others must not have one ("DNA replication"); which is told by the noun at their head.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from train.protanno.augment.release import Term

__all__ = ["Kind", "Shape", "a", "capital", "continued", "first_clause", "noun_phrase", "shape_of"]
__all__ += ["first_sentence", "is_noun_phrase", "is_plural", "preposition", "verbal"]

Kind = Literal[
    "regulation", "positive", "negative", "process",  # BP
    "binding", "agent", "activity", "role",  # MF
    "complex", "component", "place",  # CC
]  # fmt: skip

#: What ends the head of a name: its last noun stands before it.
_AFTER_HEAD = re.compile(
    r",? \(|, |: | (?:of|to|in|via|by|from|during|involved|with|at|on|through|into|using|across|"
    r"for|between|within|and|or|that|coupled|leading|resulting|required|as|upon|after)\b"
)
#: Heads of processes that are counted, and so need an article.
_COUNTED = re.compile(
    "process|pathway|response|cycle|cascade|phase|transition|checkpoint|reaction|event|step|wave|"
    "rhythm|program|system|switch|loop|clock|stage|signal|burst|complex"
)
#: Names of whole kinds of processes.
_GENERIC = re.compile(
    "(?:metabolic|catabolic|biosynthetic|cellular|viral|reproductive|developmental|homeostatic|"
    "rhythmic|neuromuscular) process"
)
_PREFIXES: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("positive", ("positive regulation of", "up regulation of", "up-regulation of")),
    ("positive", ("upregulation of",)),
    ("negative", ("negative regulation of", "down regulation of", "down-regulation of")),
    ("negative", ("downregulation of",)),
    ("regulation", ("regulation of",)),
)
#: Last words of what an activity makes a protein, beside enzymes.
_AGENTS = re.compile(
    "receptor|transporter|channel|factor|inhibitor|activator|regulator|coactivator|corepressor|"
    "repressor|carrier|chaperone|ligand|adaptor|exchanger|symporter|antiporter|cotransporter|"
    "coreceptor|uniporter|hormone|cytokine|chemokine|toxin|porin|buffer|stabilizer"
)
_ENZYME = re.compile(r"[a-z]{3}ase$")
_COMPONENT = re.compile(r"^(?:integral|intrinsic|extrinsic|anchored) component\b")
_ON = re.compile("surface|side|face|leaflet")
_AT = re.compile("junction|synapse|site|tip|edge|margin|pole|end|midzone|base|border")
#: Capitals that are read letter by letter and begin with a vowel: "an RNA", "an NAD".
_SPELT_VOWELS = "AEFHILMNORSX"
_READ_AS_WORDS = re.compile(
    r"SUMO|SNARE|SNAP|SCAR|SAGA|SAM\b|SET\b|LIM\b|MAP|RING|RAN\b|RAS\b|RAC\b|RHO|NEDD|MADS|SWI|SMAD"
)
_VOWEL = re.compile(r"[aeiou]|8|1[18](?!\d)", re.IGNORECASE)
#: Begin with a vowel as they are written, with a consonant as they are spoken.
_SOUNDS_LIKE_YOU = re.compile(r"ubiq|uni|use|uri|uro|eu|one\b|ure", re.IGNORECASE)
_SPELT_RNA = re.compile(r"(?:m|r|sn|sno|nc|lnc|hn|si)RNA")
_CUT = re.compile(
    r"[;:] |\. |, (?:such as|including|for example|e\.g\.|i\.e\.|usually|typically|often|which|"
    r"where|whereby|in which|as well as|resulting in|leading to)\b"
)
#: After this beginning a comma and an article bring an apposition, never the next of a list.
_CHEMICAL = re.compile(
    r"(The chemical reactions and pathways (?:involving|resulting in the \w+ of) [^,;]+), "
    r"(?:a|an|the) "
)
_SHORTEST_CLAUSE = 4  # words
#: After these something has to come.
_OPEN_ENDS = re.compile(
    "of|to|the|an?|in|with|by|and|or|from|for|between|at|on|into|that|which|as|is|are"
)
#: Chemical prefixes that stay small at the start of a sentence.
_STAY_SMALL = re.compile("(?:ent|sn|tert|syn|exo)-")


@dataclass(frozen=True)
class Shape:
    """How a name is built.

    Attributes
    ----------
    kind
        Which sentences fit.
    rest
        What a regulation is of, what is bound, what an activity makes of a protein; else the
        name.
    """

    kind: Kind
    rest: str


def shape_of(name: str, aspect: str) -> Shape:
    """Return the shape of a name or synonym.

    Examples
    --------
    >>> shape_of("negative regulation of DNA replication", "BP")
    Shape(kind='negative', rest='DNA replication')
    >>> shape_of("hexokinase activity", "MF")
    Shape(kind='agent', rest='hexokinase')
    """
    if aspect == "BP":
        for kind, prefixes in _PREFIXES:
            for prefix in prefixes:
                if name.startswith(f"{prefix} "):
                    return Shape(kind, name[len(prefix) + 1 :])
        return Shape("process", name)
    if aspect == "MF":
        return _function(name)
    if _COMPONENT.match(name):
        return Shape("component", name)
    if re.search(r"complex(?: [IVX\d]+)?$", name) and "," not in name:
        return Shape("complex", name)
    return Shape("place", name)


def _function(name: str) -> Shape:
    if name.endswith(" binding") and ", " not in name:
        return Shape("binding", name[: -len(" binding")])
    base = name.removesuffix(" activity")
    last = base.split()[-1]
    agent = (_ENZYME.search(last) and "/" not in base) or _AGENTS.fullmatch(last)
    if base != name and agent and not re.search(r", | \(", base):
        return Shape("agent", base)
    if base != name or " activity" in name:
        return Shape("activity", name)
    if "structural constituent" in name:
        return Shape("role", name)
    return Shape("activity" if name.endswith(" activity") else "role", name)


def noun_phrase(term: Term, name: str | None = None) -> str:
    """Return a term's name, or another name of it, as the subject or object of a sentence.

    Examples
    --------
    >>> noun_phrase(Term("GO:0007049", "cell cycle", "BP"))
    'the cell cycle'
    >>> noun_phrase(Term("GO:0006260", "DNA replication", "BP"))
    'DNA replication'
    """
    said = term.name if name is None else name
    if term.aspect == "CC":
        return a(said) if _COMPONENT.match(said) else f"the {said}"
    if term.aspect == "BP":
        return process_phrase(said)
    if "structural constituent" in said:
        return a(said)
    return said


def process_phrase(name: str) -> str:
    """Return the name of a process with an article where its head needs one."""
    if _GENERIC.fullmatch(name):
        return a(name)
    head = _head(name)
    return f"the {name}" if _COUNTED.fullmatch(head.split()[-1].lower()) else name


def _head(name: str) -> str:
    found = _AFTER_HEAD.split(name, maxsplit=1)[0]
    return found or name


def preposition(name: str) -> str:
    """Return the word that leads to the name of a place: ``on``, ``at`` or ``in``."""
    last = _head(name).split()[-1]
    return "on" if _ON.fullmatch(last) else "at" if _AT.fullmatch(last) else "in"


def a(phrase: str) -> str:
    """Put the indefinite article before a phrase, by how its first word sounds.

    Examples
    --------
    >>> a("NAD kinase"), a("UDP-glucosyltransferase"), a("ubiquitin ligase"), a("mRNA cap")
    ('an NAD kinase', 'a UDP-glucosyltransferase', 'a ubiquitin ligase', 'an mRNA cap')
    """
    word = phrase.lstrip("([{'\"").split()[0] if phrase.strip("([{'\"") else phrase
    return f"{'an' if _sounds_like_vowel(word) else 'a'} {phrase}"


def _sounds_like_vowel(word: str) -> bool:
    if _SPELT_RNA.match(word):
        return True
    if _READ_AS_WORDS.match(word) or _SOUNDS_LIKE_YOU.match(word):
        return False
    spelt = re.match(r"([A-Z])(?:[A-Z0-9]|\b)", word)
    return spelt[1] in _SPELT_VOWELS if spelt else bool(_VOWEL.match(word))


def capital(sentence: str) -> str:
    """Make the first letter a capital, unless the first word is written in its own way.

    Examples
    --------
    >>> capital("takes part in it"), capital("mRNA binding"), capital("m-cresol oxidase")
    ('Takes part in it', 'mRNA binding', 'm-cresol oxidase')
    """
    first = re.match(r"(?:[a-z]{2,}|a(?= ))(?!\w)", sentence)
    if first is None or _STAY_SMALL.match(sentence):
        return sentence
    return sentence[0].upper() + sentence[1:]


def is_plural(definition: str) -> bool:
    """Whether what a definition speaks of is several things: "The chemical reactions …"."""
    last = _head(definition).split()[-1]
    return last.endswith("s") and not last.endswith(("ss", "is", "us", "series"))


def is_noun_phrase(definition: str) -> bool:
    """Whether a definition says what a thing is: "The process in which …"."""
    return definition.split(" ", 1)[0] in ("The", "A", "An", "Any")


def continued(definition: str) -> str:
    """Return a definition as the rest of a sentence: no capital, no full stop.

    Only the first sentence; what follows would hang in the air.
    """
    first = first_sentence(definition).rstrip(".")
    return first[0].lower() + first[1:] if is_noun_phrase(first) else first


def first_sentence(text: str) -> str:
    """Return the first sentence of a definition, with its full stop."""
    found = re.match(r".*?[\w)\]'\"]{2}\.(?= [A-Z])", text)
    kept = found[0] if found else text
    return kept if kept.endswith(".") else f"{kept}."


def first_clause(text: str) -> str:
    """Return the first clause of a definition, without a full stop, if it can stand alone.

    Examples
    --------
    >>> first_clause("The lipid bilayer of a vesicle, including its proteins; seen in yeast.")
    'The lipid bilayer of a vesicle'
    """
    sentence = first_sentence(text).rstrip(".")
    if "reaction: " in sentence:
        return sentence
    chemical = _CHEMICAL.match(sentence)
    if chemical and chemical[1].count("(") == chemical[1].count(")"):
        return chemical[1]
    for cut in _CUT.finditer(sentence):
        kept = sentence[: cut.start()]
        words = kept.split()
        whole = kept.count("(") == kept.count(")") and kept.count(",") != 1
        if len(words) >= _SHORTEST_CLAUSE and whole and not _OPEN_ENDS.fullmatch(words[-1]):
            return kept
    return sentence


#: How definitions of functions begin, and the verb that says the same of a protein.
_VERBS = (
    (re.compile(r"^Catalysis of (?=the |a |an )"), "catalyzes "),
    (re.compile(r"^Binding to "), "binds to "),
    (re.compile(r"^Interacting selectively and non-covalently with "), "binds to "),
    (re.compile(r"^Enables (?=the |a |an )"), "enables "),
    (re.compile(r"^Binds to (?=and |a |an |the )"), "binds to "),
)
_COMBINING = re.compile(r"^Combining with ([^;]*?),? and transmitting ")


def verbal(definition: str) -> str:
    """Return the first sentence of a function's definition with its verb, or nothing.

    Examples
    --------
    >>> verbal("Catalysis of the reaction: A + B = C. It is slow.")
    'catalyzes the reaction: A + B = C'
    """
    sentence = first_sentence(definition).rstrip(".")
    for begin, verb in _VERBS:
        if begin.match(sentence):
            return begin.sub(verb, sentence, count=1)
    found = _COMBINING.match(sentence)
    if found and " and " not in found[1] and "ing " not in found[1]:
        return _COMBINING.sub(r"combines with \1 and transmits ", sentence, count=1)
    return ""
