"""Lists of prompts as JSONL, one object a line: name and prompt, and where known kind, seed and attributes.

`python -m pipeline.prompts` writes such lists, `generate --prompts-file` draws them and `python -m pipeline.mark` marks
clips by them. The name, under `name`, `id` or `file`, is that of the clip's file, with or without its suffix.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.generation.prompts import collect_prompts, read_text
from pipeline.runtime.files import write_text

SUFFIXES = (".jsonl", ".ndjson")
NAME_KEYS = ("name", "id", "file")
CLIP_SUFFIXES = (".gif", ".mp4", ".webp", ".npy", ".png")  # that a name may carry


@dataclass(frozen=True)
class ListedPrompt:
    """A line of a list."""

    name: str  # of the clip, without suffix; empty: made of the prompt
    prompt: str
    kind: str = ""  # seen | held_out | reworded …; empty: not said
    seed: int | None = None
    attributes: dict[str, Any] | None = None  # what the prompt says; None: not said
    line: int = 0  # in the file

    def to_json(self) -> str:
        facts = {"id": self.name, "kind": self.kind, "seed": self.seed, "prompt": self.prompt}
        return json.dumps({**facts, "attributes": self.attributes}, ensure_ascii=False)


def collect_listed(given: Sequence[str], file: Path | None) -> list[ListedPrompt]:
    """Prompts of a command line and of a text file, which have no name, or those of a list alone."""
    if file is None or file.suffix.lower() not in SUFFIXES:
        return [ListedPrompt("", prompt) for prompt in collect_prompts(given, file)]
    if given:
        raise ValueError(f"{file} names its own clips; draw other prompts by another command")
    return read_prompt_list(file)


def write_prompt_list(path: Path, prompts: Sequence[ListedPrompt]) -> None:
    """Write a list, whole or not at all."""
    write_text(path, "".join(prompt.to_json() + "\n" for prompt in prompts))


def read_prompt_list(path: Path) -> list[ListedPrompt]:
    """The prompts of a list; blank lines are left out.

    Raises ValueError, one line with the line's number, on a line that is not such an object, and on a name used twice.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such list of prompts; give JSONL with a name and a prompt on each line")
    found: dict[str, ListedPrompt] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            one = _read_line(line, number, f"{path}: line {number}")
            if one.name in found:
                first = found[one.name].line
                raise ValueError(f"{path}: lines {first} and {number} have one name, {one.name!r}; give each its own")
            found[one.name] = one
    if not found:
        raise ValueError(f'{path}: no prompt in it; write {{"name": "x", "prompt": "…"}} for x.gif, one a line')
    return list(found.values())


def _read_line(line: str, number: int, where: str) -> ListedPrompt:
    try:
        facts = json.loads(line)
    except (ValueError, RecursionError) as error:
        said = "nested too deeply, or a number too long"
        if isinstance(error, json.JSONDecodeError):
            said = f"{error.msg} at column {error.colno}"
        raise ValueError(f"{where} is no JSON: {said}") from None
    if not isinstance(facts, dict):
        raise ValueError(f'{where} is {_kind(facts)}; a line is an object such as {{"name": "x", "prompt": "…"}}')
    key = next((key for key in NAME_KEYS if key in facts), None)
    if key is None:
        raise ValueError(f"{where} has no name; say which clip it is of, under {', '.join(NAME_KEYS)}")
    name = _checked(facts, key, str, where, "the clip's file name")
    prompt = " ".join(_checked(facts, "prompt", str, where, "the words that the clip was drawn for").split())
    if not prompt:
        raise ValueError(f"{where} has an empty prompt; say what the clip was to show")
    seed = _checked(facts, "seed", int, where, "a whole number", optional=True)
    if seed is not None and seed < 0:
        raise ValueError(f"{where}: seed {seed} is below 0")
    return ListedPrompt(
        _bare(name, where),
        prompt,
        _checked(facts, "kind", str, where, "a word", optional=True) or "",
        seed,
        _checked(facts, "attributes", dict, where, "what the prompt says", optional=True),
        number,
    )


def _checked(facts: dict[str, Any], key: str, wanted: type, where: str, about: str, *, optional: bool = False) -> Any:
    value = facts.get(key)
    if value is None and optional:
        return None
    if key not in facts:
        raise ValueError(f"{where} has no {key}; it is {about}")
    if not isinstance(value, wanted) or isinstance(value, bool):
        names = {str: "a string", int: "a whole number", dict: "an object"}
        raise ValueError(f"{where}: {key} is {_kind(value)}, not {names[wanted]}; it is {about}")
    if isinstance(value, str) and not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError(f"{where}: {key} holds half a character (\\ud800 to \\udfff); save the file as UTF-8")
    return value


def _bare(name: str, where: str) -> str:
    """A file's name without its suffix; it may lie in folders below, never above."""
    path = PurePosixPath(unicodedata.normalize("NFC", name.strip()))  # as folders are listed
    if path.is_absolute() or ".." in path.parts or not path.name or "\0" in name or "\\" in name:
        raise ValueError(f"{where}: {name!r} is no name of a file in the folder of the clips")
    return str(path.with_suffix("") if path.suffix.lower() in CLIP_SUFFIXES else path)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "a truth value", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "a string")
