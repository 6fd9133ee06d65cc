"""The page: a prompt and a few controls, the clips of some seeds side by side, shown as they are denoised.

What the page gets are numbers, words of closed lists and a prompt; guard.py closes the doors that gradio has besides.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read at the import: gradio would ask two hosts

import gradio as gr
from starlette.middleware import Middleware

from pipeline.playing.drawing import LONGEST_PROMPT, MOST_CLIPS, MOST_GUIDANCE, MOST_STEPS, Drawing, Order
from pipeline.playing.guard import HOST, guard
from pipeline.playing.views import examples, model_facts, show
from pipeline.sampling.names import SAMPLER_NAMES

WAITING = 20  # jobs in the queue; more are turned away
CSS = """
.clips {display: grid; grid-template-columns: repeat(auto-fill, minmax(max(8.5rem, 22%), 1fr)); gap: .75rem}
.clips figure {margin: 0}
.clips img {width: 100%; aspect-ratio: 1; image-rendering: pixelated; border: 1px solid var(--border-color-primary)}
.clips figcaption {font-size: .85rem; padding-top: .15rem}
.clips a {margin-left: .5rem}
footer {display: none !important}
"""


def build_page(drawing: Drawing) -> gr.Blocks:
    """The page over the models of `drawing`, the first one chosen."""
    names = list(drawing.folders)
    sampling = drawing.sampling(names[0])
    with gr.Blocks(title="Text to video", analytics_enabled=False) as page:
        gr.Markdown("# Text to video")
        facts = gr.HTML(model_facts(drawing, names[0]), elem_id="facts")
        with gr.Row():
            prompt = gr.Textbox(
                label="Prompt", max_length=LONGEST_PROMPT, lines=1, scale=4, autofocus=True, elem_id="prompt"
            )
            draw = gr.Button("Draw", variant="primary", scale=1, elem_id="draw")
        gr.Examples([[line] for line in examples(drawing, names[0])], [prompt], elem_id="examples")
        with gr.Row():
            model = gr.Dropdown(names, value=names[0], label="Model", elem_id="model")
            seed = gr.Number(0, label="Seed of the first clip", precision=0, minimum=0, elem_id="seed")
            clips = gr.Slider(1, MOST_CLIPS, value=MOST_CLIPS, step=1, label="Clips", elem_id="clips")
        with gr.Row():
            steps = gr.Slider(1, MOST_STEPS, step=1, label="Steps", value=_steps(sampling), elem_id="steps")
            guidance = gr.Slider(0, MOST_GUIDANCE, step=0.1, label="Guidance", value=_guidance(sampling))
            sampler = gr.Dropdown(list(SAMPLER_NAMES), label="Sampler", value=_sampler(sampling))
        notes, shown = gr.HTML(elem_id="notes"), gr.HTML(elem_id="shown")

        def run(*values: Any) -> Iterator[tuple[str, str]]:
            yield from show(drawing, Order(*values))

        def choose(name: str) -> tuple[str, float, float, str]:
            chosen = drawing.sampling(name)
            return model_facts(drawing, name), _steps(chosen), _guidance(chosen), _sampler(chosen)

        inputs = [model, prompt, seed, clips, steps, guidance, sampler]
        for event in (draw.click, prompt.submit):
            event(run, inputs, [notes, shown], concurrency_limit=1, concurrency_id="draw", api_visibility="private")
        model.change(choose, [model], [facts, steps, guidance, sampler], api_visibility="private")
    page.queue(max_size=WAITING, default_concurrency_limit=1)
    return page


def launch(page: gr.Blocks, port: int | None, *, wait: bool = True) -> str:
    """Serve the page on this machine alone; returns its address. None: the first free port from gradio's own on."""
    _, address, _ = page.launch(
        server_name=HOST,
        server_port=port,
        share=False,
        quiet=True,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        prevent_thread_lock=not wait,
        footer_links=[],
        max_file_size=1,
        show_error=False,
        css=CSS,
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        app_kwargs={"middleware": [Middleware(guard)]},
    )
    return address


def _steps(sampling: Any) -> int:
    return sampling.num_inference_steps if sampling else 1


def _guidance(sampling: Any) -> float:
    return sampling.guidance_scale if sampling else 1.0


def _sampler(sampling: Any) -> str:
    return sampling.sampler if sampling else SAMPLER_NAMES[0]
