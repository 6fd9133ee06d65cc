"""The `kaggle` package behind one function, `download_files`: its output, exits and errors become one line each.

The client truncates a partial file when a resumed request is answered by anything but the rest of it, an error page
included. Two of its methods are extended to prevent that: the partial is renamed first, and comes back on a failure.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import io
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SETTINGS = "https://www.kaggle.com/settings"
CREDENTIALS = f"make a token at {SETTINGS} and set KAGGLE_API_TOKEN, or put kaggle.json in ~/.kaggle/"
AGAIN = "what was downloaded is kept, run the same command again to go on"


def download_files(slug: str, target: Path, param: str) -> str | None:
    """Get the data set `owner/name[/version]` as the zip `target` (`<name>.zip`); returns its MD5 (hex) where declared.

    Goes on with a partial file, and does nothing where the newest is there. Raises ValueError, one line that names
    `param`; what had arrived is then still on disk.
    """
    import requests
    import urllib3

    _restore_partial(target)  # of a run that was killed
    try:
        with contextlib.redirect_stdout(sys.stderr):
            api = _signed_in(slug)
            api.dataset_download_files(slug, path=str(target.parent), unzip=False, quiet=not sys.stderr.isatty())
    except requests.HTTPError as error:
        raise ValueError(_http_words(error, slug, param)) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise ValueError(f"{slug}: the connection to Kaggle failed ({_one_line(error)}); {AGAIN}") from None
    except (SystemExit, KeyError) as error:
        raise ValueError(f"{slug}: the kaggle client gave up ({_one_line(error)}); {AGAIN}") from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ValueError(f"{slug}: the disk of {target.parent} is full; free space, {AGAIN}") from None
    finally:
        _restore_partial(target)
    _kept(target).unlink(missing_ok=True)
    return api.declared_md5


def _signed_in(slug: str) -> Any:
    """The extended client, with credentials. Importing `kaggle` prints its help where there are none: swallowed."""
    with contextlib.redirect_stdout(io.StringIO()):
        from kaggle.api.kaggle_api_extended import KaggleApi

        class KeepingApi(KaggleApi):
            """Checks the room before a download, and renames a partial that the client is about to overwrite."""

            declared_md5: str | None = None

            def download_file(self, response: Any, outfile: str, *args: Any, **kwargs: Any) -> None:
                _require_room(response.headers, Path(outfile))
                self.declared_md5 = declared_md5(response.headers)
                try:
                    super().download_file(response, outfile, *args, **kwargs)
                except ValueError as error:
                    if "expected size" in str(error):  # then what is there is no beginning of the file
                        _marker(Path(outfile)).unlink(missing_ok=True)
                        Path(outfile).unlink(missing_ok=True)
                    raise ValueError(f"{slug}: the transfer broke ({_one_line(error)}); {AGAIN}") from None

            def _write_resume_marker(self, outfile: str, validator: str | None, size: int | None) -> None:
                _keep_partial(Path(outfile))
                super()._write_resume_marker(outfile, validator, size)

        api = KeepingApi()
        try:
            api.authenticate()
        except SystemExit:
            token = "KAGGLE_API_TOKEN is set, but Kaggle does not know it" if os.environ.get("KAGGLE_API_TOKEN") else ""
            why = token and f" ({token})"
            other = "or set download.source to sample or local, which need no account"
            raise ValueError(f"{slug}: no Kaggle credentials{why}; {CREDENTIALS}, {other}") from None
    return api


def declared_md5(headers: Mapping[str, str]) -> str | None:
    """Hex MD5 of the whole body, where the storage states one (x-goog-hash or Content-MD5)."""
    hashes = [part.strip() for part in headers.get("x-goog-hash", "").split(",")]
    found = [part[4:] for part in hashes if part.startswith("md5=")] or [headers.get("Content-MD5", "")]
    try:
        digest = base64.b64decode(found[0], validate=True)
    except ValueError:
        return None
    return digest.hex() if len(digest) == 16 else None


def _require_room(headers: Mapping[str, str], target: Path) -> None:
    declared = int(headers.get("Content-Length") or 0)
    missing = declared - (target.stat().st_size if target.is_file() else 0)
    free = shutil.disk_usage(target.parent).free
    if missing > free:
        raise ValueError(
            f"{target.name}: {missing / 1e9:.2f} GB to download, but {target.parent} has {free / 1e9:.2f} GB free; "
            "free space, then run the same command again"
        )


def _marker(target: Path) -> Path:
    return target.with_name(target.name + ".kaggle-partial")


def _kept(target: Path) -> Path:
    return target.with_name(target.name + ".kept")


def _keep_partial(target: Path) -> None:
    """Rename what the client will overwrite: a partial with its marker, or an older whole file (maybe hard-linked)."""
    if not target.is_file() or target.stat().st_size == 0:
        return
    kept = _kept(target)
    if not kept.is_file() or kept.stat().st_size <= target.stat().st_size or not _marker(target).is_file():
        target.replace(kept)
        _marker(kept).unlink(missing_ok=True)
        if _marker(target).is_file():
            shutil.copyfile(_marker(target), _marker(kept))
    else:
        target.unlink()


def _restore_partial(target: Path) -> None:
    """After a failure or a kill: the longer of the two beginnings of the same remote file stays."""
    kept = _kept(target)
    if not _marker(kept).is_file():
        return
    current = _marker(target) if _marker(target).is_file() else None
    same = current is None or json.loads(current.read_text()) == json.loads(_marker(kept).read_text())
    finished = current is None and target.is_file()
    length = target.stat().st_size if target.is_file() else 0
    if same and not finished and kept.stat().st_size > length:
        shutil.copyfile(_marker(kept), _marker(target))
        kept.replace(target)
    _marker(kept).unlink(missing_ok=True)


def _http_words(error: Any, slug: str, param: str) -> str:
    status = error.response.status_code if error.response is not None else 0
    page = f"https://www.kaggle.com/datasets/{'/'.join(slug.split('/')[:2])}"
    wait = error.response.headers.get("Retry-After") if error.response is not None else None
    if status == 401:
        return f"{slug}: Kaggle refuses the credentials (401); {CREDENTIALS}"
    if status == 403:
        return f"{slug}: Kaggle denies access (403); check {param}, and open {page} in a browser to accept its terms"
    if status == 404:
        return f"{slug}: Kaggle has no such data set or version (404); check {param} against {page}"
    if status == 429:
        pause = f"wait {wait} s" if wait else "wait some minutes"
        return f"{slug}: Kaggle asks to slow down (429); {pause}, {AGAIN}"
    if status >= 500:
        return f"{slug}: Kaggle's server failed ({status}); try later, {AGAIN}"
    return f"{slug}: Kaggle answered with an error ({status}: {_one_line(error)}); check {param} against {page}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
