from __future__ import annotations

import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import numpy as np
import pytest

from pipeline.compare import compare
from pipeline.config.params import load_params
from pipeline.report import charts, gather, page, sections, strips
from stages.report import main
from tests.report_toys import moving_square, write_run

ROOT = Path(__file__).parents[1]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROBE = """<script>
window.problems = [];
addEventListener("error", (event) => window.problems.push(String(event.message)), true);
addEventListener("load", async () => {
  const images = [...document.images];
  const decoded = await Promise.allSettled(images.map((image) => image.decode()));
  const play = document.getElementById("play"), films = [...document.querySelectorAll(".film img")];
  for (const prompt of document.querySelectorAll(".prompt")) prompt.style.contentVisibility = "visible";
  const moving = films.filter((image) => image.getAnimations().some((a) => a.playState === "running")).length;
  play.click();
  const still = films.filter((image) => image.getAnimations().length === 0).length;
  document.getElementById("theme").click();
  const svg = document.querySelector("svg[data-hover]");
  svg.focus();
  const facts = { images: images.length, decoded: decoded.filter((one) => one.status === "fulfilled").length,
    films: films.length, moving, still, label: play.textContent, theme: document.documentElement.dataset.theme,
    wide: document.documentElement.scrollWidth, tip: document.getElementById("tip").textContent,
    problems: window.problems,
    unnamed: document.querySelectorAll("img:not([alt]), img[alt=''], svg:not([aria-label])").length,
    loaded: performance.getEntriesByType("resource").filter((entry) => !entry.name.startsWith("data:")).length };
  await fetch("/facts", { method: "POST", body: JSON.stringify(facts) });
});
</script>"""


@pytest.fixture(scope="module")
def run_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    write_run(root, ROOT / "params.yaml")
    run = gather.gather_run(gather.FolderFiles(root), "this run", None)
    sheets = list(page.contact_sheets(root / "data/shards", run.sets))
    page.write_page(root / "reports/index.html", [run], load_params(root / "params.yaml").report, sheets)
    return root


