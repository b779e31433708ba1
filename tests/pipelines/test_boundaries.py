"""DVC and Prefect are used as they are, and DVC in three places only."""

import ast

import pytest

from tests.pipelines.toy import ROOT

FILES = sorted((ROOT / "pipelines").rglob("*.py"))
IN_DVC = [ROOT / "pipelines" / f"{name}.py" for name in ("ledger", "repository", "status")]


def imported(tree):
    """The names in a module that stand for a foreign module or something of it, with its origin."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: node.module for alias in node.names}
    return names


def root(node):
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_name_of_dvc_or_prefect_is_replaced(path):
    tree = ast.parse(path.read_text())
    foreign = {name for name, origin in imported(tree).items()
               if origin.split(".")[0] in ("dvc", "prefect")}  # fmt: skip
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else []
        if isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            assert isinstance(target, ast.Name) or root(target) not in foreign, ast.unparse(node)
        if isinstance(node, ast.Call) and root(node) in ("setattr", "delattr", "patch"):
            raise AssertionError(ast.unparse(node))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_dvc_is_imported_in_three_places_only(path):
    origins = {origin.split(".")[0] for origin in imported(ast.parse(path.read_text())).values()}
    assert "dvc" not in origins or path in IN_DVC
