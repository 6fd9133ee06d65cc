"""Packages by the npm client, each as the .tgz that the registry has: `npm pack` checks it against its declared digest.

They stay in `.scratch/download/npm/`, so a rerun, after a kill too, fetches only those that are not there yet.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import shutil
import signal
import subprocess
import zlib
from functools import partial
from pathlib import Path

from pipeline.runtime.scratch import claim_folder, scratch_folder
from pipeline.runtime.start import die_with_parent

log = logging.getLogger("t2v")


def has_npm() -> bool:
    return shutil.which("npm") is not None


def pack(package: str, version: str) -> Path:
    """The .tgz of `@owner/name` or `name`, whole. Raises ValueError, one line with npm's own words; a rerun goes on."""
    folder = scratch_folder("download", "npm")
    target = folder / f"{package.removeprefix('@').replace('/', '-')}-{version}.tgz"
    with claim_folder(folder, wait=True):
        if target.is_file() and (fault := gzip_fault(target)) is not None:
            log.warning("%s: damaged on disk (%s); fetching it anew", target.name, fault)
            target.unlink()
        if not target.is_file():
            log.info("npm pack %s@%s into %s", package, version, folder)
            _fetch(f"{package}@{version}", target)
    return target


def gzip_fault(path: Path) -> str | None:
    """Why a gzip file is not whole, or None; all of it is read against its checksum."""
    try:
        with gzip.open(path) as stream:
            while stream.read(2**20):
                pass
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        return " ".join(str(error).split())
    return None


def _fetch(spec: str, target: Path) -> None:
    """Pack into a folder beside, and take the file from there once npm has said that it is whole."""
    partial_folder = target.with_name(target.name + ".partial")
    shutil.rmtree(partial_folder, ignore_errors=True)
    partial_folder.mkdir()
    command = ["npm", "pack", spec, "--json", "--loglevel=error", "--ignore-scripts"]
    ended = subprocess.run(
        [*command, "--pack-destination", str(partial_folder.resolve())],
        cwd=partial_folder,  # no project's settings
        text=True,
        capture_output=True,
        check=False,
        preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGKILL),
    )
    found = list(partial_folder.glob("*.tgz"))
    if ended.returncode != 0 or len(found) != 1:
        shutil.rmtree(partial_folder)
        words = _words(ended.stdout, ended.stderr) or f"exit code {ended.returncode}, and no package"
        raise ValueError(f"npm pack {spec}: {words}; the packages that came are kept, run the same command again")
    found[0].replace(target)
    shutil.rmtree(partial_folder)


def _words(stdout: str, stderr: str) -> str:
    """npm's own: its JSON error, or else the first lines that it marks as errors."""
    try:
        answer = json.loads(stdout)
    except json.JSONDecodeError:
        answer = None
    if isinstance(answer, dict) and isinstance(error := answer.get("error"), dict):
        return f"{error.get('code') or 'error'}: {' '.join(str(error.get('summary') or '').split())}"
    return " ".join(" ".join(stderr.splitlines()[:3]).split())
