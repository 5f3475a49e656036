"""Build ProtAnno: UniProt entries to sampled, sharded pairs of proteins and texts.

Inputs are UniProt flat files (.dat), TSV exports of the UniProt website, and JSON Lines; gz,
bz2, xz, zst or plain; - is standard input. What they are is told from their content.

    python -m train.protanno.build uniprot_sprot.dat.gz uniprot_trembl.dat.gz --out protanno \
        --sampling release --plot counts.png

Standard output gets the table of entries before and after sampling; progress and messages go
to standard error. A killed build continues with --resume. Exit codes: 0 done, 2 usage,
3 bad input, 5 disk, 6 done with broken records skipped, 7 another process builds there.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from protclip_cli.boundary import say
from protclip_cli.progress import make_progress
from train.loop.terminal import guarded, log_to_terminal
from train.protanno.builder import BuildOptions, build
from train.protanno.sampling import FORMS, Sampling

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, build, and return the exit code."""
    args = _parser().parse_args(argv)
    log_to_terminal()
    shown = sys.argv[1:] if argv is None else argv
    command = shlex.join(["python", "-m", "train.protanno.build", *shown])
    return guarded(lambda: _run(args, command))


def _run(args: argparse.Namespace, command: str) -> int:
    options = BuildOptions(
        sampling=Sampling(
            form=args.sampling,
            exponents=args.exponents,
            target=args.target,
            unknown_level=args.unknown_level,
            seed=args.seed,
        ),
        keep_evidence=args.keep_evidence,
        all_names=args.all_names,
        go_only=args.go_only,
        skip_broken=args.skip_broken,
        shard_size=args.shard_size,
    )
    built = build(
        args.inputs,
        args.out,
        options,
        resume=args.resume,
        plot=args.plot,
        command=command,
        progress=make_progress(quiet=False),
    )
    print("\n".join(built.table))
    shards = len(built.index["shards"])
    say(f"{args.out}: {built.index['entries']:,} entries in {shards} shards")
    if built.broken:
        say(f"warning: {built.broken:,} broken records were skipped")
    return 6 if built.broken else 0


def _exponents(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.protanno.build",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="file of UniProt entries, or -")
    add("--out", required=True, type=Path, metavar="DIR", help="folder of the data set")
    add("--sampling", choices=FORMS, default="none", help="which entries are kept (default none)")
    add(
        "--exponents",
        type=_exponents,
        metavar="A,B,C",
        help="paper: of 1/C, R and the cluster's size (default 1,1,1); "
        "release: A,B of 1/C and R (default 3,0.5)",
    )
    add("--target", type=int, metavar="N", help="expected entries kept (paper, uniform)")
    add(
        "--unknown-level",
        type=int,
        default=4,
        metavar="C",
        help="existence level that entries without one are weighted as (default 4)",
    )
    add("--seed", type=int, default=0, help="of the sampling (default 0)")
    add("--keep-evidence", action="store_true", help="leave {ECO:...} and PubMed ids in the texts")
    add("--all-names", action="store_true", help="every name of a protein, not the recommended one")
    add("--go-only", action="store_true", help="keep entries with GO ids but no property")
    add("--skip-broken", action="store_true", help="skip records that cannot be read")
    add("--shard-size", type=int, default=10_000, metavar="N", help="entries a shard (10000)")
    add("--resume", action="store_true", help="continue an interrupted build")
    add("--plot", type=Path, metavar="PNG", help="picture of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