class Numbers(HTMLParser):
    """(model, key, value) of every <data> element."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = {key: value or "" for key, value in attrs}
        if tag == "data":
            self.found.append((facts["data-model"], facts["data-key"], facts["value"]))


def test_every_number_is_one_of_the_metrics(run_root: Path) -> None:
    numbers = Numbers()
    numbers.feed((run_root / "reports/index.html").read_text())
    label = {"U-Net": "unet", "GAN": "gan"}
    metrics = {m: json.loads((run_root / f"metrics/evaluate/{m}.json").read_text()) for m in label.values()}
    assert len(numbers.found) > 100
    for model, key, value in numbers.found:
        assert float(value) == metrics[label[model]][key], (model, key)
    shown = {key for _, key, _ in numbers.found}
    assert {key for key, value in metrics["unet"].items() if isinstance(value, int | float)} <= shown


def test_the_page_is_one_file_without_network(run_root: Path) -> None:
    text = (run_root / "reports/index.html").read_text()
    assert not re.findall(r"""(?:src|href|url\()=?["']?(?:https?:)?//""", text)


def test_captions_are_escaped(run_root: Path) -> None:
    text = (run_root / "reports/index.html").read_text()
    assert "goes a &lt;red&gt; box" in text
    assert "<red>" not in text


def test_held_out_prompts_are_marked_and_failures_shown(run_root: Path) -> None:
    text = (run_root / "reports/index.html").read_text()
    assert text.count('class="tag">held out') == 3 + 2  # in the samples, and each model's failure
    assert "failed: 31 of 600 seen, 31 of 600 held out" in text
    assert text.count("✗ motion") == 3 * 2 * 2 + 3 * 2  # two of six takes a model and kind, and the galleries


def open_in_browser(content: bytes, folder: Path, width: int) -> tuple[dict[str, Any], str]:
    """What the page's probe posts back, and what the browser logged until then."""
    posted: Queue[bytes] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            posted.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    assert BROWSER is not None
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --enable-logging=stderr --remote-debugging-port=0"
    own = [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900"]
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, (folder / "log").open("wb") as log:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        browser = subprocess.Popen([BROWSER, *flags.split(), *own, url], stderr=log, start_new_session=True)
        try:
            facts = json.loads(posted.get(timeout=240))
        finally:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
            server.shutdown()
    return facts, (folder / "log").read_text(errors="replace")


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH")
@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_plays_every_clip(run_root: Path, tmp_path: Path, width: int) -> None:
    probed = (run_root / "reports/index.html").read_text().replace("<head>", "<head>" + PROBE)
    facts, console = open_in_browser(probed.encode(), tmp_path, width)
    assert "CONSOLE" not in console, console
    assert facts["problems"] == []
    assert facts["decoded"] == facts["images"] > 50
    assert facts["moving"] == facts["films"] == facts["still"] > 50
    assert (facts["label"], facts["theme"], facts["unnamed"], facts["loaded"]) == ("Play", "light", 0, 0)
    assert facts["wide"] <= width
    assert "U-Net" in facts["tip"]


def test_params_that_differ_are_listed(run_root: Path) -> None:
    committed = {"train": {"lr": 0.1, "steps": 5}, "gone": 1}
    changed = gather.changed_params(committed, {"train": {"lr": 0.2, "steps": 5}, "new": {"a": [1]}})
    assert changed == [("gone", 1, None), ("new.a", None, [1]), ("train.lr", 0.1, 0.2)]


def test_committed_params_come_from_git(tmp_path: Path) -> None:
    assert gather.committed_params(tmp_path) is None
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        (tmp_path / "params.yaml").write_text("a: 1\n")
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    (tmp_path / "params.yaml").write_text("a: 2\n")
    assert gather.committed_params(tmp_path) == {"a": 1}


def test_two_runs_stand_side_by_side(run_root: Path, tmp_path: Path) -> None:
    files = gather.FolderFiles(run_root)
    runs = [gather.gather_run(files, name, None, prefix=f"{name} · ") for name in ("main", "trial")]
    runs[1].params["train"]["lr"] = 0.5
    page.write_page(tmp_path / "index.html", runs, load_params(run_root / "params.yaml").report)
    text = (tmp_path / "index.html").read_text()
    assert "Two runs, side by side" in text
    assert "trial · U-Net" in text
    assert re.search(r"<code>train.lr</code></th><td><code>0\.00\d+</code></td><td><code>0\.5</code>", text)
    with pytest.raises(ValueError, match="A and B are both 'main'"):
        compare(run_root, "main", "main", tmp_path)


@pytest.mark.slow
def test_a_commit_is_compared_with_the_files_as_they_are(run_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("dvc")
    repository, tmp_path = tmp_path, tmp_path / "of" / "a larger repository"
    tmp_path.mkdir(parents=True)
    for part in ("metrics", "evaluations", "models", "plots"):
        shutil.copytree(run_root / part, tmp_path / part)
    shutil.copy(run_root / "params.yaml", tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: 'true', outs: [evaluations/unet, evaluations/gan]}}\n")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*git, "init", "-q"], cwd=repository, check=True, timeout=120)
    for command in (
        [*dvc, "init", "-q", "--subdir"],
        [*dvc, "commit", "-f", "-q"],
        [*git, "add", "-A"],
        [*git, "commit", "-q", "-m", "x"],
        [*git, "tag", "first"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    text = (tmp_path / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(re.sub(r"(?m)^  prompts: 12 .*$", "  prompts: 1", text))
    runs = compare(tmp_path, "first", "workspace", tmp_path / "out")
    assert [len(model.samples) for run in runs for model in run.models] == [30, 30, 30, 30]
    assert "<code>report.prompts</code>" in (tmp_path / "out/index.html").read_text()
    with pytest.raises(ValueError, match="'nowhere' is no commit, branch, tag or experiment here"):
        compare(tmp_path, "nowhere", "workspace", tmp_path / "out")


def test_a_run_without_evaluation_says_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("dataset: shapes\n")
    with pytest.raises(ValueError, match="no metrics/evaluate"):
        gather.gather_run(gather.FolderFiles(tmp_path), "here", None)


@pytest.mark.slow
def test_real_video_needs_no_attributes(run_root: Path, tmp_path: Path) -> None:
    shutil.copytree(run_root, tmp_path, dirs_exist_ok=True)
    metrics = {
        "retrieval.r1": 0.1,
        "retrieval.r10": 0.4,
        "retrieval.r10_shuffled": 0.1,
        "clip_similarity_note": "no CLIP",
    }
    for model in ("unet", "gan"):
        (tmp_path / f"metrics/evaluate/{model}.json").write_text(json.dumps(metrics))
    shutil.rmtree(tmp_path / "evaluations")
    main(params_path=tmp_path / "params.yaml", root=tmp_path, reports=tmp_path / "r", metrics=tmp_path / "m.json")
    text = (tmp_path / "r/index.html").read_text()
    assert "among the ten nearest in 40% of prompts" in text
    assert "no CLIP" in text
    assert not (tmp_path / "r/reel.mp4").exists()


def test_a_strip_holds_every_frame() -> None:
    import base64
    import io

    from PIL import Image

    clip = moving_square("red", "left")
    strip = strips.film_strip(clip, 10.0)
    with Image.open(io.BytesIO(base64.b64decode(strip.uri.partition(",")[2]))) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape == (64, 64 * 16, 3)
    assert np.abs(pixels[:, 64 * 5 : 64 * 6].astype(int) - clip[5]).max() < 12


def test_photographs_are_stored_as_such() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), np.uint8)
    assert strips.film_strip(noise, 10.0).uri.startswith("data:image/webp")
    assert strips.film_strip(moving_square("red", "up"), 10.0).uri.startswith("data:image/png")


@pytest.mark.slow
def test_the_stage_leaves_a_page_and_a_reel(run_root: Path, tmp_path: Path) -> None:
    out, metrics = tmp_path / "reports", tmp_path / "report.json"
    main(params_path=run_root / "params.yaml", root=run_root, reports=out, metrics=metrics)
    assert (out / "index.html").stat().st_size == json.loads(metrics.read_text())["page_bytes"]
    import av

    with av.open(str(out / "reel.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert sum(1 for _ in container.decode(stream)) == 9 * 32


def test_lines_that_a_log_axis_cannot_show_are_left_out() -> None:
    points = ((1.0, 1.0), (2.0, 0.0), (3.0, 0.01), (4.0, float("nan")))
    chart = charts.line_chart("Loss", "step", "loss", [charts.Series("a", points, 0)], log_y=True)
    hover = json.loads(html.unescape(re.search(r'data-hover="([^"]+)"', chart)[1]))  # type: ignore[index]
    assert [point[0] for point in hover["series"][0]["points"]] == [1.0, 3.0]
    assert charts.line_chart("Loss", "step", "loss", [charts.Series("a", (), 0)]) == ""


def test_ticks_are_round_and_inside() -> None:
    assert charts.Axis(0.0, 6000.0, 0, 1).ticks() == [0.0, 2000.0, 4000.0, 6000.0]
    assert charts.Axis(0.013, 2.1, 0, 1, log=True).ticks() == [0.1, 1.0]


@pytest.mark.parametrize(("seconds", "said"), [(3.21, "3.2 s"), (200, "3.3 min"), (20000, "5.6 h"), (None, "")])
def test_durations_as_said(seconds: float | None, said: str) -> None:
    assert sections.duration(seconds) == said
