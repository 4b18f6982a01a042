"""The structure of the packages, read from their sources: floors, circles, sizes, docstrings.

Each rule lists everything that breaks it. What breaks it today stands in TODAY, which may only
become shorter: an entry that breaks it no longer fails the test, so the list is never out of date.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.conftest import ROOT

# From the ground up; each imports only from those before it. The scripts stand on the last floor.
FLOORS = (
    ("core",),
    ("data", "backends", "checkpoints"),
    ("evaluation", "models"),
    ("keras_model", "common"),
    ("engine",),
    ("reporting",),
    ("tools", "benchmarks"),
)
MOST_FUNCTION_LINES = 60
MOST_MODULE_LINES = 450
EXCUSE = "Longer than 450 lines because "  # with the reason, in the docstring of a longer module
SETTINGS = ("param", "run", "settings", "fit", "feature", "network")
UNTYPED = "dict[str, Any]"

# Rule -> file -> the names of what breaks it, separated by spaces; "module" for the whole file.
# For a time: nothing is to be added.
TODAY: dict[str, dict[str, str]] = {}


class Module(NamedTuple):
    """A source file. name : "models.vae"; path : from the root, "models/vae.py"."""

    name: str
    path: str
    text: str
    tree: ast.Module

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]

    @property
    def floor(self) -> int:
        floors = (number for number, names in enumerate(FLOORS) if self.top in names)
        return next(floors, len(FLOORS) - 1)


@functools.cache
def modules() -> dict[str, Module]:
    """Return every module of the packages and the top folder, by name; not the tests."""
    packages = [name for floor in FLOORS for name in floor]
    paths = [
        *ROOT.glob("*.py"),
        *(path for name in packages for path in ROOT.glob(f"{name}/**/*.py")),
    ]
    made = {}
    for path in sorted(paths):
        place = path.relative_to(ROOT)
        name = ".".join(place.with_suffix("").parts).removesuffix(".__init__")
        text = path.read_text(encoding="utf-8")
        made[name] = Module(name, place.as_posix(), text, ast.parse(text))
    return made


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Yield line and name of each module of ours that a module imports, within functions too."""
    package = module.name if module.path.endswith("__init__.py") else module.name.rpartition(".")[0]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            named = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in named:
            while name and name not in modules():
                name = name.rpartition(".")[0]
            if name and name != module.name:
                yield node.lineno, name


