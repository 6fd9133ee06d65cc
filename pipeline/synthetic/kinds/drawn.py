"""Rows of the kinds of scene: a clip drawn, its captions, and what is published beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.config.data import ShapesParams
from pipeline.data.shards import Row
from pipeline.synthetic.backgrounds import make_background
from pipeline.synthetic.combinations import clip_seed, key_of, pick
from pipeline.synthetic.draw import Background, Drawing, draw
from pipeline.synthetic.indexed_gif import encode_indexed_gif
from pipeline.synthetic.kinds.changes import changes
from pipeline.synthetic.kinds.contacts import contacts
from pipeline.synthetic.kinds.counts import counts
from pipeline.synthetic.kinds.kind import Kind, Scene, chosen
from pipeline.synthetic.kinds.layers import draw_layers
from pipeline.synthetic.kinds.orders import orders
from pipeline.synthetic.kinds.relations import relations
from pipeline.synthetic.scene import every_colour, paint

KINDS: dict[str, Callable[[ShapesParams], Kind]] = {  # by their names in shapes.kinds
    "counts": counts,
    "relations": relations,
    "change": changes,
    "order": orders,
    "contact": contacts,
}


def kind_row(kind: Kind, params: ShapesParams, split: str, clip: int, index: int) -> Row:
    """Clip `clip` of a split, the one of number `index` among those of its kind."""
    seed = clip_seed(params.seed, split, clip)
    rng = np.random.default_rng(seed)
    pool = kind.combinations.held_out if split == "held_out" else kind.combinations.seen
    scene = kind.scene(pick(pool, params.seed, split, index), rng)
    background = make_background(chosen(params.backgrounds, rng), every_colour(scene.things), params.resolution, rng)
    drawing = draw_scene(scene, background, layered=kind.layered)
    forms = kind.forms.reworded if split == "reworded" else kind.forms.train
    order = rng.choice(len(forms), min(params.captions_per_clip, len(forms)), replace=False)
    said = background.name if len(params.backgrounds) > 1 else None
    return Row(
        key=key_of(split, clip),
        split=split,
        captions=tuple(forms[n].say(kind.slots(scene, forms[n]), said) for n in order),
        n_frames=params.frames,
        fps=params.fps,
        gif=encode_indexed_gif(drawing.indices, drawing.palette, params.fps),
        source="shapes",
        attributes={
            "set": "shapes",
            "kind": kind.name,
            **scene.told,
            "seed": seed,
            "background": background.name,
            "background_colours": [list(tone) for tone in background.tones],
            "templates": [forms[n].id for n in order],
            "objects": scene.truths(),
        },
    )


def draw_scene(scene: Scene, background: Background, *, layered: bool) -> Drawing:
    """A scene's clip, before its background."""
    paints, objects = paint(scene.things, scene.paths)
    return (draw_layers if layered else draw)(background, objects, paints)


def describe(kind: Kind) -> dict[str, Any]:
    """A kind as set.json publishes it: what never occurs in train."""
    return {
        "attributes": list(kind.attributes),
        "held_out": [list(item) for item in kind.combinations.held_out],
        "templates": {
            "train": [form.id for form in kind.forms.train],
            "reworded": [form.id for form in kind.forms.reworded],
        },
    }
