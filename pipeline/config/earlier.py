"""Params keys of earlier versions: an old model card is read in today's keys, a params file is told the new ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

RENAMED = {
    "train_gan.rivals": "train_gan.hard_negatives",
    "train_gan.judged_frames": "train_gan.discriminator_frames",
    "train_gan.background_told": "train_gan.background_sees_text",
}
ADDED: dict[str, Any] = {"unet.unfold_frames": None}  # what a model of before the key was made with
REMOVED: dict[str, tuple[Any, ...]] = {  # the values that are built today, the only one first
    "train_gan.text": ("words",),
}


def in_todays_keys(params: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The params sections of a model card, of any version. Raises ValueError where one asks for what is gone."""
    sections = {name: dict(copy.deepcopy(section)) for name, section in params.items()}
    for key, value in ADDED.items():
        section, name = key.split(".")
        if section in sections:
            sections[section].setdefault(name, value)
    for key, built in REMOVED.items():
        section, name = key.split(".")
        value = sections.get(section, {}).pop(name, built[0])
        if value not in built:
            raise ValueError(f"{key}={value} is no longer built; sample by the version that trained it, or train again")
    for key, new in RENAMED.items():
        section, name = key.split(".")
        new_section, new_name = new.split(".")
        if name in sections.get(section, {}):
            value = sections[section].pop(name)
            if new_section in sections:
                sections[new_section].setdefault(new_name, value)
    return sections


def what_became_of(key: str) -> str | None:
    """Of an earlier key, the line's end that tells a user what to write today; None where there never was one."""
    if key in RENAMED:
        return f"renamed to {RENAMED[key]}: write that"
    if key in REMOVED:
        return f"no longer a param (it is always {REMOVED[key][0]!r}): delete the line"
    return None
