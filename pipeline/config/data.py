"""Params of the stages that make clips and caption vectors, and the rules between their keys."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.section import (
    BatchSize,
    ClipsPerShard,
    Columns,
    Count,
    Distinct,
    Fps,
    Frames,
    Ground,
    KaggleSlug,
    Number,
    Positive,
    Section,
    Seed,
    Sha256,
    Share,
    Text,
)

Shape = Literal["circle", "square", "triangle", "star"]
Colour = Literal["red", "green", "blue", "yellow", "orange", "purple", "cyan", "pink", "brown", "black", "gray"]
Size = Literal["small", "medium", "large"]
Direction = Literal["left", "right", "up", "down", "up-left", "up-right", "down-left", "down-right"]
Bounce = Literal["bounce-horizontal", "bounce-vertical"]
Zigzag = Literal["zigzag-horizontal", "zigzag-vertical"]
Turn = Literal["rotate-clockwise", "rotate-counterclockwise"]
Kind = Literal["objects", "counts", "relations", "change", "order", "contact"]
ShapeMotion = Direction | Bounce | Zigzag | Turn | Literal["grow", "shrink", "still", "change-colour"]

# Numbers of synthetic/ that rules need. The drawing code keeps its own, for DVC reruns a stage for an edit of that code
# and not for one of this; a test holds the two against each other.
LEAST_RESOLUTION = {"small": 31, "medium": 21, "large": 16}  # px: a radius of 3, below which a square is a circle
SEVERAL_SIZES = ("small", "medium")  # large objects leave each other no room to move
LEAST_FRAMES = {  # in which a motion can be told: a turn seen, or a turning square not mistaken for another
    "bounce-horizontal": 6,
    "bounce-vertical": 6,
    "zigzag-horizontal": 9,
    "zigzag-vertical": 9,
    "rotate-clockwise": 12,
    "rotate-counterclockwise": 12,
}
KIND_RESOLUTION = {"counts": 40, "relations": 32, "contact": 32}  # px: a radius of 3 or more, and room for an overlap
KIND_FRAMES = {"change": 8, "order": 10, "contact": 12}  # in which each half of what happens can be seen
LEAST_SEEN = 2  # combinations that each value keeps in train, once anything is held out
LEAST_DIGIT_PX = 8
TRAIN_SENTENCES = {"one": 28, "several": 16}  # forms of synthetic/grammar.py, for clips of one object and of several
NEW_SENTENCES = 8  # of either, that can be held out
DIGIT_SHARE = {1: 0.5, 2: 0.4}  # of the canvas that a digit may be high, by how many there are
MARGIN_PX = 0.5  # between an object and the edge of the canvas


class DownloadParams(Section):
    """Stage download: where captioned clips come from. Its outputs are one archive of videos and one of captions."""

    source: Literal["sample", "emoji", "kaggle", "local"]
    path: Text | None
    in_place: bool
    captions_path: Text | None
    videos_slug: KaggleSlug
    captions_slug: KaggleSlug
    videos_sha256: Sha256 | None
    captions_sha256: Sha256 | None
    sample_clips: Annotated[int, Field(ge=4, le=10_000)]
    seed: Seed

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.source == "local" and self.path is None:
            self.refuse("path", "source=local needs the archive or folder of your videos; name it")
        if self.in_place and self.source != "local":
            self.refuse("in_place", f"source={self.source} has no archive of yours; set it to false")
        return self


class TranscodeParams(Section):
    """Stage transcode: videos to GIF clips of one shape, in shards."""

    resolution: Annotated[int, Field(ge=8, le=1024)]
    frames: Frames
    span: Literal["whole", "first"]
    duration_s: Annotated[Number, Field(ge=0.1, le=3600.0)]
    fps: Fps
    fit: Literal["crop", "pad", "stretch"]
    background: Ground
    split: Literal["official", "1k-A"]
    group: Text | None
    hold_out: Columns
    hold_out_share: Annotated[Number, Field(gt=0.0, le=0.5)]
    hold_out_seed: Seed
    clips_per_shard: ClipsPerShard
    time_limit_s: Annotated[Number, Field(ge=1.0, le=86_400.0)]
    memory_limit_gb: Annotated[Number, Field(ge=0.5, le=4096.0)]
    max_rejected_share: Share

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.group is not None and "(" in self.group:
            try:
                groups = re.compile(self.group).groups
            except re.error as error:
                self.refuse("group", f"it is no regex ({error}); write a column of the captions, or a regex on keys")
            if not groups:
                self.refuse("group", "a regex on keys needs a (group) that names the kin; put one around it")
        return self


class SyntheticParams(Section):
    """Keys of both generated sets: clips of each split, their shape, and what train never sees."""

    train_clips: Positive
    val_clips: Positive
    held_out_clips: Count
    reworded_clips: Count
    resolution: Annotated[int, Field(ge=16, le=1024)]
    frames: Annotated[int, Field(ge=2, le=256)]
    fps: Fps
    held_out_share: Annotated[Number, Field(ge=0.0, le=0.5)]
    held_out_templates: Annotated[int, Field(ge=0, le=NEW_SENTENCES)]
    captions_per_clip: Positive
    clips_per_shard: ClipsPerShard
    seed: Seed

    def combinations(self) -> list[tuple[str, ...]]:
        """Every combination of the attributes that can be drawn, in order: the whole of train and held_out."""
        raise NotImplementedError

    def _check_motions(self, motions: tuple[str, ...]) -> None:
        for motion in motions:
            if self.frames < LEAST_FRAMES.get(motion, 2):
                self.refuse(
                    "frames",
                    f"too few to see {motion}, which needs {LEAST_FRAMES[motion]}; raise it or take {motion} out of "
                    "motions",
                )

    def _check_sentences(self, objects: tuple[int, ...]) -> None:
        if self.reworded_clips and not self.held_out_templates:
            self.refuse("held_out_templates", "it rewords nothing; raise it, or set reworded_clips to 0 as well")
        in_train = [TRAIN_SENTENCES["one" if count == 1 else "several"] for count in objects]
        most = min(in_train) + NEW_SENTENCES - self.held_out_templates
        if self.captions_per_clip > most:
            self.refuse("captions_per_clip", f"train has {most} templates with held_out_templates; lower either")

    def _check_held_out(self, several: int, attributes: tuple[str, ...]) -> None:
        """The numbers without which nothing can be held out; held_out.py finds which combinations it is."""
        every = self.combinations()
        wanted = round(self.held_out_share * len(every))
        if self.held_out_share > 0 and wanted == 0:
            self.refuse(
                "held_out_share",
                f"of {len(every)} combinations it is less than one; raise it, add values, or set it to 0.0",
            )
        if self.held_out_clips and not wanted:
            self.refuse("held_out_share", "it holds nothing out; raise it, or set held_out_clips to 0 as well")
        if self.held_out_clips and wanted < several:
            self.refuse(
                "held_out_share",
                f"it holds out {wanted} of {len(every)} combinations, but clips of {several} objects need as many; "
                "raise it, or set held_out_clips to 0",
            )
        for place, name in enumerate(attributes):
            values = len({item[place] for item in every})
            if wanted and len(every) - wanted < LEAST_SEEN * values:
                self.refuse(
                    "held_out_share",
                    f"it leaves {len(every) - wanted} of {len(every)} combinations for train, where each of {values} "
                    f"{name} needs {LEAST_SEEN}; lower it (0.0: none) or add values",
                )


class ShapesParams(SyntheticParams):
    """Stage shapes: coloured objects that move."""

    shapes: Distinct[Shape]
    colours: Distinct[Colour]
    sizes: Distinct[Size]
    motions: Distinct[ShapeMotion]
    speeds: Distinct[Literal["slow", "normal", "fast"]]
    backgrounds: Distinct[Literal["white", "solid", "dots", "grid", "stripes"]]
    objects: Distinct[Annotated[int, Field(ge=1, le=4)]]
    kinds: Distinct[Kind]

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_motions(self.motions)
        if "circle" in self.shapes and all(motion.startswith("rotate") for motion in self.motions):
            self.refuse("motions", "a circle's turn cannot be seen: add a motion that it can show, or drop circle")
        if self.shapes == ("circle",) and any(motion.startswith("rotate") for motion in self.motions):
            self.refuse("shapes", "motions holds a turn, which a circle cannot show: add a shape, or drop rotate-*")
        if "change-colour" in self.motions and len(self.colours) < 2:
            self.refuse("colours", "motions holds change-colour, which needs another one; add it")
        for size in self.sizes:
            self._check_size(size)
        self._check_objects(max(self.objects))
        self._check_kinds()
        self._check_sentences(self.objects if self.kinds == ("objects",) else (*self.objects, 2))
        self._check_held_out(max(self.objects), ("shapes", "colours", "motions"))
        return self

    def combinations(self) -> list[tuple[str, ...]]:
        """(shape, colour, motion) each; a circle does not rotate."""
        return [
            (shape, colour, motion)
            for shape in self.shapes
            for colour in self.colours
            for motion in self.motions
            if not (shape == "circle" and motion.startswith("rotate"))
        ]

    def _check_kinds(self) -> None:
        for kind in self.kinds:
            if self.resolution < (least := KIND_RESOLUTION.get(kind, 16)):
                self.refuse("resolution", f"too small to see {kind}; take {least} or more, or drop {kind} from kinds")
            if self.frames < (least := KIND_FRAMES.get(kind, 2)):
                self.refuse("frames", f"too few to see {kind}; take {least} or more, or drop {kind} from kinds")
            if kind in ("relations", "contact") and len(self.colours) < 2:
                self.refuse("colours", f"kinds holds {kind}, whose two things have two colours; add one")

    def _check_size(self, size: str) -> None:
        least = LEAST_RESOLUTION[size]
        if self.resolution < least:
            rule = f"a {size} square would be too small to tell from a circle; take {least} or more, or drop {size}"
            self.refuse("resolution", rule)

    def _check_objects(self, most: int) -> None:
        if most > 1 and not set(self.sizes) & set(SEVERAL_SIZES):
            self.refuse("objects", "several need small or medium in sizes: large ones have no room")
        if len(self.shapes) * len(self.colours) < most:
            self.refuse("objects", f"{most} need as many kinds of shape and colour; add shapes or colours")


class MovingMnistParams(SyntheticParams):
    """Stage moving_mnist: real handwritten digits that move."""

    source: Literal["digits", "idx", "kaggle"]
    path: Text | None
    slug: KaggleSlug
    digits: Distinct[Annotated[int, Field(ge=0, le=9)]]
    objects: Distinct[Annotated[int, Field(ge=1, le=2)]]
    motions: Distinct[Direction | Bounce]
    digit_px: Annotated[int, Field(ge=LEAST_DIGIT_PX, le=1024)] | None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.source == "idx" and self.path is None:
            self.refuse("path", "source=idx needs the folder of the MNIST IDX files; name it")
        self._check_motions(self.motions)
        most, largest = max(self.objects), self.largest_digit_px()
        if largest < LEAST_DIGIT_PX:
            self.refuse("resolution", f"it leaves {most} digits of {LEAST_DIGIT_PX} px no room to move; raise it")
        if self.digit_px is not None and self.digit_px > largest:
            self.refuse(
                "digit_px",
                f"it leaves {most} digit{'s' * (most > 1)} no room to move on {self.resolution} px; take {largest} or "
                "less, or a larger resolution",
            )
        if len(self.digits) < most:
            self.refuse("objects", f"{most} need as many different digits; add to digits")
        self._check_sentences(self.objects)
        self._check_held_out(most, ("digits", "motions"))
        return self

    def combinations(self) -> list[tuple[str, ...]]:
        """(digit, motion) each."""
        return [(str(digit), motion) for digit in self.digits for motion in self.motions]

    def largest_digit_px(self) -> int:
        """Height of the largest digits that have room to move."""
        return int(DIGIT_SHARE[max(self.objects)] * self.resolution - 2 * MARGIN_PX)


class EmbedParams(Section):
    """Stage embed: a text encoder's vectors of each distinct caption."""

    encoder: Text
    revision: Text | None
    pooling: Literal["mean", "cls"]
    max_tokens: Annotated[int, Field(ge=3, le=512)]
    dtype: Literal["float16", "float32"]
    batch_size: BatchSize
