"""Moving digits: pictures apart between splits, motions as said, IDX files read whole or refused."""

from __future__ import annotations

import gzip
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.synthetic.digits import DigitBank, glyph, load_digit_bank
from pipeline.synthetic.idx import read_idx
from pipeline.synthetic.motion import DIRECTIONS
from pipeline.synthetic.moving_digits import digits_set
from pipeline.synthetic.words import DIGITS
from tests.synthetic_toys import ROOT, centres, digits_params, look, toy_bank

REAL = Path(os.environ.get("T2V_REAL_DATA", ROOT.parent / "shared" / "data")) / "mnist"


@pytest.fixture(scope="module")
def bank() -> DigitBank:
    return toy_bank()


def test_pictures_are_disjoint_between_train_and_the_rest(bank: DigitBank) -> None:
    train = {image.tobytes() for image in bank.train.images}
    assert len(bank.train.labels) > 1400
    assert not any(image.tobytes() in train for image in bank.other.images)
    drawn = digits_set(digits_params(), bank)
    for split, part in (("train", bank.train), ("val", bank.other), ("held_out", bank.other), ("reworded", bank.other)):
        for index in range(30):
            thing = drawn.row(split, index).attributes["objects"][0]
            assert part.labels[thing["picture"]] == thing["digit"]


def test_a_digit_moves_as_said_and_stays_whole(bank: DigitBank) -> None:
    drawn = digits_set(digits_params(motions=[*DIRECTIONS, "bounce-horizontal", "bounce-vertical"]), bank)
    for index in range(120):
        clip = look(drawn.row("train", index))
        path, ink = centres(clip.mask), clip.frames.astype(float).sum(axis=(1, 2, 3))
        assert np.ptp(ink) < 0.02 * ink[0], clip.row.key  # nothing of it leaves the canvas
        assert max(clip.thing["height_px"], clip.thing["width_px"]) in (30, 31, 32)
        assert np.abs((path - path[0]) - (clip.path - clip.path[0])).max() <= 1.3
        gone = path[-1] - path[0]
        if clip.motion in DIRECTIONS:
            assert gone @ np.asarray(DIRECTIONS[clip.motion]) > 16
            assert np.linalg.norm(gone) < 33
        else:
            along, across = path.T[:: 1 if clip.motion.endswith("horizontal") else -1]
            assert np.ptp(across) <= 1.0
            assert 16 < np.ptp(along) < 0.65 * 15 * clip.thing["speed_px"], "a swing under half a digit is hardly seen"


@pytest.mark.parametrize(
    ("objects", "resolution", "px"), [([1], 64, 31), ([2], 64, 24), ([1, 2], 64, 24), ([1], 32, 15)]
)
def test_the_height_left_open_is_what_fits(bank: DigitBank, objects: list[int], resolution: int, px: int) -> None:
    assert digits_set(digits_params(objects=objects, resolution=resolution), bank).digit_px == px
    assert digits_set(digits_params(objects=objects, resolution=resolution, digit_px=10), bank).digit_px == 10


def test_captions_name_the_digit_and_held_out_stays_out(bank: DigitBank) -> None:
    drawn = digits_set(digits_params(), bank)
    held = {tuple(item) for item in drawn.description()["held_out"]}
    assert len(held) == round(0.125 * 60)
    numerals = named = 0
    for split in ("train", "val", "held_out", "reworded"):
        for index in range(60):
            row = drawn.row(split, index)
            thing = row.attributes["objects"][0]
            assert ((thing["digit"], thing["motion"]) in held) == (split == "held_out")
            for caption in row.captions:
                said = set(caption.replace(",", "").split())
                assert {str(thing["digit"]), DIGITS[thing["digit"]]} & said, caption
                numerals += str(thing["digit"]) in said
                named += DIGITS[thing["digit"]] in said
    assert min(numerals, named) > 200


def test_two_digits_stay_apart_and_are_both_named(bank: DigitBank) -> None:
    drawn = digits_set(digits_params(objects=[2]), bank)
    for index in range(40):
        row = drawn.row("train", index)
        one, two = row.attributes["objects"]
        assert one["digit"] != two["digit"]
        apart = np.abs(np.asarray(one["trajectory"]) - np.asarray(two["trajectory"]))
        room = np.array([one["width_px"] + two["width_px"], one["height_px"] + two["height_px"]]) / 2
        assert (apart >= room + 5.9).any(axis=1).all(), f"{row.key}: the oracle joins broken strokes over gaps of 4 px"
        for caption in row.captions:
            assert all(str(t["digit"]) in caption or DIGITS[t["digit"]] in caption for t in (one, two))


