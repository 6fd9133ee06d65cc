"""The page to type prompts into: what it shows, what it refuses, and a real browser that clicks through it."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from pipeline import play
from pipeline.data.gif import decode_gif
from pipeline.playing.drawing import LONGEST_PROMPT, Drawing, Order
from pipeline.playing.views import clips_html, show
from pipeline.text.captions import EncoderInfo
from tests.browser import BROWSER, Page, browser_page
from tests.model_toys import HashEncoder, write_toy_model

PROMPT = "a red circle moving up"
PATIENCE_S = 60
FIGURES = {"seen.joint": 0.988, "seen.joint_low": 0.976, "seen.joint_high": 0.994}
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drawing:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.text.captions.load_encoder", lambda info: HashEncoder())
    write_toy_model(tmp_path / "models/unet")
    write_toy_model(tmp_path / "models/gan", "gan")
    return Drawing({name: tmp_path / "models" / name for name in ("unet", "gan")}, "cpu")


def order(**changes: object) -> Order:
    values = {"model": "unet", "prompt": PROMPT, "seed": 5, "clips": 3, "steps": 4, "guidance": 2.0, "sampler": "ddim"}
    return Order(**{**values, **changes})  # type: ignore[arg-type]


def test_an_order_is_drawn_as_generate_draws_it(drawing: Drawing) -> None:
    shown = list(drawing.draw(order()))
    assert [each.is_done for each in shown] == [False] * (len(shown) - 1) + [True]
    assert [each.step for each in shown[:-1]] == sorted({each.step for each in shown[:-1]})
    model = drawing.model("unet")
    sampling = drawing.sampling("unet")
    assert sampling is not None
    asked = sampling.model_copy(update={"num_inference_steps": 4, "guidance_scale": 2.0, "sampler": "ddim"})
    assert np.array_equal(shown[-1].frames, model.sample([PROMPT] * 3, [5, 6, 7], sampling=asked))
    assert [each.step for each in drawing.draw(order(model="gan"))] == [1]


def test_one_job_at_a_time_and_one_that_nobody_waits_for_ends(drawing: Drawing) -> None:
    first, second = drawing.draw(order(steps=200, clips=8)), drawing.draw(order(steps=2))
    assert next(first).step < 200
    first.close()
    started = time.monotonic()
    assert list(second)[-1].is_done
    assert time.monotonic() - started < PATIENCE_S


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prompt": "  "}, "say what to draw"),
        ({"prompt": "a " * LONGEST_PROMPT}, f"at most {LONGEST_PROMPT} characters"),
        ({"prompt": "up " * 17}, "has 17 tokens, this model reads 16"),
        ({"seed": -1}, "seed -1 is not from 0"),
        ({"seed": 2**32}, "seed 4294967296 is not from 0"),
        ({"clips": 9}, "clips 9 is not from 1 to 8"),
        ({"steps": 0}, "steps 0 is not from 1 to 200"),
        ({"guidance": float("nan")}, "guidance nan is not from 0"),
        ({"sampler": "../euler"}, "is unknown"),
        ({"model": "../../models/unet"}, "there are unet, gan"),
    ],
)
def test_what_cannot_be_drawn_is_said_on_the_page(drawing: Drawing, changes: dict[str, object], says: str) -> None:
    ((notes, clips),) = show(drawing, order(**changes))
    assert says in notes
    assert clips == ""


def test_what_was_not_understood_is_shown_and_escaped(drawing: Drawing) -> None:
    *_, (notes, clips) = show(drawing, order(prompt="a red <b>dragon</b>", steps=2, clips=1))
    assert "no train caption had" in notes
    assert "&lt;b&gt;dragon" in notes
    assert "<b>" not in notes + clips


def test_finished_clips_come_with_their_files(drawing: Drawing) -> None:
    made = order(clips=2)
    *_, shown = drawing.draw(made)
    html = clips_html(made, shown, 10.0)
    names = re.findall(r'download="([^"]+)"', html)
    assert names == [f"a-red-circle-moving-up-seed{seed}.{kind}" for seed in (5, 6) for kind in ("gif", "mp4")]
    gifs, mp4s = (re.findall(rf'href="data:{kind};base64,([^"]+)"', html) for kind in ("image/gif", "video/mp4"))
    assert all(base64.b64decode(mp4)[4:8] == b"ftyp" for mp4 in mp4s)
    enlarged = decode_gif(base64.b64decode(gifs[0]), 4)
    assert enlarged.shape == (4, 192, 192, 3)
    assert np.abs(enlarged[:, 6::12, 6::12].astype(int) - shown.frames[0]).mean() < 8  # a GIF's 256 colours


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The program itself, with a toy that reads by the packaged encoder."""
    pytest.importorskip("gradio", reason="gradio is optional: pip install -r requirements-play.txt")
    root = tmp_path_factory.mktemp("play")
    write_toy_model(root / "models/unet", text=asdict(EncoderInfo("packaged", None, 384, "mean", 32)))
    (root / "models/unet/figures.json").write_text(json.dumps(FIGURES))
    with (root / "log").open("w") as log:
        page = subprocess.Popen(
            [sys.executable, "-m", "pipeline.play"],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    with page:
        assert page.stdout is not None
        line = page.stdout.readline()
        assert line.startswith("http"), (root / "log").read_text()
        yield line.split()[0]
        page.terminate()


def status(address: str, path: str, **headers: str) -> int:
    request = urllib.request.Request(address + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_the_file_system_and_other_names_are_out_of_reach(address: str, tmp_path: Path) -> None:
    from pipeline.playing.guard import CLOSED

    assert address.startswith("http://127.0.0.1:")
    assert status(address, "") == 200
    assert status(address, "", Host="elsewhere.example") == 404  # a name that someone let point here
    private = tmp_path / "private.txt"
    private.write_text("mine")
    for door in CLOSED:
        for prefix in ("", "gradio_api/"):
            assert status(address, f"{prefix}{door[1:]}{private}") == 404
    assert status(address, f"static/../../../../../../../../{private}") >= 400
    assert status(address, "theme.css") == 200


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium (make browser)")
def test_a_click_path_through_the_page(address: str, tmp_path: Path) -> None:
    with browser_page(tmp_path) as page:
        visit(page, address)
        assert "combinations of training 98.8% (97.6–99.4)" in page.run("document.querySelector('#facts').innerText")
        press(page, "#examples button, .gallery-item, [data-testid=dataset] button", "a navy ball sinks")
        assert await_value(page, "document.querySelector('#prompt textarea, #prompt input').value", "a navy ball sinks")
        page.run("document.querySelector('#draw').click()")
        assert await_value(page, "document.querySelector('#shown [role=status]')?.textContent", "Done")
        assert "navy" in page.run("document.querySelector('#notes').innerText")
        pictures = "[...document.querySelectorAll('#shown img')]"
        assert page.run(f"{pictures}.map(each => each.naturalWidth)") == [192] * 8
        assert page.run("document.querySelectorAll('#shown a[download$=\".mp4\"]').length") == 8
        page.send("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
        assert page.run("document.documentElement.scrollWidth") <= 390
        asked = [event["params"] for event in page.events if event.get("method") == "Network.requestWillBeSent"]
        urls = {each["request"]["url"] for each in asked}
        assert {url for url in urls if not url.startswith((address, "data:", "blob:"))} == set()
        assert [event for event in page.events if event.get("method") == "Runtime.exceptionThrown"] == []


def visit(page: Page, address: str) -> None:
    page.events.clear()
    page.send("Emulation.setDeviceMetricsOverride", width=1200, height=900, deviceScaleFactor=1, mobile=False)
    page.send("Page.navigate", url=address)
    assert await_value(page, "!!document.querySelector('#draw')", True)


def press(page: Page, selector: str, text: str) -> None:
    script = f"""[...document.querySelectorAll({json.dumps(selector)})]
        .find(each => each.textContent.trim() === {json.dumps(text)}).click()"""
    page.run(script)


def await_value(page: Page, script: str, value: object) -> bool:
    """Whether an expression takes a value in time."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if page.run(script) == value:
            return True
        time.sleep(0.2)
    return False


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="run dvc repro to train one"):
        play.main([])
    write_toy_model(tmp_path / "models/pretrained/toy")
    monkeypatch.delitem(sys.modules, "pipeline.playing.page", raising=False)
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match=r"the page needs gradio: make play, or pip install -r requirements-play.txt"):
        play.main(["toy"])
