"""What a training step sees: the same for each cut of the batch, and for clips in memory and streamed."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.diffusion.noise import DropShares, draw_step, noise_of_seeds
from pipeline.diffusion.process import Diffusion
from pipeline.diffusion.training import text_statistics
from pipeline.model_io import clip_decoding
from pipeline.model_io.clip_dataset import (
    DecodedClips,
    StreamedClips,
    index_split,
    open_clips,
)
from pipeline.model_io.clip_decoding import ClipShape, decode_block, fit_clip, frame_indices
from pipeline.model_io.tensors import to_model
from pipeline.runtime.row_file import Alone, RowFile
from pipeline.training.feed import ClipFeed, prefetch
from tests.training_toys import FRAMES, SIDE, SPLITS, open_toy_trainer, toy_clip, toy_params, toy_texts, write_toy_set

SHAPE = ClipShape(FRAMES, SIDE, 3)


@pytest.fixture(scope="module")
def toy_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_set(tmp_path_factory.mktemp("toy"))


def feed_of(folder: Path, seed: int = 0, batch_size: int = 6) -> ClipFeed:
    return ClipFeed(open_clips(folder, "train", SHAPE, ram_budget_gb=1.0), batch_size=batch_size, seed=seed)


def test_an_epoch_shows_each_clip_once_in_an_order_of_its_own(toy_set: Path) -> None:
    feed = feed_of(toy_set)
    epochs = [np.concatenate([feed.batch(4 * epoch + step).numbers for step in range(4)]) for epoch in range(3)]
    for numbers in epochs:
        assert sorted(numbers) == list(range(SPLITS["train"]))
    assert not np.array_equal(epochs[0], epochs[1])


def test_a_batch_may_span_two_epochs(toy_set: Path) -> None:
    feed = feed_of(toy_set, batch_size=10)
    numbers = np.concatenate([feed.batch(step).numbers for step in range(12)])
    assert np.bincount(numbers).tolist() == [5] * SPLITS["train"]


def test_a_cut_of_the_batch_changes_nothing(toy_set: Path) -> None:
    feed, again = feed_of(toy_set), feed_of(toy_set)
    whole = feed.batch(7)
    parts = [again.batch(7, start, start + 2) for start in (0, 2, 4)]
    assert torch.equal(whole.frames, torch.cat([part.frames for part in parts]))
    assert whole.captions == sum((part.captions for part in parts), ())
    assert np.array_equal(whole.seeds, np.concatenate([part.seeds for part in parts]))


def test_frames_and_captions_are_those_of_the_clip(toy_set: Path) -> None:
    batch = feed_of(toy_set).batch(3)
    for number, frames, caption in zip(batch.numbers, batch.frames.numpy(), batch.captions, strict=True):
        clip = toy_clip("train", int(number))
        assert caption in clip.captions
        assert np.abs(frames.astype(int) - clip.frames).max() <= 2  # a GIF's palette


def test_all_captions_of_a_clip_come_up(toy_set: Path) -> None:
    feed = feed_of(toy_set)
    seen = {caption for step in range(40) for caption in feed.batch(step).captions}
    assert seen == {caption for number in range(SPLITS["train"]) for caption in toy_clip("train", number).captions}


def test_other_seeds_see_other_batches(toy_set: Path) -> None:
    assert not np.array_equal(feed_of(toy_set, seed=0).batch(0).numbers, feed_of(toy_set, seed=1).batch(0).numbers)


def test_a_stream_delivers_every_clip_once_within_its_window(toy_set: Path) -> None:
    index = index_split(toy_set, "train")
    assert len(index.blocks) == 2  # one row group a shard
    streamed = StreamedClips(index, SHAPE, budget_bytes=1.0)
    assert streamed.window_blocks == 1
    feed = ClipFeed(streamed, batch_size=6, seed=0)
    numbers = np.concatenate([feed.batch(step).numbers for step in range(4)])
    assert sorted(numbers) == list(range(SPLITS["train"]))
    blocks = streamed.block_of[numbers]
    assert np.count_nonzero(np.diff(blocks)) == 1  # one window after the other
    memory = DecodedClips(index, SHAPE)
    assert np.array_equal(streamed.frames(numbers), memory.frames(numbers))


def test_a_stream_resumes_in_the_middle_and_holds_no_more_than_its_windows(toy_set: Path) -> None:
    def make() -> ClipFeed:
        return ClipFeed(StreamedClips(index_split(toy_set, "train"), SHAPE, 1.0), batch_size=5, seed=3)

    feed, resumed = make(), make()
    batches = [feed.batch(step) for step in range(20)]
    assert torch.equal(resumed.batch(13).frames, batches[13].frames)
    assert len(feed.clips.decoded) <= 3  # type: ignore[union-attr]


def test_the_budget_decides_between_memory_and_stream(toy_set: Path) -> None:
    bytes_needed = SPLITS["train"] * SHAPE.bytes
    kinds = [type(open_clips(toy_set, "train", SHAPE, ram_budget_gb=bytes_needed * k / 1e9)) for k in (1.01, 0.99)]
    assert kinds == [DecodedClips, StreamedClips]


@pytest.mark.parametrize("processes", [1, 2])
def test_all_cores_decode_the_same_clips(toy_set: Path, monkeypatch: pytest.MonkeyPatch, processes: int) -> None:
    index = index_split(toy_set, "train")
    expected = np.concatenate([decode_block(block, SHAPE) for block in index.blocks])
    monkeypatch.setattr(clip_decoding, "CLIPS_PER_PROCESS", len(index.keys) // processes)
    monkeypatch.setattr(clip_decoding, "worker_count", lambda: 8)
    started: list[int] = []
    start = clip_decoding._start
    monkeypatch.setattr(
        clip_decoding, "_start", lambda blocks, *rest: started.append(len(blocks)) or start(blocks, *rest)
    )
    np.testing.assert_array_equal(DecodedClips(index, SHAPE).frames(np.arange(len(index.keys))), expected)
    assert started == [1] * (processes - 1)


def test_a_process_that_cannot_decode_is_one_line(toy_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_split(toy_set, "train")
    monkeypatch.setattr(clip_decoding, "CLIPS_PER_PROCESS", 1)
    monkeypatch.setattr(clip_decoding, "worker_count", lambda: 2)
    lost = dataclasses.replace(index.blocks[1], path=toy_set / "gone.parquet")
    with pytest.raises(ValueError, match=r"a process that decodes clips failed: .*gone\.parquet"):
        clip_decoding.decode_all([index.blocks[0], lost], SHAPE, Alone())


def test_two_processes_of_a_machine_decode_half_each(toy_set: Path) -> None:
    """Each of two peers, here in turn: the second takes the first one's rows and fills what is left."""
    index = index_split(toy_set, "train")
    expected = np.concatenate([decode_block(block, SHAPE) for block in index.blocks])

    class Peer(Alone):
        def __init__(self, local_rank: int, rows: RowFile | None) -> None:
            self.local_rank, self.local_size, self.rows = local_rank, 2, rows

        def share(self, make: Callable[[], RowFile]) -> RowFile:
            return self.rows or make()

    first = clip_decoding.decode_all(index.blocks, SHAPE, Peer(0, None))
    assert not np.array_equal(first[:], expected)
    both = clip_decoding.decode_all(index.blocks, SHAPE, Peer(1, first))
    np.testing.assert_array_equal(both[:], expected)


