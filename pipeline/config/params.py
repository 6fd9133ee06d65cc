"""params.yaml as typed, frozen sections: the one door for configuration errors.

`load_params` reads the file, checks every key, type, range and rule, and raises one `ParamsError` line that names the
file, section, key, value and what is allowed. Nothing here has a default: params.yaml is complete, and says what each
key means.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.config.earlier import SETS, what_became_of
from pipeline.config.rules import check_sections
from pipeline.config.section import RuleError, in_yaml
from pipeline.config.tree import Params

BANNED_KEYS = ("size", "nfiles")  # DVC drops params of these names from its cache key (dvc#10296)


class ParamsError(ValueError):
    """A params file that a user can mend; the message is one line."""


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and check a params file. Raises `ParamsError`, one line, on the first thing a user has to mend."""
    path = Path(path)
    if not path.is_file():
        raise ParamsError(f"{path}: no such params file; run from the repository's root")
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except UnicodeDecodeError:
        raise ParamsError(f"{path}: not UTF-8 text; save it as such") from None
    return parse_params(tree, where=str(path))


def parse_params(tree: Any, where: str = "params") -> Params:
    """Check an already loaded tree; `where` names its file in the error."""
    try:
        tree = json.loads(json.dumps(tree, default=str))
    except (TypeError, ValueError, RecursionError):
        raise ParamsError(f"{where}: not a tree of keys and plain values; compare it with the committed file") from None
    if not isinstance(tree, dict):
        raise ParamsError(f"{where}: expected sections, got {type(tree).__name__}")
    _refuse_banned_keys(tree, where)
    _refuse_earlier_keys(tree, where)
    try:
        params = Params.read(tree)
        check_sections(params)
    except ValidationError as error:
        raise ParamsError(_one_line(error, where)) from None
    except RuleError as error:
        raise ParamsError(f"{where}: {error}") from None
    return params


class _Loader(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error, and not its last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _refuse_banned_keys(tree: dict[str, Any], where: str, prefix: str = "") -> None:
    for key, value in tree.items():
        if key in BANNED_KEYS:
            raise ParamsError(f"{where}: {prefix}{key}: DVC ignores params of this name (dvc#10296); rename the key")
        if isinstance(value, dict):
            _refuse_banned_keys(value, where, f"{prefix}{key}.")


def _refuse_earlier_keys(tree: dict[str, Any], where: str) -> None:
    if isinstance(name := tree.get("dataset"), str) and name in SETS:
        raise ParamsError(f"{where}: dataset: {name!r} is called {SETS[name]} now: write that")
    for section, values in tree.items():
        for key in values if isinstance(values, dict) else ():
            if told := what_became_of(f"{section}.{key}"):
                raise ParamsError(f"{where}: {section}.{key}: {told}")


def _one_line(error: ValidationError, where: str) -> str:
    strange = [each for each in error.errors() if each["type"] == "extra_forbidden"]
    first = (strange or error.errors())[0]  # a misspelt key is a missing one, too
    # A union (a list of literals) reports one error per member: the location's own type tags are dropped.
    location = ".".join(str(part) for part in first["loc"] if not re.search(r"[\[\]( ]", str(part)))
    key, value = location or "(whole file)", in_yaml(first["input"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{where}: {key}: unknown key (value {value}); allowed: {_siblings(first['loc'])}{more}"
    if first["type"] == "missing" and isinstance(first["loc"][-1], int):
        return f"{where}: {key.rpartition('.')[0]}: {value} is not allowed: it holds too few values{more}"
    if first["type"] == "missing":
        return f"{where}: {key}: missing; params.yaml holds every key, copy it from the committed file{more}"
    broken = first.get("ctx", {}).get("error")
    if isinstance(broken, RuleError):
        return f"{where}: {broken if '.' in broken.key else broken.within(location)}{more}"
    return f"{where}: {key}: {value} is not allowed: {_rule(first['type'], first['msg'])}{more}"


def _rule(kind: str, message: str) -> str:
    """Pydantic's words for a rule, in YAML's terms."""
    if kind == "model_type":
        return "it should be a section of keys"
    message = message.removeprefix("Value error, ").replace("valid array", "list").replace("Input should", "it should")
    return message[0].lower() + message[1:]


def _siblings(loc: tuple[int | str, ...]) -> str:
    fields = Params.model_fields
    if len(loc) > 1:
        section = fields[str(loc[0])].annotation
        assert isinstance(section, type)
        assert issubclass(section, BaseModel)
        fields = section.model_fields
    return ", ".join(fields)
