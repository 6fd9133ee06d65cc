"""Names of the samplers; apart from the samplers, so that a command line can list them at once."""

SAMPLER_NAMES = ("ddpm", "ddim", "euler", "heun", "dpmpp_2m", "lcm")
