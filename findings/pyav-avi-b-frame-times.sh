#!/usr/bin/env bash
# PyAV: H.264 with B frames in AVI or ASF decodes in the right order, but with times that jump back and forth.
# Guess before running: the times of decoded frames rise in every container, as in MP4.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 imageio-ffmpeg==0.6.0 numpy==2.2.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import subprocess
from importlib.metadata import version

import av
import imageio_ffmpeg
import numpy as np

print(*(f"{name} {version(name)}" for name in ("av", "imageio-ffmpeg", "numpy")), imageio_ffmpeg.get_ffmpeg_version())
FRAMES = np.stack([np.full((64, 64), 16 + 6 * number, np.uint8) for number in range(32)])  # grey levels tell the number
ENCODE = "-v error -f rawvideo -pix_fmt gray -s 64x64 -r 10 -i - -c:v libx264 -bf 3 -g 32 -pix_fmt yuv420p -crf 10".split()
rises = {}
for container in ("mp4", "mkv", "avi", "asf"):
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), *ENCODE, f"x.{container}"], input=FRAMES.tobytes(), check=True
    )
    with av.open(f"x.{container}") as source:
        decoded = [(frame.time, frame.to_ndarray(format="gray").mean()) for frame in source.decode(video=0)]
    numbers = [round((grey - 16) / 6) for _, grey in decoded]
    times = [round(time, 3) for time, _ in decoded]
    rises[container] = all(before < after for before, after in zip(times, times[1:]))
    print(f"{container}: pictures in order: {numbers == list(range(32))}; times rise: {rises[container]}; {times[:8]} …")
    assert numbers == list(range(32))
print("AVI and ASF store decoding order only; the times of frames are those of packets. Whoever picks frames by frame.time")
print("doubles some pictures and never shows others, though decoding them in order would have been right.")
assert rises == {"mp4": True, "mkv": True, "avi": False, "asf": False}
PY