def test_a_glyph_fills_its_height_and_keeps_its_form() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 10:16] = 255
    ink = glyph(image, 24)
    assert ink.shape[0] in (23, 24, 25)
    assert 6 <= ink.shape[1] <= 10
    assert ink.min() >= 0
    assert ink.max() == 1


def idx_files(n: int = 40) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    found = {}
    for part in ("train", "t10k"):
        images = rng.integers(100, 255, (n, 28, 28), dtype=np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        found[f"{part}-images-idx3-ubyte"] = struct.pack(">4I", 0x803, n, 28, 28) + images.tobytes()
        found[f"{part}-labels.idx1-ubyte"] = struct.pack(">2I", 0x801, n) + labels.tobytes()
    return found


def test_idx_files_are_read_from_folders_and_zips(tmp_path: Path) -> None:
    files = idx_files()
    folder = tmp_path / "folder"
    for n, (name, data) in enumerate(files.items()):
        nested = folder / name / (name + (".gz" if n % 2 else ""))
        nested.parent.mkdir(parents=True)
        nested.write_bytes(gzip.compress(data) if n % 2 else data)
    with zipfile.ZipFile(tmp_path / "mnist.zip", "w") as zipped:
        for name, data in files.items():
            zipped.writestr(name, data)
            zipped.writestr(f"{name}/{name}", data)
    for source in (folder, tmp_path / "mnist.zip"):
        parts = read_idx(source)
        assert set(parts) == {"train", "t10k"}
        assert parts["t10k"].images.tobytes() == files["t10k-images-idx3-ubyte"][16:]
    bank = load_digit_bank(digits_params(source="idx", path=str(folder)))
    assert bank.train.images.tobytes() == files["train-images-idx3-ubyte"][16:]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: f.pop("train-labels.idx1-ubyte"), "train-labels is missing"),
        (lambda f: f.update({"train-images-idx3-ubyte": f["train-images-idx3-ubyte"][:-9]}), "bytes where its header"),
        (lambda f: f.update({"train-images-idx3-ubyte": b"<html>oh no</html>"}), "not an IDX file of images"),
        (lambda f: f.update({"t10k-labels.idx1-ubyte": gzip.compress(b"x" * 99)[:16]}), "damaged gzip"),
        (lambda f: f.update({"t10k-labels.idx1-ubyte": struct.pack(">2I", 0x801, 1) + b"3"}), "40 images but 1 labels"),
        (lambda f: f.update({"t10k-labels.idx1-ubyte": struct.pack(">2I", 0x801, 40) + b"\x11" * 40}), "label 17"),
        (lambda f: f.clear(), "no MNIST IDX files"),
    ],
)
def test_damaged_idx_files_are_one_clear_line(tmp_path: Path, damage, message: str) -> None:
    files = idx_files()
    damage(files)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_idx(tmp_path)


def test_a_digit_without_pictures_is_refused(tmp_path: Path) -> None:
    files = idx_files(10)
    for part in ("train", "t10k"):
        files[f"{part}-labels.idx1-ubyte"] = struct.pack(">2I", 0x801, 10) + bytes([1, 2] * 5)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match="too few pictures of 0"):
        load_digit_bank(digits_params(source="idx", path=str(tmp_path)))
    with pytest.raises(ValueError, match="no such folder"):
        load_digit_bank(digits_params(source="idx", path=str(tmp_path / "none")))


@pytest.mark.skipif(not REAL.is_dir(), reason="the real MNIST test images are not beside the checkout")
def test_real_mnist_is_cut_by_position() -> None:
    bank = load_digit_bank(digits_params(source="idx", path=str(REAL)))
    assert (len(bank.train.labels), len(bank.other.labels)) == (8000, 2000)
    clip = look(digits_set(digits_params(source="idx", path=str(REAL)), bank).row("held_out", 0))
    assert clip.mask.any(axis=(1, 2)).all()
