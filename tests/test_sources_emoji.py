"""Animated emoji: their names, packages from a folder and by npm, and what is left out."""

from __future__ import annotations

import csv
import json
import shutil
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha512
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from pipeline.data.shards import read_rows, read_set
from pipeline.sources.fluent_emoji.names import EmojiName, name_emoji, with_default_tone
from pipeline.sources.fluent_emoji.npm import pack
from stages import download, transcode
from tests.emoji_toys import PACKAGES, asked, bytes_flipped, fake_npm, four_packages, one_picture, tgz, webp

ROOT = Path(__file__).resolve().parent.parent
NAMES = {
    "1f410": ("goat", "goat", None),
    "1f9d1-1f3ff-200d-1f373": ("cook: dark skin tone", "cook", "dark"),
    "1f9d1-1f3fd-200d-1f9b0": ("person: medium skin tone, red hair", "person red hair", "medium"),
    "1f575-1f3fc-200d-2642-fe0f": ("man detective: medium-light skin tone", "man detective", "medium-light"),
    "1F44F": ("clapping hands", "clapping hands", None),
    "2764": ("red heart", "red heart", None),
}


@pytest.mark.parametrize("stem", NAMES)
def test_an_emoji_is_called_what_unicode_calls_it(stem: str) -> None:
    assert name_emoji(stem) == EmojiName(*NAMES[stem])


@pytest.mark.parametrize("stem", ["", "cook", "1f9d1-", "ffffff", "e000", "1f3f4-e0067_e0062", "1f3ff-1f410"])
def test_code_points_that_are_no_emoji_have_no_name(stem: str) -> None:
    assert name_emoji(stem) is None


def test_two_tones_are_no_tone() -> None:
    found = name_emoji("1f9d1-1f3fb-200d-1f91d-200d-1f9d1-1f3ff")
    assert found is not None
    assert (found.tone, found.caption) == (None, "people holding hands: light skin tone, dark skin tone")


def test_an_emoji_without_a_tone_is_yellow_where_its_subject_comes_in_tones() -> None:
    stems = ("1f9d1-200d-1f373", "1f410", "1f9d1-1f3ff-200d-1f373")
    found = with_default_tone(name for stem in stems if (name := name_emoji(stem)))
    assert [name.tone for name in found] == ["yellow", None, "dark"]


