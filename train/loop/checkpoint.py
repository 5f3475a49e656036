"""Checkpoints of a run: written to a temporary folder, then renamed, so a kill never halves one.

A checkpoint is a directory ``step-00001234``::

    model.safetensors   all parameters of the trainee, whole (also of a sharded run): their moving
                        averages, where the run takes some
    steps.safetensors   only then: all parameters as the steps have left them
    optimizer.pt        the optimizer's state by parameter name; read with ``weights_only=True``
    rest.pt             torch's generator of each rank; text vectors of the GO bank
    state.json          where the run stands (see `train.loop.optim.Progress`), ranks
    manifest.json       size and sha256 of each file; written last

The batches of a run follow from its seed and its place (see `train.data.batches`), so that place
and the generators are all that an exact resume needs. A sharded run (FSDP) gathers its state on
the first rank: a checkpoint is the same whatever the number of ranks, and any number of them,
sharded or not, can continue from it. With another number of ranks, random numbers other than those
of the batches (the noise of PDA) differ, and a warning says so.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import load
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from protclip_core.errors import ModelError, ProtclipError, ResourceError
from protclip_core.io.atomic import disk_error, free_bytes, fsync_folder
from train.loop.moving_average import Averages
from train.loop.optim import Progress
from train.loop.ranks import Ranks

__all__ = ["find", "load_model", "read_progress", "read_tensors", "restore", "save"]

_log = logging.getLogger(__name__)
_KEPT = 2
_NAME = re.compile(r"step-\d{8,}")
_MANIFEST = "manifest.json"
_STEPS = "steps.safetensors"
#: Names of parameters in checkpoints of protclip 0.1 to those of today.
_NOW = {"go_logit_scale": "objectives.go.logit_scale", "go_bias": "objectives.go.bias"}
_FILES = ("model.safetensors", "optimizer.pt", "rest.pt", "state.json")


def save(
    run_dir: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    ranks: Ranks,
    averages: Averages | None = None,
) -> Path:
    """Write a checkpoint atomically, and remove all but the two newest.

    All ranks call it; the first writes, and all learn how it ended.

    Raises
    ------
    ResourceError
        The disk is full; earlier checkpoints are as they were.
    UsageError
        The folder cannot be written.
    """
    final = run_dir / f"step-{progress.step:08d}"
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    # The bank's vectors are of the step at which they were made, not of this one.
    bank = {name: value.cpu() for name, value in _bank_of(model).items()}
    rest = {"generators": ranks.objects(_generator_states(ranks)), **bank}
    if ranks.group is None or _is_sharded(model) or ranks.first:
        tensors = get_model_state_dict(model, options=options)
        averaged = _averaged(model, averages, options)
        states = get_optimizer_state_dict(model, optimizer, options=options)
    error: ProtclipError | None = None
    if ranks.first:
        contents: dict[str, Callable[[BinaryIO], object]] = {
            "model.safetensors": lambda file: file.write(to_bytes(_plain(averaged or tensors))),
            "optimizer.pt": lambda file: torch.save(states, file),
            "rest.pt": lambda file: torch.save(rest, file),
            "state.json": lambda file: file.write(
                _json({**asdict(progress), "ranks": ranks.world})
            ),
        }
        if averaged is not None:
            contents[_STEPS] = lambda file: file.write(to_bytes(_plain(tensors)))
        try:
            _write(final, contents)
        except ProtclipError as found:
            error = found
    told = ranks.objects(error)[0]
    if told is not None:
        raise told
    return final


def restore(
    directory: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ranks: Ranks,
    averages: Averages | None = None,
) -> Progress:
    """Restore model, averages, optimizer and generators; return the progress.

    Averages that the checkpoint does not have begin with its parameters.

    Raises
    ------
    ModelError
        The checkpoint does not fit the model.
    """
    state = json.loads((directory / "state.json").read_text(encoding="utf-8"))
    world = state.pop("ranks")
    files = [directory / name for name in ("model.safetensors", _STEPS)]
    # The averages first, where there are some, then what the steps go on from.
    found: list[dict[str, Any]] = [read_tensors(file) for file in files if file.exists()]
    states = _renamed_states(torch.load(directory / "optimizer.pt", weights_only=True))
    options = StateDictOptions(full_state_dict=True)
    try:
        set_model_state_dict(model, found[0], options=options)
        if averages is not None:
            averages.take()
        for tensors in found[1:]:
            set_model_state_dict(model, tensors, options=options)
        set_optimizer_state_dict(model, optimizer, states, options=options)
    except (RuntimeError, KeyError, ValueError) as error:
        raise ModelError(
            "does not match the configuration",
            code="model.other_settings",
            where=str(directory),
            hint="resume with the shapes and objectives that the run started with",
        ) from error
    rest = torch.load(directory / "rest.pt", weights_only=True)
    if "bank_vectors" in _bank_of(model) and "bank_vectors" in rest:
        model.go.vectors = rest["bank_vectors"].to(ranks.device)  # type: ignore[union-attr]
    if world == ranks.world:
        _set_generators(rest["generators"][ranks.rank], ranks)
    elif ranks.first:
        _log.warning(
            "%s was written by %d ranks, this run has %d: it continues, but not bit for bit",
            directory.name,
            world,
            ranks.world,
        )
    return _progress(state)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Return the parameters in a file of a checkpoint, by the names that they have today."""
    return {_NOW.get(name, name): value for name, value in load(file.read_bytes()).items()}


