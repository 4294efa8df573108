"""What keeps the house worth living in, checked over the source itself."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("mammography", "node", "worker", "lab")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
SAYS_NOTHING = {"utils", "util", "helpers", "helper", "common", "base", "core", "misc", "manager", "service"}
BROAD_HANDLERS = {"node/__main__.py", "node/attempt.py", "worker/tasks.py"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines_of_code(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the signature to the end; a docstring may be as long as it has something to say."""
    docstring = function.body[0] if ast.get_docstring(function) else None
    return (
        function.end_lineno
        - function.lineno
        + 1
        - (docstring.end_lineno - docstring.lineno + 1 if docstring else 0)
    )


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_module_is_short_and_so_is_each_function(path):
    text = path.read_text()
    longest = 40 if name_of(path).startswith("mammography/") else 60
    too_long = [
        f"{node.name} ({lines_of_code(node)} lines)"
        for node in functions(ast.parse(text))
        if lines_of_code(node) > longest
    ]
    assert not too_long
    assert text.count("\n") <= 400


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_is_named_for_what_it_holds(path):
    assert path.stem not in SAYS_NOTHING


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_whatever_is_public_says_what_it_is(path):
    tree = ast.parse(path.read_text())
    silent = [] if ast.get_docstring(tree) else ["the module"]
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            silent += [] if ast.get_docstring(node) else [node.name]
            members = node.body if isinstance(node, ast.ClassDef) else []
            silent += [
                f"{node.name}.{member.name}"
                for member in members
                if isinstance(member, ast.FunctionDef)
                and not member.name.startswith("_")
                and not ast.get_docstring(member)
            ]
    assert not silent


def test_only_the_two_doors_and_one_who_passes_it_on_catch_what_nobody_foresaw():
    broad = [
        name_of(path)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or getattr(node.type, "id", "") in {"Exception", "BaseException"})
    ]
    assert set(broad) <= BROAD_HANDLERS
    assert len(broad) <= 3


def test_the_house_never_looks_at_the_clock():
    looks = re.compile(r"datetime\.now\(|datetime\.utcnow\(|\btime\.time\(")
    allowed = {"mammography/offline.py"}
    found = {
        name_of(p) for p in SOURCES if name_of(p).startswith("mammography/") and looks.search(p.read_text())
    }
    assert found <= allowed


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_the_product_needs_no_test_to_run(path):
    modules = [
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
    ]
    modules += [
        node.module
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module
    ]
    assert not [module for module in modules if module.split(".")[0] in {"tests", "pytest"}]
