"""The ablations of the paper at mini scale: the objectives, and property-driven sampling.

    python -m train.ablate --data uniprot_pairs.jsonl.gz --go go_terms.tsv.gz --text BUNDLE \
        --out runs/ablation [--seeds 1,2] [--steps N] [--only gc,all]

BUNDLE is a frozen text tower, as train.pretrain_text leaves it in its run folder. All rows train
the same small encoder (train/configs/ablation.toml) for the same steps on batches of the same size;
rows of objectives see the same proteins in the same order. Rows:

    gc gc+bsr gc+pda gc+mlm all      objectives, on a uniform sample of --entries training pairs
    uniform release paper            all objectives, on samples of the forms of train.protanno:
                                     as many pairs each as the release's form keeps

Standard output gets the table, with mean and range over the seeds and what is noise; it is also
in OUT as ablation.md, and every figure in ablation.json. The figures are those of the last
evaluation of each run, on pairs of the split `valid`; Fmax is by the cosine of protein and GO name,
over terms that ten pairs of the own sample have. Seconds are those of training.

What is finished is not run again, and a run that was killed goes on from its checkpoint: give the
same command once more. Exit codes: those of train.pretrain.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import hashlib
import json
import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from protclip_core.engines.memory import keep_freed_memory
from protclip_core.errors import ModelError, UsageError
from protclip_core.io.atomic import file_lock, write_atomic
from protclip_core.models.info import describe_model
from train.ablation.runs import run_once
from train.ablation.samples import FORMS, LARGE, Samples
from train.ablation.table import Found, content, markdown
from train.config.run import RunConfig, load_config
from train.loop.terminal import Lines, guarded, say

__all__ = ["ROWS", "Row", "ablate", "main"]

_RECIPE = Path(__file__).parent / "configs" / "ablation.toml"
_KEPT = "finished runs and checkpoints are kept, go on with the same command"
_ALL = ("gc", "bsr", "mlm", "pda")
#: Sampled entries of the objectives' rows: reading and encoding more would take half of the time.
_ENTRIES = 10_000


@dataclass(frozen=True)
class Row:
    """A row of the table: what is trained, on which sample, and what it is compared with."""

    name: str
    title: str
    objectives: tuple[str, ...]
    sample: str
    against: str | None


ROWS = (
    Row("gc", "GC", ("gc",), LARGE, None),
    Row("gc+bsr", "GC + BSR", ("gc", "bsr"), LARGE, "gc"),
    Row("gc+pda", "GC + PDA", ("gc", "pda"), LARGE, "gc"),
    Row("gc+mlm", "GC + MLM", ("gc", "mlm"), LARGE, "gc"),
    Row("all", "all objectives", _ALL, LARGE, "gc"),
    *(
        Row(form, f"all, {form} sample", _ALL, form, None if form == "uniform" else "uniform")
        for form in FORMS
    ),
)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, train what is missing, and return the exit code."""
    args = _parser().parse_args(argv)
    for name in ("train", "protclip_core"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [Lines()], False
        logger.setLevel(logging.INFO)
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    command = shlex.join(
        ["python", "-m", "train.ablate", *(sys.argv[1:] if argv is None else argv)]
    )
    return guarded(lambda: _run(args, command), kept=_KEPT)


def _run(args: argparse.Namespace, command: str) -> int:
    if args.steps is not None and args.steps < 1:
        raise UsageError(f"must be 1 or more, got {args.steps}", where="--steps")
    if args.entries < 2:
        raise UsageError(f"must be 2 or more, got {args.entries}", where="--entries")
    lines = ablate(
        load_config(args.config),
        data_path=args.data,
        go_path=args.go,
        text=args.text,
        out=args.out,
        seeds=_seeds(args.seeds),
        rows=_rows(args.only),
        steps=args.steps,
        entries=args.entries,
        command=command,
    )
    print("\n".join(lines))
    return 0


def ablate(  # noqa: PLR0913
    recipe: RunConfig,
    *,
    data_path: Path,
    go_path: Path,
    text: str,
    out: Path,
    seeds: Sequence[int] = (1, 2),
    rows: Sequence[Row] = ROWS,
    steps: int | None = None,
    entries: int = _ENTRIES,
    command: str = "",
) -> list[str]:
    """Train what is not finished yet, and write the table.

    Parameters
    ----------
    recipe
        Model, data and training of every run; the rows change objectives, pairs and seed.
    data_path, go_path
        Pairs with existence levels, and the table of GO.
    text
        Name or path of a model with a text encoder and a text projection.
    out
        Folder of the runs.
    seeds
        Of the samples and of training: a run for each.
    rows
        What to compare.
    steps
        In place of the recipe's.
    entries
        Pairs that the rows of objectives are trained on.
    command
        For ``ablation.json``.

    Returns
    -------
    list of str
        Lines of Markdown.

    Raises
    ------
    UsageError
        A text tower that does not fit, or a folder with runs of other settings.
    BusyError
        Another process works there.
    ProtclipError
        Whatever ends a run early.
    """
    for path in (data_path, go_path):
        if not path.is_file():
            raise ModelError("no such file", where=str(path), hint="give --data and --go")
    recipe = _with_text(recipe, text, steps)
    out.mkdir(parents=True, exist_ok=True)
    # Absolute, because the runs note what they are of.
    data_path, go_path, out = data_path.resolve(), go_path.resolve(), out.resolve()
    samples = Samples(pairs=data_path, folder=out / "data", entries=entries, data=recipe.data)
    with file_lock(out / "ablation.json"):
        _check_inputs(out, text, go_path)
        found = _train_all(recipe, samples, go_path, out, seeds, rows)
        settings = {"command": command, "steps": recipe.train.max_steps, "seeds": list(seeds)}
        lines = markdown(found, _heading(found, recipe, data_path))
        text_of = json.dumps(content(found, settings), indent=2) + "\n"
        write_atomic(out / "ablation.md", ("\n".join(lines) + "\n").encode())
        write_atomic(out / "ablation.json", text_of.encode())
    return lines


def _check_inputs(out: Path, text: str, go_path: Path) -> None:
    """Refuse what stands at the same paths but is not what earlier runs in this folder had.

    The builder does so for the pairs, and each run for its settings.
    """
    info = describe_model(text)
    assert info.bundle is not None
    digest = hashlib.sha256(go_path.read_bytes()).hexdigest()
    facts = {"--text": info.bundle.weights_sha256, "--go": digest}
    path = out / "inputs.json"
    if path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))
        for option in facts:
            if known[option] != facts[option]:
                raise UsageError(
                    f"{option} is not what the runs there were begun with",
                    where=str(out),
                    hint="give it again, or another --out",
                )
    write_atomic(path, (json.dumps(facts, indent=2) + "\n").encode())


