"""Taxa of proteins, and the cellular components that bacteria and archaea do not have.

GO says of some terms in which taxa alone they occur (``only_in_taxon``); terms that are a kind
or a part of such a term inherit that (geneontology.org, "Taxon constraints in the Gene Ontology";
Deegan, Dimmer and Mungall 2010, BMC Bioinformatics 11:530). The terms here are bound to Eukaryota
(NCBI taxon 2759) by GO's file ``only_in_taxon.tsv``, but for the plastid, which is by its
definition of plants and some protists.

Without the tree of taxa, only some are known to be prokaryotes: frequent ones by number, others by
the genus in ``OS=``. Nothing is said of all others.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from protclip_core.ontology.ontology import Ontology

__all__ = ["Organism", "eukaryotic_components", "organism_of"]

#: Nucleus, endoplasmic reticulum, mitochondrion, Golgi apparatus, endosome, cilium, plastid.
#: Their main parts follow, as not every index has the part_of edges of GO: nucleoplasm, lumen,
#: envelope, membrane, chromosome, nucleolus, body and pore of the nucleus; membranes, envelope and
#: matrix of mitochondria; membranes and lumen of the others.
_EUKARYOTIC = """
GO:0005634 GO:0005783 GO:0005739 GO:0005794 GO:0005768 GO:0005929 GO:0009536
GO:0005654 GO:0031981 GO:0005635 GO:0031965 GO:0000228 GO:0005730 GO:0016604 GO:0005643
GO:0005740 GO:0031966 GO:0005743 GO:0005741 GO:0005759
GO:0005789 GO:0005788 GO:0000139 GO:0010008 GO:0009535 GO:0009570 GO:0009941
"""
#: Bacteria and archaea, Escherichia coli and its strains, Salmonella, Bacillus, Staphylococcus,
#: Streptococcus, Mycobacterium, Pseudomonas, Helicobacter, Haemophilus, Vibrio, Neisseria,
#: Mycoplasma, Synechocystis, Thermotoga, Thermus, Deinococcus, Caulobacter, Listeria; then
#: Methanocaldococcus, Saccharolobus, Archaeoglobus, Halobacterium and Haloferax.
_PROKARYOTES = """
2 2157 562 83333 511145 83334 199310 364106 316385 316407 574521 90371 99287 28901 1423 224308
1280 93061 158878 158879 196620 282458 1313 170187 171101 1314 1773 83332 1769 272631 287 208964
208963 210 85962 85963 727 71421 666 243277 487 122586 272634 243273 1148 1111708 2336 243274 274
300852 262724 1299 243230 155892 190650 1639 169963 2190 243232 2287 273057 2234 224325 2242 64091
478009 2246 309800
"""
#: Genera without a namesake among animals, plants and fungi.
_GENERA = """
Archaeoglobus Bacteroides Bordetella Borreliella Brucella Campylobacter Caulobacter Chlamydia
Clostridioides Clostridium Corynebacterium Deinococcus Enterobacter Enterococcus Escherichia
Francisella Geobacter Haemophilus Halobacterium Haloferax Helicobacter Klebsiella Lactobacillus
Lactococcus Legionella Leptospira Listeria Methanocaldococcus Methanosarcina Methanothermobacter
Mycobacterium Mycobacteroides Mycolicibacterium Mycoplasma Mycoplasmoides Neisseria Nostoc
Pseudomonas Pyrococcus Rhizobium Rhodobacter Rickettsia Saccharolobus Salmonella Shewanella
Shigella Staphylococcus Streptococcus Streptomyces Sulfolobus Synechococcus Synechocystis
Thermococcus Thermotoga Thermus Treponema Vibrio Xanthomonas
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
    is_prokaryote
        Whether it is known to be of the bacteria or archaea.
    """

    taxon: int | None = None
    is_prokaryote: bool = False

    @classmethod
    def of(cls, taxon: int | None, name: str = "") -> Organism:
        """Return the organism of a number, or of a name such as ``OS=`` has it."""
        if _VIRUS.search(name):
            return cls(taxon)
        known = str(taxon) in _PROKARYOTES.split()
        genus = name.partition(" ")[0]
        return cls(taxon, known or genus in _GENERA.split() or name.startswith(_SPECIES))


def organism_of(description: str) -> Organism:
    """Read ``OX=`` and ``OS=`` of a FASTA header of UniProt.

    Examples
    --------
    >>> organism_of("Protein X OS=Escherichia coli (strain K12) OX=83333 GN=x PE=1 SV=2")
    Organism(taxon=83333, is_prokaryote=True)
    >>> organism_of("Hemoglobin subunit alpha")
    Organism(taxon=None, is_prokaryote=False)
    """
    taxon, name = _TAXON.search(description), _NAME.search(description)
    return Organism.of(int(taxon[1]) if taxon else None, name[1] if name else "")


def eukaryotic_components(ontology: Ontology) -> np.ndarray:
    """Tell which terms are components of eukaryotes alone, one bool for each term."""
    found = np.zeros(len(ontology), dtype=bool)
    for id in _EUKARYOTIC.split():
        if (term := ontology.index.get(id)) is not None:
            found[term] = True
            found[ontology.descendants(term)] = True
    component = ontology.aspect_names.index("CC")
    mask: np.ndarray = found & (ontology.aspects == component)
    return mask
