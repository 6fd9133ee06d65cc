"""`python -m pipeline.shards export DIR | import DIR | show SHARD`: look at shard sets, and bring clips in and out."""

from __future__ import annotations

from pipeline.runtime.start import start_program

start_program(__name__)

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.config.params import load_params
from pipeline.data.shards import Row, read_shard, shard_paths
from pipeline.render.clips import contact_sheet, write_image
from pipeline.transcode.gif_folder import export_rows, import_folder

CAPTION_LINES = 2


def captioned_sheet(rows: Sequence[Row]) -> np.ndarray:
    """A still of clips, one a row: frames from first to last, captions under them. uint8 (H', W', 3)."""
    captions = [[f"{row.key} [{row.split}]  {row.captions[0]}", *row.captions[1:CAPTION_LINES]] for row in rows]
    return contact_sheet([row.frames() for row in rows], captions=captions)


def choose(path: Path, count: int, seed: int, split: str | None) -> list[Row]:
    """`count` random clips of a shard file or a whole set, in order. Raises ValueError where there are none."""
    rows = list(rows_of(path, split))
    if not rows:
        raise ValueError(f"{path}: no clip in it")
    chosen = random.Random(seed).sample(range(len(rows)), min(count, len(rows)))
    return [rows[index] for index in sorted(chosen)]


def rows_of(path: Path, split: str | None) -> Iterator[Row]:
    """The clips of a shard file or a set, of one split or of all. Raises ValueError where it, or the split, is not."""
    if not path.exists():
        raise ValueError(f"{path}: no such shard or set; run the stage that makes it (dvc repro)")
    paths = shard_paths(path) if path.is_dir() else [path]
    splits = Counter(name for shard in paths for name in pq.read_table(shard, columns=["split"])["split"].to_pylist())
    if split is not None and split not in splits:
        found = ", ".join(f"{name} ({count})" for name, count in splits.items())
        raise ValueError(f"{path}: no clip of split {split!r} in it; its splits are {found or 'none'}")
    return (row for shard in paths for row in read_shard(shard) if split in (None, row.split))


def main(arguments: Sequence[str] | None = None) -> None:
    """The program; a mistake of the user is one line on stderr and exit code 1."""
    options = _parser().parse_args(arguments)
    try:
        print(options.command(options))
    except ValueError as error:
        sys.exit(f"error: {error}")


def _export(options: argparse.Namespace) -> str:
    rows = islice(rows_of(options.set, options.split), options.limit)
    return f"{options.folder}: {export_rows(rows, options.folder)} clips"


def _import(options: argparse.Namespace) -> str:
    params = load_params(options.params).transcode
    given = {"frames": options.frames, "resolution": options.resolution}
    params = params.model_copy(update={name: value for name, value in given.items() if value is not None})
    about = import_folder(options.folder, options.set, params)
    return (
        f"{options.set}: {sum(about['counts'].values())} clips {about['counts']}, split {about['split_rule']}\n"
        f"to train on them: dvc exp run -S download.source=local -S download.path={options.folder} -S dataset=videos "
        "evaluate@unet"
    )


def _show(options: argparse.Namespace) -> str:
    rows = choose(options.shard, options.clips, options.seed, options.split)
    write_image(options.out, captioned_sheet(rows))
    return f"{options.out}: {len(rows)} clips of {options.shard}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.shards", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="export | import | show")

    out = commands.add_parser("export", help="a set to x.gif + x.txt files")
    out.add_argument("folder", type=Path)
    out.add_argument("--set", type=Path, default=Path("data/shards/shapes"), help="folder of the shards")
    out.add_argument("--split")
    out.add_argument("--limit", type=int)
    out.set_defaults(command=_export)

    into = commands.add_parser(
        "import",
        help="x.gif + x.txt files to a set",
        description="Clips of a folder, or an export, to a set to look at. To train on them: download.source=local.",
    )
    into.add_argument("folder", type=Path)
    into.add_argument("--set", type=Path, default=Path("data/shards/imported"), help="folder for the shards")
    into.add_argument("--params", type=Path, default=Path("params.yaml"), help="its section transcode is followed")
    into.add_argument("--frames", type=int, help="in place of transcode.frames")
    into.add_argument("--resolution", type=int, help="in place of transcode.resolution")
    into.set_defaults(command=_import)

    show = commands.add_parser("show", help="random clips with their captions, as one picture")
    show.add_argument("shard", type=Path, help="a shard file or the folder of a set")
    show.add_argument("--out", type=Path, default=Path("sheet.png"))
    show.add_argument("--clips", type=int, default=8)
    show.add_argument("--seed", type=int, default=0)
    show.add_argument("--split")
    show.set_defaults(command=_show)
    return parser


if __name__ == "__main__":
    main()
