"""MNIST's IDX files, plain or gzipped, loose in a folder or inside a zip, in any of the layouts that mirrors use."""

from __future__ import annotations

import gzip
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

NAME = re.compile(r"(train|t10k)-(images|labels)[.-]idx[13]-ubyte(\.gz)?")
BYTES_OF_HEADER = {"images": 16, "labels": 8}
MAGIC = {"images": 0x00000803, "labels": 0x00000801}


@dataclass(frozen=True)
class LabelledImages:
    images: np.ndarray  # uint8 (N, H, W), ink is 255
    labels: np.ndarray  # uint8 (N,)


def read_idx(path: Path) -> dict[str, LabelledImages]:
    """The files of a folder or zip, by part: "train", "t10k" or both. Raises ValueError, one line."""
    files = _zip_files(path) if path.is_file() else _folder_files(path)
    parts = {part for part, _ in files}
    if not parts:
        raise ValueError(f"{path}: no MNIST IDX files in it (train-images-idx3-ubyte, t10k-labels-idx1-ubyte.gz, …)")
    found = {}
    for part in sorted(parts):
        missing = [kind for kind in MAGIC if (part, kind) not in files]
        if missing:
            raise ValueError(f"{path}: {part}-{missing[0]} is missing beside its other half; put both files there")
        images, labels = (_parse(*files[part, kind], kind) for kind in ("images", "labels"))
        if len(images) != len(labels):
            raise ValueError(f"{path}: {part} has {len(images)} images but {len(labels)} labels; get both anew")
        if labels.max(initial=0) > 9:
            raise ValueError(f"{path}: {part}-labels has the label {labels.max()}, but digits end at 9")
        found[part] = LabelledImages(images, labels)
    return found


def _folder_files(folder: Path) -> dict[tuple[str, str], tuple[str, bytes]]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; moving_mnist.path names the folder of the MNIST IDX files")
    files = {}
    for file in sorted(folder.rglob("*"), reverse=True):
        match = NAME.fullmatch(file.name)
        if match and file.is_file():
            files[match[1], match[2]] = (str(file), file.read_bytes())
    return files


def _zip_files(archive: Path) -> dict[tuple[str, str], tuple[str, bytes]]:
    files = {}
    try:
        with zipfile.ZipFile(archive) as zipped:
            for name in sorted(zipped.namelist(), reverse=True):
                match = NAME.fullmatch(PurePosixPath(name).name)
                if match:
                    files[match[1], match[2]] = (f"{archive}: {name}", zipped.read(name))
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"{archive}: {error}; give the folder of the IDX files, or the zip that Kaggle serves"
        ) from None
    return files


def _parse(name: str, data: bytes, kind: str) -> np.ndarray:
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{name}: damaged gzip ({error}); get the file anew") from None
    header = BYTES_OF_HEADER[kind]
    fields = np.frombuffer(data[:header], ">u4") if len(data) >= header else np.zeros(1, ">u4")
    if fields[0] != MAGIC[kind]:
        raise ValueError(f"{name}: not an IDX file of {kind}; get the file anew")
    shape = tuple(int(n) for n in fields[1:])
    if len(data) - header != int(np.prod(shape)):
        raise ValueError(f"{name}: {len(data) - header} bytes where its header says {int(np.prod(shape))}; get it anew")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