def _train_all(
    recipe: RunConfig,
    samples: Samples,
    go_path: Path,
    out: Path,
    seeds: Sequence[int],
    rows: Sequence[Row],
) -> list[Found]:
    """Train what is not finished, and return what each row found."""
    runs: dict[str, dict[int, dict[str, float]]] = {row.name: {} for row in rows}
    entries: dict[str, dict[int, int]] = {row.name: {} for row in rows}
    # Seed by seed, so that all rows are there early.
    plan = [(row, seed) for seed in seeds for row in rows]
    for number, (row, seed) in enumerate(plan, start=1):
        path = samples.path(row.sample, seed)
        config = _config_of(row, seed, recipe, path, go_path)
        say(f"run {number} of {len(plan)}: {row.title}, seed {seed}")
        runs[row.name][seed] = run_once(config, out)
        entries[row.name][seed] = _count(path, recipe.data.train_split)
    return [
        Found(
            name=row.name,
            title=row.title,
            against=row.against,
            entries=entries[row.name],
            runs=runs[row.name],
        )
        for row in rows
    ]


def _config_of(row: Row, seed: int, recipe: RunConfig, pairs: Path, go: Path) -> RunConfig:
    """Return the configuration of a run."""
    on = recipe.objectives
    weights: dict[str, Any] = {
        name: weight if name in row.objectives else 0.0 for name, weight in on.weights.items()
    }
    return dataclasses.replace(
        recipe,
        name=f"{row.name}-seed{seed}",
        data=dataclasses.replace(recipe.data, pairs=str(pairs), go=str(go)),
        objectives=dataclasses.replace(on, **weights),
        train=dataclasses.replace(recipe.train, seed=seed),
    )


