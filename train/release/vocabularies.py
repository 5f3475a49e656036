"""Make the vocabularies that ship: tables of terms, and what a bundle knows of them.

    python -m train.release.vocabularies --data uniprot_pairs.jsonl.gz --bundle protclip-mini \
        [--tables protclip_core/bundled/vocabularies]

Terms and priors are of split ``train``; probabilities are fitted on split ``valid`` and measured on
both held-out splits, on proteins with a term of the vocabulary; for enzyme numbers also on proteins
that are plainly no enzymes, as most of a proteome has none. Whether a protein is an enzyme at all
is learned on split ``train``. Tables are written where ``--tables`` says; without it those that
ship are taken. Figures are printed as JSON.

Legend: N proteins, G terms, P joint width.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from protclip_cli.progress import make_progress
from protclip_core.errors import InputError
from protclip_core.io.atomic import write_atomic
from protclip_core.io.phrases import Phrase
from protclip_core.io.streams import open_input
from protclip_core.measure.calibration import sigmoid
from protclip_core.measure.fmax import fmax
from protclip_core.models.info import describe_model
from protclip_core.models.loading import load_model, load_text_model
from protclip_core.models.protein import ProteinModel
from protclip_core.ontology.ontology import Ontology
from protclip_core.ontology.vocabulary import class_of
from protclip_core.progress import Progress
from protclip_core.terms.build import build_go_index
from protclip_core.terms.calibration import Calibration
from protclip_core.terms.fit import fit_calibration, fit_gate, fit_lines
from protclip_core.terms.index import GoIndex
from protclip_core.terms.index_file import INDEX_FILE, add_to_bundle, find_go_index
from protclip_core.terms.scores import GoScorer
from protclip_core.terms.vocabularies import (
    SHIPPED,
    TABLES,
    shipped_ontology,
    vocabulary_file,
)
from protclip_core.weights.bundle import Bundle, open_bundle
from train.data.go_bank import log_odds
from train.loop.terminal import guarded, start_program
from train.release.go_index import embed_unit, measure
from train.release.vocabulary_terms import (
    READERS,
    ec_phrases,
    flat_phrases,
    implied_pairs,
    is_no_enzyme,
)

__all__ = ["add_vocabularies", "main", "write_tables"]

_HELD = ("valid", "test")
#: What is true of all proteins with an enzyme number, in the words of GO.
_ENZYME = "catalytic activity"
_FIELDS = ("name", "ec", "location", "keywords", "go", "reviewed", "sequence")
#: Terms are listed from this probability on.
_LISTED = 0.3
_Records = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, eq=False)
class _Held:
    """Held-out proteins that take part in a vocabulary: vectors ``(N, P)``, and their terms."""

    vectors: np.ndarray
    terms: list[np.ndarray]

    @classmethod
    def of(
        cls,
        records: Sequence[dict[str, Any]],
        vectors: np.ndarray,
        name: str,
        ontology: Ontology,
    ) -> _Held:
        """Choose of the records of a split and their vectors."""
        rows = [row for row, record in enumerate(records) if _takes_part(record, name)]
        return cls(vectors[rows], [_terms_of(records[row], name, ontology) for row in rows])


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, make what it asks for, measure, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m train.release.vocabularies", description=__doc__
    )
    parser.add_argument("--data", required=True, type=Path, help="pairs with terms and splits")
    parser.add_argument("--bundle", type=Path, help="directory of the bundle that gets the indexes")
    parser.add_argument("--tables", type=Path, help="directory where tables of terms are written")
    args = parser.parse_args(argv)
    if args.bundle is None and args.tables is None:
        parser.error("give --bundle, --tables, or both")
    start_program()
    return guarded(lambda: _run(args), kept="files that are not named above are as they were")


def _run(args: argparse.Namespace) -> None:
    records = _read(args.data)
    figures: dict[str, Any] = {}
    if args.tables is not None:
        figures["tables"] = write_tables(records["train"], args.tables)
    if args.bundle is not None:
        figures |= add_vocabularies(
            args.bundle,
            records,
            tables=args.tables or TABLES,
            progress=make_progress(quiet=False),
        )
    print(json.dumps(figures, indent=2))


def write_tables(train: Sequence[dict[str, Any]], folder: Path) -> dict[str, int]:
    """Write the table of each vocabulary, and return how many terms they have.

    Parameters
    ----------
    train
        Records of the training proteins.
    folder
        Where ``ec.tsv``, ``location.tsv`` and ``keywords.tsv`` go, with ``location_implied.tsv``
        and ``keywords_implied.tsv``; made if need be.

    Raises
    ------
    InputError
        A vocabulary without a term.
    UsageError, ResourceError
        As `protclip_core.io.atomic.write_atomic`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {}
    for name in SHIPPED:
        phrases = ec_phrases(train) if name == "ec" else flat_phrases(train, name)
        if not phrases:
            raise InputError(
                f"no term of vocabulary {name} is frequent enough", code="input.nothing_to_fit"
            )
        text = "".join(_line(phrase) for phrase in phrases)
        write_atomic(folder / f"{name}.tsv", text.encode())
        if name != "ec" and (pairs := implied_pairs(train, name)):
            told = "".join(f"{one}\t{other}\n" for one, other in pairs)
            write_atomic(folder / f"{name}_implied.tsv", told.encode())
        sizes[name] = len(phrases)
    return sizes