def test_clips_without_a_known_caption_are_left_out(toy_set: Path) -> None:
    known = {"a red square moving up"}
    index = index_split(toy_set, "train", known)
    assert set(index.captions) == {("a red square moving up",)}
    assert index.dropped == SPLITS["train"] - len(index.keys)
    with pytest.raises(ValueError, match="none of its 24 clips has a caption"):
        index_split(toy_set, "train", {"unheard of"})


def test_frames_are_taken_evenly_and_resized() -> None:
    assert frame_indices(16, 8).tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    assert frame_indices(5, 5).tolist() == [0, 1, 2, 3, 4]
    frames = np.zeros((4, 8, 8, 3), np.uint8)
    frames[:, ::2] = 200
    assert np.all(fit_clip(frames, ClipShape(2, 4, 3)) == 100)  # box averages
    assert fit_clip(frames, ClipShape(4, 8, 1)).shape == (4, 8, 8, 1)
    assert np.all(fit_clip(frames, ClipShape(4, 8, 4))[..., 3] == 255)
    with pytest.raises(ValueError, match="4 frames cannot give frames=5"):
        fit_clip(frames, ClipShape(5, 8, 3))


def test_grey_is_luma() -> None:
    red = np.zeros((1, 2, 2, 3), np.uint8)
    red[..., 0] = 255
    assert np.all(fit_clip(red, ClipShape(1, 2, 1)) == round(0.299 * 255))


