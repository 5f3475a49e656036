"""Samples of the training pairs for the ablations, drawn from one build of ProtAnno.

The builder cleans all entries once (`train.protanno.builder`); from its shards each form of
sampling keeps what it would have kept in a build of its own of the training split: the draw of an
entry is a hash of seed and accession. Samples that are compared are cut to equal numbers at random.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from protclip_core.errors import InputError
from protclip_core.io.atomic import write_atomic
from train.config.run import DataConfig
from train.data.proteins import split_of
from train.protanno.builder import BuildOptions, build
from train.protanno.sampling import Sampling, new_counts
from train.protanno.shards import ShardSet

__all__ = ["FORMS", "LARGE", "WITH_STRUCTURE", "Samples", "draw_sample"]

_log = logging.getLogger(__name__)
#: The sample that the objectives are compared on; the others are for the forms of sampling.
LARGE = "large"
#: The pairs as they are; the rows of three modalities take those that have a structure.
WITH_STRUCTURE = "structures"
FORMS = ("uniform", "release", "paper")
#: Spare entries, in standard deviations of a sample's size, so that a cut makes sizes equal.
_SPARE = 4.0


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Where the samples of an ablation are; each is made when it is first needed.

    Parameters
    ----------
    pairs
        JSON Lines, or another input of the builder.
    folder
        Of the build and of the samples.
    entries
        Size of the sample for the objectives; all, where there are fewer.
    data
        Names of the splits.
    """

    pairs: Path
    folder: Path
    entries: int
    data: DataConfig

    def path(self, sample: str, seed: int) -> Path:
        """Return the file of a sample with all held-out pairs; make those of its seed if need be.

        Raises
        ------
        InputError, UsageError, ResourceError
            Those of the builder, or a form of sampling that keeps nothing.
        """
        if sample == WITH_STRUCTURE:
            return self.pairs
        path = self._path(sample, seed)
        if not path.exists():
            self._make(sample, seed)
        return path

    def _path(self, sample: str, seed: int) -> Path:
        size = f"-{self.entries}" if sample == LARGE else ""
        return self.folder / f"{sample}{size}-seed{seed}.jsonl"

    def _make(self, sample: str, seed: int) -> None:
        train, valid, clusters = self._read()
        wanted: dict[str, list[str]] = {}
        if sample == LARGE:
            whole = Sampling(form="uniform", target=len(train), seed=seed)
            wanted[LARGE] = cut(draw_sample(whole, clusters), self.entries, seed)
        else:
            release = draw_sample(Sampling(form="release", seed=seed), clusters)
            target = round(len(release) + _SPARE * len(release) ** 0.5) or 1
            wanted["release"] = release
            for form in ("uniform", "paper"):
                sampling = Sampling(form=form, target=target, seed=seed)
                wanted[form] = draw_sample(sampling, clusters)
            number = min(map(len, wanted.values()))
            if not number:
                empty = next(name for name, kept in wanted.items() if not kept)
                raise InputError(
                    f"{empty} sampling keeps none of {len(train):,} entries to train on",
                    code="input.empty_sample",
                    where=str(self.pairs),
                    hint="leave those rows out with --only, or give pairs with existence levels",
                )
            wanted = {name: cut(kept, number, seed) for name, kept in wanted.items()}
        for name, kept in wanted.items():
            _log.info("sample %s, seed %d: %d of %d entries", name, seed, len(kept), len(train))
            lines = [*(train[accession] for accession in kept), *valid]
            write_atomic(self._path(name, seed), ("\n".join(lines) + "\n").encode())

    def _read(self) -> tuple[dict[str, str], list[str], dict[str, tuple[int, int]]]:
        """Return lines to train on by accession, held-out lines, and clusters by accession."""
        build([self.pairs], self.folder / "protanno", BuildOptions(), resume=True)
        train: dict[str, str] = {}
        valid: list[str] = []
        clusters: dict[str, tuple[int, int]] = {}
        config = self.data
        for entry in ShardSet(self.folder / "protanno").entries():
            split = split_of(entry.split, entry.accession, config.holdout, config.valid_split)
            # What the trainer would choose by the accession stands there from now on.
            line = json.dumps(json.loads(entry.to_json()) | {"split": split}, ensure_ascii=False)
            if split == config.valid_split:
                valid.append(line)
            elif split == config.train_split:
                train[entry.accession] = line
                clusters[entry.accession] = entry.existence or 0, entry.coverage
        for name, found in ((config.train_split, len(train)), (config.valid_split, len(valid))):
            if not found:
                raise InputError(
                    f"no entry of split {name!r} has a text",
                    code="input.empty_split",
                    where=str(self.pairs),
                )
        return train, valid, clusters


def draw_sample(sampling: Sampling, clusters: Mapping[str, tuple[int, int]]) -> list[str]:
    """Return the accessions that a form of sampling keeps, in their order.

    Parameters
    ----------
    sampling
        The form with its seed.
    clusters
        Accession to existence level (0 unknown) and number of properties.
    """
    counts = new_counts()
    for cluster in clusters.values():
        counts[cluster] += 1
    kept: np.ndarray = sampling.keep_probabilities(counts)
    return [name for name, own in clusters.items() if sampling.draw(name) < kept[own]]


def cut(accessions: Sequence[str], number: int, seed: int) -> list[str]:
    """Return at most this many of them at random, in their order."""
    if len(accessions) <= number:
        return list(accessions)
    places = random.Random(seed).sample(range(len(accessions)), number)
    return [accessions[place] for place in sorted(places)]
