"""Figures of several runs in one JSON file: each run adds its own, with the date and the device."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import torch

from pipeline.runtime.files import write_json


def machine_facts(device: torch.device) -> dict[str, str]:
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }


def add_facts(path: Path, facts: dict[str, Any]) -> None:
    """Write `facts` over what the file holds; one level down they are merged too."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for key, value in facts.items():
        both = isinstance(value, dict) and isinstance(known.get(key), dict)
        known[key] = known[key] | value if both else value
    write_json(path, known)
