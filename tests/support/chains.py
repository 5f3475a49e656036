"""Chains of protein-like shape, made of random dihedrals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from protclip_core.io.structures.chain import Chain

#: Bond lengths, bond angles and dihedrals are those of an ideal backbone.
_BONDS = {"N": (1.329, 116.6), "CA": (1.458, 121.7), "C": (1.525, 111.0)}


def make_chain(
    length: int, seed: int = 0, *, confident: bool = True, name: str = "made", noise: float = 0.0
) -> Chain:
    """Build a chain with known phi, psi (helix or strand, residue by residue) and omega 180°."""
    rng = np.random.default_rng(seed)
    helix = np.cumsum(rng.random(length) < 0.2) % 2 == 0
    phi = np.where(helix, -60.0, -120.0) + rng.normal(0, 15, length)
    psi = np.where(helix, -45.0, 130.0) + rng.normal(0, 15, length)
    atoms = [np.array([0.0, 0, 0]), np.array([1.458, 0, 0]), np.array([2.01, 1.42, 0.1])]
    for i in range(1, length):
        atoms.append(place(atoms[-3:], *_BONDS["N"], psi[i - 1]))
        atoms.append(place(atoms[-3:], *_BONDS["CA"], 180.0))
        atoms.append(place(atoms[-3:], *_BONDS["C"], phi[i]))
    trace = np.array(atoms).reshape(length, 3, 3) + rng.normal(0, noise, (length, 3, 3))
    oxygens = [place(trace[i], 1.231, 120.5, psi[i] + 180) for i in range(length)]
    backbone = np.concatenate([trace, np.array(oxygens)[:, None]], 1).astype(np.float32)
    starts = np.zeros(length, bool)
    starts[:1] = True
    confidence = rng.uniform(40, 100, length).astype(np.float32) if confident else None
    sequence = "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), length))
    return Chain(name, sequence, backbone, starts, confidence)


def place(three: object, bond: float, angle: float, turn: float) -> np.ndarray:
    """Return the point at a bond length, bond angle and dihedral (degrees) behind three others."""
    a, b, c = np.asarray(three, np.float64)
    angle, turn = np.radians(angle), np.radians(turn)
    axis = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, axis)
    normal /= np.linalg.norm(normal)
    local = [-np.cos(angle), np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn)]
    found: np.ndarray = c + bond * (np.array([axis, np.cross(normal, axis), normal]).T @ local)
    return found


def moved(chain: Chain, turn: np.ndarray | None = None, shift: object = 0.0) -> Chain:
    """Return the chain turned (or mirrored) and shifted."""
    backbone = chain.backbone.astype(np.float64)
    if turn is not None:
        backbone = backbone @ turn.T
    return replace(chain, backbone=(backbone + np.asarray(shift)).astype(np.float32))


def random_turn(seed: int = 0) -> np.ndarray:
    """Return a random rotation, shape (3, 3)."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def without(chain: Chain, residue: int, *atoms: int) -> Chain:
    """Return the chain with atoms of a residue (0 N, 2 C, 3 O) missing."""
    backbone = chain.backbone.copy()
    backbone[residue, list(atoms)] = np.nan
    return replace(chain, backbone=backbone)


def broken(chain: Chain, *before: int) -> Chain:
    """Return the chain with residues missing before those named."""
    starts = chain.starts.copy()
    starts[list(before)] = True
    return replace(chain, starts=starts)


def ca_only(chain: Chain) -> Chain:
    """Return the chain with nothing but CA."""
    backbone = np.full_like(chain.backbone, np.nan)
    backbone[:, 1] = chain.backbone[:, 1]
    return replace(chain, backbone=backbone)
