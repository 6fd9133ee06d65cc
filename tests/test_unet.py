"""The network: its size, what each option does to it, and where information may flow and where not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rotary_embedding_torch import RotaryEmbedding
from torch import Tensor, nn

from pipeline.config.models import UnetParams
from pipeline.config.params import load_params
from pipeline.diffusion.unet import cpu_kernels as cpu
from pipeline.diffusion.unet.attention import (
    CrossAttention,
    Grid,
    JointAttention,
    RelativePositionBias,
    SpatialAttention,
    SpatialLinearAttention,
    TemporalAttention,
)
from pipeline.diffusion.unet.blocks import ConvNextBlock, ResnetBlock, TemporalConv
from pipeline.diffusion.unet.unet3d import Shrink, SplitFrames, UNet3D, Widen, build_unet
from pipeline.text.captions import TextBatch

ROOT = Path(__file__).parents[1]
DEFAULT = load_params(ROOT / "tests/params.yaml").unet
SEED_OVERLAY = yaml.safe_load((ROOT / "presets/seed.yaml").read_text())["unet"]
SEED = UnetParams.read({**DEFAULT.model_dump(), **SEED_OVERLAY})
WIDTH, TOKENS = 12, 5  # of the fake caption vectors
FRAMES, RESOLUTION = 4, 16

PLAIN: dict[str, Any] = {  # no attention, no positions, nothing over time: each option below is one step away
    **DEFAULT.model_dump(),
    "dim": 16,
    "dim_mults": (1, 2),
    "fold_frames": (1, 1),
    "unfold_frames": None,
    "init_kernel_size": 3,
    "patch": 2,
    "attn_heads": 2,
    "attn_dim_head": 8,
    "spatial_attention": ("none", "none"),
    "temporal_attention": (False, False),
    "joint_attention": (False, False),
    "cross_attention": (False, False),
    "mid_attention": "none",
    "temporal_conv": False,
    "positions": False,
    "text_queries": 0,
    "cond_dim": 32,
    "final_block": True,
    "head_dim": None,
}
FAST: dict[str, Any] = {  # the default network, narrow
    "joint_attention": (False, True),
    "cross_attention": (False, True),
    "mid_attention": "joint",
    "temporal_conv": True,
    "positions": True,
    "text_queries": 2,
    "fold_frames": (2, 2),
    "unfold_frames": (1, 4),
    "final_block": False,
    "head_dim": 24,
}
SEED_LAYOUT: dict[str, Any] = {  # presets/seed.yaml, narrow
    "norm": "rms",
    "patch": 1,
    "blocks_per_level": 2,
    "spatial_attention": ("linear", "linear"),
    "temporal_attention": (True, True),
    "mid_attention": "factored",
    "cond_dim": None,
}


def build(channels: int = 3, **changes: Any) -> UNet3D:
    torch.manual_seed(0)
    params = UnetParams.read({**PLAIN, **changes})
    return build_unet(params, frames=FRAMES, resolution=RESOLUTION, channels=channels, text_width=WIDTH).eval()


def videos(n: int = 2, channels: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(n, channels, FRAMES, RESOLUTION, RESOLUTION, generator=torch.Generator().manual_seed(seed))


def captions(n: int = 2, seed: int = 1) -> TextBatch:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(TOKENS)[None] < torch.randint(2, TOKENS + 1, (n, 1), generator=generator)
    tokens = torch.randn(n, TOKENS, WIDTH, generator=generator) * mask[..., None]
    return TextBatch(pooled=torch.randn(n, WIDTH, generator=generator), tokens=tokens, mask=mask)


def times(n: int = 2) -> Tensor:
    return torch.linspace(0.3, 0.8, n)


@torch.no_grad()
def predict(
    network: Callable[..., Tensor], text: TextBatch | None = None, x: Tensor | None = None, **kwargs: object
) -> Tensor:
    x = videos() if x is None else x
    return network(x, times(len(x)), text, **kwargs)


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}


def test_the_seed_layout_is_that_of_the_seed_preset() -> None:
    """But for its widths, and for two levels instead of four."""
    narrow = UnetParams.read({**PLAIN, **SEED_LAYOUT}).model_dump()
    widths = {"dim", "dim_mults", "init_kernel_size", "attn_heads", "attn_dim_head"}
    for key, value in SEED.model_dump().items():
        if key not in widths:
            assert narrow[key] == (value[:2] if isinstance(value, tuple) else value), key


def test_the_seed_preset_has_as_many_parameters_as_its_model() -> None:
    network = build_unet(SEED, frames=16, resolution=64, channels=3, text_width=768)
    assert sum(parameter.numel() for parameter in network.parameters()) == 41_801_875


@pytest.mark.parametrize(
    "layout",
    [{}, FAST, SEED_LAYOUT, {**FAST, "block_type": "convnext"}, {**FAST, "unfold_frames": None}],
    ids=["plain", "fast", "seed", "cx", "mirrored"],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("text", [None, captions()])
def test_any_channels_with_and_without_text(layout: dict[str, Any], channels: int, text: TextBatch | None) -> None:
    network = build(channels, **layout)
    made = predict(network, text, videos(channels=channels))
    assert made.shape == (2, channels, FRAMES, RESOLUTION, RESOLUTION)
    assert torch.isfinite(made).all()


@pytest.mark.parametrize(("frames", "resolution"), [(1, 8), (3, 24), (10, 32)])
def test_any_size_that_the_levels_divide(frames: int, resolution: int) -> None:
    params = UnetParams.read({**PLAIN, **FAST, "fold_frames": (1, 1), "unfold_frames": None})
    network = build_unet(params, frames=frames, resolution=resolution, channels=1, text_width=WIDTH)
    x = torch.randn(1, 1, frames, resolution, resolution)
    assert network(x, times(1), None).shape == x.shape


@pytest.mark.parametrize(
    ("frames", "resolution", "numbers"),
    [(4, 30, ["30", "4"]), (4, 17, ["17", "4"]), (5, 16, ["frames: 5", "2"])],
)
def test_a_size_that_does_not_fit_is_refused_with_its_numbers(frames: int, resolution: int, numbers: list[str]) -> None:
    params = UnetParams.read({**PLAIN, "fold_frames": (2, 1)})
    with pytest.raises(ValueError) as error:
        build_unet(params, frames=frames, resolution=resolution, channels=3, text_width=WIDTH)
    assert all(number in str(error.value) for number in numbers)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "name", "shape"),
    [
        ({"dim": 32}, "head.weight", (12, 32, 1, 1)),
        ({"final_block": False, "dim": 24}, "head.weight", (12, 48, 1, 1)),
        ({"head_dim": 20}, "render.expand.weight", (20, 16, 1, 1)),
        ({"head_dim": 20}, "head.weight", (12, 20, 1, 1)),
        ({"dim_mults": (1, 3)}, "mid_before.conv1.weight", (48, 48, 3, 3)),
        ({"init_dim": 24}, "stem.weight", (24, 12, 3, 3)),
        ({"out_dim": 5}, "head.weight", (20, 16, 1, 1)),
        ({"init_kernel_size": 7}, "stem.weight", (16, 12, 7, 7)),
        ({"patch": 4}, "stem.weight", (16, 48, 3, 3)),
        ({"fold_frames": (2, 1)}, "stem.weight", (16, 24, 3, 3)),
        ({"fold_frames": (2, 1), "unfold_frames": (1, 2)}, "first_split.linear.weight", (32, 16, 1, 1)),
        ({"fold_frames": (2, 1), "unfold_frames": (1, 2)}, "widens.0.conv.weight", (32, 32, 2, 2)),
        ({"blocks_per_level": 3}, "downs.1.blocks.2.conv1.weight", (32, 32, 3, 3)),
        ({"block_type": "convnext"}, "downs.0.blocks.0.depthwise.weight", (16, 1, 7, 7)),
        ({"cond_dim": 20}, "mid_before.modulation.to_scale_shift.weight", (64, 20)),
        ({"cond_dim": None}, "mid_before.modulation.to_scale_shift.weight", (64, 64 + WIDTH)),
        ({"temporal_conv": True}, "mid_before.temporal.weight", (3, 32)),
        ({"positions": True}, "downs.1.positions.space", (32, 4, 4)),
        ({"text_queries": 3}, "conditioning.pooling.queries", (3, WIDTH)),
        ({"joint_attention": (True, False), "attn_heads": 3}, "downs.0.attention.0.attention.to_qkv.weight", (72, 16)),
        ({"joint_attention": (False, True), "attn_dim_head": 5}, "ups.0.attention.0.attention.to_out.weight", (16, 10)),
        ({"spatial_attention": ("linear", "none")}, "downs.0.attention.0.to_qkv.weight", (48, 16, 1, 1)),
        ({"spatial_attention": ("none", "full")}, "downs.1.attention.0.attention.to_qkv.weight", (48, 32)),
        ({"temporal_attention": (True, False)}, "stem_attention.attention.to_qkv.weight", (48, 16)),
        ({"cross_attention": (True, False)}, "downs.0.attention.0.to_kv.weight", (32, WIDTH)),
        ({"mid_attention": "joint"}, "mid_attention.0.attention.to_qkv.weight", (48, 32)),
        ({"mid_attention": "factored"}, "mid_attention.1.attention.to_qkv.weight", (48, 32)),
    ],
    ids=lambda value: ",".join(map(str, value)) if isinstance(value, dict) else None,
)
def test_options_shape_the_network(changes: dict[str, Any], name: str, shape: tuple[int, ...]) -> None:
    assert shapes(build()).get(name) != shape
    network = build(**changes)
    assert shapes(network)[name] == shape
    assert predict(network, captions()).shape[1] == (changes.get("out_dim") or 3)


def reached(network: Callable[..., Tensor], x: Tensor, where: Any, **kwargs: object) -> Tensor:
    """Bool, of the output's shape: what changes when the elements at `where` of x do."""
    other = x.clone()
    other[where] += 1.0
    with torch.no_grad():
        before, after = network(x, **kwargs), network(other, **kwargs)
    return (before - after).abs() > 1e-6


