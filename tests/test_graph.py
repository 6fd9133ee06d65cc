"""The graph as a whole: deps complete, run end to end on the smoke preset, rerun exactly where something changed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config.tree import Params
from pipeline.preset import apply_preset
from pipeline.runtime.code import code_of

ROOT = Path(__file__).resolve().parent.parent
GRAPH: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
FAMILIES = {"unet": "pipeline/diffusion", "gan": "pipeline/gan"}
ONE_FAMILY = {"frames": "pipeline/gan"}  # imported where a model may be of either family, and never run there
TOYS: dict[str, dict[str, Any]] = {  # less than the smoke preset: here a stage has to run, not to learn
    "shapes": {"train_clips": 32, "val_clips": 12, "held_out_clips": 12, "reworded_clips": 12},
    "judge": {"steps": 2},
    "train": {"steps": 4, "checkpoint_every": 2, "sample_every": 4, "val_every": 4, "num_sample_rows": 1},
    "train_gan": {"steps": 3, "checkpoint_every": 3, "sample_every": 3, "num_sample_rows": 1},
    "sampling": {"num_inference_steps": 2},
    "evaluate": {
        "prompts": 4,
        "batch_size": 4,
        "feature_clips": 8,
        "curve_prompts": 2,
        "guidance_scales": [1.0],
        "steps": [2],
        "unsaid_clips": 4,
    },
}


def definition(name: str) -> dict[str, Any]:
    return GRAPH[name].get("do", GRAPH[name])


def code_deps(name: str) -> list[str]:
    """The code that a stage lists in dvc.yaml; of `evaluate`, what either family lists."""
    deps = [dep for dep in definition(name)["deps"] if dep.startswith(("pipeline/", "stages/"))]
    return deps + [item["code"] for item in GRAPH[name].get("foreach", {}).values()]


def covers(dep: str, module: str) -> bool:
    return module == dep or module.startswith(f"{dep}/")


@pytest.mark.parametrize("name", GRAPH)
def test_code_deps_cover_what_the_stage_imports_and_nothing_idle(name: str) -> None:
    reached, listed = code_of(name), code_deps(name)
    known = [*listed, ONE_FAMILY.get(name, name)]
    missing = [module for module in reached if not any(covers(dep, module) for dep in known)]
    idle = [dep for dep in listed if not any(covers(dep, module) for module in reached)]
    assert not missing, f"dvc.yaml: stage {name} reads {missing} and would not rerun for them"
    assert not idle, f"dvc.yaml: stage {name} would rerun for {idle}, which it does not import"


def test_the_graph_is_a_table_of_contents() -> None:
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 180
    assert {name: len(code_deps(name)) for name in GRAPH if len(code_deps(name)) > 10} == {}  # evaluate: 9 for a family


def test_each_family_is_evaluated_by_its_own_code() -> None:
    assert {key: item["code"] for key, item in GRAPH["evaluate"]["foreach"].items()} == FAMILIES


def test_the_walk_finds_what_is_imported_inside_functions() -> None:
    assert "pipeline/transcode/decoding/decode.py" in code_of("transcode")
    assert "pipeline/sources/kaggle_client.py" in code_of("download")
    assert "pipeline/report/page.css" in code_of("report")


def test_the_walk_leaves_out_what_no_output_follows_from() -> None:
    """Params have their own entry in dvc.yaml; processes and previews leave no trace in an output."""
    reached = code_of("train")
    assert not [name for name in reached if name.startswith(("pipeline/config/", "pipeline/runtime/"))]
    assert not [name for name in reached if name.startswith(("pipeline/sampling/", "pipeline/render/"))]
    assert not [name for name in reached if name.startswith(("pipeline/sources/", "pipeline/gan/"))]


def test_the_judge_does_not_change_with_the_encoder() -> None:
    assert not [dep for dep in GRAPH["judge"]["deps"] if "embeddings" in dep]
    assert not {"pipeline/text/captions.py", "pipeline/text/encoders.py"} & set(code_deps("judge"))


def test_dvc_reads_yaml_by_the_c_parser() -> None:
    from ruamel.yaml import YAML

    fast, slow = YAML(typ="safe"), YAML(typ="safe", pure=True)
    assert fast.Parser is not slow.Parser, "ruamel.yaml.clib is missing; make setup"
    for path in [ROOT / "params.yaml", ROOT / "dvc.yaml", *(ROOT / "presets").glob("*.yaml")]:
        assert repr(fast.load(path)) == repr(slow.load(path)), path.name


@pytest.mark.parametrize("name", GRAPH)
def test_a_stage_has_a_script_a_section_and_a_description(name: str) -> None:
    assert (ROOT / "stages" / f"{name}.py").is_file()
    assert name in Params.model_fields
    assert name in definition(name)["params"]
    assert len(definition(name)["desc"]) > 15


def dvc(folder: Path, *words: str, check: bool = True) -> str:
    """What `dvc WORDS` printed, both streams."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("DVC_ROOT", None)
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    printed = done.stdout + done.stderr
    assert not check or done.returncode == 0, printed[-4000:]
    return printed


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def fresh_clone(folder: Path) -> Path:
    """The working tree as a repository of its own, with the smoke preset at toy size committed."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    (folder / "dvc.lock").unlink(missing_ok=True)
    shutil.copyfile(ROOT / "tests/params.yaml", folder / "params.yaml")
    apply_preset("smoke", folder / "params.yaml", folder / "presets")
    set_params(folder, TOYS)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "start")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which the smoke preset has run to its end."""
    folder = fresh_clone(tmp_path_factory.mktemp("graph"))
    dvc(folder, "repro")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "smoke")
    return folder


