"""What a test may rely on, wherever it runs: the environment, and how long it may wait."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

#: Settings of the tests themselves; all others with this prefix are the user's, and go.
OURS = {"PROTCLIP_KILLS", "PROTCLIP_RECORDS", "PROTCLIP_FUZZ_CASES", "PROTCLIP_PATIENCE"}
_PREFIXES = ("PROTCLIP_", "HF_", "HUGGING_FACE_", "XDG_", "LC_", "SLURM_", "TORCH_", "PYTHON")
_NAMES = {"LANG", "LANGUAGE", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR"}
_MADE = "TESTS_ENVIRONMENT_MADE"
_INSTALLED = "TESTS_INSTALLED_PATH"
#: Programs that protclip looks for: tests find those alone that they put on the path themselves.
_SOUGHT = {"diamond", "mmseqs"}


def make_plain(environment=os.environ):
    """Make the environment that of a plain shell in an empty home, the same on each machine.

    Processes that tests start inherit it. The `PATH` holds what it held but the programs that
    protclip looks for, so that no result depends on what is installed.
    """
    if _MADE in environment:  # by the process that started this one
        return
    _keep_patience(environment)
    for name in list(environment):
        theirs = name.startswith(_PREFIXES) and name not in OURS
        if theirs or name in _NAMES or name.lower().endswith("_proxy"):
            del environment[name]
    home = tempfile.mkdtemp(prefix="protclip-tests-home-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    environment |= {
        _MADE: "1",
        "HOME": home,
        "PATH": _without_sought(environment.get("PATH", os.defpath)),
        _INSTALLED: environment.get("PATH", os.defpath),
        # The list of fonts takes seconds to make, and stays the same.
        "MPLCONFIGDIR": str(Path(tempfile.gettempdir()) / f"protclip-tests-fonts-{os.getuid()}"),
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": "1",  # threads that wait for each other on a busy machine crawl
    }


def installed(name):
    """Return the path of a program that this machine has, None where it has none."""
    return shutil.which(name, path=os.environ[_INSTALLED])


def _without_sought(path):
    """Make a folder of links to the programs of a path, without those that are looked for."""
    folder = Path(tempfile.mkdtemp(prefix="protclip-tests-path-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for place in path.split(os.pathsep):
        if not Path(place).is_dir():
            continue
        for program in Path(place).iterdir():
            link = folder / program.name
            if program.name not in _SOUGHT and not link.is_symlink():
                link.symlink_to(program.resolve())
    return str(folder)


def _keep_patience(environment):
    """Note once how busy the machine is; the workers and children of a run inherit the figure."""
    if "PROTCLIP_PATIENCE" not in environment:
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
        environment["PROTCLIP_PATIENCE"] = f"{min(max(load, 1.0), 10.0):.1f}"


def patient(seconds):
    """Return how long to wait for what takes ``seconds`` at most on a quiet machine.

    Time-outs keep a test from hanging; none is a measurement, so they are generous: four times
    as long, and longer on a busy machine. PROTCLIP_PATIENCE sets the factor of the latter.
    """
    return 4 * seconds * float(os.environ.get("PROTCLIP_PATIENCE", "1"))