def layer_grid() -> Grid:
    bias = RelativePositionBias(2)
    nn.init.normal_(bias.bias.weight)
    return Grid(batch=2, frames=FRAMES, time_bias=bias(FRAMES, torch.device("cpu")).detach())


def by_video(seen: Tensor) -> Tensor:
    """(B F, C, H, W) to (B, F, H, W): any channel."""
    return seen.any(dim=1).unflatten(0, (2, FRAMES))


GRID_X = torch.randn(2 * FRAMES, 16, 4, 4, generator=torch.Generator().manual_seed(0))
SECOND_FRAME_CELL = (1, slice(None), 0, 0)  # frame 1 of video 0, its first cell


def test_temporal_attention_is_blind_to_batch_and_space() -> None:
    torch.manual_seed(0)
    layer = TemporalAttention(16, 2, 8, RotaryEmbedding(8))
    seen = by_video(reached(layer, GRID_X, SECOND_FRAME_CELL, grid=layer_grid()))
    assert seen[0, :, 0, 0].all()
    assert seen.sum() == FRAMES


def test_focus_present_shuts_each_frame_in() -> None:
    torch.manual_seed(0)
    layer, grid = TemporalAttention(16, 2, 8, RotaryEmbedding(8)), layer_grid()
    focused = Grid(2, FRAMES, time_bias=grid.time_bias, focus_present=torch.tensor([True, False]))
    assert by_video(reached(layer, GRID_X, SECOND_FRAME_CELL, grid=focused)).nonzero().tolist() == [[0, 1, 0, 0]]
    in_the_other = (FRAMES + 1, slice(None), 0, 0)
    assert by_video(reached(layer, GRID_X, in_the_other, grid=focused))[1, :, 0, 0].all()