def add_vocabularies(
    bundle_dir: Path,
    records: _Records,
    *,
    tables: Path = TABLES,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make the indexes of all vocabularies, calibrate them, put them into a bundle, and measure.

    Parameters
    ----------
    bundle_dir
        The bundle; its manifest then names ``vocab_NAME.npz``.
    records
        Those of splits ``train``, ``valid`` and ``test``, with ``sequence``.
    tables
        Folder of the tables of terms.
    progress
        Told of texts and proteins.

    Returns
    -------
    dict
        By vocabulary: terms, training proteins, the calibration, and the figures of both held-out
        splits: those of `train.release.go_index.measure`, and ``fmax_prior``: how common terms are.

    Raises
    ------
    InputError, ModelError
        Data, a table or a bundle that cannot be used.
    """
    bundle = open_bundle(bundle_dir)
    model = load_model(str(bundle_dir), device="cpu")
    texts = load_text_model(str(bundle_dir), device="cpu")
    scale = _scale(bundle, model)
    used = {
        split: [r for r in records[split] if any(_takes_part(r, name) for name in SHIPPED)]
        for split in _HELD
    }
    vectors = {
        split: embed_unit(model, [record["sequence"] for record in used[split]], progress)
        for split in _HELD
    }
    figures: dict[str, Any] = {}
    for name in SHIPPED:
        ontology = shipped_ontology(name, tables)
        train = [_terms_of(r, name, ontology) for r in records["train"] if _takes_part(r, name)]
        counts = np.bincount(np.concatenate([*train, np.zeros(0, int)]), minlength=len(ontology))
        index = replace(
            build_go_index(texts, ontology, template="name", go_scale=scale),
            log_prior=log_odds(counts, len(train)),
        )
        held = {split: _Held.of(used[split], vectors[split], name, ontology) for split in _HELD}
        valid = held["valid"]
        if name == "ec":
            learned = _enzymes(model, records["train"], progress)
            hint = texts.embed([_ENZYME], space="joint")[0]
            gate = fit_gate(index, learned, valid.vectors, valid.terms, hint)
            index = replace(index, gate=gate)
        index = _calibrated(index, valid)
        fitted = cast(Calibration, index.calibration)
        found: dict[str, Any] = {
            "terms": len(ontology),
            "train_proteins": len(train),
            "calibration": fitted.aspects[0].to_dict(),
        }
        for split, own in held.items():
            found[split], _ = measure(index, own.vectors, own.terms, bare=name == "ec")
            found[split]["with_terms"] = sum(len(terms) > 0 for terms in own.terms)
            if name == "ec":
                found[split]["bare_listed"] = _listed_without_any(index, own)
            found[split]["fmax_prior"] = _fmax_of_prior(index.log_prior, own.terms)
        figures[name] = found
        bundle = add_to_bundle(index, bundle, vocabulary_file(name))
    return figures


def _calibrated(index: GoIndex, held: _Held) -> GoIndex:
    """Fit the line of all terms, then those of single ones, then the monotone step after both.

    Behind a gate, that is done on proteins with a term. Enzyme numbers get no lines of their own:
    each has few proteins, of few families, and over folds of whole clusters they did harm.
    """
    kept = [row for row, own in enumerate(held.terms) if len(own) or index.gate is None]
    vectors, terms = held.vectors[kept], [held.terms[row] for row in kept]
    index = replace(index, calibration=fit_calibration(index, vectors, terms))
    if index.gate is not None:
        return index
    index = replace(index, lines=fit_lines(index, vectors, terms))
    return replace(index, calibration=fit_calibration(index, vectors, terms))


def _enzymes(
    model: ProteinModel, train: Sequence[dict[str, Any]], progress: Progress | None
) -> tuple[np.ndarray, np.ndarray]:
    """Embed the training proteins that are known to be enzymes, or no enzymes; tell which."""
    used = [record for record in train if _takes_part(record, "ec")]
    vectors = embed_unit(model, [record["sequence"] for record in used], progress)
    return vectors, np.array([bool(READERS["ec"](record)) for record in used])


def _listed_without_any(index: GoIndex, held: _Held) -> float:
    """Return the share, among proteins without a term, of those with one at 0.3 or more."""
    bare = held.vectors[[row for row, own in enumerate(held.terms) if not len(own)]]
    if not len(bare):
        return float("nan")
    likeliest = GoScorer(index).all_log_odds(bare).max(axis=1)
    return float((sigmoid(likeliest) >= _LISTED).mean())


def _scale(bundle: Bundle, model: ProteinModel) -> float:
    """Return by what cosines of terms are multiplied: as in the GO index, else the model's own."""
    if INDEX_FILE in bundle.files:
        return find_go_index(describe_model(bundle.path)).go_scale
    return math.exp(float(getattr(model, "logit_scale", 0.0)))


def _read(path: Path) -> _Records:
    """Read what the splits say of names, numbers, places and keywords."""
    found: _Records = {split: [] for split in ("train", *_HELD)}
    with open_input(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                entry = json.loads(line)
                split = entry["split"]
                if split in found:
                    found[split].append({key: entry[key] for key in _FIELDS if key in entry})
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"cannot be read ({error!r})", code="input.bad_line", where=f"{path}:{number}"
                ) from error
    for split, records in found.items():
        if not records:
            raise InputError(
                f"no protein of split {split!r}", code="input.empty_split", where=str(path)
            )
    return found


def _terms_of(record: dict[str, Any], name: str, ontology: Ontology) -> np.ndarray:
    """Return the numbers of a record's terms, propagated; enzyme numbers without a term by class.

    A number that is too rare to be a term says that the protein is of the classes above it.
    """
    found = set()
    for id in READERS[name](record):
        here: str | None = id
        while name == "ec" and here is not None and here not in ontology.index:
            here = class_of(here)
        if here in ontology.index:
            found.add(ontology.index[here])
    return ontology.propagate(sorted(found))


def _takes_part(record: dict[str, Any], name: str) -> bool:
    """Tell whether it is known which terms of a vocabulary a protein has, if any."""
    return bool(READERS[name](record)) or (name == "ec" and is_no_enzyme(record))


def _fmax_of_prior(log_prior: np.ndarray, annotations: list[np.ndarray]) -> float:
    """Return Fmax of a predictor that says of every protein how common each term is."""
    some = [terms for terms in annotations if len(terms)]
    right = np.zeros((len(some), len(log_prior)), dtype=bool)
    for row, terms in enumerate(some):
        right[row, terms] = True
    said = np.broadcast_to(sigmoid(log_prior), right.shape).astype(np.float32)
    return fmax(said, right)


def _line(phrase: Phrase) -> str:
    return f"{phrase.text}\n" if phrase.id == phrase.text else f"{phrase.id}\t{phrase.text}\n"


if __name__ == "__main__":
    sys.exit(main())
