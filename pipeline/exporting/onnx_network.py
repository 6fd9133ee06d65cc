"""The U-Net as an ONNX file, and a network that runs such a file in torch's place.

A `TextBatch` becomes tensors at the border. Batch and token count stay open; after writing, the file is run at others
than the example's, for an exporter that froze one would not say so. onnx, onnxscript and onnxruntime are optional
(requirements-export.txt).
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.model_io.model_card import ModelCard
from pipeline.text.captions import TextBatch

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

NETWORK_FILE = "network.onnx"
INPUTS = ("x", "t", "pooled", "tokens", "mask", "drop_text")
OUTPUT = "prediction"
EXAMPLE = (2, 7)  # captions and tokens; anything but 1, which exporters take for a constant
CHECKED = ((1, 5), (3, 12))
TOLERANCE = 1e-3  # of predictions around 1; the frames' levels are 8e-3 apart
NEEDED = "needs packages that are optional: pip install -r requirements-export.txt"
ONE_FILE_BYTES = 2**30  # larger weights lie beside the file: protobuf ends at 2 GB


class _FlatUNet(nn.Module):
    """The network with tensors for arguments."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        x: Tensor,  # (B, C, F, H, W)
        t: Tensor,  # (B,)
        pooled: Tensor,  # (B, D)
        tokens: Tensor,  # (B, L, D)
        mask: Tensor,  # bool (B, L)
        drop_text: Tensor,  # bool (B,): these captions are the null caption
    ) -> Tensor:
        prediction: Tensor = self.network(x, t, TextBatch(pooled, tokens, mask), drop_text)
        return prediction


def write_onnx(network: nn.Module, card: ModelCard, folder: Path) -> list[Path]:
    """Write network.onnx, and network.onnx.data beside it where it is large; returns the files.

    Raises ValueError where a package is missing, or where the file does not do what the network does.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f"--format onnx {NEEDED} ({error.name} is missing)") from None
    flat = _FlatUNet(network).eval()
    for module in network.modules():
        if hasattr(module, "cache_if_possible"):  # rotary tables: an export may not write into buffers
            module.cache_if_possible = False  # type: ignore[assignment]
    program = _exported(flat, card)
    path = folder / NETWORK_FILE
    large = sum(weight.nbytes for weight in network.state_dict().values()) > ONE_FILE_BYTES
    program.save(path, external_data=large)
    _check(path, flat, card)
    return sorted(folder.glob(f"{NETWORK_FILE}*"))


def _exported(flat: nn.Module, card: ModelCard) -> Any:
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    axes = [{0: batch}, {0: batch}, {0: batch}, {0: batch, 1: length}, {0: batch, 1: length}, {0: batch}]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it names each operator of packages that are not here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own parts among each other
        program = torch.export.export(flat, _example(card, *EXAMPLE), dynamic_shapes=tuple(axes), strict=False)
        return torch.onnx.export(program, dynamo=True, input_names=INPUTS, output_names=(OUTPUT,), verbose=False)


def _example(card: ModelCard, captions: int, tokens: int) -> tuple[Tensor, ...]:
    """Inputs of a batch: noise, half of the captions dropped, the first one shorter than the others."""
    assert card.text is not None, "a U-Net reads captions"
    rng = torch.Generator().manual_seed(captions)
    mask = torch.ones(captions, tokens, dtype=torch.bool)
    mask[0, tokens // 2 + 1 :] = False
    return (
        torch.randn(captions, *card.shape, generator=rng),
        torch.rand(captions, generator=rng),
        torch.randn(captions, card.text["width"], generator=rng),
        torch.randn(captions, tokens, card.text["width"], generator=rng),
        mask,
        torch.arange(captions) % 2 == 1,
    )


def _check(path: Path, flat: nn.Module, card: ModelCard) -> None:
    """Run the file beside the network. Raises ValueError where they differ."""
    session = _open(path)
    for captions, tokens in CHECKED:
        inputs = _example(card, captions, tokens)
        with torch.inference_mode():
            expected = flat(*inputs).numpy()
        error = float(np.abs(_run(session, inputs) - expected).max())
        if not error <= TOLERANCE:
            raise ValueError(
                f"{path.name}: off by {error:.2g} at {captions} captions of {tokens} tokens: this network cannot be "
                "exported with these versions of torch and onnx"
            )


class OnnxNetwork:
    """A U-Net's ONNX file as `sampling.guidance.VideoNetwork`, on the CPU."""

    def __init__(self, path: Path, text_width: int, conditioning: nn.Module | None = None) -> None:
        self.session, self.text_width = _open(path), text_width
        self.conditioning = conditioning  # of the torch network: the statistics of its train captions

    def __call__(self, x: Tensor, t: Tensor, text: TextBatch | None, drop_text: Tensor | None = None) -> Tensor:
        b = len(x)
        if text is None:
            blank = torch.zeros(b, 1, self.text_width)
            text, drop_text = TextBatch(blank[:, 0], blank, torch.ones(b, 1, dtype=torch.bool)), torch.ones(b).bool()
        drop_text = torch.zeros(b, dtype=torch.bool) if drop_text is None else drop_text
        return torch.from_numpy(_run(self.session, (x, t, text.pooled, text.tokens, text.mask, drop_text)))


def load_onnx(folder: Path, card: ModelCard, conditioning: nn.Module | None) -> OnnxNetwork:
    """The network.onnx of an exported folder. Raises ValueError, one line, where it cannot be run."""
    path = folder / NETWORK_FILE
    if not path.is_file():
        raise ValueError(f"{path}: missing; make it by python -m pipeline.export --format onnx --model {folder}")
    assert card.text is not None, "a U-Net reads captions"
    return OnnxNetwork(path, card.text["width"], conditioning)


def _open(path: Path) -> InferenceSession:
    try:
        import onnxruntime
    except ImportError:
        raise ValueError(f"--runtime onnx {NEEDED} (onnxruntime is missing)") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads that spin stall their neighbours
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _run(session: InferenceSession, inputs: tuple[Tensor, ...]) -> np.ndarray:
    """The prediction, float32 (B, C, F, H, W)."""
    feed = {name: tensor.numpy() for name, tensor in zip(INPUTS, inputs, strict=True)}
    (prediction,) = session.run([OUTPUT], feed)
    return np.asarray(prediction)
