"""Which objectives there are, and which of them a configuration switches on."""

from __future__ import annotations

from train.config.run import ObjectivesConfig
from train.data.go_bank import GoBank
from train.objectives.bsr import StaticSegments
from train.objectives.design import Design
from train.objectives.gc import GlobalContrast
from train.objectives.go import TermContrast
from train.objectives.intra import IntraSequence, IntraStructure, IntraText
from train.objectives.mlm import MaskedResidues
from train.objectives.objective import Objective
from train.objectives.pairs import SequenceStructure, SequenceText, StructureText
from train.objectives.pda import DynamicSegments

__all__ = ["OBJECTIVES", "make_objectives", "outputs_read", "trained_parts"]

#: In the order in which they are computed and added up.
OBJECTIVES: dict[str, type[Objective]] = {
    kind.name: kind
    for kind in (
        GlobalContrast,
        StaticSegments,
        MaskedResidues,
        DynamicSegments,
        TermContrast,
        SequenceStructure,
        SequenceText,
        StructureText,
        IntraSequence,
        IntraStructure,
        IntraText,
        Design,
    )
}


def make_objectives(config: ObjectivesConfig, bank: GoBank | None) -> list[Objective]:
    """Make the objectives whose weight is above 0; without a bank, the one of GO is left out."""
    kinds = [kind for name, kind in OBJECTIVES.items() if config.weights[name]]
    return [kind(config, bank) for kind in kinds if kind is not TermContrast or bank is not None]


def outputs_read(config: ObjectivesConfig) -> frozenset[str]:
    """Return the names of the outputs that the objectives of a run read."""
    on = [kind.reads for name, kind in OBJECTIVES.items() if config.weights[name]]
    return frozenset().union(*on)


def trained_parts(config: ObjectivesConfig) -> frozenset[str]:
    """Return the parts of the model that the objectives of a run can move."""
    on = [kind.trains for name, kind in OBJECTIVES.items() if config.weights[name]]
    return frozenset().union(*on)
