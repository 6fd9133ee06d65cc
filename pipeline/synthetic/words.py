"""The words for each attribute value, in several forms, all plain English.

Every list is cut the same way by the templates of grammar.py: a template takes one fixed entry of each, so that a
caption depends on its template and meaning alone.
"""

from __future__ import annotations

VERBS = (
    ("moves", "moving"),
    ("travels", "travelling"),
    ("slides", "sliding"),
    ("glides", "gliding"),
    ("goes", "going"),
)

WAYS: dict[str, tuple[str, ...]] = {
    "left": ("left", "to the left", "leftwards", "towards the left edge", "from right to left"),
    "right": ("right", "to the right", "rightwards", "towards the right edge", "from left to right"),
    "up": ("up", "upwards", "straight up", "towards the top edge", "from bottom to top"),
    "down": ("down", "downwards", "straight down", "towards the bottom edge", "from top to bottom"),
    "up-left": (
        "up and to the left",
        "diagonally up and left",
        "towards the top left",
        "up-left",
        "towards the upper left corner",
    ),
    "up-right": (
        "up and to the right",
        "diagonally up and right",
        "towards the top right",
        "up-right",
        "towards the upper right corner",
    ),
    "down-left": (
        "down and to the left",
        "diagonally down and left",
        "towards the bottom left",
        "down-left",
        "towards the lower left corner",
    ),
    "down-right": (
        "down and to the right",
        "diagonally down and right",
        "towards the bottom right",
        "down-right",
        "towards the lower right corner",
    ),
}

PHRASES: dict[str, tuple[tuple[str, str], ...]] = {  # ("it …", "seen …")
    "bounce-horizontal": (
        ("bounces left and right", "bouncing left and right"),
        ("bounces from side to side", "bouncing from side to side"),
        ("moves back and forth horizontally", "moving back and forth horizontally"),
        ("bounces back and forth sideways", "bouncing back and forth sideways"),
        ("goes left and right", "going left and right"),
    ),
    "bounce-vertical": (
        ("bounces up and down", "bouncing up and down"),
        ("moves up and down", "moving up and down"),
        ("bounces vertically", "bouncing vertically"),
        ("moves back and forth vertically", "moving back and forth vertically"),
        ("goes up and down", "going up and down"),
    ),
    "zigzag-horizontal": (
        ("zigzags horizontally", "zigzagging horizontally"),
        ("moves horizontally in a zigzag", "moving horizontally in a zigzag"),
        ("zigzags sideways", "zigzagging sideways"),
        ("follows a horizontal zigzag path", "following a horizontal zigzag path"),
        ("goes sideways in a zigzag", "going sideways in a zigzag"),
    ),
    "zigzag-vertical": (
        ("zigzags vertically", "zigzagging vertically"),
        ("moves vertically in a zigzag", "moving vertically in a zigzag"),
        ("follows a vertical zigzag path", "following a vertical zigzag path"),
        ("travels vertically in a zigzag", "travelling vertically in a zigzag"),
        ("goes vertically in a zigzag", "going vertically in a zigzag"),
    ),
    "rotate-clockwise": (
        ("rotates clockwise", "rotating clockwise"),
        ("turns clockwise", "turning clockwise"),
        ("spins clockwise", "spinning clockwise"),
        ("rotates in the clockwise direction", "rotating in the clockwise direction"),
        ("turns in the clockwise direction", "turning in the clockwise direction"),
    ),
    "rotate-counterclockwise": (
        ("rotates counterclockwise", "rotating counterclockwise"),
        ("turns counterclockwise", "turning counterclockwise"),
        ("spins counterclockwise", "spinning counterclockwise"),
        ("rotates anticlockwise", "rotating anticlockwise"),
        ("turns anticlockwise", "turning anticlockwise"),
    ),
    "grow": (
        ("grows", "growing"),
        ("gets bigger", "getting bigger"),
        ("grows larger", "growing larger"),
        ("expands", "expanding"),
        ("becomes bigger", "becoming bigger"),
    ),
    "shrink": (
        ("shrinks", "shrinking"),
        ("gets smaller", "getting smaller"),
        ("becomes smaller", "becoming smaller"),
        ("grows smaller", "growing smaller"),
        ("shrinks down", "shrinking down"),
    ),
    "still": (
        ("stays still", "staying still"),
        ("stands still", "standing still"),
        ("does not move", "not moving"),
        ("stays in place", "staying in place"),
        ("remains still", "remaining still"),
    ),
    "change-colour": (  # the colours in braces
        ("turns {to}", "turning {to}"),
        ("changes to {to}", "changing to {to}"),
        ("becomes {to}", "becoming {to}"),
        ("changes colour to {to}", "changing colour to {to}"),
        ("goes from {from} to {to}", "going from {from} to {to}"),
    ),
}

SPEEDS: dict[str, tuple[str, ...]] = {  # one word (it can stand before the verb) and several by turns
    "slow": ("slowly", "at a slow pace", "unhurriedly", "at a low speed"),
    "normal": ("at a normal speed", "at a moderate pace", "at a medium speed", "at a normal pace"),
    "fast": ("quickly", "at a fast pace", "rapidly", "at a high speed"),
}

SIZES: dict[str, str] = {"small": "small", "medium": "medium-sized", "large": "large"}

BACKGROUNDS: dict[str, str] = {
    "white": "white",
    "solid": "plain coloured",
    "dots": "dotted",
    "grid": "grid",
    "stripes": "striped",
}
BEFORE_BACKGROUND = ("on a", "against a", "in front of a")

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def with_article(words: str) -> str:
    """ "an orange circle", "a red circle", "an 8"."""
    return f"{'an' if words[0] in 'aeiou8' else 'a'} {words}"


def does(motion: str, verb: int, way: int, colour: str = "", colour_to: str = "") -> tuple[str, str]:
    """An object's motion in words, as ("moves left", "moving left")."""
    if motion in WAYS:
        finite, participle = VERBS[verb % len(VERBS)]
        where = WAYS[motion][way % len(WAYS[motion])]
        return f"{finite} {where}", f"{participle} {where}"
    finite, participle = PHRASES[motion][way % len(PHRASES[motion])]
    names = {"from": colour, "to": colour_to}
    return finite.format_map(names), participle.format_map(names)
