"""The runs of an ablation: each trained once, whatever kills it on the way."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from protclip_cli.boundary import say
from protclip_core.errors import UsageError
from protclip_core.io.atomic import write_atomic
from protclip_core.io.streams import open_input
from protclip_core.models.info import describe_model
from train import pretrain
from train.ablation.rows import Row, config_of
from train.ablation.samples import Samples
from train.ablation.table import FIGURES, Found
from train.config.run import RunConfig, changed_keys, load_saved_config
from train.loop import checkpoint
from train.loop.run_folder import CONFIG
from train.loop.run_log import read_metrics

__all__ = ["check_inputs", "heading", "run_once", "train_all"]


def run_once(config: RunConfig, out: Path) -> dict[str, float]:
    """Train a run to its end, unless it is there, and return what it found.

    Parameters
    ----------
    config
        The run; its name is that of its folder.
    out
        Folder of all runs.

    Returns
    -------
    dict
        `train.ablation.table.FIGURES` as far as it has them, and ``pairs`` held out.

    Raises
    ------
    UsageError
        It was started with other settings.
    ProtclipError
        Whatever ends a training early.
    """
    run_dir = out / config.name
    saved = run_dir / CONFIG
    if saved.exists():
        changes = changed_keys(load_saved_config(saved).to_dict(), config.to_dict())
        if changes:
            raise UsageError(
                f"was started with other settings ({changes[0]})",
                code="usage.other_settings",
                where=str(run_dir),
                hint="use the same settings, or another --out",
            )
    found = _finished(config, run_dir)
    if found is None:
        resume = _newest(run_dir) is not None
        if not resume:
            # Killed before its first checkpoint: begun anew, but for the texts that it has kept.
            saved.unlink(missing_ok=True)
            _share_texts(config, out)
        pretrain.train(config, run_dir=run_dir, resume=resume)
        found = _finished(config, run_dir)
        assert found is not None
    return found


def _finished(config: RunConfig, run_dir: Path) -> dict[str, float] | None:
    """Return the figures of a finished run; ``None`` where it is not."""
    newest, last = _newest(run_dir), config.train.max_steps
    if newest is None:
        return None
    progress = checkpoint.read_progress(newest)
    rows = [row for row in read_metrics(run_dir) if "evaluation" in row and row["step"] == last]
    if progress.step != last or not rows:
        return None
    figures = {name: rows[-1][name] for name in FIGURES if name in rows[-1]}
    return {**figures, "pairs": rows[-1]["pairs"], "seconds": progress.seconds}


def _newest(run_dir: Path) -> Path | None:
    if not (run_dir / CONFIG).exists() or not any(run_dir.glob("step-*")):
        return None
    return checkpoint.find(run_dir)


def _share_texts(config: RunConfig, out: Path) -> None:
    """Take over what runs of the same sample and seed have kept; this one looks whether it fits."""
    run_dir = out / config.name
    for other in sorted(out.glob(f"*/{CONFIG}")):
        with suppress(UsageError):
            theirs = load_saved_config(other)
            if other.parent == run_dir or (theirs.data.pairs, theirs.train.seed) != (
                config.data.pairs,
                config.train.seed,
            ):
                continue
            for table in sorted(other.parent.glob("*.npy")):
                facts = table.with_suffix(".json")
                # They are written last, and taken over last.
                if facts.exists():
                    run_dir.mkdir(exist_ok=True)
                    _link(table, run_dir / table.name)
                    _link(facts, run_dir / facts.name)


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def check_inputs(out: Path, text: str, go_path: Path) -> None:
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
                    f"{option} differs from what the runs there started with",
                    code="usage.other_settings",
                    where=str(out),
                    hint="give it again, or another --out",
                )
    write_atomic(path, (json.dumps(facts, indent=2) + "\n").encode())


def train_all(
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
        config = config_of(row, seed, recipe, path, go_path)
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


def heading(found: Sequence[Found], recipe: RunConfig, data_path: Path) -> str:
    """Return the line above the table."""
    held_out = int(max(run["pairs"] for row in found for run in row.runs.values()))
    return (
        f"{recipe.train.max_steps} steps of {recipe.data.max_pairs} pairs of {data_path.name}, "
        f"crops of {recipe.data.crops[0]} residues; measured on {held_out:,} held-out pairs "
        "(p→t: text among them by protein)."
    )


def _count(path: Path, split: str) -> int:
    with open_input(path) as file:
        return sum(json.loads(line)["split"] == split for line in file)