def stages_run(printed: str) -> set[str]:
    return set(re.findall(r"Running stage '([^']+)'", printed))


@pytest.mark.slow
def test_the_whole_graph_leaves_a_report_models_and_metrics(run: Path) -> None:
    assert (run / "reports/index.html").stat().st_size > 10_000
    for model in ("unet", "gan"):
        metrics = json.loads((run / f"metrics/evaluate/{model}.json").read_text())
        assert 0.0 <= metrics["seen.joint"] <= 1.0
        assert "caption_shuffle.joint" in metrics
        assert (run / f"models/{model}/weights.safetensors").is_file()
    assert stages_run(dvc(run, "repro")) == set()
    cached = {path.stat().st_ino for path in (run / ".dvc/cache/files").rglob("*") if path.is_file()}
    outputs = [path for path in (run / "data").rglob("*") if path.is_file()]
    assert len(outputs) > 10
    assert {path.stat().st_ino for path in outputs} <= cached, "an output and its cached copy are one file on the disk"
    assert git(run, "status", "--porcelain") == ""


def set_params(folder: Path, sections: dict[str, dict[str, Any]]) -> None:
    """Sets keys of params.yaml."""
    path = folder / "params.yaml"
    tree = yaml.safe_load(path.read_text())
    for section, values in sections.items():
        tree[section] |= values
    path.write_text(yaml.safe_dump(tree))


def edit_code(folder: Path, modules: tuple[str, ...]) -> None:
    for module in modules:
        with (folder / module).open("a") as file:
            file.write("# edited\n")


def read_by_stages(folder: Path) -> dict[str, dict[str, Any]]:
    """What each stage has read, by the lock: deps with their hashes, and params as `section.key` with their values."""
    found: dict[str, dict[str, Any]] = {}
    for name, stage in yaml.safe_load((folder / "dvc.lock").read_text())["stages"].items():
        found[name] = {dep["path"]: dep["md5"] for dep in stage.get("deps", [])}
        for section, values in stage.get("params", {}).get("params.yaml", {}).items():
            keys = values if isinstance(values, dict) else {"": values}
            found[name] |= {f"{section}.{key}": value for key, value in keys.items()}
    return found


EVALUATED = {f"{kind}/{model}{end}" for model in ("unet", "gan") for kind, end in (
    ("evaluations", ""), ("metrics/evaluate", ".json"), ("plots/evaluate", ""))}  # fmt: skip
EMBEDDED = "data/embeddings/shapes.parquet"
PARAMS: dict[str, dict[str, Any]] = {
    "embed": {"pooling": "cls"},
    "sampling": {"guidance_scale": 3.0},
    "train_gan": {"steps": 4},
    "report": {"prompts": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "causes"),
    [
        pytest.param(
            partial(edit_code, modules=("pipeline/sampling/samplers.py", "pipeline/gan/losses.py")),
            {
                "evaluate@unet": {"pipeline/sampling"},
                "frames": {"pipeline/sampling"},
                "train_gan": {"pipeline/gan"},
                "evaluate@gan": {"pipeline/sampling", "pipeline/gan"},  # and not models/gan: the same bytes
            },
            id="code",
        ),
        pytest.param(
            partial(set_params, sections=PARAMS),
            {
                **{f"embed@{name}": {"embed.pooling"} for name in ("shapes", "moving_mnist", "videos")},
                "train": {EMBEDDED},
                "evaluate@unet": {EMBEDDED, "models/unet", "sampling.guidance_scale"},
                "frames": {EMBEDDED, "models/unet", "sampling.guidance_scale"},
                "train_gan": {"train_gan.steps"},
                "evaluate@gan": {"models/gan"},
                "report": EVALUATED | {f"{section}.{key}" for section, keys in PARAMS.items() for key in keys},
            },
            id="params",
        ),
    ],
)
def test_a_change_reruns_what_reads_it_and_nothing_else(
    run: Path, change: Callable[[Path], None], causes: dict[str, set[str]]
) -> None:
    """By one real run for several changes: the lock says for which of them a stage ran, and DVC which stages did. A
    rerun that gives the same bytes stops the wave, as a comment in the code does."""
    before = read_by_stages(run)
    change(run)
    try:
        assert stages_run(dvc(run, "repro")) == set(causes)
        after = read_by_stages(run)
        changed = {
            name: {key for key in found | before[name] if found.get(key) != before[name].get(key)}
            for name, found in after.items()
        }
        assert {name: keys for name, keys in changed.items() if keys} == causes
    finally:
        git(run, "checkout", "--", ".")
        dvc(run, "checkout")


