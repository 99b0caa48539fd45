"""docs/security.md names the test that proves each control; here it is made sure that there is such a test."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ROW = re.compile(r"^\|(?!\s*(?:---|asset\b)).*\|$")


def rows() -> list[str]:
    """Return the rows of the threat model."""
    text = (ROOT / "docs/security.md").read_text()
    model = text.partition("\n## Threats\n")[2].partition("\n## ")[0]
    return [line for line in model.splitlines() if ROW.match(line)]


def test_each_control_names_a_test() -> None:
    assert len(rows()) >= 40
    assert not [row for row in rows() if not TEST.search(row)]


def test_each_test_that_is_named_is_there() -> None:
    functions: dict[str, set[str]] = {}
    missing = []
    for file, name in TEST.findall((ROOT / "docs/security.md").read_text()):
        path = ROOT / file
        if file not in functions:
            tree = ast.parse(path.read_text()) if path.is_file() else ast.Module([], [])
            kinds = ast.FunctionDef | ast.AsyncFunctionDef
            functions[file] = {node.name for node in ast.walk(tree) if isinstance(node, kinds)}
        if name not in functions[file]:
            missing.append(f"{file}::{name}")
    assert missing == []
