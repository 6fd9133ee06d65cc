"""A user's list of prompts held against a set: which can be marked, as what, and why the others cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.generation.prompt_list import ListedPrompt, read_prompt_list
from pipeline.marking.known_set import KnownSet
from pipeline.report.samples import KINDS

USUAL_LIST = "prompts.jsonl"
NEEDED = {"shapes": ("shape", "colour", "motion"), "moving_mnist": ("digit", "motion")}
SCENES = {  # what else they say, by kind
    "counts": ("count",),
    "relations": ("relation",),
    "order": ("first", "then"),
    "contact": ("event", "side"),
}
KIND_NAMES = tuple(kind for kind in KINDS if kind != "unsaid")


@dataclass(frozen=True)
class AskedPrompt:
    """A prompt that can be marked."""

    name: str
    prompt: str
    kind: str
    attributes: dict[str, Any]


@dataclass(frozen=True)
class AskedList:
    """A list's prompts in order of their kinds, and by name why others are left out."""

    prompts: list[AskedPrompt]
    refused: dict[str, str]


def find_list(folder: Path, given: Path | None) -> Path:
    """The list that is named, or the folder's own. Raises ValueError where there is none, or no telling which."""
    if given is not None:
        return given
    there = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jsonl", ".ndjson"))
    usual = [path for path in there if path.name == USUAL_LIST] or there
    if len(usual) != 1:
        found = f"{len(there)} lists ({', '.join(path.name for path in there)})" if there else "no list of prompts"
        raise ValueError(f"{folder}: {found} in it; name the one to mark by with --prompts x.jsonl")
    return usual[0]


def read_asked(path: Path, known: KnownSet, in_play: Mapping[str, Sequence[Any]]) -> AskedList:
    """A list read for a set, whose attributes in play are given.

    Raises ValueError, one line, where the list is damaged or of another set, and where none of it can be marked.
    """
    listed = read_prompt_list(path)
    for each in listed:
        if each.kind and each.kind not in KIND_NAMES:
            raise ValueError(f"{path}: line {each.line}: kind {each.kind!r} is none of {', '.join(KIND_NAMES)}")
        of = (each.attributes or {}).get("set", known.name)
        if of != known.name:
            raise ValueError(
                f"{path}: line {each.line} is of the set {of!r}, and params.yaml marks {known.name!r}; "
                f"set dataset: {of} there, or give a list of {known.name} (python -m pipeline.prompts)"
            )
    prompts: list[AskedPrompt] = []
    refused: dict[str, str] = {}
    for each in listed:
        one = _ask(each, known, in_play)
        if isinstance(one, str):
            refused[each.name] = one
        else:
            prompts.append(one)
    if not prompts:
        first, why = next(iter(refused.items()))
        raise ValueError(f"{path}: none of its {len(listed)} prompts can be marked; the first, {first}: {why}")
    prompts.sort(key=lambda one: KIND_NAMES.index(one.kind))  # in order of the list within a kind
    return AskedList(prompts, refused)


def _ask(each: ListedPrompt, known: KnownSet, in_play: Mapping[str, Sequence[Any]]) -> AskedPrompt | str:
    """The prompt, or why it cannot be marked."""
    if each.attributes is not None:
        wrong = _misfit(each.attributes, known, in_play)
        return wrong or AskedPrompt(each.name, each.prompt, each.kind or "seen", each.attributes)
    said = known.say(each)
    if said is None and (known.is_drawn or in_play):
        return f'"{each.prompt}" is no sentence of {known.name}; say beside it, as attributes, what it asks for'
    kind, attributes = ("seen", {}) if said is None else (said.kind, said.attributes)
    return AskedPrompt(each.name, each.prompt, each.kind or kind, attributes)


def _misfit(attributes: Mapping[str, Any], known: KnownSet, in_play: Mapping[str, Sequence[Any]]) -> str:
    """The fault of attributes that a list brings; empty where they can be marked by."""
    if not known.is_drawn:
        return "" if not in_play or in_play.keys() & attributes.keys() else f"attributes say none of {list(in_play)}"
    things = attributes.get("objects")
    if not isinstance(things, list) or not things or not all(isinstance(thing, dict) for thing in things):
        return "attributes hold no objects; a list of what the clip shows, one object each"
    scene = attributes.get("kind", "objects")
    if scene not in in_play.get("kind", ["objects"]):
        return f"attributes: kind is {scene!r} and may be {', '.join(in_play.get('kind', ['objects']))}"
    for name in SCENES.get(scene, ()):
        values = known.scene_values(scene, name)
        if attributes.get(name) not in values:
            return f"attributes of {scene}: {name} is {attributes.get(name)!r} and may be {', '.join(map(str, values))}"
    needed = [*NEEDED[known.name], *(name for name in ("size", "speed") if len(in_play.get(name, ())) > 1)]
    if scene != "objects":
        needed = ["shape", "colour"]
    for thing in things:
        if not isinstance(thing.get("motion"), str):
            return f"attributes: motion is {thing.get('motion')!r}, not a word"
        if thing["motion"] == "change-colour" and thing.get("colour_to") not in in_play["colour"]:
            return f"attributes: colour_to is {thing.get('colour_to')!r} and may be {', '.join(in_play['colour'])}"
        for name in needed:
            value = thing.get(name)
            if value not in in_play[name] and not (name == "speed" and value is None and name in thing):
                allowed = ", ".join(map(str, in_play[name]))
                return f"attributes: {name} is {value!r} and may be {allowed}"
        speed = thing.setdefault("speed_px", 0.0)
        if isinstance(speed, bool) or not isinstance(speed, int | float) or speed < 0:
            return f"attributes: speed_px is {speed!r}, not a number of 0 or more"
        frames = thing.setdefault("frames", known.frames)
        if isinstance(frames, bool) or not isinstance(frames, int) or frames < 2:
            return f"attributes: frames is {frames!r}, not a whole number of 2 or more"
    if len(in_play.get("background", ())) > 1 and attributes.get("background") not in in_play["background"]:
        return f"attributes: background is {attributes.get('background')!r} and may be {in_play['background']}"
    return ""
