"""The project's code that a stage's outputs depend on, found by walking its imports.

DVC does not follow imports. dvc.yaml therefore lists folders, a test holds them against this walk, and the key under
which an interrupted stage is resumed hashes the same modules: DVC and a resumed run agree on what "the code" is.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# No output follows from these. Values in params are tracked by dvc.yaml's `params`, the process and its scratch leave
# no trace in an output, and a preview (samples to look at while a model trains) is not one.
UNTRACKED_FOLDERS = ("pipeline/config/", "pipeline/runtime/")
UNTRACKED_MODULE = "preview.py"


def code_of(start: str) -> list[str]:
    """Repository paths of the modules that `stages/<start>.py`, or a module given by its own repository path, imports,
    directly or not, itself included; sorted."""
    found: set[str] = set()
    todo = [ROOT / (start if start.endswith(".py") else f"stages/{start}.py")]
    while todo:
        path = todo.pop()
        name = path.relative_to(ROOT).as_posix()
        if name not in found and not _is_untracked(name):
            found.add(name)
            todo += imported_files(path)
    modules = {name for name in found if not name.endswith("__init__.py")}
    return sorted(modules | _package_data(modules))


def imported_files(path: Path) -> Iterator[Path]:
    """The project's modules that a file imports, inside functions too."""
    for name in _imported_names(ast.parse(path.read_text(encoding="utf-8"))):
        for candidate in (ROOT / f"{name.replace('.', '/')}.py", ROOT / name.replace(".", "/") / "__init__.py"):
            if name.split(".")[0] in ("pipeline", "stages") and candidate.is_file():
                yield candidate


def _is_untracked(name: str) -> bool:
    return name.startswith(UNTRACKED_FOLDERS) or name.endswith(f"/{UNTRACKED_MODULE}")


def _imported_names(tree: ast.Module) -> Iterator[str]:
    idle = {id(inner) for node in ast.walk(tree) if _is_idle(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in idle:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_idle(node: ast.AST) -> bool:
    """Whether an imported module skips a block: `if TYPE_CHECKING:` and `if __name__ == "__main__":`."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")


def _package_data(modules: set[str]) -> set[str]:
    """Templates and styles that lie beside a reached module."""
    folders = {(ROOT / name).parent for name in modules}
    files = (file for folder in folders for file in folder.iterdir() if file.suffix in (".html", ".css", ".js"))
    return {file.relative_to(ROOT).as_posix() for file in files}
