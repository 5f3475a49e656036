"""Taxa of proteins, and the terms of GO that a protein of a taxon does not have.

GO says of some terms in which taxa alone they occur (``only_in_taxon``), or in which they do not
(``never_in_taxon``); terms that are a kind or a part of such a term inherit that (geneontology.org,
"Taxon constraints in the Gene Ontology"; Deegan, Dimmer and Mungall 2010, BMC Bioinformatics
11:530). A release that states them is believed. As most files of GO do not, a table stands here of
what bacteria and archaea do not have: terms that GO's file ``only_in_taxon.tsv`` binds to
Eukaryota or to taxa within it, or that are by their definition of eukaryotes. Of 3,464 training
proteins of bacteria and archaea at most ten have any of them in error.

More general terms ("organelle") are not impossible there, but what the model knows of them it
knows from eukaryotes: they count for a bacterium as far as a possible kind of them does.

Without the tree of taxa, only some organisms are placed: frequent ones by number, bacteria and
archaea also by the genus in ``OS=``. Nothing is said of all others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from protclip_core.ontology.ontology import Ontology

__all__ = ["Organism", "general_terms", "impossible_terms", "organism_of"]

#: Nucleus, endoplasmic reticulum, mitochondrion, Golgi apparatus, endosome, cilium, plastid. Their
#: parts follow, as not every index has the part_of edges of GO: nucleoplasm, lumen, envelope,
#: membrane, chromosome, nucleolus, body, pore and complexes of the nucleus; membranes, envelope,
#: matrix and complexes of mitochondria; membranes and lumen of the others. Then vacuole,
#: endomembrane system, microbody, lysosome, secretory vesicle, exosome, cell junction, synapse,
#: neuron projection, cell body, projections of animal cells, microtubules and their centres,
#: spindle, perinuclear region, spliceosome, extracellular matrix.
_EUKARYOTIC = """
GO:0005634 GO:0005783 GO:0005739 GO:0005794 GO:0005768 GO:0005929 GO:0009536
GO:0005654 GO:0031981 GO:0005635 GO:0031965 GO:0000228 GO:0005730 GO:0016604 GO:0005643
GO:0140513 GO:0090575 GO:0005740 GO:0031966 GO:0005743 GO:0005741 GO:0005759 GO:0098798 GO:0098800
GO:0005789 GO:0005788 GO:0000139 GO:0098791 GO:0010008 GO:0009535 GO:0009570 GO:0009941
GO:0005773 GO:0005774 GO:0012505 GO:0042579 GO:0005764 GO:0099503 GO:0070062 GO:0030054 GO:0045202
GO:0043005 GO:0044297 GO:0120025 GO:0005815 GO:0005813 GO:0005874 GO:0015630 GO:0005819 GO:0048471
GO:0005681 GO:0031012
"""
#: Processes: multicellular ones and their regulation, development of organs and systems, processes
#: of organ systems, immune system, transcription by RNA polymerase II and its regulation, mitotic
#: and meiotic cell cycle, splicing by the spliceosome, autophagy, transport by vesicles,
#: endocytosis, exocytosis, transport along microtubules, localization to organelles and nucleus.
#: Functions: transcription factors of RNA polymerase II and what they bind, microtubule binding,
#: hormone, cytokine, growth factor, G protein-coupled receptor.
_EUKARYOTIC += """
GO:0032501 GO:0051239 GO:0007275 GO:2000026 GO:0048731 GO:0048513 GO:0003008 GO:0002376 GO:0006366
GO:0006357 GO:0000278 GO:1903047 GO:0051321 GO:0000398 GO:0006914 GO:0016192 GO:0006897 GO:0006887
GO:0007018 GO:0033365 GO:0034504
GO:0000981 GO:0000977 GO:0000978 GO:0008017 GO:0005179 GO:0005125 GO:0008083 GO:0004930
"""
#: Organelles in general, with their membranes and lumens, and vesicles; development in general.
_GENERAL = """
GO:0043226 GO:0043229 GO:0043227 GO:0043231 GO:0031090 GO:0031967 GO:0031968 GO:0019866 GO:0031984
GO:0043233 GO:0070013 GO:0031974 GO:0031982 GO:0097708 GO:0031410 GO:0012506 GO:0030659 GO:0098588
GO:0032502 GO:0048856 GO:0048869 GO:0030154 GO:0009653
"""
#: Kingdoms, each with the groups above it: bacteria, archaea, animals, fungi, green plants.
_LINEAGES = {
    2: (2,),
    2157: (2157,),
    33208: (2759, 33154, 33208),
    4751: (2759, 33154, 4751),
    33090: (2759, 33090),
}
#: Groups within animals (bilateral ones, chordates, vertebrates, mammals, arthropods, insects, …),
#: fungi and plants, by kingdom: those that GO's constraints name most.
_WITHIN = {
    33208: "6072 33213 7711 7742 32523 40674 9347 6656 50557 7147 7215 6231 6237",
    4751: "4890 4892 4891 4893 4894 4896 4930 4932 147537 451864",
    33090: "3193 3398 35493 58023 3701 3702 4447",
}
_KINGDOM = {int(one): king for king, some in _WITHIN.items() for one in some.split()}
#: Frequent organisms: human, mouse, rat, cow, chicken, frogs, zebrafish, fly, worm; yeasts;
#: thale cress, rice, maize.
_ORGANISMS = {
    33208: "9606 10090 10116 9913 9823 9031 8355 8364 7955 7227 6239",
    4751: "559292 4932 284812 4896 237561 5476 330879 227321 367110",
    33090: "3702 39947 4530 4577",
}
_PLACED = {int(one): king for king, some in _ORGANISMS.items() for one in some.split()}
#: Bacteria, Escherichia coli and its strains, Salmonella, Bacillus, Staphylococcus,
#: Streptococcus, Mycobacterium, Pseudomonas, Helicobacter, Haemophilus, Vibrio, Neisseria,
#: Mycoplasma, Synechocystis, Thermotoga, Thermus, Deinococcus, Caulobacter, Listeria.
_BACTERIA = """
2 562 83333 511145 83334 199310 364106 316385 316407 574521 90371 99287 28901 1423 224308
1280 93061 158878 158879 196620 282458 1313 170187 171101 1314 1773 83332 1769 272631 287 208964
208963 210 85962 85963 727 71421 666 243277 487 122586 272634 243273 1148 1111708 2336 243274 274
300852 262724 1299 243230 155892 190650 1639 169963
"""
#: Archaea, Methanocaldococcus, Saccharolobus, Archaeoglobus, Halobacterium and Haloferax.
_ARCHAEA = "2157 2190 243232 2287 273057 2234 224325 2242 64091 478009 2246 309800"
#: Genera without a namesake among animals, plants and fungi; those of archaea for themselves.
_GENERA = """
Bacteroides Bordetella Borreliella Brucella Campylobacter Caulobacter Chlamydia Clostridioides
Clostridium Corynebacterium Deinococcus Enterobacter Enterococcus Escherichia Francisella Geobacter
Haemophilus Helicobacter Klebsiella Lactobacillus Lactococcus Legionella Leptospira Listeria
Mycobacterium Mycobacteroides Mycolicibacterium Mycoplasma Mycoplasmoides Neisseria Nostoc
Pseudomonas Rhizobium Rhodobacter Rickettsia Salmonella Shewanella Shigella Staphylococcus
Streptococcus Streptomyces Synechococcus Synechocystis Thermotoga Thermus Treponema Vibrio
Xanthomonas
"""
_ARCHAEAL_GENERA = """
Archaeoglobus Halobacterium Haloferax Methanocaldococcus Methanosarcina Methanothermobacter
Pyrococcus Saccharolobus Sulfolobus Thermococcus
"""
#: Genera with a namesake among insects, by their species.
_SPECIES = ("Bacillus subtilis", "Bacillus anthracis", "Bacillus cereus", "Yersinia pestis")
#: Phages are named after their hosts.
_VIRUS = re.compile(r"phage|virus|viroid|plasmid", re.IGNORECASE)
_TAXON = re.compile(r"(?:^|\s)OX=([1-9][0-9]{0,8})(?=\s|$)")
_NAME = re.compile(r"(?:^|\s)OS=(.+?)(?=\s[A-Z]{2}=|$)")


class Organism(NamedTuple):
    """What is known of the organism of a protein.

    Attributes
    ----------
    taxon
        Number of NCBI; None where it is not told.
    kingdom
        Number of the bacteria (2), archaea (2157), animals (33208), fungi (4751) or green plants
        (33090); None where it is not known.
    """

    taxon: int | None = None
    kingdom: int | None = None

    @classmethod
    def of(cls, taxon: int | None, name: str = "") -> Organism:
        """Return the organism of a number, or of a name such as ``OS=`` has it."""
        if _VIRUS.search(name):
            return cls(taxon)
        number, genus = str(taxon), name.partition(" ")[0]
        if number in _BACTERIA.split() or genus in _GENERA.split() or name.startswith(_SPECIES):
            return cls(taxon, 2)
        if number in _ARCHAEA.split() or genus in _ARCHAEAL_GENERA.split():
            return cls(taxon, 2157)
        return cls(taxon, taxon if taxon in _LINEAGES else _PLACED.get(taxon or 0))

    @property
    def is_prokaryote(self) -> bool:
        """Whether it is known to be of the bacteria or archaea."""
        return self.kingdom in (2, 2157)


def organism_of(description: str) -> Organism:
    """Read ``OX=`` and ``OS=`` of a FASTA header of UniProt.

    Examples
    --------
    >>> organism_of("Protein X OS=Escherichia coli (strain K12) OX=83333 GN=x PE=1 SV=2")
    Organism(taxon=83333, kingdom=2)
    >>> organism_of("Hemoglobin subunit alpha")
    Organism(taxon=None, kingdom=None)
    """
    taxon, name = _TAXON.search(description), _NAME.search(description)
    return Organism.of(int(taxon[1]) if taxon else None, name[1] if name else "")


def impossible_terms(ontology: Ontology, organism: Organism) -> np.ndarray:
    """Tell which terms a protein of an organism does not have, one bool for each term.

    The table of this module counts, and what the release says of taxa.
    """
    found = np.zeros(len(ontology), dtype=bool)
    if organism.kingdom is None:
        return found
    if organism.is_prokaryote:
        found |= _with_kinds(ontology, ontology.numbers(_EUKARYOTIC.split()))
    for name, terms in ontology.subsets.items():
        kind, _, taxon = name.partition("_in_taxon:")
        if taxon.isdecimal() and _is_outside(kind, int(taxon), organism):
            found |= _with_kinds(ontology, terms.tolist())
    return found


def general_terms(ontology: Ontology, impossible: np.ndarray) -> np.ndarray:
    """Tell which terms count only as far as a possible term below them does, ``(G,)`` bool.

    Those of the table, and terms with two kinds or more of which none is possible.
    """
    found = np.zeros(len(ontology), dtype=bool)
    found[ontology.numbers(_GENERAL.split())] = True
    children = np.repeat(np.arange(len(ontology)), np.diff(ontology.parent_offsets))
    kinds = np.bincount(ontology.parents, minlength=len(ontology))
    lost = np.bincount(ontology.parents, weights=impossible[children], minlength=len(ontology))
    general: np.ndarray = (found | ((kinds > 1) & (lost == kinds))) & ~impossible
    return general


def _with_kinds(ontology: Ontology, terms: Iterable[int]) -> np.ndarray:
    """Tell which terms are some terms, or kinds or parts of them."""
    found = np.zeros(len(ontology), dtype=bool)
    for term in terms:
        found[term] = True
        found[ontology.descendants(term)] = True
    return found


def _is_outside(kind: str, taxon: int, organism: Organism) -> bool:
    """Tell whether an organism is known not to meet a constraint."""
    assert organism.kingdom is not None
    lineage = _LINEAGES[organism.kingdom]
    if kind == "never":
        return taxon in lineage or taxon == organism.taxon
    if taxon in _KINGDOM:
        return _KINGDOM[taxon] != organism.kingdom
    placed = {above for line in _LINEAGES.values() for above in line} | {10239}
    return kind == "only" and taxon in placed and taxon not in lineage
