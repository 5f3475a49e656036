"""Temperature factors are pLDDT where, and only where, the file is a prediction."""

from __future__ import annotations

import dataclasses

import pytest

from protclip_core.io.structures import read_structures
from tests.support.structures import mmcif, pdb, peptide

SEQUENCE = "MKTAYIAKQRQ"
B = [float(30 + 6 * place) for place in range(len(SEQUENCE))]
ATOMS = peptide(SEQUENCE, b=B)
RISING = [dataclasses.replace(a, b=a.b + 0.5 * place % 2) for place, a in enumerate(ATOMS)]
CELL = "CRYST1   50.000   60.000   70.000  90.00  90.00  90.00 P 21 21 21    4\n"
NO_CELL = "CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1\n"
ALPHAFOLD = "TITLE     ALPHAFOLD MONOMER V2.0 PREDICTION FOR HAEMOGLOBIN (P69905)\n"
HELPED = "TITLE     CRYSTAL STRUCTURE SOLVED WITH AN ALPHAFOLD MODEL\n"
METRIC = "loop_\n_ma_qa_metric.id\n_ma_qa_metric.mode\n_ma_qa_metric.name\n1 local pLDDT\n#\n"
OTHER = METRIC.replace("pLDDT", "QMEANDisCo")

PREDICTED = {
    "AlphaFold PDB": pdb(ATOMS, header=ALPHAFOLD + NO_CELL),
    "by atoms": pdb(RISING, header=ALPHAFOLD),
    "ESMFold": pdb(RISING, header="PARENT N/A\n"),
    "ESM Atlas": pdb(RISING, header="TITLE     ESMFOLD V1 PREDICTION FOR INPUT\n"),
    "ColabFold, atoms alone": pdb(ATOMS, header="MODEL     1\n", end="ENDMDL\nEND\n"),
    "ModelCIF": mmcif(RISING, header=METRIC),
    "remark": pdb(RISING, header="REMARK   1 PREDICTED BY OPENFOLD\n"),
}
OBSERVED = {
    "X-ray": pdb(ATOMS, header="EXPDTA    X-RAY DIFFRACTION\n" + CELL),
    "X-ray, helped by AlphaFold": pdb(ATOMS, header=HELPED + "EXPDTA    X-RAY DIFFRACTION\n"),
    "resolution": pdb(ATOMS, header=HELPED + "REMARK   2 RESOLUTION.    1.90 ANGSTROMS.\n"),
    "cell": pdb(ATOMS, header=CELL),
    "atoms that differ": pdb(RISING),
    "all equal": pdb(peptide(SEQUENCE)),
    "all zero": pdb(peptide(SEQUENCE, b=[0.0] * len(SEQUENCE)), header=ALPHAFOLD),
    "beyond 100": pdb(peptide(SEQUENCE, b=[b + 50 for b in B]), header=ALPHAFOLD),
    "homology model": pdb(ATOMS, header="EXPDTA    THEORETICAL MODEL (SWISS-MODEL SERVER)\n"),
    "another score": mmcif(RISING, header=OTHER),
    "mmCIF, EM": mmcif(ATOMS, header="_exptl.method 'ELECTRON MICROSCOPY'\n"),
    "remarks of a modeller": pdb(ATOMS, header="REMARK   6 MODELLER OBJECTIVE FUNCTION\n"),
}


def confidence(tmp_path, text):
    path = tmp_path / "alphafold-model.pdb"  # the name says nothing
    path.write_text(text)
    (record,) = read_structures([path])
    return record.chain.confidence


@pytest.mark.parametrize("text", PREDICTED.values(), ids=PREDICTED)
def test_a_prediction_is_told_by_its_content(tmp_path, text):
    assert confidence(tmp_path, text).tolist() == pytest.approx(B, abs=0.6)


@pytest.mark.parametrize("text", OBSERVED.values(), ids=OBSERVED)
def test_no_other_structure_has_plddt(tmp_path, text):
    assert confidence(tmp_path, text) is None


def test_a_scale_to_one_becomes_one_to_a_hundred(tmp_path):
    text = pdb(peptide(SEQUENCE, b=[b / 100 for b in B]), header="PARENT N/A\n")
    assert confidence(tmp_path, text).tolist() == pytest.approx(B, abs=0.6)
