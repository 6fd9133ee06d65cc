"""The real, unpatched client against a Kaggle on 127.0.0.1, always in a process of its own."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.sources.kaggle_client import declared_md5
from tests.kaggle_server import Answer, DataSet, FakeKaggle

DRIVER = """
import json, sys
from pipeline.sources.kaggle import download
for slug in sys.argv[1:]:
    name, _, sha256 = slug.partition("=")
    try:
        print(json.dumps([name, str(download(name, sha256=sha256 or None, param="download.videos_slug")), None]))
    except ValueError as error:
        print(json.dumps([name, None, str(error)]))
"""


def zip_bytes(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def noise(n_bytes: int) -> bytes:
    return random.Random(n_bytes).randbytes(n_bytes)


MIB = 2**20  # the client writes in blocks of this
LARGE = zip_bytes({"video0.mp4": noise(4 * MIB)})
WHOLE = zip_bytes({"TrainValVideo/video0.mp4": noise(300_000), "TrainValVideo/video1.mp4": noise(100_000)})


@pytest.fixture
def kaggle() -> Iterator[FakeKaggle]:
    with FakeKaggle() as server:
        yield server


def start(server: FakeKaggle, home: Path, *slugs: str, credentials: bool = True) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *slugs],
        env=server.environment(home, credentials=credentials),
        cwd=home,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def results(process: subprocess.Popen[str]) -> dict[str, tuple[str | None, str | None]]:
    """Slug to (path, None) or (None, error line)."""
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    return {slug: (path, error) for slug, path, error in map(json.loads, out.splitlines())}


def wait_for_bytes(folder: Path, n_bytes: int) -> Path:
    """The file in the scratch folder once it has `n_bytes`."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = [path for path in folder.glob(".scratch/download/*/*.zip") if path.stat().st_size >= n_bytes]
        if found:
            return found[0]
        time.sleep(0.02)
    raise AssertionError(f"no file of {n_bytes} bytes came")


ERRORS = {
    "a/s401": (DataSet(api_status=401), ["401", "KAGGLE_API_TOKEN", "kaggle.json"]),
    "a/s403": (DataSet(api_status=403), ["403", "accept its terms", "https://www.kaggle.com/datasets/a/s403"]),
    "a/s404": (DataSet(api_status=404), ["404", "no such data set", "download.videos_slug"]),
    "a/s429": (DataSet(api_status=429, api_headers={"Retry-After": "30"}), ["429", "wait 30 s"]),
    "a/s500": (DataSet(api_status=500), ["500", "try later"]),
    "a/s418": (DataSet(api_status=418), ["418"]),
    "a/storage404": (DataSet(answers=[Answer(status=404)]), ["404"]),
    "a/storage503": (DataSet(answers=[Answer(status=503)]), ["503", "try later"]),
    "a/huge": (DataSet(answers=[Answer(declared=10**16)]), ["10000000.00 GB", "free space"]),
    "a/zeros": (DataSet(answers=[Answer(body=bytes(len(WHOLE)))]), ["damaged", "set aside", "run again"]),
    "a/cutzip": (DataSet(answers=[Answer(body=WHOLE[:-500])]), ["damaged", "set aside"]),
    "a/flipped": (
        DataSet(answers=[Answer(body=WHOLE[:1000] + bytes([WHOLE[1000] ^ 1]) + WHOLE[1001:])]),
        ["damaged", "CRC", "set aside"],
    ),
    "a/md5": (
        DataSet(body=WHOLE, answers=[Answer(headers={"x-goog-hash": "crc32c=AAAAAA==,md5=AAAAAAAAAAAAAAAAAAAAAA=="})]),
        ["damaged", "MD5", "set aside"],
    ),
    "no-owner": (DataSet(), ["owner/name"]),
    "a/../b": (DataSet(), ["owner/name"]),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str | None, str | None]]:
    with FakeKaggle() as server:
        server.sets = {slug: data for slug, (data, _) in ERRORS.items()} | {"a/fine": DataSet(body=WHOLE)}
        return results(start(server, tmp_path_factory.mktemp("errors"), *ERRORS, "a/fine"))


@pytest.mark.slow
@pytest.mark.parametrize("slug", ERRORS)
def test_each_failure_is_one_line_that_says_what_to_do(
    slug: str, answers: dict[str, tuple[str | None, str | None]]
) -> None:
    path, error = answers[slug]
    assert path is None
    assert error is not None
    assert "\n" not in error
    for words in (slug.split("/")[-1], *ERRORS[slug][1]):
        assert words in error


@pytest.mark.slow
def test_a_whole_archive_comes_as_it_is(answers: dict[str, tuple[str | None, str | None]]) -> None:
    path, error = answers["a/fine"]
    assert error is None
    assert Path(path or "").read_bytes() == WHOLE


@pytest.mark.slow
def test_no_credentials_is_one_line_and_no_help_page(kaggle: FakeKaggle, tmp_path: Path) -> None:
    process = start(kaggle, tmp_path, "a/any", credentials=False)
    ((path, error),) = results(process).values()
    assert path is None
    assert error is not None
    assert error.startswith("a/any: no Kaggle credentials; make a token at https://www.kaggle.com/settings")
    assert kaggle.transfers == []


@pytest.mark.slow
def test_a_cut_and_an_error_page_lose_nothing_and_a_second_process_goes_on(kaggle: FakeKaggle, tmp_path: Path) -> None:
    page = Answer(status=503, body=b"<html>busy</html>")
    kaggle.sets["a/b"] = DataSet(body=LARGE, answers=[Answer(cut_at=2 * MIB + 5), page, page, Answer()])
    (_, error) = results(start(kaggle, tmp_path, "a/b"))["a/b"]
    assert error is not None
    assert "run the same command again" in error
    assert [asked for _, asked in kaggle.transfers] == [None, f"bytes={2 * MIB}-", None]
    partial = wait_for_bytes(tmp_path, 1)
    assert partial.read_bytes() == LARGE[: 2 * MIB]

    path, error = results(start(kaggle, tmp_path, "a/b"))["a/b"]
    assert error is None
    assert Path(path or "").read_bytes() == LARGE
    assert kaggle.transfers[-1] == ("a/b", f"bytes={2 * MIB}-")
    assert {file.name for file in partial.parent.iterdir()} == {"b.zip", "lock"}


@pytest.mark.slow
def test_a_connection_cut_mid_file_is_resumed_by_the_client(kaggle: FakeKaggle, tmp_path: Path) -> None:
    kaggle.sets["a/b"] = DataSet(body=LARGE, answers=[Answer(cut_at=3 * MIB + 1), Answer()])
    path, error = results(start(kaggle, tmp_path, "a/b"))["a/b"]
    assert error is None
    assert Path(path or "").read_bytes() == LARGE
    assert [asked for _, asked in kaggle.transfers] == [None, f"bytes={3 * MIB}-"]


@pytest.mark.slow
def test_a_kill_is_survived(kaggle: FakeKaggle, tmp_path: Path) -> None:
    kaggle.sets["a/b/7"] = DataSet(body=LARGE, answers=[Answer(stall_at=3 * MIB), Answer()])
    process = start(kaggle, tmp_path, "a/b/7")
    partial = wait_for_bytes(tmp_path, 2 * MIB)
    process.kill()
    process.communicate()
    kept = partial.stat().st_size
    path, error = results(start(kaggle, tmp_path, "a/b/7"))["a/b/7"]
    assert error is None
    assert Path(path or "").read_bytes() == LARGE
    assert kaggle.transfers[-1] == ("a/b/7", f"bytes={kept}-")


@pytest.mark.slow
def test_a_corrupt_body_of_the_right_size_is_set_aside_and_downloaded_anew(kaggle: FakeKaggle, tmp_path: Path) -> None:
    kaggle.sets["a/b"] = DataSet(body=WHOLE, answers=[Answer(body=bytes(len(WHOLE))), Answer()])
    assert results(start(kaggle, tmp_path, "a/b"))["a/b"][0] is None
    path, error = results(start(kaggle, tmp_path, "a/b", "a/b"))["a/b"]
    assert error is None
    assert Path(path or "").read_bytes() == WHOLE
    assert [n for _, n in kaggle.sent][:2] == [len(WHOLE)] * 2
    names = sorted(file.name for file in Path(path or "").parent.iterdir())
    assert [name.split(".damaged-")[0] for name in names if name != "lock"] == ["b.zip", "b.zip"]


@pytest.mark.slow
def test_a_wrong_sha256_sets_aside_and_mending_it_takes_back(kaggle: FakeKaggle, tmp_path: Path) -> None:
    kaggle.sets["a/b"] = DataSet(body=WHOLE)
    right = hashlib.sha256(WHOLE).hexdigest()
    _, error = results(start(kaggle, tmp_path, f"a/b={'0' * 64}"))["a/b"]
    assert error is not None
    assert right in error
    assert "download.videos_sha256" in error
    path, error = results(start(kaggle, tmp_path, f"a/b={right}"))["a/b"]
    assert error is None
    assert {file.name for file in Path(path or "").parent.iterdir()} == {"b.zip", "lock"}


def test_declared_md5_is_read_from_storage_headers() -> None:
    digest = bytes(range(16))
    encoded = base64.b64encode(digest).decode()
    assert declared_md5({"x-goog-hash": f"crc32c=n03x6A==, md5={encoded}"}) == digest.hex()
    assert declared_md5({"Content-MD5": encoded}) == digest.hex()
    assert declared_md5({"x-goog-hash": "crc32c=n03x6A=="}) is None
    assert declared_md5({}) is None