@pytest.mark.parametrize("kind", [SpatialAttention, SpatialLinearAttention])
def test_spatial_attention_stays_in_its_frame(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    seen = by_video(reached(kind(16, 2, 8), GRID_X, SECOND_FRAME_CELL, grid=layer_grid()))
    assert seen[0, 1].all()
    assert seen.sum() == 16


def test_joint_attention_sees_all_of_its_video_and_no_other() -> None:
    torch.manual_seed(0)
    seen = by_video(reached(JointAttention(16, 2, 8), GRID_X, SECOND_FRAME_CELL, grid=layer_grid()))
    assert seen[0].all()
    assert not seen[1].any()


def test_cross_attention_mixes_no_cells_and_reads_no_padding() -> None:
    torch.manual_seed(0)
    layer, text = CrossAttention(16, WIDTH, 2, 8), captions()
    grid = Grid(2, FRAMES, tokens=text.tokens, token_mask=text.mask)
    assert by_video(reached(layer, GRID_X, SECOND_FRAME_CELL, grid=grid)).sum() == 1
    for noise, alike in ((~text.mask[..., None], True), (text.mask[..., None], False)):
        other = Grid(2, FRAMES, tokens=text.tokens + noise, token_mask=text.mask)
        assert torch.equal(layer(GRID_X, grid), layer(GRID_X, other)) == alike


def test_temporal_convolution_starts_as_nothing_and_reaches_one_frame() -> None:
    layer = TemporalConv(16)
    assert torch.equal(layer(GRID_X, FRAMES), GRID_X)
    nn.init.normal_(layer.weight)
    seen = by_video(reached(layer, GRID_X, SECOND_FRAME_CELL, frames=FRAMES))
    assert seen[0, :3, 0, 0].all()
    assert seen.sum() == 3
    expected = nn.functional.conv3d(
        GRID_X.unflatten(0, (2, FRAMES)).transpose(1, 2),
        layer.weight.T[:, None, :, None, None],
        padding=(1, 0, 0),
        groups=16,
    )
    torch.testing.assert_close(layer(GRID_X, FRAMES), expected.transpose(1, 2).flatten(0, 1))


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-7)])
def test_attention_of_short_sequences_is_torchs(dtype: torch.dtype, rounding: float) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 2, 10, 8, dtype=dtype) for _ in range(3))
    assert cpu.applies_to_attention(q)
    assert not cpu.applies_to_attention(torch.randn(3, 2, 65, 8))
    expected = nn.functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(cpu.attend(q, k, v), expected, atol=rounding, rtol=rounding)


