"""Parts of the page as HTML: clips with their files to download, notes, what a model is and how well it does.

All of it travels inside the page as data: no file is written where it could be asked for.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jinja2
import numpy as np

from pipeline.data.frames import enlarge, to_rgb
from pipeline.data.gif import encode_gif
from pipeline.exporting.hub_folder import figure_lines, figures_of
from pipeline.generation.clip_files import slug
from pipeline.playing.drawing import Drawing, Order, Shown
from pipeline.render.clips import write_mp4
from pipeline.text.vocabulary import words_of

LOOKED_AT_PX = 192  # least side of a GIF to look at
EXAMPLES = (
    "a red circle moves up slowly",
    "a blue square is moving to the left quickly",
    "a green triangle glides towards the bottom right at a slow pace",
    "there is a yellow square going from left to right fast",
    "the digit 7 moves up",
    "a navy ball sinks",
)
PAGES = jinja2.Environment(autoescape=True)
CLIPS = PAGES.from_string(
    '<p role="status">{{ status }}</p><div class="clips">{% for clip in clips %}<figure><img src="{{ clip.gif }}" '
    'alt="{{ clip.alt }}"><figcaption>seed {{ clip.seed }}{% for kind in ("gif", "mp4") if is_done %}'
    '<a download="{{ clip.name }}.{{ kind }}" href="{{ clip[kind] }}">{{ kind | upper }}</a>{% endfor %}'
    "</figcaption></figure>{% endfor %}</div>"
)
NOTES = PAGES.from_string(
    '{% if lines %}<ul class="notes">{% for line in lines %}<li>{{ line }}</li>{% endfor %}</ul>{% endif %}'
)
FACTS = PAGES.from_string("<p>{{ facts }}</p>")


def show(drawing: Drawing, order: Order) -> Iterator[tuple[str, str]]:
    """(notes, clips) as HTML, after each step. What a person can mend is said in the notes' place."""
    try:
        drawing.check(order)
        notes = NOTES.render(lines=drawing.notes(order))
        yield notes, CLIPS.render(status="Waiting …", clips=[], is_done=False)
        for shown in drawing.draw(order):
            yield notes, clips_html(order, shown, drawing.model(order.model).card.fps)
    except ValueError as error:
        yield NOTES.render(lines=[f"error: {error}"]), ""


def clips_html(order: Order, shown: Shown, fps: float) -> str:
    """The clips of a step as pictures that play, the finished ones with their files to download."""
    status = "Done" if shown.is_done else f"Step {shown.step} of {shown.steps}"
    clips = []
    for k, frames in enumerate(shown.frames):
        seed, rgb = order.seed + k, to_rgb(frames)
        large = enlarge(rgb, max(1, LOOKED_AT_PX // min(rgb.shape[1:3]))) if shown.is_done else rgb
        clip = {"seed": seed, "alt": f"{order.prompt}, seed {seed}", "name": f"{slug(order.prompt)}-seed{seed}"}
        clip["gif"] = _as_url("image/gif", encode_gif(large, fps))
        if shown.is_done:
            clip["mp4"] = _as_url("video/mp4", mp4_bytes(rgb, fps))
        clips.append(clip)
    return CLIPS.render(status=status, clips=clips, is_done=shown.is_done)


def mp4_bytes(frames: np.ndarray, fps: float) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_mp4(path, frames, fps)
        return path.read_bytes()


def model_facts(drawing: Drawing, name: str) -> str:
    """The model's card and figures, as HTML."""
    card, figures = drawing.model(name).card, figures_of(drawing.folders[name])
    kind = "a GAN: steps, guidance and sampler do nothing" if card.family == "gan" else "a diffusion U-Net"
    facts = (
        f"{name}: {kind}, trained on {card.dataset}; {card.frames} frames of {card.resolution} × {card.resolution} px "
        f"at {card.fps:g} a second. {_plain(figure_lines(figures))}"
    )
    return FACTS.render(facts=facts)


def _plain(lines: list[tuple[str, str]]) -> str:
    if not lines:
        return "It was not evaluated here."
    return f"Everything right that the caption says: {'; '.join(f'{name} {value}' for name, value in lines)}."


def examples(drawing: Drawing, name: str) -> list[str]:
    """Prompts in words that the model knows, and one that it does not understand."""
    known = set(drawing.model(name).card.vocabulary)
    understood = [line for line in EXAMPLES[:-1] if known.issuperset(words_of(line))]
    return [*understood, EXAMPLES[-1]]


def _as_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
