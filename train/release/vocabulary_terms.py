"""What records of UniProt say of enzyme numbers, locations and keywords, made into terms.

The same rules make the tables that ship and the annotations that a calibration is fitted on.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from protclip_core.io.phrases import Phrase, read_phrases
from protclip_core.ontology.vocabulary import class_of, ec_numbers

__all__ = ["LEAST", "READERS", "ec_phrases", "flat_phrases", "is_no_enzyme", "keywords_of"]
__all__ += ["implied_pairs", "locations_of"]

#: Training proteins that a term must have, by vocabulary.
LEAST = {"ec": 3, "location": 8, "keywords": 20}
_ALWAYS = 0.99
_CLASSES = Path(__file__).with_name("ec_classes.tsv")

#: Names of one place in two sources, in the plural, or in words of one source alone.
_SAME_PLACE = {
    "Mitochondria": "Mitochondrion",
    "Plasma membrane": "Cell membrane",
    "Predicted to be secreted": "Secreted",
    "Nuclear membrane": "Nucleus membrane",
    "Nuclear speckles": "Nucleus speckle",
    "Nuclear bodies": "Nuclear body",
    "Nucleoli": "Nucleolus",
    "Nucleoli fibrillar center": "Nucleolus fibrillar center",
    "Nucleoli rim": "Nucleolus rim",
    "Cytoplasmic bodies": "Cytoplasmic body",
    "Cell Junctions": "Cell junction",
    "Vesicles": "Vesicle",
    "Microtubules": "Microtubule",
    "Actin filaments": "Actin filament",
    "Intermediate filaments": "Intermediate filament",
    "Focal adhesion sites": "Focal adhesion",
    "Peroxisomes": "Peroxisome",
    "Lysosomes": "Lysosome",
    "Endosomes": "Endosome",
    "Lipid droplets": "Lipid droplet",
    "Rods & Rings": "Rods and rings",
}
#: How a protein sits in a membrane is no place.
_TOPOLOGY = re.compile(r"(pass|peripheral|anchor|\bside\b|type I|-tail|membrane protein)", re.I)
_EVIDENCE = re.compile(r"\{[^{}]*\}")
_NOTE = re.compile(r"Note=.*", re.S)
_ISOFORM = re.compile(r"\[[^\[\]]*\]:?|SUBCELLULAR LOCATION:")
_PLACE = re.compile(r"[A-Z][A-Za-z0-9&' -]{2,39}")

#: Keywords on how a sequence or its annotation came about, and on how its gene varies: of the
#: categories Technical term and Coding sequence diversity.
_NOT_OF_FUNCTION = {
    "3D-structure",
    "Allosteric enzyme",
    "Alternative initiation",
    "Alternative promoter usage",
    "Alternative splicing",
    "Chromosomal rearrangement",
    "Complete proteome",
    "Direct protein sequencing",
    "Multifunctional enzyme",
    "Pharmaceutical",
    "Polymorphism",
    "Proteomics identification",
    "Reference proteome",
    "Ribosomal frameshifting",
    "RNA editing",
    "Triplet repeat expansion",
}
#: Diseases of people, of which a variant says more than the protein does: of category Disease.
_DISEASES = {
    "Amyotrophic lateral sclerosis",
    "Bardet-Biedl syndrome",
    "Cardiomyopathy",
    "Cataract",
    "Charcot-Marie-Tooth disease",
    "Ciliopathy",
    "Cone-rod dystrophy",
    "Congenital disorder of glycosylation",
    "Deafness",
    "Diabetes mellitus",
    "Disease variant",
    "Dwarfism",
    "Dystonia",
    "Epilepsy",
    "Hereditary spastic paraplegia",
    "Hypogonadotropic hypogonadism",
    "Hypotrichosis",
    "Ichthyosis",
    "Intellectual disability",
    "Joubert syndrome",
    "Limb-girdle muscular dystrophy",
    "Lissencephaly",
    "Neurodegeneration",
    "Neuropathy",
    "Non-syndromic deafness",
    "Obesity",
    "Palmoplantar keratoderma",
    "Parkinsonism",
    "Primary microcephaly",
    "Primary mitochondrial disease",
    "Proto-oncogene",
    "Retinitis pigmentosa",
    "Spinocerebellar ataxia",
    "Tumor suppressor",
}
_NOT_OF_FUNCTION |= _DISEASES

_CATALYSIS = "GO:0003824"
_EC_IN_NAME = re.compile(r"\(EC ([0-9n.-]+)\)")
_NO_ACTIVITY = re.compile(r"domain-containing|uncharacterized|-like|family|hypothetical", re.I)
_DOUBT = re.compile(
    r"^(?:putative|probable|predicted|possible|uncharacterized|similar to)\s+", re.IGNORECASE
)
#: What tells apart proteins of one activity: their place, their copy, their part.
_TAIL = re.compile(
    r"(?:,? (?:chloroplastic|mitochondrial|cytosolic|cytoplasmic|peroxisomal|chromosomal)"
    r"(?: [a-z0-9]{1,10})?"
    r"|,? (?:catalytic |regulatory |large |small )?(?:subunit|chain|component|isozyme|homolog)"
    r"(?: [A-Za-z0-9-]{1,10})?"
    r"|,? (?:proenzyme|precursor|fragment)|[ -](?:alpha|beta|gamma|delta|epsilon)(?: ?[0-9]+)?"
    r"| (?:type|class|isoform)(?: [A-Za-z0-9-]{1,4})?"
    r"| [0-9]+[A-Za-z]?| [A-Z](?:-?[0-9]+)?| [A-Z][a-z]{2}[A-Z]| I{1,3}|,)$"
)


def locations_of(record: Mapping[str, Any]) -> list[str]:
    """Return the places that a record names, sorted, each once.

    Statements are cut at ``;``, ``.`` and ``,`` (so "Nucleus, nucleolus" says both); evidence,
    notes, isoforms and how a protein sits in a membrane are dropped, and so is what does not look
    like a name: prose begins with a small letter, or is long.
    """
    text = record.get("location")
    if not isinstance(text, str):
        return []
    text = _ISOFORM.sub("", _EVIDENCE.sub("", text))
    found = set()
    for statement in text.split(";"):
        for number, part in enumerate(re.split(r"[.,]\s*", _NOTE.sub("", statement).strip())):
            place = part.strip()
            if number and place:  # parts behind a comma are written small
                place = place[0].upper() + place[1:]
            place = _SAME_PLACE.get(place, place)
            if _PLACE.fullmatch(place) and not _TOPOLOGY.search(place):
                found.add(place)
    return sorted(found)


def keywords_of(record: Mapping[str, Any]) -> list[str]:
    """Return the keywords of a record that say something of what the protein is or does."""
    values = record.get("keywords")
    listed = values if isinstance(values, list) else []
    named = {str(value).strip() for value in listed} - _NOT_OF_FUNCTION
    return sorted(word for word in named if word and not word.startswith("PHI-base"))


def is_no_enzyme(record: Mapping[str, Any]) -> bool:
    """Tell whether a record is plainly of a protein that catalyses nothing.

    It is reviewed, has a name that speaks of no enzyme, terms of GO and none of catalysis among
    them, and no enzyme number. Of other records without a number nothing is known.
    """
    name, terms = str(record.get("name") or "").lower(), record.get("go") or []
    named = bool(name) and "ase" not in name and "uncharacterized" not in name
    known = bool(record.get("reviewed")) and bool(terms) and _CATALYSIS not in terms
    return named and known and not record.get("ec")


def _numbers_of(record: Mapping[str, Any]) -> list[str]:
    return ec_numbers(record.get("ec"))


#: What a record says, by vocabulary.
READERS: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "ec": _numbers_of,
    "location": locations_of,
    "keywords": keywords_of,
}


def flat_phrases(records: Iterable[Mapping[str, Any]], name: str) -> list[Phrase]:
    """Return the terms of ``location`` or ``keywords`` that enough records have, sorted."""
    counts = Counter(term for record in records for term in READERS[name](record))
    return [Phrase(term, term) for term in sorted(counts) if counts[term] >= LEAST[name]]


def implied_pairs(records: Iterable[Mapping[str, Any]], name: str) -> list[tuple[str, str]]:
    """Return pairs of terms of which the first never comes without the second, sorted.

    UniProt gives a protein with a keyword its more general keywords as well ("Transmembrane
    helix" has "Transmembrane"). What the pairs are is counted: the second is the more frequent
    one, and stands beside 99 of 100 of the first, which at least `LEAST` proteins have. Pairs
    that follow from two others are left out.
    """
    counts: Counter[str] = Counter()
    both: Counter[tuple[str, str]] = Counter()
    for record in records:
        own = READERS[name](record)
        counts.update(own)
        both.update((one, other) for one in own for other in own if one != other)
    above: dict[str, set[str]] = defaultdict(set)
    for (one, other), together in both.items():
        often = together >= _ALWAYS * counts[one] and counts[other] > counts[one]
        if often and min(counts[one], counts[other]) >= LEAST[name]:
            above[one].add(other)
    return sorted(
        (one, other)
        for one, others in above.items()
        for other in others - {further for near in others for further in above.get(near, ())}
    )


def ec_phrases(records: Iterable[Mapping[str, Any]]) -> list[Phrase]:
    """Return the enzyme numbers that enough records have, and all classes of these, in order.

    A number is named as most of its proteins are; a class as the enzyme commission describes it,
    in words of ours. Numbers without a named protein, and classes without a name, are left out.
    """
    counts: Counter[str] = Counter()
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        own = ec_numbers(record.get("ec"))
        counts.update(own)
        whole = [number for number in own if "-" not in number]
        for number, name in _names(str(record.get("name") or ""), whole):
            votes[number][name] += 1
    classes = {p.id: p.text for p in read_phrases(_CLASSES)}
    found = {}
    for number, names in votes.items():
        if counts[number] >= LEAST["ec"]:
            found[number] = _elected(names)
            higher = class_of(number)
            while higher is not None:
                if (short := higher.replace(".-", "")) in classes:
                    found[higher] = classes[short]
                higher = class_of(higher)
    order = sorted(found, key=lambda n: [int(f) if f != "-" else -1 for f in n.split(".")])
    return [Phrase(number, found[number]) for number in order]


def _names(text: str, numbers: list[str]) -> list[tuple[str, str]]:
    """Give pairs of a number and a name in a protein's names, where it is plain which is whose."""
    stated = _EC_IN_NAME.findall(text)
    # One number, or one that the name states: the name in front of all brackets is its name.
    if len(numbers) == 1 and (not stated or numbers[0] in stated):
        number = numbers[0]
    elif stated and stated[0] in numbers:
        number = stated[0]
    else:
        return []
    name = _cleaned(_first_name(text))
    is_activity = bool(stated) or "ase" in name.lower()
    return [(number, name)] if is_activity and name and not _NO_ACTIVITY.search(name) else []


def _first_name(text: str) -> str:
    """Take off what stands in brackets at the end: other names, enzyme numbers, products.

    A bracket within a name has no blank before it, or more of the name behind it: "tRNA
    (guanine(9)-N1)-methyltransferase" stays whole.
    """
    text = text.strip()
    while text.endswith((")", "]")):
        depth = 0
        for place in range(len(text) - 1, -1, -1):
            depth += (text[place] in ")]") - (text[place] in "([")
            if depth == 0:
                break
        if depth or place == 0 or text[place - 1] != " ":
            break
        text = text[:place].rstrip()
    return text


def _cleaned(name: str) -> str:
    """Take off what does not belong to the activity."""
    before = None
    while name != before:
        before = name
        name = _TAIL.sub("", _DOUBT.sub("", name.strip()))
    # A capital that only begins the sentence is made small; names such as ATP or DNA keep theirs.
    if len(name) > 1 and name[0].isupper() and name[1].islower():
        name = name[0].lower() + name[1:]
    return name


def _elected(names: Counter[str]) -> str:
    """Return the commonest name; of equally common ones the shortest, then the first."""
    return min(names, key=lambda name: (-names[name], len(name), name))
