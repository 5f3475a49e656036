"""The folder of a run: its configuration and its tokenizer."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from protclip_core.errors import ModelError, UsageError
from protclip_core.io.atomic import disk_error, write_atomic
from train.config.run import changed_keys
from train.data.texts import Part, train_tokenizer

__all__ = ["CONFIG", "TOKENIZER", "make_tokenizer", "open_tokenizer", "prepare_folder", "read_json"]

_log = logging.getLogger(__name__)
TOKENIZER, CONFIG = "tokenizer.json", "config.json"


def prepare_folder(
    run_dir: Path,
    content: dict[str, Any],
    saved_content: Callable[[Path], dict[str, Any]],
    *,
    resume: bool,
) -> None:
    """Create the folder of a run, or look at an existing one, and write its configuration.

    Parameters
    ----------
    run_dir
        The folder.
    content
        The configuration, as it is saved.
    saved_content
        Reads the configuration of an earlier run; each difference is said in a warning.
    resume
        Whether a run is there to be resumed.

    Raises
    ------
    UsageError
        It holds a run and is not to be resumed, or cannot be written.
    ModelError
        It holds none and is to be resumed.
    """
    saved = run_dir / CONFIG
    if resume and not saved.exists():
        raise ModelError(
            "no checkpoint to resume from", code="model.no_checkpoint", where=str(run_dir)
        )
    if not resume and saved.exists():
        raise UsageError(
            "already holds a run",
            code="usage.output_exists",
            where=str(run_dir),
            hint="add --resume",
        )
    if resume:
        for change in changed_keys(saved_content(saved), content):
            _log.warning("resumed with another setting: %s", change)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, run_dir) from error
    write_atomic(saved, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a saved configuration as it is."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def make_tokenizer(
    run_dir: Path,
    given: bytes | None,
    texts: Callable[[], Iterable[tuple[Part, ...]]],
    vocab_size: int,
) -> Tokenizer:
    """Open the tokenizer of a run; if it has none yet, write the given one, or train one.

    Training breaks ties between equally frequent pieces at random, so a run that is to be
    repeated exactly is given the ``tokenizer.json`` of the first.
    """
    path = run_dir / TOKENIZER
    if not path.exists():
        made = given or train_tokenizer(texts(), vocab_size).to_str().encode()
        write_atomic(path, made)
    return open_tokenizer(run_dir)


def open_tokenizer(run_dir: Path) -> Tokenizer:
    """Open the tokenizer of a run."""
    return Tokenizer.from_file(str(run_dir / TOKENIZER))
