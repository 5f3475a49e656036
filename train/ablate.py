"""The ablations of the paper at mini scale: the objectives, and property-driven sampling.

    python -m train.ablate --data uniprot_pairs.jsonl.gz --go go_terms.tsv.gz --text BUNDLE \
        --out runs/ablation [--seeds 1,2] [--steps N] [--only gc,all]

BUNDLE is a frozen text tower, as train.pretrain_text leaves it in its run folder. All rows train
the same small encoder (train/configs/ablation.toml) for the same steps on batches of the same size;
rows of objectives see the same proteins in the same order. Rows:

    gc gc+bsr gc+pda gc+mlm all      objectives, on a uniform sample of --entries training pairs
    uniform release paper            all objectives, on samples of the forms of train.protanno:
                                     as many pairs each as the release's form keeps
    three three-function three-structure three-augmentation three-intra
                                     sequence, structure and text, on the pairs of --structures:
                                     all, and without each part; their text projection learns

Standard output gets the table, with mean and range over the seeds and what is noise; it is also
in OUT as ablation.md, and every figure in ablation.json. The figures are those of the last
evaluation of each run, on pairs of split `valid`; Fmax is by the cosine of protein and GO name,
over terms that at least ten pairs of the sample have. Seconds are of training.

Finished runs are not repeated, and a killed run continues from its checkpoint: give the same
command again. Exit codes are as in train.pretrain.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from protclip_core.errors import ModelError, UsageError
from protclip_core.io.atomic import file_lock, write_atomic
from train.ablation.rows import ROWS, Row, choose_rows, read_seeds, with_text
from train.ablation.runs import check_inputs, heading, train_all
from train.ablation.samples import Samples
from train.ablation.table import content, markdown
from train.config.run import RunConfig, load_config
from train.loop.terminal import guarded, start_program

__all__ = ["ROWS", "Row", "ablate", "main"]

_RECIPE = Path(__file__).parent / "configs" / "ablation.toml"
_KEPT = "finished runs and checkpoints are kept, continue with the same command"
#: Sampled entries of the objectives' rows: reading and encoding more would take half of the time.
_ENTRIES = 10_000


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, train what is missing, and return the exit code."""
    args = _parser().parse_args(argv)
    start_program(args.threads)
    command = shlex.join(
        ["python", "-m", "train.ablate", *(sys.argv[1:] if argv is None else argv)]
    )
    return guarded(lambda: _run(args, command), kept=_KEPT)


def _run(args: argparse.Namespace, command: str) -> None:
    for option, value, least in (("--steps", args.steps, 1), ("--entries", args.entries, 2)):
        if value is not None and value < least:
            reason = f"must be {least} or more, got {value}"
            raise UsageError(reason, code="usage.bad_value", where=option)
    lines = ablate(
        load_config(args.config),
        data_path=args.data,
        go_path=args.go,
        text=args.text,
        out=args.out,
        seeds=read_seeds(args.seeds),
        rows=choose_rows(args.only, structures=args.structures is not None),
        structures=args.structures,
        steps=args.steps,
        entries=args.entries,
        command=command,
    )
    print("\n".join(lines))


def ablate(
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
    structures: Path | None = None,
    command: str = "",
) -> list[str]:
    """Train what is not finished yet, and write the table.

    The recipe is the model, data and training of every run; rows change its objectives, pairs and
    seed, ``steps`` replaces its own. ``text`` names a model with a text encoder and projection,
    ``entries`` is the size of the sample that the rows of objectives are trained on, and
    ``command`` is noted in ``ablation.json``. Returns lines of Markdown.

    Raises
    ------
    UsageError
        A text tower that does not fit, or a folder with runs of other settings.
    BusyError
        Another process works there.
    """
    for path in (data_path, go_path):
        if not path.is_file():
            raise ModelError(
                "no such file", code="model.not_found", where=str(path), hint="give --data and --go"
            )
    recipe = with_text(recipe, text, steps)
    if structures is not None:
        kept = dataclasses.replace(recipe.data, structures=str(structures.resolve()))
        recipe = dataclasses.replace(recipe, data=kept)
    out.mkdir(parents=True, exist_ok=True)
    # Absolute, because the runs note what they are of.
    data_path, go_path, out = data_path.resolve(), go_path.resolve(), out.resolve()
    samples = Samples(pairs=data_path, folder=out / "data", entries=entries, data=recipe.data)
    with file_lock(out / "ablation.json"):
        check_inputs(out, text, go_path)
        found = train_all(recipe, samples, go_path, out, seeds, rows)
        settings = {"command": command, "steps": recipe.train.max_steps, "seeds": list(seeds)}
        lines = markdown(found, heading(found, recipe, data_path))
        text_of = json.dumps(content(found, settings), indent=2) + "\n"
        write_atomic(out / "ablation.md", ("\n".join(lines) + "\n").encode())
        write_atomic(out / "ablation.json", text_of.encode())
    return lines


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
    add("--structures", type=Path, help="structures, for the rows of three modalities")
    add("--seeds", default="1,2", help="a run of each row for each (default 1,2)")
    add("--steps", type=int, help="steps of a run (default: the recipe's)")
    add("--only", metavar="NAME,...", help="these rows alone")
    add("--entries", type=int, default=_ENTRIES, help="sample of the objectives (default 10000)")
    add("--config", type=Path, default=_RECIPE, help="recipe (default: configs/ablation.toml)")
    add("--threads", type=int, default=1, help="processor threads (default 1)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