def data_hashes(folder: Path) -> dict[str, str]:
    """md5 of every data output; metrics hold seconds, which differ."""
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"].values()
    outs = [out for stage in stages for out in stage["outs"]]
    return {out["path"]: out["md5"] for out in outs if out["path"].startswith("data/")}


@pytest.fixture(scope="module")
def clone(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the repository, with nothing of what the run made but its lock."""
    folder = tmp_path_factory.mktemp("second") / "clone"
    git(run, "clone", "-q", str(run), str(folder))
    return folder


@pytest.mark.slow
def test_experiments_are_run_and_compared(run: Path) -> None:
    before = (run / "params.yaml").read_bytes()
    dvc(run, "exp", "run", "--temp", "-n", "warmer", "-S", "train.lr=1.0e-3", "train")
    assert (run / "params.yaml").read_bytes() == before
    assert "train.lr" in dvc(run, "params", "diff", "HEAD", "warmer")
    assert "warmer" in dvc(run, "exp", "show", "--csv")
    assert re.search(r"metrics/train\.json +val_loss", dvc(run, "metrics", "diff", "HEAD", "warmer"))
    assert "index.html" in dvc(run, "plots", "diff", "HEAD", "warmer", "-o", "plots_diff")


@pytest.mark.slow
def test_experiments_are_queued_in_a_fresh_clone_and_run_by_a_worker(clone: Path) -> None:
    before = (clone / "params.yaml").read_bytes()
    for name, fps in (("five", 5.0), ("ten", 10.0)):
        dvc(
            clone,
            "exp",
            "run",
            "--queue",
            "-n",
            name,
            "-S",
            f"transcode.fps={fps}",
            "-S",
            "transcode.frames=4",
            "transcode",
        )
    assert dvc(clone, "queue", "status").count("Queued") == 2
    dvc(clone, "queue", "start")
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and re.search("Queued|Running", dvc(clone, "queue", "status")):
            time.sleep(1)
        assert dvc(clone, "queue", "status").count("Success") == 2, dvc(clone, "queue", "logs", "five", check=False)
    finally:
        dvc(clone, "queue", "stop", "--kill", check=False)
    assert (clone / "params.yaml").read_bytes() == before
    assert not git(clone, "status", "--porcelain")
    assert re.search(r"transcode\.fps +5(\.0)? +10(\.0)?", dvc(clone, "params", "diff", "five", "ten"))


@pytest.mark.slow
def test_a_second_clone_makes_the_same_bytes(run: Path, clone: Path) -> None:
    hashes = data_hashes(run)
    assert len(hashes) == 11
    dvc(clone, "repro", "dataset", "download", "transcode", "shapes", "moving_mnist", "embed")
    assert all(
        (clone / path).exists() for path in hashes
    )  # made here, by runs or by the worker's: nothing else came along
    assert data_hashes(clone) == hashes
    assert not git(clone, "status", "--porcelain", "dvc.lock")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "says"),
    [("imported", r"imported ones too, are trained on as videos"), ("msrvtt", r"'msrvtt' is called videos now")],
)
def test_a_set_that_is_none_is_refused_before_anything_is_deleted(tmp_path: Path, name: str, says: str) -> None:
    clone = fresh_clone(tmp_path)
    before = git(clone, "ls-files", "metrics")
    assert "metrics/train.json" in before
    printed = dvc(clone, "exp", "run", "-S", f"dataset={name}", "evaluate@unet", check=False)
    assert re.search(rf"error: params\.yaml: dataset: .*{says}", printed), printed
    assert stages_run(printed) == {"dataset"}
    assert "Errno" not in printed
    assert git(clone, "status", "--porcelain", "metrics") == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ({"train": {"lr": "fast"}}, r"error: params.yaml: train.lr: 'fast'"),
        ({"dataset": "cats"}, r"error: params.yaml: dataset: 'cats'"),
        ({"download": {"source": "local", "path": "nowhere.zip"}}, r"error: .*nowhere\.zip"),
    ],
)
def test_bad_input_is_one_line_and_no_traceback(tmp_path: Path, edit: dict[str, Any], says: str) -> None:
    tree = yaml.safe_load((ROOT / "tests/params.yaml").read_text())
    for key, value in edit.items():
        tree[key] = {**tree[key], **value} if isinstance(value, dict) else value
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    done = subprocess.run(
        [sys.executable, "-m", "stages.download"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.search(says, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
