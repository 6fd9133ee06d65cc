"""Rules between sections: whether the chosen set and the networks fit each other. Only stages of the graph count."""

from __future__ import annotations

from pipeline.config.data import SyntheticParams
from pipeline.config.section import RuleError
from pipeline.config.tree import Params

ORACLE_FRAMES = 4  # that the oracles need to see a motion
SIDED_KINDS = ("relations", "contact")  # of scene, whose captions say left and right whatever the motions


def check_sections(params: Params) -> None:
    """Raise RuleError, of the first key whose value another section does not allow."""
    _check_frames(params)
    _check_unet(params)
    _check_guidance(params)
    _check_given_frames(params)
    if params.train.flip:
        _check_flip(params)


def clips_section(params: Params) -> str:
    """The section that says what the chosen set's clips look like."""
    return "transcode" if params.dataset == "videos" else params.dataset


def _check_frames(params: Params) -> None:
    name = clips_section(params)
    clips = getattr(params, name)
    for key, frames in (("train.frames", params.train.frames), ("train_gan.frames", params.train_gan.frames)):
        if frames > clips.frames:
            raise RuleError(key, frames, f"clips of {params.dataset} have {clips.frames} ({name}.frames); lower it")
        if isinstance(clips, SyntheticParams) and frames < ORACLE_FRAMES:
            raise RuleError(key, frames, f"too few to see a motion by, which takes {ORACLE_FRAMES}; raise it")


def _check_unet(params: Params) -> None:
    unet, train = params.unet, params.train
    unet.check_size(train.frames, train.resolution)
    if unet.out_dim not in (None, train.channels):
        raise RuleError("unet.out_dim", unet.out_dim, f"clips have train.channels {train.channels}; take that, or null")
    if train.prob_focus_present and not unet.attends_to_time():
        raise RuleError(
            "train.prob_focus_present",
            train.prob_focus_present,
            "it stills temporal attention, and the network has none; set it to 0.0, or unet.temporal_attention",
        )
    if train.text_dropout == 1.0 and not unet.reads_tokens():
        raise RuleError(
            "train.text_dropout",
            train.text_dropout,
            "it hides every caption's vector, and the network reads no tokens; lower it, or raise unet.text_queries",
        )


def _check_guidance(params: Params) -> None:
    scale = params.sampling.guidance_scale
    if params.diffusion.p_uncond == 0.0 and scale != 1.0:
        raise RuleError(
            "diffusion.p_uncond",
            0.0,
            f"guidance leads away from the null caption, which is never trained so; raise it, or set "
            f"sampling.guidance_scale {scale} to 1.0",
        )


def _check_given_frames(params: Params) -> None:
    given, trained = params.sampling.given_frames, params.train.given_frames
    if given and given not in trained:
        rule = f"the network is trained for train.given_frames {list(trained)}; take one of them, or 0"
        if not trained:
            rule = "the network is not trained for given frames (train.given_frames is []); train for them, or take 0"
        raise RuleError("sampling.given_frames", given, rule)
    new = params.train.frames - max(trained, default=0)  # frames that each further window adds
    more = params.frames.rollout_frames - params.train.frames
    if trained and (more < 0 or more % new):
        rule = (
            f"windows of train.frames {params.train.frames} add {new} frames each, all but the first; take "
            f"{params.train.frames} and a multiple of {new} more"
        )
        raise RuleError("frames.rollout_frames", params.frames.rollout_frames, rule)


def _check_flip(params: Params) -> None:
    if params.dataset == "moving_mnist":
        raise RuleError("train.flip", True, "a mirrored digit is no digit; set it to false")
    clips = getattr(params, clips_section(params))
    sided = [f"motions has {motion}" for motion in getattr(clips, "motions", ()) if names_a_side(motion)]
    sided += [f"kinds has {kind}" for kind in getattr(clips, "kinds", ()) if kind in SIDED_KINDS]
    if sided:
        raise RuleError(
            "train.flip",
            True,
            f"a mirrored clip contradicts captions that name a side, and {params.dataset}.{sided[0]}; set it to false, "
            "or drop such entries",
        )


def names_a_side(motion: str) -> bool:
    """Whether a motion's captions say left, right or clockwise, so that a mirrored clip contradicts them."""
    words = motion.split("-")
    return "left" in words or "right" in words or "rotate" in words or motion == "bounce-horizontal"
