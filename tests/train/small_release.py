"""A release of a few terms with everything that texts are made of, as OBO and as tables."""

from __future__ import annotations

from train.protanno.augment.release import RELATIONS

OBO = """\
format-version: 1.2
data-version: releases/2024-01-17
ontology: go

[Term]
id: GO:0003674
name: molecular_function
namespace: molecular_function

[Term]
id: GO:0008150
name: biological_process
namespace: biological_process

[Term]
id: GO:0005575
name: cellular_component
namespace: cellular_component

[Term]
id: GO:0004396
name: hexokinase activity
namespace: molecular_function
def: "Catalysis of the reaction: ATP + D-hexose = ADP + D-hexose 6-phosphate. It is fast." []
synonym: "ATP:D-hexose 6-phosphotransferase activity" EXACT []
synonym: "hexokinase" EXACT [made:up]
synonym: "glucokinase activity" NARROW []
synonym: "kinase of sugars activity" BROAD []
alt_id: GO:0000901
is_a: GO:0016301 ! kinase activity

[Term]
id: GO:0016301
name: kinase activity
namespace: molecular_function
def: "Catalysis of the transfer of a phosphate group; see GO:0004396 (GO:0004396)." [made:up]
is_a: GO:0003674

[Term]
id: GO:0005524
name: ATP binding
namespace: molecular_function
def: "Binding to ATP, a nucleotide." [made:up]
is_a: GO:0003674

[Term]
id: GO:0003735
name: structural constituent of ribosome
namespace: molecular_function
is_a: GO:0003674

[Term]
id: GO:0006260
name: DNA replication
namespace: biological_process
def: "The process in which a cell makes two molecules of DNA of one, which begins at an origin." []
synonym: "DNA doubling" EXACT []
synonym: "cell cycle" EXACT []
is_a: GO:0009987
relationship: part_of GO:0007049 ! cell cycle

[Term]
id: GO:0007049
name: cell cycle
namespace: biological_process
def: "The series of events by which a cell becomes two." [made:up]
synonym: "obsolete cycle" EXACT []
is_a: GO:0009987

[Term]
id: GO:0009987
name: cellular process
namespace: biological_process
is_a: GO:0008150

[Term]
id: GO:0008156
name: negative regulation of DNA replication
namespace: biological_process
def: "Any process that stops or slows DNA replication." [made:up]
synonym: "down-regulation of DNA replication" EXACT []
is_a: GO:0006275
relationship: negatively_regulates GO:0006260 ! DNA replication

[Term]
id: GO:0006275
name: regulation of DNA replication
namespace: biological_process
is_a: GO:0009987
relationship: regulates GO:0006260

[Term]
id: GO:0045931
name: positive regulation of cell size
namespace: biological_process
is_a: GO:0009987

[Term]
id: GO:0005634
name: nucleus
namespace: cellular_component
def: "A membrane-bounded organelle that holds the chromosomes." [made:up]
synonym: "cell nucleus" EXACT []
is_a: GO:0005575

[Term]
id: GO:0005635
name: nuclear envelope
namespace: cellular_component
is_a: GO:0005575
relationship: part_of GO:0005634 ! nucleus

[Term]
id: GO:0043625
name: delta DNA polymerase complex
namespace: cellular_component
is_a: GO:0005575

[Term]
id: GO:0000009
name: obsolete old thing
namespace: molecular_function
def: "OBSOLETE. It was something." [made:up]
is_obsolete: true
replaced_by: GO:0016301

[Typedef]
id: part_of
name: part of
is_transitive: true

[Typedef]
id: regulates
name: regulates

[Typedef]
id: negatively_regulates
name: negatively regulates
"""


def as_table(release, *, scopes):
    """Write the terms of a release as a table: with scopes of synonyms, or without."""
    synonyms = "exact_synonyms\tother_synonyms" if scopes else "synonyms"
    columns = ["id", "name", "aspect", "definition", synonyms, *RELATIONS, "obsolete", "alt_ids"]
    lines = ["# GO release 2024-01-17, made up", "\t".join(columns)]
    others = {id: own for own, id in release.alternatives.items()}
    for term in release.terms.values():
        told = "|".join(term.exact) + ("\tinexact" if scopes else "|inexact")
        edges = ["|".join(getattr(term, name)) for name in RELATIONS]
        row = [term.id, term.name, term.aspect, term.definition, told, *edges, "0"]
        lines.append("\t".join([*row, others.get(term.id, "")]))
    blank = "\t" * (len(RELATIONS) + (2 if scopes else 1))
    lines += [f"{id}\told thing\tMF\tOBSOLETE.{blank}\t1\t" for id in release.obsolete]
    return "\n".join(lines) + "\n"
