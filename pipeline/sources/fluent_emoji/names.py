"""Names of an emoji: its English name in Unicode, the subject without its skin tone, and that tone.

`1f9d1-1f3ff-200d-1f373` is "cook: dark skin tone", of subject "cook" and tone "dark".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from emoji import EMOJI_DATA

TONES = {0x1F3FB: "light", 0x1F3FC: "medium-light", 0x1F3FD: "medium", 0x1F3FE: "medium-dark", 0x1F3FF: "dark"}
NO_TONE = "yellow"  # of an emoji that has the others too (Unicode Technical Standard 51, 2.4)
TONE_WORDS = re.compile(r" ((?:medium-)?(?:light|dark)|medium) skin tone\b ?")


@dataclass(frozen=True)
class EmojiName:
    """The names of one emoji."""

    caption: str
    subject: str
    tone: str | None  # None: it has no skin tone, or more than one


def name_emoji(stem: str) -> EmojiName | None:
    """The names of the emoji with these code points in hexadecimal, joined by "-"; None where Unicode has none.

    The `emoji` package keeps the words of a name and drops its signs; those around the tone are put back.
    """
    if not re.fullmatch(r"[0-9a-f]{1,6}(-[0-9a-f]{1,6})*", stem, re.IGNORECASE):
        return None
    points = [int(part, 16) for part in stem.split("-")]
    name = _unicode_name(points)
    subject = _unicode_name([point for point in points if point not in TONES])
    if name is None or subject is None:
        return None
    tones = {TONES[point] for point in points if point in TONES}
    return EmojiName(TONE_WORDS.sub(_with_signs, name).rstrip(", "), subject, tones.pop() if len(tones) == 1 else None)


def with_default_tone(names: Iterable[EmojiName]) -> list[EmojiName]:
    """The names, those without a tone given NO_TONE where their subject comes in tones."""
    names = list(names)
    toned = {name.subject for name in names if name.tone is not None}
    return [
        EmojiName(name.caption, name.subject, NO_TONE)
        if name.subject in toned and name.caption == name.subject
        else name
        for name in names
    ]


def _with_signs(found: re.Match[str]) -> str:
    return f": {found[1]} skin tone, "


def _unicode_name(points: list[int]) -> str | None:
    if not points or max(points) > 0x10FFFF:
        return None
    text = "".join(map(chr, points))
    known = EMOJI_DATA.get(text) or EMOJI_DATA.get(text.replace("\ufe0f", ""))  # where only the plain form is listed
    return None if known is None else str(known["en"]).strip(":").replace("_", " ")
