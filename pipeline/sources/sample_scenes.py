"""Little scenes drawn for the `sample` source: what each shows at each moment, and captions that are true of it.

A scene is drawn at twice its width and height on a PIL canvas; `u` runs from 0 (first frame) to 1 (last).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 640, 480  # px, drawn; half of each is encoded
COLOURS = {
    "red": (214, 40, 40),
    "blue": (38, 84, 200),
    "green": (40, 150, 70),
    "yellow": (245, 205, 40),
    "orange": (240, 130, 30),
    "purple": (130, 60, 170),
    "white": (245, 245, 245),
}


@dataclass(frozen=True)
class Details:
    """The differences between two clips of one scene."""

    colour: str
    to_right: bool
    phase: float  # [0, 1)

    @property
    def rgb(self) -> tuple[int, int, int]:
        return COLOURS[self.colour]

    @property
    def side(self) -> str:
        return "right" if self.to_right else "left"

    def across(self, u: float, margin: float) -> float:
        """x in px of something that crosses the picture towards `side`."""
        share = u if self.to_right else 1.0 - u
        return margin + share * (WIDTH - 2 * margin)


@dataclass(frozen=True)
class Scene:
    """`draw` paints over `sky`, two colours from top to bottom; captions hold {colour} and {side}."""

    name: str
    sky: tuple[tuple[int, int, int], tuple[int, int, int]]
    draw: Callable[[ImageDraw.ImageDraw, float, Details], None]
    captions: tuple[str, ...]

    def frame(self, u: float, details: Details) -> Image.Image:
        """RGB image of half of WIDTH x HEIGHT."""
        top, bottom = (np.array(colour, dtype=np.float32) for colour in self.sky)
        share = np.linspace(0.0, 1.0, HEIGHT, dtype=np.float32)[:, None]
        column = (top + (bottom - top) * share).round().astype(np.uint8)
        image = Image.fromarray(np.repeat(column[:, None, :], WIDTH, axis=1))
        self.draw(ImageDraw.Draw(image), u, details)
        return image.reduce(2)

    def captions_for(self, details: Details) -> list[str]:
        return [text.format(colour=details.colour, side=details.side).replace("a o", "an o") for text in self.captions]


def draw_details(rng: Random) -> Details:
    return Details(rng.choice(sorted(COLOURS)), rng.random() < 0.5, rng.random())


def _disc(canvas: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill: tuple[int, int, int]) -> None:
    canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _ball(canvas: ImageDraw.ImageDraw, u: float, details: Details) -> None:
    canvas.rectangle((0, 400, WIDTH, HEIGHT), fill=(120, 90, 60))
    x, height = details.across(u, 70), abs(math.sin(math.pi * (3 * u + details.phase)))
    canvas.ellipse((x - 40, 405, x + 40, 425), fill=(80, 60, 40))
    _disc(canvas, x, 365 - 240 * height, 45, details.rgb)


def _car(canvas: ImageDraw.ImageDraw, u: float, details: Details) -> None:
    canvas.rectangle((0, 330, WIDTH, HEIGHT), fill=(90, 90, 95))
    for dash in range(20, WIDTH, 120):
        canvas.rectangle((dash, 415, dash + 60, 425), fill=(230, 230, 210))
    x = details.across(u, 110)
    canvas.rounded_rectangle((x - 95, 300, x + 95, 360), 18, fill=details.rgb)
    canvas.polygon([(x - 60, 302), (x - 35, 255), (x + 35, 255), (x + 60, 302)], fill=(60, 70, 85))
    for wheel in (x - 55, x + 55):
        _disc(canvas, wheel, 362, 26, (25, 25, 28))
        _disc(canvas, wheel, 362, 10, (170, 170, 175))


def _sunrise(canvas: ImageDraw.ImageDraw, u: float, details: Details) -> None:
    _disc(canvas, 180 + 280 * details.phase, 360 - 240 * u, 55, (255, 225, 90))
    canvas.rectangle((0, 320, WIDTH, HEIGHT), fill=(25, 70, 120))
    for row in range(340, HEIGHT, 26):
        shift = 20 * math.sin(6 * math.pi * u + row)
        for left in range(-40, WIDTH, 90):
            x = left + shift + row % 40
            canvas.line((x, row, x + 40, row), fill=(70, 120, 170), width=4)


def _clock(canvas: ImageDraw.ImageDraw, u: float, details: Details) -> None:
    _disc(canvas, 320, 240, 190, details.rgb)
    _disc(canvas, 320, 240, 165, (255, 252, 240))
    for hour in range(12):
        angle = math.pi * hour / 6
        _disc(canvas, 320 + 145 * math.sin(angle), 240 - 145 * math.cos(angle), 6, (30, 30, 30))
    for turns, length, width in ((u / 6 + details.phase, 80, 12), (2 * u + details.phase, 125, 7)):
        angle = 2 * math.pi * turns
        canvas.line((320, 240, 320 + length * math.sin(angle), 240 - length * math.cos(angle)), (30, 30, 30), width)


def _rain(canvas: ImageDraw.ImageDraw, u: float, details: Details) -> None:
    canvas.rectangle((0, 390, WIDTH, HEIGHT), fill=(60, 90, 60))
    canvas.rectangle((210, 250, 430, 400), fill=(200, 185, 160))
    canvas.polygon([(185, 250), (320, 150), (455, 250)], fill=details.rgb)
    canvas.rectangle((290, 310, 350, 400), fill=(90, 60, 40))
    for drop in range(90):
        x, start = (drop * 97 + 31) % WIDTH, (drop * 173) % HEIGHT
        y = (start + 2400 * u + HEIGHT * details.phase) % HEIGHT
        canvas.line((x, y, x - 4, y + 24), fill=(190, 205, 225), width=3)


def _fish(canvas: ImageDraw.ImageDraw, u: float, details: Details) -> None:
    canvas.rectangle((0, 430, WIDTH, HEIGHT), fill=(200, 180, 120))
    x, y = details.across(u, 100), 230 + 40 * math.sin(2 * math.pi * (u + details.phase))
    ahead = 1 if details.to_right else -1
    tail = 22 * math.sin(14 * math.pi * u)
    canvas.polygon(
        [(x - 55 * ahead, y), (x - 105 * ahead, y - 40 + tail), (x - 105 * ahead, y + 40 + tail)], details.rgb
    )
    canvas.ellipse((x - 75, y - 42, x + 75, y + 42), fill=details.rgb)
    _disc(canvas, x + 45 * ahead, y - 10, 8, (20, 20, 20))
    for bubble in range(4):
        rise = (u + bubble / 4 + details.phase) % 1.0
        _disc(canvas, 120 + 130 * bubble, 430 - 400 * rise, 9, (190, 225, 240))


def _rocket(canvas: ImageDraw.ImageDraw, u: float, details: Details) -> None:
    for star in range(50):
        _disc(canvas, (star * 131 + 17) % WIDTH, (star * 89 + 43) % HEIGHT, 2.5, (230, 230, 210))
    x, y = 220 + 200 * details.phase, 400 - 320 * u
    flame = 45 + 15 * math.sin(40 * math.pi * u)
    canvas.polygon([(x - 18, y + 70), (x + 18, y + 70), (x, y + 70 + flame)], fill=(255, 170, 40))
    canvas.polygon([(x - 55, y + 75), (x, y + 10), (x + 55, y + 75)], fill=(150, 150, 160))
    canvas.rounded_rectangle((x - 28, y - 40, x + 28, y + 70), 12, fill=details.rgb)
    canvas.polygon([(x - 28, y - 38), (x + 28, y - 38), (x, y - 95)], fill=(200, 200, 205))


def _balloon(canvas: ImageDraw.ImageDraw, u: float, details: Details) -> None:
    canvas.rectangle((0, 420, WIDTH, HEIGHT), fill=(90, 160, 80))
    for cloud in range(3):
        for part in (-40, 0, 40):
            _disc(canvas, 110 + 210 * cloud + part, 110 + 50 * (cloud % 2), 34, (250, 250, 252))
    x, y = 220 + 200 * details.phase + 15 * math.sin(4 * math.pi * u), 320 - 200 * u
    canvas.line((x, y + 60, x + 10 * math.sin(6 * math.pi * u), y + 160), fill=(60, 60, 60), width=3)
    canvas.ellipse((x - 55, y - 70, x + 55, y + 65), fill=details.rgb)


DAY, NIGHT, WATER = ((120, 180, 235), (205, 228, 245)), ((8, 10, 35), (30, 30, 70)), ((20, 90, 150), (10, 50, 95))
ROOM, DAWN = ((225, 222, 214), (200, 196, 188)), ((60, 60, 120), (250, 150, 90))
GREY = ((95, 105, 118), (130, 138, 148))

SCENES = (
    Scene(
        "ball",
        ROOM,
        _ball,
        (
            "a {colour} ball bounces across the floor",
            "a ball is bouncing to the {side}",
            "a {colour} ball jumps up and down in a room",
            "a cartoon of a bouncing ball",
        ),
    ),
    Scene(
        "car",
        DAY,
        _car,
        (
            "a {colour} car drives along a road",
            "a car is driving to the {side}",
            "a {colour} car on a grey road",
            "an animated car moves down the street",
            "a {colour} vehicle passes by",
        ),
    ),
    Scene(
        "sunrise",
        DAWN,
        _sunrise,
        ("the sun rises over the sea", "a yellow sun comes up above the water", "sunrise at the ocean"),
    ),
    Scene(
        "clock",
        ROOM,
        _clock,
        (
            "the hands of a clock are turning",
            "a {colour} clock on a wall",
            "time passes on a round clock",
            "a clock with a {colour} rim runs fast",
        ),
    ),
    Scene(
        "rain",
        GREY,
        _rain,
        (
            "rain falls on a house",
            "it is raining on a house with a {colour} roof",
            "a small house stands in the rain",
            "a rainy day",
        ),
    ),
    Scene(
        "fish",
        WATER,
        _fish,
        (
            "a {colour} fish swims under water",
            "a fish is swimming to the {side}",
            "a {colour} fish and rising bubbles",
            "an animated fish in the sea",
        ),
    ),
    Scene(
        "rocket",
        NIGHT,
        _rocket,
        (
            "a {colour} rocket flies up into the night sky",
            "a rocket is launched",
            "a rocket rises between the stars",
            "a cartoon of a space ship at night",
            "a {colour} rocket with a burning engine",
        ),
    ),
    Scene(
        "balloon",
        DAY,
        _balloon,
        (
            "a {colour} balloon rises into the sky",
            "a balloon floats up past the clouds",
            "a {colour} balloon on a string flies away",
        ),
    ),
)