def functions(
    node: ast.AST, within: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    """Yield every function and class below a node with its full name, "VAE.fit"."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = f"{within}.{child.name}".lstrip(".")
            yield name, child
            yield from functions(child, name)
        else:
            yield from functions(child, within)


def upward_imports() -> Iterator[str]:
    """Imports from a floor above, or from another package of the same floor."""
    for module in modules().values():
        for line, name in imports(module):
            other = modules()[name]
            if other.top != module.top and other.floor >= module.floor:
                yield f"{module.path}: line {line} imports {name}"


def circles() -> Iterator[str]:
    """Modules that import one another, directly or through others."""
    graph = {name: {found for _, found in imports(module)} for name, module in modules().items()}
    reached = {name: reachable(graph, name) for name in graph}
    for circle in {
        tuple(sorted(other for other in reached[name] if name in reached[other]))
        for name in graph
        if name in reached[name]
    }:
        yield " <-> ".join(circle)


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return the modules that a module imports, directly or through others."""
    reached: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += graph[name]
    return reached


def long_functions() -> Iterator[str]:
    """Functions of more lines than MOST_FUNCTION_LINES, their docstrings counted."""
    for module in modules().values():
        for name, node in functions(module.tree):
            if isinstance(node, ast.ClassDef):
                continue
            if node.end_lineno - node.lineno + 1 > MOST_FUNCTION_LINES:
                yield f"{module.path}: {name}"


def long_modules() -> Iterator[str]:
    """Modules of more lines than MOST_MODULE_LINES whose docstring gives no reason."""
    for module in modules().values():
        said = ast.get_docstring(module.tree) or ""
        excused = any(line.startswith(EXCUSE) for line in said.splitlines())
        if len(module.text.splitlines()) > MOST_MODULE_LINES and not excused:
            yield f"{module.path}: module"


def untyped_settings() -> Iterator[str]:
    """Functions and classes outside core/ that take settings as a dict of anything."""
    for module in modules().values():
        if module.top == "core":
            continue
        for name, node in functions(module.tree):
            if any(
                key in SETTINGS and annotation and UNTYPED in ast.unparse(annotation)
                for key, annotation in annotated(node)
            ):
                yield f"{module.path}: {name}"


def annotated(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield name and annotation of a function's parameters, or of a class's own fields."""
    if isinstance(node, ast.ClassDef):
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                yield field.target.id, field.annotation
    else:
        given = node.args
        for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs):
            yield argument.arg, argument.annotation


def without_docstring() -> Iterator[str]:
    """Modules, and public functions and classes of them, without a docstring."""
    for module in modules().values():
        if not ast.get_docstring(module.tree):
            yield f"{module.path}: module"
        for node in module.tree.body:
            public = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            if public and not node.name.startswith("_") and not ast.get_docstring(node):
                yield f"{module.path}: {node.name}"


RULES = (
    upward_imports,
    circles,
    long_functions,
    long_modules,
    untyped_settings,
    without_docstring,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_structure(rule: Callable[[], Iterator[str]]) -> None:
    found = set(rule())
    known = {
        f"{path}: {name}"
        for path, names in TODAY.get(rule.__name__, {}).items()
        for name in names.split()
    }
    added, gone = sorted(found - known), sorted(known - found)
    assert not added, f"{rule.__doc__}\n  " + "\n  ".join(added)
    assert not gone, "right by now, so take them out of TODAY:\n  " + "\n  ".join(gone)


def test_every_package_has_a_floor() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    files = {path.stem for path in ROOT.glob("*.py") if not path.name[0].isdigit()}
    assert packages | files <= {name for floor in FLOORS for name in floor}


def test_today_names_rules() -> None:
    assert set(TODAY) <= {rule.__name__ for rule in RULES}


def test_the_rules_see_what_breaks_them(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "\n".join(f"    x = {number}" for number in range(MOST_FUNCTION_LINES))
    sources = {
        "core/a.py": "def f():\n    from engine import b\n",
        "data/c.py": '"""D."""\nimport checkpoints.d\nfrom .e import f\n',
        "data/e.py": f'"""D."""\nfrom data import c\ndef _g(fit: dict[str, Any]):\n{long}\n',
        "checkpoints/d.py": '"""D."""\n' + "\n" * MOST_MODULE_LINES,
        "checkpoints/f.py": f'"""D.\n\n{EXCUSE}of tests.\n"""\n' + "\n" * MOST_MODULE_LINES,
        "engine/b.py": '"""D."""\nclass C:\n    param: dict[str, Any]\n    def g(self): pass\n',
    }
    made = {}
    for path, text in sources.items():
        name = path.removesuffix(".py").replace("/", ".")
        made[name] = Module(name, path, text, ast.parse(text))
    monkeypatch.setattr(sys.modules[__name__], "modules", lambda: made)
    assert list(upward_imports()) == [
        "core/a.py: line 2 imports engine.b",
        "data/c.py: line 2 imports checkpoints.d",
    ]
    assert list(circles()) == ["data.c <-> data.e"]
    assert list(long_functions()) == ["data/e.py: _g"]
    assert list(long_modules()) == ["checkpoints/d.py: module"]
    assert list(untyped_settings()) == ["data/e.py: _g", "engine/b.py: C"]
    assert list(without_docstring()) == ["core/a.py: module", "core/a.py: f", "engine/b.py: C"]


def test_tests_start_processes_in_one_place() -> None:
    starts = {"run", "Popen", "call", "check_call", "check_output"}
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: use tests.processes, which ends what it starts"
        for path in sorted(ROOT.glob("tests/**/*.py"))
        if path.name != "processes.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if ast.unparse(node.func.value) == "subprocess" and node.func.attr in starts
    ]
    assert not found, "\n".join(found)
