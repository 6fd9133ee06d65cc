#!/usr/bin/env bash
# moviepy: clips of whole frames, put one after another, do not play back frame by frame.
# Guess before running: every frame comes once, for all times are multiples of 1/fps.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check moviepy==2.2.1 numpy==2.2.6
"$folder/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
from moviepy import ImageSequenceClip, concatenate_videoclips

SCENES, FRAMES, FPS = 24, 16, 10
print("moviepy", version("moviepy"), "numpy", version("numpy"))


def frame(number):
    """A picture that holds its own number."""
    return np.full((2, 2, 3), (number // 256, number % 256, 0), np.uint8)


scenes = [ImageSequenceClip([frame(scene * FRAMES + i) for i in range(FRAMES)], fps=FPS) for scene in range(SCENES)]
shown = [int(f[0, 0, 0]) * 256 + int(f[0, 0, 1]) for f in concatenate_videoclips(scenes).iter_frames(fps=FPS)]
wrong = [place for place, number in enumerate(shown) if number != place]
print(f"{SCENES} scenes of {FRAMES} frames at {FPS} fps: {len(shown)} frames come out, {len(wrong)} show the one before")
print("for example:", [(place, shown[place]) for place in wrong[:6]], "(place, frame shown there)")
print("The first frame of these scenes is lost and the scene before stays one frame longer: frames are looked up by time in")
print("floating point, and at a scene's start that time falls just before it.")
assert len(shown) == SCENES * FRAMES
assert len(wrong) == 19 and all(place % FRAMES == 0 and shown[place] == place - 1 for place in wrong)
PY
