"""BERT's forward pass over a checkpoint folder, without importing transformers, which takes longer than torch.

For one prompt that import was two thirds of the time to a clip. The operations and their order are those of
`transformers.BertModel`, so the vectors are the same bytes (tested).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

FILES = ("config.json", "tokenizer.json", "model.safetensors")


def reads(folder: Path) -> bool:
    """Whether a folder holds a checkpoint that `Bert` computes as transformers would."""
    if not all((folder / name).is_file() for name in FILES):
        return False
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder", False)
    )


class Bert(nn.Module):
    """Devlin et al. 2019: token ids to vectors, in float32 whatever the checkpoint's type."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.config = SimpleNamespace(**values)
        weights = load_file(folder / "model.safetensors")
        prefix = "bert." if any(name.startswith("bert.") for name in weights) else ""
        self.weights = {
            name.removeprefix(prefix): tensor.float() for name, tensor in weights.items() if tensor.is_floating_point()
        }

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        """ids int64 and mask (B, L) to `last_hidden_state` (B, L, D)."""
        w, config = self.weights, self.config
        x = F.embedding(input_ids, w["embeddings.word_embeddings.weight"])  # (B, L, D)
        x = x + w["embeddings.token_type_embeddings.weight"][0]
        x = x + w["embeddings.position_embeddings.weight"][: input_ids.shape[1]]
        x = self._norm("embeddings", x)
        mask = None if bool(attention_mask.all()) else attention_mask.bool()[:, None, None, :]
        mask = None if mask is None else mask.expand(-1, 1, input_ids.shape[1], -1)  # (B, 1, L, L)
        for layer in range(config.num_hidden_layers):
            here = f"encoder.layer.{layer}."
            x = self._norm(here + "attention.output", self._attend(here + "attention.", x, mask) + x)
            hidden = F.gelu(self._linear(here + "intermediate.dense", x))  # (B, L, 4 D)
            x = self._norm(here + "output", self._linear(here + "output.dense", hidden) + x)
        return SimpleNamespace(last_hidden_state=x)

    def _attend(self, here: str, x: Tensor, mask: Tensor | None) -> Tensor:
        b, length, width = x.shape
        q, k, v = (
            self._linear(f"{here}self.{name}", x).view(b, length, self.config.num_attention_heads, -1).transpose(1, 2)
            for name in ("query", "key", "value")
        )  # (B, heads, L, D / heads)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=q.shape[-1] ** -0.5)
        return self._linear(here + "output.dense", mixed.transpose(1, 2).contiguous().reshape(b, length, width))

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.weights[f"{name}.LayerNorm.weight"], self.weights[f"{name}.LayerNorm.bias"]
        return F.layer_norm(x, weight.shape, weight, bias, self.config.layer_norm_eps)


class BertTokenizer:
    """A folder's tokenizer.json, called as transformers' tokenizers are."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        added = self.tokenizer.get_added_tokens_decoder()
        self.all_special_ids = [number for number, token in sorted(added.items()) if token.special]

    def __call__(self, captions: Sequence[str], **options: Any) -> dict[str, Any]:
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(list(captions))]
        if options.get("return_tensors") is None:
            return {"input_ids": ids}
        longest = max(map(len, ids))
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
        return {"input_ids": padded, "attention_mask": mask}
