"""Packages of animated emoji, and an npm that has them, for tests."""

from __future__ import annotations

import io
import os
import stat
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

PACKAGES = [f"lobehub-fluent-emoji-anim-{number}-1.0.0.tgz" for number in (1, 2, 3, 4)]


def webp(colours: list[str], alpha: int = 255) -> bytes:
    """A WebP of 24 px with one picture per colour."""
    pictures = [Image.new("RGBA", (24, 24), colour) for colour in colours]
    for place, picture in enumerate(pictures):
        picture.putalpha(alpha)
        picture.putpixel((place, 0), (0, 0, 0, alpha))
    file = io.BytesIO()
    pictures[0].save(file, "WEBP", save_all=True, append_images=pictures[1:], duration=50, lossless=True)
    return file.getvalue()


def one_picture() -> bytes:
    """An animation of one picture, which no common writer makes: the second one is cut off."""
    data = webp(["red", "blue"])
    second = data.index(b"ANMF", data.index(b"ANMF") + 4)
    return b"RIFF" + (second - 8).to_bytes(4, "little") + data[8:second]


def tgz(path: Path, files: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in {"package.json": b"{}", **files}.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def four_packages(folder: Path, clips: list[dict[str, bytes]]) -> Path:
    """The packages, with the clips of each by code points."""
    folder.mkdir(exist_ok=True)
    for name, each in zip(PACKAGES, clips, strict=True):
        tgz(folder / name, {f"assets/{stem}.webp": data for stem, data in each.items()})
    return folder


FAKE = """#!{python}
import json, pathlib, shutil, sys
name = sys.argv[2].removeprefix("@").replace("/", "-").replace("@", "-") + ".tgz"
with open({log!r}, "a") as log:
    print(name, file=log)
source, target = pathlib.Path({store!r}, name), pathlib.Path(sys.argv[sys.argv.index("--pack-destination") + 1])
if not source.is_file():
    (target / name).write_bytes(b"half")
    print(json.dumps({{"error": {{"code": "EINTEGRITY", "summary": name + " is not\\nwhat was declared"}}}}))
    sys.exit(1)
shutil.copy(source, target)
print(json.dumps([{{"filename": name}}]))
"""


def fake_npm(folder: Path, store: Path) -> Path:
    """A folder for PATH with an `npm` that packs from `store` and refuses the rest; it logs what it was asked for."""
    folder.mkdir(exist_ok=True)
    npm = folder / "npm"
    npm.write_text(FAKE.format(python=sys.executable, store=str(store), log=str(folder / "asked")))
    npm.chmod(npm.stat().st_mode | stat.S_IEXEC)
    return folder


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().split()


def bytes_flipped(path: Path) -> bytes:
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    data[len(data) // 2] ^= 255
    return data.tobytes()


def path_without_npm(*first: Path) -> str:
    """A PATH with nothing but these folders."""
    return os.pathsep.join(map(str, first))
