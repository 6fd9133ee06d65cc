"""Results that are older than what they were made from, as dvc.lock tells.

`dvc exp run -S … train` trains anew and leaves the evaluation of the model before in place: metrics and samples then
stand in the same revision as a model that they are not of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML

from pipeline.report.files import Files


def stale_reasons(files: Files, stage: str) -> list[str]:
    """A sentence for each input of `stage`, or of a stage before it, that has changed since it ran.

    Compared are outputs of stages and params; changed code is `dvc status`' business. Empty without a dvc.lock.
    """
    lock, params = (_yaml(files.read(path)) for path in ("dvc.lock", "params.yaml"))
    stages = lock.get("stages", {})
    made = {out["path"]: (name, out["md5"]) for name, entry in stages.items() for out in entry.get("outs", ())}
    reasons: dict[str, None] = {}
    waiting, seen = [stage], {stage}
    while waiting:
        name = waiting.pop(0)
        entry = stages.get(name, {})
        reasons |= dict.fromkeys(_changed_params(name, entry, params))
        for dep in entry.get("deps", ()):
            producer, md5 = made.get(dep["path"], (None, None))
            if producer is None:
                continue
            if md5 != dep["md5"]:
                reasons[f"{name} has not run since {producer} made another {dep['path']}"] = None
            if producer not in seen:
                seen.add(producer)
                waiting.append(producer)
    return list(reasons)


def _changed_params(name: str, entry: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[str]:
    for key, value in entry.get("params", {}).get("params.yaml", {}).items():
        found: Any = params
        for part in key.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        if found != value:
            yield f"{name} has not run since {key} changed in params.yaml"


def _yaml(data: bytes | None) -> dict[str, Any]:
    return dict(YAML(typ="safe").load(data.decode("utf-8")) or {}) if data is not None else {}
