"""The Gene Ontology: releases in, terms and their ancestors, annotations in and out."""

from protclip_core.ontology.annotations import Annotations, Provenance
from protclip_core.ontology.evidence import EVIDENCE_GROUPS, EXPERIMENTAL, evidence_codes
from protclip_core.ontology.gaf import read_annotation_pairs, read_gaf
from protclip_core.ontology.gaf_write import GafRow, GafStyle, gaf_rows, write_gaf
from protclip_core.ontology.go_table import read_go_table
from protclip_core.ontology.obo import read_obo
from protclip_core.ontology.ontology import Ontology
from protclip_core.ontology.ontology_file import (
    from_arrays,
    to_arrays,
)
from protclip_core.ontology.slims import SlimMap, map_to_slim, read_slim
from protclip_core.ontology.terms import ASPECTS, RELATIONS, Obsolete, Resolutions, Resolved

__all__ = [
    "ASPECTS",
    "EVIDENCE_GROUPS",
    "EXPERIMENTAL",
    "RELATIONS",
    "Annotations",
    "GafRow",
    "GafStyle",
    "Obsolete",
    "Ontology",
    "Provenance",
    "Resolutions",
    "Resolved",
    "SlimMap",
    "evidence_codes",
    "from_arrays",
    "gaf_rows",
    "map_to_slim",
    "read_annotation_pairs",
    "read_gaf",
    "read_go_table",
    "read_obo",
    "read_slim",
    "to_arrays",
    "write_gaf",
]
