"""Formats that a clip can be written in; apart from the writers, so that a command line can list them at once."""

FORMATS = ("gif", "mp4", "png", "npy")
