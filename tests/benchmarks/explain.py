"""Do the residues that are marked for a term matter? Deleted, shuffled, and beside a motif.

    python -m tests.benchmarks.explain --data uniprot_pairs.jsonl.gz [--proteins 200]

``--data`` has an object a line: sequence, go, split, cluster. Two tables, for what protclip marks
and for the plainer choice of projecting each residue by itself (as it is, and as a mean of
neighbours):

* on ``--proteins`` of split ``test``, how much the cosine of protein and term falls when the marked
  segments are deleted, or the letters within them are shuffled, and when segments of the same
  lengths at random places are; the two best terms of each aspect of probability 0.3 or more,
* of proteins with ATP or GTP binding and one P-loop (``[AG]xxxxGK[ST]``), outside split ``train``
  and one of a cluster, in how many half of the motif is marked, beside the share of all places at
  which as much is; half of the clusters.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from protclip_core.measure.calibration import logit
from protclip_core.models.loading import load_model
from protclip_core.models.settings import resolve_settings
from protclip_core.terms.explain import Segment, find_segments, window_shifts
from protclip_core.terms.index_file import find_go_index
from protclip_core.terms.scores import GoScorer

MOTIF, MOTIF_LENGTH = re.compile("(?=[AG]....GK[ST])"), 8
BINDS = ("GO:0005524", "GO:0005525")
#: Terms that proteins with a P-loop may lack: DNA, zinc and RNA binding, kinase, transporter.
OTHERS = ("GO:0003677", "GO:0008270", "GO:0003723", "GO:0004674", "GO:0005215")
NEIGHBOURS = (1, 7, 15)


class Explained:
    """A model whose choices of similarity are compared."""

    def __init__(self, name: str) -> None:
        self.model = load_model(name)
        self.index = find_go_index(self.model.info, None)
        self.scorer = GoScorer(self.index)
        self.settings = resolve_settings(
            self.model.info, self.model.encoder.num_layers, per_residue=True
        )

    def marks(self, sequence: str, terms: list[int]) -> dict[str, list[tuple[Segment, ...]]]:
        """Segments of each term, by the name of the choice."""
        (found,) = self.model.embed_batch([sequence], self.settings)
        assert found.residues is not None
        vectors = self.index.unit_vectors(terms).astype(np.float64).T
        shifts = window_shifts(
            self.model, found.vector, found.residues, pooling=self.settings.pooling
        )
        marked = {"window": [find_segments(effects) for effects in (shifts @ vectors).T]}
        alone = (self.model.project(found.residues) @ vectors).T
        for width in NEIGHBOURS:
            means = [smooth(one, width) for one in alone]
            # Above 0, so that only the stretched similarity decides.
            marked[f"alone {width}"] = [find_segments(one - one.min() + 1e-9) for one in means]
        return marked

    def cosine(self, sequence: str, term: int) -> float:
        vector = self.model.embed_proteins([sequence])[0]
        return float(vector @ self.index.unit_vectors([term])[0])

    def best(self, sequence: str) -> list[int]:
        """The two best terms of each aspect, of probability 0.3 or more."""
        found = self.scorer.best(self.model.embed_proteins([sequence]), 2, (0, 1, 2))
        return found.terms[found.chosen & (found.log_odds > logit(0.3))].tolist()


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    first = np.maximum(places - width // 2, 0)
    last = np.minimum(places + width // 2 + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def as_mask(segments: tuple[Segment, ...], length: int) -> np.ndarray:
    mask = np.zeros(length, dtype=bool)
    for first, last in segments:
        mask[first - 1 : last] = True
    return mask


def moved(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Segments of the same lengths at random places."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]))).reshape(-1, 2)
    lengths = rng.permutation(edges[:, 1] - edges[:, 0])
    gaps = np.sort(rng.integers(0, len(mask) - lengths.sum() + 1, len(lengths)))
    found = np.zeros(len(mask), dtype=bool)
    for gap, length, before in zip(gaps, lengths, np.cumsum(lengths) - lengths):
        found[gap + before : gap + before + length] = True
    return found


def deleted(sequence: str, mask: np.ndarray, _rng: np.random.Generator) -> str:
    return "".join(letter for letter, out in zip(sequence, mask) if not out)


def shuffled(sequence: str, mask: np.ndarray, rng: np.random.Generator) -> str:
    letters, places = np.array(list(sequence)), np.flatnonzero(mask)
    letters[places] = letters[rng.permutation(places)]
    return "".join(letters)


def print_losses(explained: Explained, sequences: list[str], rng: np.random.Generator) -> None:
    """The first table."""
    rows = defaultdict(list)
    for sequence in sequences:
        terms = explained.best(sequence)
        for name, marks in explained.marks(sequence, terms).items():
            for term, segments in zip(terms, marks):
                mask = as_mask(segments, len(sequence))
                row = [mask.mean()]
                if segments:
                    whole = explained.cosine(sequence, term)
                    for change in (deleted, shuffled):
                        for places in (mask, moved(mask, rng)):
                            rest = change(sequence, places, rng)
                            row.append(whole - explained.cosine(rest, term))
                rows[name].append(row)
    print("choice pairs unmarked marked deleted random above shuffled random above")
    for name, all_rows in rows.items():
        kept = np.array([row for row in all_rows if len(row) > 1])
        marked, cut, cut_random, mixed, mixed_random = kept.T
        shares = ((cut > cut_random).mean(), (mixed > mixed_random).mean())
        figures = [1 - len(kept) / len(all_rows), marked.mean(), cut.mean(), cut_random.mean()]
        figures += [shares[0], mixed.mean(), mixed_random.mean(), shares[1]]
        print(name, len(all_rows), *(f"{value:.4f}" for value in figures))


def print_motifs(explained: Explained, proteins: list[dict]) -> None:
    """The second table."""
    rows = defaultdict(list)
    numbers = explained.index.ontology.index
    for protein in proteins:
        sequence = protein["sequence"].upper()
        (place,) = [match.start() for match in MOTIF.finditer(sequence)]
        own = [id for id in BINDS if id in protein["go"]]
        ids = own + [id for id in OTHERS if id not in protein["go"]]
        for name, marks in explained.marks(sequence, [numbers[id] for id in ids]).items():
            for id, segments in zip(ids, marks):
                mask = as_mask(segments, len(sequence)).astype(int)
                half = np.convolve(mask, np.ones(MOTIF_LENGTH), "valid") >= MOTIF_LENGTH / 2
                rows[name, id if id in own else "lacking"].append((half[place], half.mean()))
    print("choice term pairs half_of_motif chance")
    for (name, id), found in sorted(rows.items()):
        print(name, id, len(found), *(f"{value:.3f}" for value in np.mean(found, axis=0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="protclip-mini")
    parser.add_argument("--proteins", type=int, default=200)
    arguments = parser.parse_args()
    test, loops = [], defaultdict(list)
    with gzip.open(arguments.data, "rt") as file:
        for protein in map(json.loads, file):
            sequence = protein["sequence"].upper()
            if protein["split"] == "train" or not protein.get("go") or len(sequence) > 1000:
                continue
            if protein["split"] == "test" and len(sequence) >= 60:
                test.append(sequence)
            if set(BINDS) & set(protein["go"]) and len(MOTIF.findall(sequence)) == 1:
                loops[protein["cluster"]].append(protein)
    explained, draw = Explained(arguments.model), random.Random(0)
    print_losses(explained, draw.sample(test, arguments.proteins), np.random.default_rng(0))
    clusters = sorted(loops)
    draw.shuffle(clusters)
    print_motifs(explained, [draw.choice(loops[cluster]) for cluster in clusters[1::2]])


if __name__ == "__main__":
    main()
