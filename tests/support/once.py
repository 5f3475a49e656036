"""Files that many tests read, written once a run: not once a worker and module."""

from __future__ import annotations

import os
import shutil

from filelock import FileLock


def once(tmp_path_factory, name, write):
    """Return the folder ``name``, filled by ``write(folder)`` by whichever worker comes first."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / "once" / name
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        whole = folder.with_suffix(".whole")
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)  # what a failed attempt left
            folder.mkdir()
            write(folder)
            whole.touch()
    return folder
