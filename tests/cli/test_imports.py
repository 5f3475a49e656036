"""Which room may import which, and what a help page must not load."""

from __future__ import annotations

import ast
import functools
import graphlib
import json
import subprocess
import sys
from pathlib import Path

from protclip_cli.main import app
from tests.cli.surface import commands
from tests.support.environment import patient

ROOT = Path(__file__).parents[2]
#: From the ground up: a room imports itself and what stands below it (docs/architecture.md).
FLOORS = (
    ("errors", "interrupts", "records", "progress", "options", "vector_spec"),
    ("measure",),
    ("variants",),
    ("io",),
    ("weights",),
    ("store",),
    ("ontology",),
    ("encoders",),
    ("heads",),
    ("fetch",),
    ("models",),
    ("references",),
    ("terms",),
    ("engines",),
    ("vectors",),
    ("report",),
    ("tasks",),
    ("bench",),
)
LIBRARY = [name for floor in FLOORS for name in floor]
#: Modules of the package that belong to no floor: they are its front.
FRONT = {"__init__", "_version"}
TERMINAL = {"typer", "click", "rich", "protclip_cli", "train"}


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


@functools.cache
def imported(path):
    """Give the dotted name of each import, those inside functions included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def arrows():
    """Yield ``(module, module it imports)`` of all our files, those in functions included."""
    files = {}
    for package in ("protclip_core", "protclip_cli", "train"):
        for path in modules(package):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            files[name.removesuffix(".__init__")] = path
    for module, path in files.items():
        for name in imported(path):
            while name and name not in files:
                name = name.rpartition(".")[0]
            # A package's own name brings its `__init__`, which its modules run through anyway.
            if name and name != module and not module.startswith(f"{name}."):
                yield module, name


def room(module):
    return module.split(".")[1] if module.startswith("protclip_core.") else None


def test_arrows_in_the_library_point_down():
    height = {name: floor for floor, names in enumerate(FLOORS) for name in names}
    wrong = [
        f"{module} imports {name}"
        for module, name in arrows()
        if room(module) not in {None, *FRONT}
        and room(name) not in {None, *FRONT}
        and height[room(name)] > height[room(module)]
    ]
    assert wrong == []


def test_no_task_imports_another():
    task = "protclip_core.tasks"
    wrong = [
        f"{module} imports {name}"
        for module, name in arrows()
        if module.startswith(f"{task}.")
        and name.startswith(f"{task}.")
        and module.split(".")[2] != name.split(".")[2]
    ]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle():
    below = {}
    for module, name in arrows():
        below.setdefault(module, set()).add(name)
    order = graphlib.TopologicalSorter(below)
    order.prepare()  # a CycleError names the circle


def test_the_library_knows_nothing_of_the_terminal():
    wrong = [
        f"{path.name} imports {name}"
        for path in modules("protclip_core")
        for name in imported(path)
        if name.split(".")[0] in TERMINAL
    ]
    assert wrong == []


#: What training shares with the program: signals, exit codes, progress and log lines.
EDGE = {"protclip_cli.boundary", "protclip_cli.progress", "protclip_cli.logs"}


def test_training_and_the_program_share_the_edge_alone():
    wrong = [
        f"{module} imports {name}"
        for module, name in arrows()
        if {module.split(".")[0], name.split(".")[0]} == {"train", "protclip_cli"}
        and not (module.startswith("train.") and name in EDGE)
    ]
    assert wrong == []


def test_the_edge_loads_nothing_of_the_terminal():
    code = f"import sys, {', '.join(sorted(EDGE))}; print(*{TERMINAL} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "protclip_cli"


def test_the_library_prints_nothing_and_ends_no_process():
    for path in modules("protclip_core"):
        calls = [
            node
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Call)
        ]
        named = {ast.unparse(call.func) for call in calls}
        assert not named & {"print", "sys.exit", "os._exit", "exit", "input"}, path


HELP = """
import contextlib, io, json, sys
from protclip_cli.main import run
shown = {}
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["protclip", *arguments]
    try:
        with contextlib.redirect_stdout(io.StringIO()) as text:
            run()
    except SystemExit as end:
        assert end.code in (0, None), (arguments, end.code)
    heavy = {"torch", "transformers", "sklearn", "h5py", "numpy", "esm", "Bio"} & set(sys.modules)
    assert not heavy, (arguments, heavy)
    shown[" ".join(arguments)] = text.getvalue()
print(json.dumps(shown))
"""


def test_no_help_loads_a_heavy_library():
    """Of all commands, in one process: what one of them loaded would be there for the next."""
    words = [line.split()[1:] for line, _, _ in commands(app, "protclip")]
    asked = [["--version"], ["--help"], *([*command, "-h"] for command in words)]
    done = subprocess.run(
        [sys.executable, "-c", HELP, json.dumps(asked)],
        capture_output=True,
        text=True,
        check=False,
        timeout=patient(60),
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = json.loads(done.stdout)
    assert len(shown) == len(asked) > 25
    for arguments, text in shown.items():
        assert "protclip" in text, arguments


EMBEDDING = """
import sys
sys.argv = ["protclip", "-q", "embed", {fasta!r}, "-o", {store!r}]
from protclip_cli.main import run
try:
    run()
except SystemExit as end:
    assert end.code == 0, end.code
heavy = {{"transformers", "sklearn", "esm", "sympy", "torch._dynamo"}} & set(sys.modules)
assert not heavy, heavy
"""


def test_embedding_loads_nothing_that_takes_longer_than_the_model(tmp_path):
    """Neither the text encoder's library nor torch's compiler, which some calls bring along."""
    fasta = ROOT / "protclip_core/bundled/example.fasta"
    code = EMBEDDING.format(fasta=str(fasta), store=str(tmp_path / "x.h5"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=patient(60),
    )
    assert done.returncode == 0, done.stderr
