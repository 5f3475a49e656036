"""Rooms, files, lines, circles, options and dependencies of a checkout.

Run by hand: ``python -m tests.benchmarks.structure [CHECKOUT ...]``; with several, figures stand
side by side. Nothing of the checkout is imported: all is read from its syntax trees, so that any
old version can be measured. Lines are those of Python files, with all that is in them.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

PACKAGES = ("protclip_cli", "protclip_core", "train", "tests")
#: Calls that declare an option, and parameters of commands that do.
DECLARES = {"typer.Option", "typer.Argument", "Option", "Argument", "Opt"}


def python_files(root, package):
    return [p for p in sorted((root / package).rglob("*.py")) if "__pycache__" not in p.parts]


def rooms(root):
    """Return files and lines by room: the first folder in a package, else its root."""
    files, lines = Counter(), Counter()
    for package in PACKAGES:
        for path in python_files(root, package):
            parts = path.relative_to(root).parts
            room = "/".join(parts[:2]) if len(parts) > 2 else package
            count = len(path.read_text("utf-8").splitlines())
            for name in (room, f"= {package}"):
                files[name] += 1
                lines[name] += count
    return files, lines


def imports(root):
    """Return the modules that each module imports, inside functions too."""
    modules = {}
    for package in PACKAGES[:3]:
        for path in python_files(root, package):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            modules[name.removesuffix(".__init__")] = path
    found = defaultdict(set)
    for module, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                while name and name not in modules:
                    name = name.rpartition(".")[0]
                if name and name != module and not module.startswith(f"{name}."):
                    found[module].add(name)
    return found


def circles(arrows):
    """Return the groups of modules that reach each other (Tarjan), two or more each."""
    number, low, stack, groups = {}, {}, [], []

    def visit(node):
        number[node] = low[node] = len(number)
        stack.append(node)
        for below in sorted(arrows.get(node, ())):
            if below not in number:
                visit(below)
                low[node] = min(low[node], low[below])
            elif below in stack:
                low[node] = min(low[node], number[below])
        if low[node] == number[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                groups.append(sorted(group))

    sys.setrecursionlimit(10_000)
    for node in sorted(arrows):
        if node not in number:
            visit(node)
    return groups


def options(root):
    """Return how many options are declared, and the lines of their declarations."""
    count = lines = 0
    for package in PACKAGES[:2]:
        for path in python_files(root, package):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in DECLARES:
                    count += 1
                    lines += node.end_lineno - node.lineno + 1
    return count, lines


def request_lines(root):
    """Return the lines of classes named ``...Request`` and of functions that are commands."""
    requests = commands = 0
    for package in PACKAGES[:2]:
        for path in python_files(root, package):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                size = getattr(node, "end_lineno", 0) - getattr(node, "lineno", 0) + 1
                if isinstance(node, ast.ClassDef) and node.name.endswith("Request"):
                    requests += size
                elif isinstance(node, ast.FunctionDef) and any(
                    ".command" in ast.unparse(decorator) for decorator in node.decorator_list
                ):
                    commands += size
    return requests, commands


def long_functions(root):
    """Return how many functions of the product there are, and how many exceed 60 lines."""
    sizes = [
        node.end_lineno - node.lineno + 1
        for package in PACKAGES[:3]
        for path in python_files(root, package)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]
    return len(sizes), sum(size > 60 for size in sizes)


def figures(root):
    """Return all figures of a checkout by name, in order."""
    files, lines = rooms(root)
    found = {name: f"{files[name]:4d} {lines[name]:7,d}" for name in sorted(files)}
    groups = circles(imports(root))
    found["circles between files"] = str(len(groups))
    for place, group in enumerate(groups, 1):
        found[f"circle {place}"] = ", ".join(group)
    found["options declared, their lines"] = "{} {:,}".format(*options(root))
    found["lines of requests, of commands"] = "{:,} {:,}".format(*request_lines(root))
    found["functions, over 60 lines"] = "{:,} {}".format(*long_functions(root))
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    names = sorted(re.split(r"[<>=\[ ]", entry)[0] for entry in project["dependencies"])
    found["direct dependencies"] = str(len(names))
    found["their names"] = " ".join(names)
    return found


def main():
    roots = [Path(argument) for argument in sys.argv[1:] or ["."]]
    tables = [figures(root) for root in roots]
    names = sorted(
        dict.fromkeys(name for table in tables for name in table),
        key=lambda name: (not name.startswith(("=", *PACKAGES)), name.removeprefix("= ")),
    )
    print("\t".join(["what (files and lines)", *map(str, roots)]))
    for name in names:
        print("\t".join([name, *(table.get(name, "-") for table in tables)]))


if __name__ == "__main__":
    main()
