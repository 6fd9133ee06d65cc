#!/usr/bin/env bash
# Pillow: a half-transparent APNG frame over an opaque one (blend: over) makes the result transparent.
# Guess before running: like ffmpeg, red over opaque green: (128, 127, 0), opaque.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==11.3.0 imageio-ffmpeg==0.6.0 numpy==2.2.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import subprocess
from importlib.metadata import version

import imageio_ffmpeg
import numpy as np
from PIL import Image

print(*(f"{name} {version(name)}" for name in ("pillow", "imageio-ffmpeg", "numpy")), imageio_ffmpeg.get_ffmpeg_version())
green, red = Image.new("RGBA", (16, 16), (0, 255, 0, 255)), Image.new("RGBA", (16, 16), (255, 0, 0, 128))
red.putpixel((0, 0), (255, 0, 1, 129))
green.save("x.png", save_all=True, append_images=[red], duration=100, disposal=0, blend=1)
with Image.open("x.png") as image:
    image.seek(1)
    by_pillow = np.asarray(image.convert("RGBA"))[8, 8].tolist()
command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "apng", "-i", "x.png", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgba", "-"]
frames = np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, np.uint8).reshape(-1, 16, 16, 4)
by_ffmpeg = frames[-1, 8, 8].tolist()
print("red of alpha 128 over opaque green, by the format: 128 red, 127 green, opaque (255)")
print("ffmpeg:", by_ffmpeg)
print("Pillow:", by_pillow)
print("Whoever lays Pillow's frame over a background lets a quarter of the background shine through an opaque picture.")
assert by_ffmpeg[3] == 255 and max(abs(a - b) for a, b in zip(by_ffmpeg[:3], (128, 127, 0))) <= 2
assert by_pillow == [128, 127, 0, 191]
PY