def _with_text(recipe: RunConfig, text: str, steps: int | None) -> RunConfig:
    """Put a text tower in, to whose form and width the projections are made."""
    info = describe_model(text)
    if info.bundle is None or not info.text_encoder or info.joint_dim is None:
        raise UsageError(
            f"model {info.name} has no text encoder with a projection",
            where="--text",
            hint="give the bundle that python -m train.pretrain_text leaves in its run folder",
        )
    form = info.projection
    model = dataclasses.replace(
        recipe.model,
        projection_dim=info.joint_dim,
        projection="plain" if form is None else "skip",
        projection_hidden=recipe.model.projection_hidden if form is None else form.hidden_dim,
        projection_dropout=0.0 if form is None else recipe.model.projection_dropout,
    )
    number = steps or recipe.train.max_steps
    if number is None:
        raise UsageError("the recipe has no max_steps", where="--config", hint="give --steps")
    train = dataclasses.replace(
        recipe.train, max_steps=number, max_epochs=None, max_minutes=None, evaluate_every=number
    )
    weights = str(info.path.resolve())
    words = dataclasses.replace(recipe.text, weights=weights, frozen=True, projection_frozen=True)
    return dataclasses.replace(recipe, text=words, model=model, train=train)


def _heading(found: Sequence[Found], recipe: RunConfig, data_path: Path) -> str:
    held_out = int(max(run["pairs"] for row in found for run in row.runs.values()))
    return (
        f"{recipe.train.max_steps} steps of {recipe.data.max_pairs} pairs of {data_path.name}, "
        f"crops of {recipe.data.crops[0]} residues; measured on {held_out:,} held-out pairs "
        "(p→t: text among them by protein)."
    )


def _count(path: Path, split: str) -> int:
    with path.open(encoding="utf-8") as file:
        return sum(json.loads(line)["split"] == split for line in file)


def _rows(only: str | None) -> list[Row]:
    """Return the rows that are asked for, in the order of the table."""
    if only is None:
        return list(ROWS)
    known = [row.name for row in ROWS]
    wanted = [name.strip() for name in only.split(",")]
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}" if near else f"one of {', '.join(known)}"
            raise UsageError(f"unknown row {name!r}", where="--only", hint=hint)
    return [row for row in ROWS if row.name in wanted]


def _seeds(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise UsageError(f"{text!r} is no list of different numbers", where="--seeds")
    return [int(part) for part in parts]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.ablate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", required=True, type=Path, help="pairs: JSON Lines, or an input of the builder")
    add("--go", required=True, type=Path, help="table of GO terms")
    add("--text", required=True, metavar="BUNDLE", help="frozen text tower, by name or path")
    add("--out", required=True, type=Path, help="folder of runs and table")
    add("--seeds", default="1,2", help="a run of each row for each (default 1,2)")
    add("--steps", type=int, help="steps of a run (default: the recipe's)")
    add("--only", metavar="NAME,...", help="these rows alone")
    add("--entries", type=int, default=_ENTRIES, help="sample of the objectives (default 10000)")
    add("--config", type=Path, default=_RECIPE, help="recipe (default: configs/ablation.toml)")
    add("--threads", type=int, default=1, help="processor threads (default 1)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
