"""Params keys and set names of earlier versions: an old model card is read in today's, a params file is told them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Removed:
    """A key that is no more."""

    value: Any  # the one that is built today
    training_only: bool = False  # then models of other values load, too


RENAMED = {
    "train_gan.rivals": "train_gan.hard_negatives",
    "train_gan.judged_frames": "train_gan.discriminator_frames",
    "train_gan.background_told": "train_gan.background_sees_text",
    "unet.text_dropout": "train.text_dropout",
}
ADDED: dict[str, Any] = {  # what a model of before the key was made with
    "unet.unfold_frames": None,
    "train.given_frames": [],
    "train.given_share": 0.5,
    "train.given_noise": 0.0,
    "train.init_from": None,
    "sampling.given_frames": 0,
    "sampling.t_start": 1.0,
}
REMOVED = {
    "train_gan.text": Removed("words"),
    "unet.text_pooled": Removed(True),
    "sampling.guidance_rescale": Removed(0.0),
    "unet.dropout": Removed(0.0, training_only=True),
}
SETS = {"msrvtt": "videos"}  # names of sets; DVC itself puts them into paths, so a params file has to say today's
PATCH_FRAMES = "unet.patch_frames"  # now the first entry of unet.fold_frames, which was always 1


def todays_set(name: str) -> str:
    """A set's name of today, from any version's."""
    return SETS.get(name, name)


def names_of_set(name: str) -> tuple[str, ...]:
    """A set's name of today and those that it had before."""
    return name, *(earlier for earlier, today in SETS.items() if today == name)


def in_todays_keys(params: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The params sections of a model card, of any version. Raises ValueError where one asks for what is gone."""
    sections = {name: dict(copy.deepcopy(section)) for name, section in params.items()}
    for key, value in ADDED.items():
        section, name = key.split(".")
        if section in sections:
            sections[section].setdefault(name, value)
    if (patch_frames := sections.get("unet", {}).pop("patch_frames", None)) is not None:
        sections["unet"]["fold_frames"][0] *= patch_frames
    for key, removed in REMOVED.items():
        section, name = key.split(".")
        value = sections.get(section, {}).pop(name, removed.value)
        if value != removed.value and not removed.training_only:
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
    if key == PATCH_FRAMES:
        return (
            "now the first entry of unet.fold_frames (patch_frames 2 and fold_frames [1, 8] are [2, 8]): write it there"
        )
    if key in REMOVED:
        return f"no longer a param (it is always {REMOVED[key].value!r}): delete the line"
    return None
