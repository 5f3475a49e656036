"""The table of the objectives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from train.config.tables import Above0, Count, Natural, NotNegative, Share

__all__ = ["ObjectivesConfig"]

_PAIRS = ("sequence_structure", "sequence_text", "structure_text")
_INTRA = ("intra_sequence", "intra_structure", "intra_text")


@dataclass(frozen=True, kw_only=True)
class ObjectivesConfig:
    """Weights of the objectives (0 switches one off: neither it nor its heads are there)."""

    gc: NotNegative = 1.0
    bsr: NotNegative = 0.7
    mlm: NotNegative = 0.3
    pda: NotNegative = 1.0
    #: Beyond the paper: proteins against a bank of GO terms; needs the table of GO.
    go: NotNegative = 0.0
    #: Each objective on a pass of its own, as in the paper (whole, masked and segment-masked
    #: proteins); or all on one pass at about a third of the cost: then a share of the proteins
    #: is masked for MLM, a share of the others in segments for BSR, and GC, PDA and GO see them
    #: all like that.
    shared_pass: bool = False
    masked_proteins: Share = 0.5
    segmented_proteins: Share = 0.25
    #: Share of the residues of a protein that are masked, for MLM and for BSR.
    mask_share: Share = 0.15
    #: Longest run of BSR, in residues.
    longest_run: Natural = 10
    #: Each rank its own rows of the contrast, or all of them (the result is the same).
    gc_form: Literal["local", "global"] = "local"
    #: PDA: residues less like a property than this have no part in it (theta), temperature of
    #: the choice of prototypes, and whether that choice is a random draw while training.
    theta: Share = 0.3
    prototype_temperature: Above0 = 0.9
    gumbel: bool = True
    #: Start of the temperature of GC and GO (its inverse is learnt).
    temperature: Above0 = 0.07
    #: ``softmax`` ranks the terms of a protein, ``sigmoid`` makes scores comparable; so does
    #: ``prior``, each term beginning at its share of the proteins (`train.objectives.prior`).
    go_form: Literal["softmax", "sigmoid", "prior"] = "softmax"
    #: Of ``prior``: weight of the part that ranks the terms without their prior.
    go_rank_weight: NotNegative = 0.5
    #: Of ``prior``: weights of the terms of MF, BP and CC in its logistic part: most terms are BP.
    go_aspect_weights: tuple[NotNegative, NotNegative, NotNegative] = (1.0, 1.0, 1.0)
    #: Of ``prior``: wrong terms of a batch, drawn anew for each and each rank; they stand for all
    #: others. 0: the whole bank.
    go_negatives: Count = 0
    #: Start of the factor of the cosines of GO; default: 1 / temperature.
    go_scale: Above0 | None = None
    #: Terms with fewer training proteins (propagated) are not in the bank.
    go_min_count: Natural = 10
    #: What a term says of itself: its name, ``name: definition``, the sum of both vectors, or
    #: the sum of its name and two wordings of ``[text.augment]``.
    go_text: Literal["name", "definition", "both", "wordings"] = "name"
    #: Steps after which the bank's texts are encoded anew; 0: only once.
    go_every: int = 0
    #: Three modalities, pair by pair (alpha, beta, gamma of Align-Pro); they need ``[structure]``
    #: and ``[data] structures``, but for the second one.
    sequence_structure: NotNegative = 0.0
    sequence_text: NotNegative = 0.0
    structure_text: NotNegative = 0.0
    #: Two views of each protein within a modality: residues masked; pieces of the structure; texts.
    intra_sequence: NotNegative = 0.0
    intra_structure: NotNegative = 0.0
    intra_text: NotNegative = 0.0
    #: Beyond the paper: the type of each residue, told from the backbone around it.
    design: NotNegative = 0.0
    #: Start of the temperature of each of the six.
    pair_temperature: Above0 = 0.07
    #: Share of the residues that are masked in the second view of a sequence.
    view_mask_share: Share = 0.15

    def __post_init__(self) -> None:
        if not any(self.weights.values()):
            raise ValueError("every objective is switched off")

    @property
    def on_residues(self) -> bool:
        """Whether any objective looks at residues, not at whole proteins alone."""
        return bool(self.mlm or self.bsr or self.pda)

    @property
    def weights(self) -> dict[str, float]:
        """Name to weight."""
        names = ("gc", "bsr", "mlm", "pda", "go", *_PAIRS, *_INTRA, "design")
        return {name: getattr(self, name) for name in names}

    @property
    def on_structures(self) -> bool:
        """Whether any objective looks at structures."""
        on = (self.sequence_structure, self.structure_text, self.intra_structure, self.design)
        return any(on)

    @property
    def on_texts(self) -> bool:
        """Whether any objective looks at the texts of proteins as wholes."""
        return bool(self.gc or self.sequence_text or self.structure_text or self.intra_text)
