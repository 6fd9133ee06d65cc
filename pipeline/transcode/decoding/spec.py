"""The request for a clip, and the one error for a clip that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NAMED = {"white": "#ffffff", "gray": "#808080", "black": "#000000"}


class ClipError(ValueError):
    """A clip that cannot be used. `reason` is one of a few words, the message the decoder's own."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class FrameSpec:
    """The frames to take of a clip, and their way to squares."""

    frames: int
    resolution: int  # px, height and width
    span: Literal["whole", "first", "last"]
    duration_s: float  # used by span: first and last
    fit: Literal["crop", "pad", "stretch"]
    background: tuple[int, int, int]  # RGB under transparent pixels


def rgb_of(colour: str) -> tuple[int, int, int]:
    """Of white, gray, black or "#rrggbb"."""
    red, green, blue = bytes.fromhex(NAMED.get(colour, colour).removeprefix("#"))
    return red, green, blue