def test_folding_frames_is_a_strided_convolution_and_back() -> None:
    torch.manual_seed(0)
    shrink, widen = Shrink(16, 24, 2), Widen(24, 16, 2)
    folded = GRID_X.unflatten(0, (-1, 2)).flatten(1, 2)  # neighbouring frames side by side in channels
    coarse = shrink(GRID_X)
    torch.testing.assert_close(coarse, nn.functional.conv2d(folded, shrink.conv.weight, shrink.conv.bias, stride=2))
    wide = nn.functional.conv_transpose2d(coarse, widen.conv.weight, widen.conv.bias, stride=2)
    torch.testing.assert_close(widen(coarse), wide.unflatten(1, (2, 16)).flatten(0, 1))


def test_frames_that_shared_a_cell_get_channels_of_their_own_in_their_order() -> None:
    torch.manual_seed(0)
    split = SplitFrames(16, 2)
    made = split(GRID_X).unflatten(0, (-1, 2))
    for part, weight in enumerate(split.linear.weight.chunk(2)):
        expected = nn.functional.conv2d(GRID_X, weight, split.linear.bias.chunk(2)[part])
        torch.testing.assert_close(made[:, part], expected)


@pytest.mark.parametrize("kind", [ResnetBlock, ConvNextBlock])
def test_blocks_read_their_conditioning(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    block, cond = kind(16, 24, 8), torch.randn(2, FRAMES, 8)
    seen = reached(lambda cond: block(GRID_X, cond, FRAMES), cond, (0, 1))
    assert by_video(seen)[0, 1].all()
    assert by_video(seen).sum() == 16


@pytest.mark.parametrize(
    ("changes", "other_frames"),
    [
        ({}, False),
        ({"spatial_attention": ("linear", "full")}, False),
        ({"temporal_attention": (True, False)}, True),
        ({"joint_attention": (False, True)}, True),
        ({"mid_attention": "joint"}, True),
        ({"mid_attention": "factored"}, True),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else str(value),
)
def test_what_lets_frames_see_each_other(changes: dict[str, Any], other_frames: bool) -> None:
    network = build(**changes)
    seen = reached(network, videos(), (0, slice(None), 1), t=times(), text=captions())
    assert seen[0, :, 1].any()
    assert bool(seen[0, :, [0, 2, 3]].any()) == other_frames
    assert not seen[1].any()


def test_focus_present_shuts_frames_in_through_the_whole_network() -> None:
    network = build(**SEED_LAYOUT)
    focus = torch.ones(2, dtype=torch.bool)
    arguments = {"t": times(), "text": captions()}
    seen = reached(network, videos(), (0, slice(None), 1), focus_present=focus, **arguments)
    assert seen[0, :, 1].any()
    assert not seen[0, :, [0, 2, 3]].any()
    assert not torch.allclose(predict(network, captions(), focus_present=focus), predict(network, captions()))
    nobody = torch.zeros(2, dtype=torch.bool)
    torch.testing.assert_close(predict(network, captions(), focus_present=nobody), predict(network, captions()))


def test_positions_tell_frames_and_places_apart() -> None:
    """On an empty canvas every frame looks the same, unless the network is told which is which."""
    empty = torch.zeros(1, 3, FRAMES, RESOLUTION, RESOLUTION)
    plain, placed = predict(build(), captions(1), empty), predict(build(positions=True), captions(1), empty)
    torch.testing.assert_close(plain[:, :, 0], plain[:, :, 3])
    assert not torch.allclose(placed[:, :, 0], placed[:, :, 3], atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [({}, False), ({"text_queries": 2}, True), ({"cross_attention": (False, True)}, True), (FAST, True)],
    ids=["pooled", "queries", "cross", "both"],
)
def test_which_caption_vectors_are_read(changes: dict[str, Any], tokens: bool) -> None:
    network, text = build(**changes), captions()
    other_pooled = TextBatch(text.pooled + 1.0, text.tokens, text.mask)
    other_tokens = TextBatch(text.pooled, text.tokens * 2.0, text.mask)
    padding = TextBatch(text.pooled, text.tokens + 5.0 * ~text.mask[..., None], text.mask)
    made = predict(network, text)
    assert not torch.allclose(made, predict(network, other_pooled), atol=1e-6)
    assert torch.allclose(made, predict(network, other_tokens), atol=1e-6) != tokens
    torch.testing.assert_close(made, predict(network, padding))


@pytest.mark.parametrize("layout", [FAST, SEED_LAYOUT], ids=["fast", "seed"])
def test_a_dropped_caption_is_no_caption(layout: dict[str, Any]) -> None:
    network, text = build(**layout), captions()
    none, kept = predict(network, None), predict(network, text)
    torch.testing.assert_close(predict(network, text, drop_text=torch.ones(2, dtype=torch.bool)), none)
    torch.testing.assert_close(predict(network, text, drop_text=torch.zeros(2, dtype=torch.bool)), kept)
    half = predict(network, text, drop_text=torch.tensor([True, False]))
    torch.testing.assert_close(half, torch.stack([none[0], kept[1]]))
    assert not torch.allclose(none, kept, atol=1e-4)


def test_caption_vectors_are_standardised() -> None:
    network, text = build(**FAST), captions()
    plain = predict(network, text)
    mean, std = torch.randn(WIDTH), torch.rand(WIDTH) + 0.5
    network.set_text_statistics(mean, std, mean + 1.0, std + 1.0)
    moved = TextBatch(text.pooled * std + mean, text.tokens * (std + 1.0) + mean + 1.0, text.mask)
    torch.testing.assert_close(predict(network, moved), plain, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(predict(network, text), plain, atol=1e-3)
    twin = build(**FAST)
    twin.load_state_dict(network.state_dict())
    torch.testing.assert_close(predict(twin, moved), plain, rtol=1e-4, atol=1e-5)


def test_time_is_read() -> None:
    network, x = build(), videos()
    with torch.no_grad():
        early, late = (network(x, torch.full((2,), t), None) for t in (0.1, 0.9))
    assert not torch.allclose(early, late, atol=1e-3)


@pytest.mark.parametrize(
    "layout", [FAST, SEED_LAYOUT, {**FAST, "block_type": "convnext"}], ids=["fast", "seed", "convnext"]
)
def test_gradients_reach_every_parameter(layout: dict[str, Any]) -> None:
    """The null caption's among them: half of the captions are dropped."""
    network = build(**layout).train()
    drop = torch.tensor([True, False, False])
    network(videos(3), times(3), captions(3), drop_text=drop).square().mean().backward()
    trained = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert any("null" in name for name in trained)
    dead = [name for name, parameter in trained.items() if parameter.grad is None or not parameter.grad.any()]
    assert dead == []


def test_the_null_caption_learns_only_from_dropped_captions() -> None:
    for dropped in (False, True):
        network = build(**SEED_LAYOUT)
        drop = torch.tensor([dropped, False])
        network(videos(), times(), captions(), drop_text=drop).square().mean().backward()
        grads = [parameter.grad for name, parameter in network.named_parameters() if "null" in name]
        assert grads
        assert all(bool(grad is not None and grad.any()) == dropped for grad in grads)


@pytest.mark.parametrize("layout", [FAST, SEED_LAYOUT], ids=["fast", "seed"])
def test_the_order_of_the_batch_is_the_order_of_the_outputs(layout: dict[str, Any]) -> None:
    network, x, text, order = build(**layout), videos(3), captions(3), torch.tensor([2, 0, 1])
    with torch.no_grad():
        made = network(x, times(3), text)
        moved = network(x[order], times(3)[order], text.select(order))
    torch.testing.assert_close(moved, made[order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", [FAST, SEED_LAYOUT], ids=["fast", "seed"])
def test_memory_layout_changes_nothing(layout: dict[str, Any]) -> None:
    network, text = build(**layout), captions()
    made = predict(network, text)
    torch.testing.assert_close(predict(network, text, videos().to(memory_format=torch.channels_last_3d)), made)
    rows = build(**layout).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    torch.testing.assert_close(predict(rows, text), made, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", [FAST, SEED_LAYOUT], ids=["fast", "seed"])
def test_bf16_is_close_to_fp32(layout: dict[str, Any]) -> None:
    network, text = build(**layout), captions()
    made = predict(network, text)
    with torch.autocast("cpu", torch.bfloat16):
        rough = predict(network, text)
    error = (rough.float() - made).norm() / made.norm()
    assert 1e-5 < error < 0.03


@pytest.mark.parametrize("block", [2**18, 256], ids=["one block", "many"])
@pytest.mark.parametrize("focused", [False, True])
@pytest.mark.parametrize(
    "layout", [FAST, SEED_LAYOUT, {**SEED_LAYOUT, "attn_dim_head": 40}], ids=["fast", "seed", "wide"]
)
def test_the_functions_for_the_cpu_change_nothing(
    layout: dict[str, Any], focused: bool, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, text = build(**layout), captions()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2 if parameter.ndim > 1 else 1.0) if parameter.requires_grad else None
    focus = torch.tensor([True, False]) if focused else None

    def made() -> list[Tensor]:
        made = network(videos(), times(), text, focus_present=focus)
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        given = torch.autograd.grad(made.square().mean(), parameters, allow_unused=True)
        return [made.detach(), *(part for part in given if part is not None)]

    monkeypatch.setattr(cpu, "BLOCK", block)
    by_hand = made()
    monkeypatch.setattr(cpu, "applies", lambda x: False)
    for ours, plain in zip(by_hand, made(), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4 * float(plain.abs().max()))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of the compiler's own modules
@pytest.mark.parametrize(
    ("layout", "backend"),
    [(FAST, "inductor"), (SEED_LAYOUT, "aot_eager_decomp_partition")],  # to machine code once: it takes a minute of g++
    ids=["fast", "seed"],
)
def test_compiled_is_close_to_eager(layout: dict[str, Any], backend: str) -> None:
    network, text = build(**layout), captions()
    compiled = torch.compile(network, backend=backend)
    torch.testing.assert_close(predict(compiled, text), predict(network, text), rtol=1e-3, atol=1e-4)