MOVING = webp(["red", "blue", "lime"])
CLIPS = [
    {"1f410": MOVING, "1f9d1-200d-1f373": webp(["white", "blue"]), "1f600": webp(["red"]), "1f602": one_picture()},
    {"1f9d1-1f3ff-200d-1f373": webp(["black", "blue"]), "1f604": webp(["red", "blue"], alpha=0), "2764": MOVING},
    {"1f410": webp(["lime", "lime", "red"]), "e000": MOVING, "2764-fe0f": MOVING},
    {"1f9d1-1f3fb-200d-1f373": webp(["gray", "blue"])},
]
LEFT_OUT = {
    "1:package/assets/1f600.webp": "a still, not an animation",
    "1:package/assets/1f602.webp": "a still, not an animation",
    "3:package/assets/1f410.webp": "a second clip of this name; the first is used",
    "3:package/assets/e000.webp": "no emoji of Unicode has these code points",
    "3:package/assets/2764-fe0f.webp": "a second clip named 'red heart'; '2764' is used",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder of its own, with no npm in sight."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    tree = yaml.safe_load((ROOT / "tests/params.yaml").read_text())
    tree["download"] |= {"source": "emoji", "path": None}
    tree["transcode"] |= {"resolution": 16, "frames": 2, "max_rejected_share": 0.5}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    return tmp_path


def from_folder(home: Path, folder: str = "packages") -> None:
    tree = yaml.safe_load((home / "params.yaml").read_text())
    tree["download"]["path"] = folder
    (home / "params.yaml").write_text(yaml.safe_dump(tree))


def test_a_folder_of_packages_becomes_clips_with_names_and_tones(home: Path) -> None:
    four_packages(home / "packages", CLIPS)
    from_folder(home)
    download.main()
    transcode.main(out=home / "shards")
    rows = {row.key: row for row in read_rows(home / "shards")}
    assert {key: (row.captions, row.attributes) for key, row in rows.items()} == {
        "1f410": (("goat",), {"subject": "goat"}),
        "1f9d1-200d-1f373": (("cook",), {"subject": "cook", "tone": "yellow"}),
        "1f9d1-1f3ff-200d-1f373": (("cook: dark skin tone",), {"subject": "cook", "tone": "dark"}),
        "1f9d1-1f3fb-200d-1f373": (("cook: light skin tone",), {"subject": "cook", "tone": "light"}),
        "2764": (("red heart",), {"subject": "red heart"}),
    }
    assert rows["1f410"].frames()[0, 8, 8].tolist() == [255, 0, 0], "the first of two clips of one name"
    assert read_set(home / "shards")["labels"]["tone"] == 3
    with (home / "shards/rejected.csv").open() as file:
        rejected = {row["key"]: (row["reason"], row["detail"]) for row in csv.DictReader(file)}
    assert rejected.pop("1f604") == ("transparent", "all of its frames are fully transparent")
    assert len(rejected) == len(LEFT_OUT)
    for place, why in LEFT_OUT.items():
        reason, detail = rejected[f"lobehub-fluent-emoji-anim-{place[0]}-1.0.0.tgz{place[1:]}"]
        assert (reason, detail[: len(why)]) == ("not a clip", why)


def test_equal_packages_give_equal_bytes(home: Path) -> None:
    from_folder(home)
    found = []
    for _ in range(2):
        shutil.rmtree(home / "packages", ignore_errors=True)
        four_packages(home / "packages", CLIPS)  # with other dates inside
        download.main()
        found.append({path.name: path.read_bytes() for path in (home / "data/raw").iterdir()})
    assert found[0] == found[1]


def error_of_download() -> str:
    with pytest.raises(ValueError) as caught:
        download.main()
    assert "\n" not in str(caught.value)
    assert not Path("data/raw").exists()
    return str(caught.value)


def test_what_is_missing_is_one_line_that_says_how_to_get_it(home: Path) -> None:
    assert "npm is not installed" in (words := error_of_download())
    assert "npm pack" in words
    assert "download.path" in words
    from_folder(home)
    assert "packages is no folder" in error_of_download()
    four_packages(home / "packages", CLIPS)
    (home / "packages" / PACKAGES[2]).unlink()
    assert "npm pack @lobehub/fluent-emoji-anim-3@1.0.0" in error_of_download()
    four_packages(home / "packages", [{"1f600": webp(["red"])}] * 4)
    assert "no animated emoji" in error_of_download()


def test_a_damaged_package_is_one_line(home: Path) -> None:
    from_folder(home)
    package = four_packages(home / "packages", CLIPS) / PACKAGES[1]
    whole = package.read_bytes()
    for damaged in (whole[:-40], bytes_flipped(package), b"<html>not found</html>"):
        package.write_bytes(damaged)
        assert f"{PACKAGES[1]}: a damaged package (" in error_of_download()


def test_npm_fetches_only_what_is_not_there_and_whole(home: Path) -> None:
    store = four_packages(home / "store", CLIPS)
    fake_npm(home / "bin", store)
    shutil.move(store / PACKAGES[2], home / "kept")
    words = error_of_download()
    assert words.startswith("npm pack @lobehub/fluent-emoji-anim-3@1.0.0: EINTEGRITY: ")
    assert "is not what was declared; " in words
    kept = home / ".scratch/download/npm"
    assert sorted(path.name for path in kept.glob("*")) == ["lock", *PACKAGES[:2]] or not (kept / PACKAGES[2]).exists()
    shutil.move(home / "kept", store / PACKAGES[2])
    (kept / PACKAGES[0]).write_bytes(bytes_flipped(kept / PACKAGES[0]))
    (kept / f"{PACKAGES[3]}.partial").mkdir()  # of a run that was killed
    download.main()
    assert asked(home / "bin") == [*PACKAGES[:3], PACKAGES[0], *PACKAGES[2:]]
    assert json.loads(Path("data/raw/manifest.json").read_text())["clips"] == 6
    assert sorted(path.name for path in kept.glob("*.*")) == PACKAGES


class Registry(BaseHTTPRequestHandler):
    """One package of one version, whose declared digest may be another's."""

    body = b""
    declared = b""

    def do_GET(self) -> None:
        host = f"http://{self.headers['Host']}"
        digest = "sha512-" + b64encode(sha512(self.declared).digest()).decode()
        dist = {"tarball": f"{host}/toy/-/toy-1.0.0.tgz", "integrity": digest}
        about = {"name": "toy", "dist-tags": {"latest": "1.0.0"}}
        about["versions"] = {"1.0.0": {"name": "toy", "version": "1.0.0", "dist": dist}}
        answer = self.body if self.path.endswith(".tgz") else json.dumps(about).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="no npm here")
def test_the_real_npm_refuses_another_package_than_was_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    for name, value in {"registry": registry, "cache": str(tmp_path / "cache"), "fetch_retries": "0"}.items():
        monkeypatch.setenv(f"npm_config_{name}", value)
    tgz(tmp_path / "toy.tgz", {"x.txt": b"x"})
    Registry.body, Registry.declared = (tmp_path / "toy.tgz").read_bytes(), b"another"
    with pytest.raises(ValueError, match=r"^npm pack toy@1\.0\.0: EINTEGRITY: .*run the same command again$"):
        pack("toy", "1.0.0")
    Registry.declared = Registry.body
    assert pack("toy", "1.0.0").read_bytes() == Registry.body
