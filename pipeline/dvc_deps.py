"""Which project modules a stage reaches, and what of them dvc.yaml forgets.

DVC does not follow imports: a stage whose library changed would be silently up to date. `make deps` writes each stage's
reached modules into its `deps`; a test fails where they differ.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
# Left out: values in params are tracked by `params:`; the process, its log and its scratch never reach an output.
UNTRACKED = ("pipeline/config/params.py", "pipeline/runtime/process.py", "pipeline/runtime/scratch.py")


def reached_modules(start: Path) -> set[str]:
    """Repository paths of the modules that a file imports, directly or not, itself included."""
    found: set[str] = set()
    todo = [start.resolve()]
    while todo:
        path = todo.pop()
        name = path.relative_to(ROOT).as_posix()
        if name not in found:
            found.add(name)
            todo += _imported_files(path)
    return {name for name in found if not name.endswith("__init__.py")} | _package_data(found)


def code_deps(stage: str) -> list[str]:
    """What `deps` of a stage must list of the project's code."""
    return sorted(reached_modules(ROOT / "stages" / f"{stage}.py") - set(UNTRACKED))


def _imported_files(path: Path) -> Iterator[Path]:
    for name in _imported_names(ast.parse(path.read_text(encoding="utf-8"))):
        for candidate in (ROOT / f"{name.replace('.', '/')}.py", ROOT / name.replace(".", "/") / "__init__.py"):
            if name.split(".")[0] in ("pipeline", "stages") and candidate.is_file():
                yield candidate


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


def stage_script(definition: dict[str, Any]) -> str:
    """`python -m stages.NAME …` to NAME."""
    return str(definition["cmd"]).split()[2].removeprefix("stages.")


def is_code(dep: str) -> bool:
    return dep.startswith(("pipeline/", "stages/"))


def write_deps(path: Path) -> None:
    """Bring the code part of every stage's deps up to date, data deps and comments kept."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    tree = yaml.load(path)
    for definition in tree["stages"].values():
        deps = definition["deps"]
        data = [dep for dep in deps if not is_code(dep)]
        del deps[:]
        deps.extend(data + code_deps(stage_script(definition)))
    yaml.dump(tree, path)


if __name__ == "__main__":
    write_deps(ROOT / "dvc.yaml")