def load_model(directory: Path, model: nn.Module) -> None:
    """Put the parameters of a checkpoint into a trainee; the averages, where it has some.

    Those of objectives that the model does not have are left out.
    """
    wanted = model.state_dict().keys()
    tensors = read_tensors(directory / "model.safetensors")
    model.load_state_dict({name: v for name, v in tensors.items() if name in wanted})


def _renamed_states(states: dict[str, Any]) -> dict[str, Any]:
    """Return the state of an optimizer by the names that parameters have today."""
    groups = [
        {**group, "params": [_NOW.get(name, name) for name in group["params"]]}
        for group in states["param_groups"]
    ]
    by_name = {_NOW.get(name, name): state for name, state in states["state"].items()}
    return {**states, "state": by_name, "param_groups": groups}


def read_progress(directory: Path) -> Progress:
    """Return where the run stood at a checkpoint."""
    state = json.loads((directory / "state.json").read_text(encoding="utf-8"))
    return _progress({name: value for name, value in state.items() if name != "ranks"})


def _progress(state: dict[str, Any]) -> Progress:
    began = state.get("began", (0, 0.0, 0.0))
    return Progress(**{**state, "began": (int(began[0]), float(began[1]), float(began[2]))})


def find(run_dir: Path) -> Path:
    """Return the newest complete checkpoint; a damaged one is named in a warning.

    Raises
    ------
    ModelError
        There is none.
    """
    found = _all(run_dir)
    for directory in reversed(found):
        fault = _fault(directory)
        if fault is None:
            return directory
        _log.warning("%s: %s; taking the checkpoint before it", directory, fault)
    what = "all checkpoints are damaged" if found else "no checkpoint to resume from"
    raise ModelError(
        what,
        code="model.damaged" if found else "model.no_checkpoint",
        where=str(run_dir),
        hint="start a new run in another folder",
    )


def _write(final: Path, contents: dict[str, Callable[[BinaryIO], object]]) -> None:
    """Write the files of a checkpoint into a hidden folder, and show it when it is whole."""
    run_dir = final.parent
    for stale in run_dir.glob(".step-*.tmp"):
        shutil.rmtree(stale, ignore_errors=True)
    if final.exists() and _fault(final) is None:
        # The same step of the same run: nothing to gain from replacing it.
        return
    temporary = run_dir / f".{final.name}.tmp"
    try:
        temporary.mkdir(parents=True)
        listing = {name: _write_file(temporary / name, write) for name, write in contents.items()}
        _write_file(temporary / _MANIFEST, lambda file: file.write(_json(listing)))
        fsync_folder(temporary)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise disk_error(error, final) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fsync_folder(run_dir)
    for old in _all(run_dir)[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


class _Hashing:
    """A file to write to that keeps the hash of what passes, and the error that stopped it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest = file, hashlib.sha256()
        self.size = 0
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._digest.update(view)
        self.size += len(view)
        try:
            return self._file.write(view)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _write_file(path: Path, write: Callable[[Any], object]) -> dict[str, Any]:
    with path.open("wb", buffering=0) as file:
        hashing = _Hashing(file)
        try:
            write(hashing)
        except RuntimeError as error:
            # torch.save hides what went wrong with the file behind an error of its own.
            if hashing.error is not None:
                raise hashing.error from error
            if free_bytes(path) < 1_000_000:
                raise ResourceError(
                    "no space to write it", code="resource.disk_full", where=str(path)
                ) from error
            raise
        os.fsync(file.fileno())
    return {"bytes": hashing.size, "sha256": hashing.sha256}


def _fault(directory: Path) -> str | None:
    """Say what is wrong with a checkpoint; ``None`` for nothing."""
    try:
        listing = json.loads((directory / _MANIFEST).read_bytes())
        for name in {**dict.fromkeys(_FILES), **listing}:
            path, wanted = directory / name, listing[name]
            if path.stat().st_size != wanted["bytes"]:
                return f"{name} has {path.stat().st_size} bytes, not {wanted['bytes']}"
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != wanted["sha256"]:
                    return f"{name} is damaged"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{_MANIFEST} is damaged"
    return None


def _all(run_dir: Path) -> list[Path]:
    return sorted(p for p in run_dir.glob("step-*") if _NAME.fullmatch(p.name) and p.is_dir())


def _is_sharded(model: nn.Module) -> bool:
    return any(hasattr(parameter, "full_tensor") for parameter in model.parameters())


def _bank_of(model: Any) -> dict[str, Tensor]:
    """Return what is no parameter but belongs to the state of a `Trainee`.

    The vectors of a frozen text tower are in the folder of the run (`train.loop.cache_texts`).
    """
    go = getattr(model, "go", None)
    return {} if go is None or model.towers.text_frozen else {"bank_vectors": go.vectors}


def _averaged(
    model: nn.Module, averages: Averages | None, options: StateDictOptions
) -> dict[str, Any] | None:
    """Return all parameters with their averages; a copy, for the model goes on without them."""
    if averages is None or not averages.decay:
        return None
    with averages.applied():
        found: dict[str, Any] = get_model_state_dict(model, options=options)
        return {name: value.detach().clone() for name, value in found.items()}


def _plain(tensors: dict[str, Any]) -> dict[str, Tensor]:
    return {name: value.detach().contiguous() for name, value in tensors.items()}


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _generator_states(ranks: Ranks) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if ranks.device.type == "cuda":
        states.append(torch.cuda.get_rng_state(ranks.device))
    return states


def _set_generators(states: list[Tensor], ranks: Ranks) -> None:
    torch.set_rng_state(states[0])
    if ranks.device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1], ranks.device)