def test_flip_mirrors_half_the_clips_and_is_refused_where_captions_say_a_side(toy_set: Path) -> None:
    clips = open_clips(toy_set, "train", SHAPE, ram_budget_gb=1.0)
    plain, flipping = (ClipFeed(clips, batch_size=6, seed=0, flip=flip) for flip in (False, True))
    mirrored = 0
    for step in range(20):
        for before, after in zip(plain.batch(step).frames, flipping.batch(step).frames, strict=True):
            assert torch.equal(after, before) or torch.equal(after, before.flip(2))
            mirrored += not torch.equal(after, before)
    assert 40 <= mirrored <= 80  # of 120
    clips.index.captions[0] = ("a square moving to the Left",)
    with pytest.raises(ValueError, match=r"train\.flip.*to the Left"):
        ClipFeed(clips, batch_size=6, seed=0, flip=True)


def test_draws_do_not_depend_on_the_cut_and_keep_their_shares() -> None:
    diffusion, shares = Diffusion(toy_params().diffusion), DropShares(text=0.1, pooled=0.3, focus=0.5)

    whole = draw_step(diffusion, shares, seed=5, step=3, batch_size=64)
    late = whole.at(slice(40, 64))
    assert torch.equal(whole.t[40:], late.t)
    assert torch.equal(whole.drop_text[40:], late.drop_text)
    many = [draw_step(diffusion, shares, seed=5, step=step, batch_size=64) for step in range(100)]
    assert abs(torch.cat([d.drop_text for d in many]).float().mean() - 0.1) < 0.02  # 5 standard errors
    assert abs(torch.cat([d.drop_pooled for d in many if d.drop_pooled is not None]).float().mean() - 0.3) < 0.03
    assert abs(torch.cat([d.focus_present for d in many if d.focus_present is not None]).float().mean() - 0.5) < 0.035
    unasked = draw_step(diffusion, DropShares(0.1, 0.0, 0.0), seed=5, step=0, batch_size=4)
    assert unasked.at(slice(0, 2)).drop_pooled is unasked.focus_present is None


def test_noise_is_unit_normal_white_and_by_seed() -> None:
    noise = noise_of_seeds(np.arange(40), (3, 4, 33, 33)).double()
    assert torch.equal(noise[7:8].float(), noise_of_seeds(np.array([7]), (3, 4, 33, 33)))
    flat = noise.flatten()
    n = len(flat)
    assert abs(flat.mean()) < 5 / n**0.5
    assert abs(flat.var() - 1) < 5 * (2 / n) ** 0.5
    assert abs(flat.pow(4).mean() - 3) < 5 * (96 / n) ** 0.5
    quantiles = torch.quantile(flat[:500_000], torch.tensor([0.0228, 0.5, 0.9772], dtype=torch.float64))
    assert torch.allclose(quantiles, torch.tensor([-2.0, 0.0, 2.0], dtype=torch.float64), atol=0.02)
    for other in (noise.roll(1, 0), noise.roll(1, -1), noise.roll(1, 1)):  # samples, columns, channels
        assert abs((noise * other).mean()) < 5 / n**0.5


def test_prepared_batches_hold_clips_noise_and_the_captions_vectors(toy_set: Path) -> None:
    trainer = open_toy_trainer(toy_set, toy_params(accumulate=2, prob_focus_present=0.0))
    batches = [prepared.to(torch.device("cpu")) for prepared in trainer.prepare(2)]
    clips = trainer.feed.batch(2)
    pooled = torch.cat([batch.text.pooled for batch in batches])
    assert torch.equal(pooled, toy_texts(toy_set).batch(clips.captions).pooled)
    x0, eps = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("x0", "eps"))
    assert torch.equal(x0, to_model(clips.frames))
    assert torch.equal(eps, noise_of_seeds(clips.seeds, tuple(x0.shape[1:])))
    assert all(set(batch.drops) == {"drop_text", "drop_pooled"} for batch in batches)


def test_text_statistics_standardise_the_train_captions(toy_set: Path) -> None:
    texts = toy_texts(toy_set)
    captions = texts.captions[:9]
    pooled_mean, pooled_std, token_mean, token_std = text_statistics(texts, captions)
    batch = texts.batch(captions)
    tokens = batch.tokens[batch.mask]
    torch.testing.assert_close(pooled_mean, batch.pooled.mean(0))
    torch.testing.assert_close(pooled_std, batch.pooled.std(0, correction=0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(token_mean, tokens.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(token_std, tokens.std(0, correction=0), rtol=1e-4, atol=1e-4)


def test_prefetch_keeps_order_and_passes_errors_on() -> None:
    def make(step: int) -> tuple[int, str]:
        if step == 5:
            raise ValueError("clip 5 is broken")
        return step, threading.current_thread().name

    steps = prefetch(make, range(9))
    given = [next(steps) for _ in range(5)]
    assert [step for step, _ in given] == [0, 1, 2, 3, 4]
    assert all(thread.startswith("feed") for _, thread in given)
    with pytest.raises(ValueError, match="clip 5"):
        next(steps)
