"""Captions to vectors: pooling, the table, byte stability, resuming, and encoders that are not there."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.data.shards import Row, write_shard
from pipeline.text import bert, embedding
from pipeline.text.captions import CaptionTable, Encoder, TextBatch, load_encoder, one_thread
from pipeline.text.embedding import collect_captions, embed_captions
from stages import embed

ROOT = Path(__file__).resolve().parent.parent
WORDS = "a red green blue circle square moves left right up down the and very slowly"
VOCABULARY = f"[PAD] [UNK] [CLS] [SEP] [MASK] {WORDS}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of two layers, 32 wide, that knows VOCABULARY."""
    from transformers import BertConfig, BertModel, BertTokenizerFast  # type: ignore[attr-defined]

    path = tmp_path_factory.mktemp("bert")
    vocabulary = VOCABULARY.split()
    (path / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)})
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    tokenizer.save_pretrained(path)
    BertModel(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return load_encoder(str(folder), max_tokens=10)


def sentences() -> list[str]:
    return [f"a {c} {s} moves {d}{e}" for c in ("red", "green", "blue") for s in ("circle", "square")
            for d in ("left", "right", "up", "down") for e in ("", " slowly", " and very slowly")]  # fmt: skip


def rows(captions: list[str]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(f"clip{i}", "train", (caption,)) for i, caption in enumerate(captions)]


def make(captions: list[str], encoder: Encoder, folder: Path, **options: object) -> CaptionTable:
    chosen = collect_captions(rows(captions), encoder)
    (folder / "scratch").mkdir(parents=True, exist_ok=True)
    embed_captions(chosen, encoder, out=folder / "table.parquet", scratch=folder / "scratch", **options)  # type: ignore[arg-type]
    return CaptionTable.read(folder / "table.parquet")


def test_the_width_is_the_encoders_own(encoder: Encoder) -> None:
    assert encoder.info.width == 32
    assert encoder.info.revision is not None
    batch = encoder.encode(["a red circle", "a blue square moves left"])
    assert batch.pooled.shape == (2, 32)
    assert batch.tokens.shape == (2, 7, 32)
    assert batch.mask.sum(1).tolist() == [5, 7]


def test_pooling(folder: Path, encoder: Encoder) -> None:
    mean = encoder.encode(["a red circle"])
    torch.testing.assert_close(mean.pooled[0], mean.tokens[0].mean(0))
    cls = load_encoder(str(folder), pooling="cls", max_tokens=10).encode(["a red circle"])
    torch.testing.assert_close(cls.pooled[0], cls.tokens[0, 0])
    assert (mean.pooled - cls.pooled).abs().max() > 0.01


def test_neighbours_change_nothing(encoder: Encoder) -> None:
    alone = encoder.encode(["a red circle"])
    among = encoder.encode(["a blue square moves left and very slowly", "a red circle"])
    assert torch.equal(among.pooled[1], alone.pooled[0])
    assert torch.equal(among.tokens[1, :5], alone.tokens[0])
    assert not among.tokens[1, 5:].any()


def test_padding_changes_little(encoder: Encoder) -> None:
    with one_thread():
        together = encoder.encode_together(["a blue square moves left and very slowly", "a red circle"])
    torch.testing.assert_close(together.pooled[1], encoder.encode(["a red circle"]).pooled[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 2e-3)])
def test_the_table_holds_what_the_encoder_says(encoder: Encoder, tmp_path: Path, dtype: str, tolerance: float) -> None:
    table = make(sentences(), encoder, tmp_path, dtype=dtype, batch_size=8)
    assert table.vectors.dtype == dtype
    assert table.info == encoder.info
    some = ["a blue square moves up slowly", "a red circle moves left", "a blue square moves up slowly"]
    got, want = table.batch(some), encoder.encode(some)
    torch.testing.assert_close(got.pooled, want.pooled, atol=tolerance, rtol=0)
    length = want.tokens.shape[1]
    torch.testing.assert_close(got.tokens[:, :length], want.tokens, atol=tolerance, rtol=0)
    assert got.mask.sum(1).tolist() == want.mask.sum(1).tolist()
    every = table.batch(table.captions)
    assert every.tokens.shape == (len(table), 10, 32)
    np.testing.assert_array_equal(every.tokens.numpy().any(-1), table.mask)


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
def test_a_half_precision_checkpoint_is_run_in_float32(folder: Path, tmp_path: Path, stored: torch.dtype) -> None:
    """transformers 5 would compute in the checkpoint's own type: coarser than float32 of the same weights."""
    from transformers import AutoModel, AutoTokenizer

    rounded = AutoModel.from_pretrained(folder).to(stored)
    for name, dtype in (("half", stored), ("full", torch.float32)):
        AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / name)
        rounded.to(dtype).save_pretrained(tmp_path / name)
    half, full = (load_encoder(str(tmp_path / name)).encode(sentences()) for name in ("half", "full"))
    assert torch.equal(half.tokens, full.tokens)


def test_a_caption_that_is_not_in_the_table_is_named(encoder: Encoder, tmp_path: Path) -> None:
    table = make(sentences(), encoder, tmp_path)
    with pytest.raises(ValueError, match="'a purple cow' is not in the embeddings table"):
        table.batch(["a red circle moves left", "a purple cow"])


def test_once_per_distinct_caption(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    original = encoder.encode_together
    monkeypatch.setattr(encoder, "encode_together", lambda captions: seen.extend(captions) or original(captions))
    make([caption for caption in sentences() for _ in range(20)], encoder, tmp_path)
    assert sorted(seen) == sorted(sentences())


def test_bytes_depend_on_no_order_and_no_core_count(encoder: Encoder, tmp_path: Path) -> None:
    files = []
    for name, captions, workers in (("a", sentences(), 1), ("b", sentences()[::-1], 2), ("c", sentences(), 3)):
        make(captions, encoder, tmp_path / name, batch_size=4, workers=workers)
        files.append((tmp_path / name / "table.parquet").read_bytes())
    assert files[0] == files[1] == files[2]


def test_a_killed_run_goes_on(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "CHUNK_BATCHES", 2)
    make(sentences(), encoder, tmp_path / "whole", batch_size=8)
    chosen = collect_captions(rows(sentences()), encoder)
    scratch = tmp_path / "killed"
    scratch.mkdir()
    original, calls = encoder.encode_together, []

    def dying(captions: list[str]) -> TextBatch:
        calls.append(len(captions))
        if len(calls) > 6:
            raise KeyboardInterrupt
        return original(captions)

    monkeypatch.setattr(encoder, "encode_together", dying)
    with pytest.raises(KeyboardInterrupt):
        embed_captions(chosen, encoder, out=tmp_path / "out.parquet", scratch=scratch, batch_size=8, workers=1)
    assert not (tmp_path / "out.parquet").exists()
    monkeypatch.setattr(encoder, "encode_together", original)
    report = embed_captions(chosen, encoder, out=tmp_path / "out.parquet", scratch=scratch, batch_size=8, workers=1)
    assert report.chunks_resumed >= 2
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "whole" / "table.parquet").read_bytes()


def test_captions_that_cannot_be_embedded_are_named(encoder: Encoder) -> None:
    long, unknown = "a red circle and " * 4, "zyx qwv"
    chosen = collect_captions([("k1", "train", ("", "a red circle")), ("k2", "train", ("…!", long, unknown))], encoder)
    assert chosen.captions == ["a red circle"]
    assert {(one.key, one.caption, one.reason) for one in chosen.rejected} == {
        ("k1", "", "empty"), ("k2", "…!", "not text"), ("k2", long, "too long"), ("k2", unknown, "unknown words"),
    }  # fmt: skip
    with pytest.raises(ValueError, match="no caption to embed: 1 given, 1 rejected"):
        collect_captions([("k1", "train", ("",))], encoder)


def test_prompts_that_cannot_be_encoded(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="an empty caption"):
        encoder.encode(["  "])
    with pytest.raises(ValueError, match=r"at most 10 are allowed \(embed.max_tokens\)"):
        encoder.encode(["a red circle and " * 4])


def test_an_encoder_that_changed_since(folder: Path, encoder: Encoder) -> None:
    same = load_encoder(encoder.info)
    assert torch.equal(same.encode(["a red circle"]).pooled, encoder.encode(["a red circle"]).pooled)
    with pytest.raises(ValueError, match="the folder changed"):
        load_encoder(str(folder), revision="0123456789ab")
    with pytest.raises(ValueError, match="more than the 64"):
        load_encoder(str(folder), max_tokens=100)


ODD = ["a", "[MASK] red [SEP] circle", "naïve café — “up” … 12,345", "寿司 \ufeff\u200b up-left\tRED", "🙂"]


def test_the_bert_of_few_imports_gives_the_bytes_of_transformers(
    folder: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = load_encoder(encoder.info)
    assert isinstance(quick.model, bert.Bert)
    monkeypatch.setattr(bert, "reads", lambda _: False)
    encoder = load_encoder(str(folder), max_tokens=10)
    assert not isinstance(encoder.model, bert.Bert)
    captions = [*sentences()[:20], *ODD]
    assert quick.token_ids(captions) == encoder.token_ids(captions)
    assert sorted(quick.tokenizer.all_special_ids) == sorted(encoder.tokenizer.all_special_ids)
    for made, expected in (
        (quick.encode(ODD[:2]), encoder.encode(ODD[:2])),
        (quick.encode_together(captions), encoder.encode_together(captions)),
    ):
        for name in ("pooled", "tokens", "mask"):
            assert torch.equal(getattr(made, name), getattr(expected, name)), name


@pytest.mark.parametrize(
    ("changes", "missing"), [({"hidden_act": "relu"}, ""), ({"model_type": "roberta"}, ""), ({}, "tokenizer.json")]
)
def test_another_network_is_left_to_transformers(
    folder: Path, tmp_path: Path, changes: dict[str, str], missing: str
) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    assert bert.reads(other)
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    (other / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
    if missing:
        (other / missing).unlink()
    assert not bert.reads(other)


MISSING = """
import sys, time
from pipeline.text.encoders import locate_encoder
started = time.monotonic()
try:
    locate_encoder(sys.argv[1], None)
except ValueError as error:
    print(f"{time.monotonic() - started:.2f} {error}")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "environment", "says"),
    [
        ("nobody/nothing-here", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "nor on the hub"),
        ("nobody/nothing-here", {"HF_ENDPOINT": "{silent}"}, "did not answer within 1.2 s"),
        ("nobody/nothing-here", {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        ("./no/such/folder", {}, "no such folder"),
        ("/tmp", {}, "no config.json"),
    ],
)
def test_a_missing_encoder_fails_at_once(
    name: str, environment: dict[str, str], says: str, silent: str, tmp_path: Path
) -> None:
    variables = {key: value.format(silent=silent) for key, value in environment.items()}
    given = {**os.environ, "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1", **variables}
    answer = subprocess.run([sys.executable, "-c", MISSING, name], env=given, capture_output=True, text=True, cwd=ROOT)
    seconds, message = answer.stdout.split(" ", 1)
    assert says in message
    assert "packaged" in message or "save_pretrained" in message
    assert float(seconds) < 4  # 2 s, and a busy machine's share


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts and never answers."""
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def hub(folder: Path) -> Iterator[str]:
    """The few answers of a model hub, for somebody/tiny-bert at one commit."""
    commit = "0" * 39 + "1"

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            file = folder / path.rsplit("/", 1)[-1]
            if path.removesuffix(f"/revision/{commit}") == "/api/models/somebody/tiny-bert":
                self._answer(json.dumps({"id": "somebody/tiny-bert", "sha": commit, "siblings": []}).encode())
            elif path.startswith("/somebody/tiny-bert/resolve/") and file.is_file():
                self._answer(file.read_bytes())
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("X-Repo-Commit", commit)
                self.send_header("Content-Length", "0")
                self.end_headers()

        do_HEAD = do_GET  # noqa: N815

        def _answer(self, data: bytes) -> None:
            self.send_response(200)
            self.send_header("ETag", f'"{hash(data) & 0xFFFFFFFF:x}"')
            self.send_header("X-Repo-Commit", commit)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


LOADED = """
import sys
from pipeline.text.captions import load_encoder
encoder = load_encoder("somebody/tiny-bert")
print(encoder.info.width, encoder.info.revision, float(encoder.encode(["a red circle"]).pooled.abs().sum()))
"""


@pytest.mark.slow
def test_a_hub_id_is_downloaded_once(hub: str, encoder: Encoder, tmp_path: Path) -> None:
    given = {**os.environ, "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    given |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    answers = []
    for endpoint in (hub, "http://127.0.0.1:9"):  # the second time from the cache, with no hub at all
        environment = {**given, "HF_ENDPOINT": endpoint}
        run = subprocess.run([sys.executable, "-c", LOADED], env=environment, capture_output=True, text=True, cwd=ROOT)
        assert run.returncode == 0, run.stderr[-2000:]
        answers.append(run.stdout.split())
    assert answers[0] == answers[1]
    assert answers[0][:2] == ["32", "0" * 39 + "1"]
    assert float(answers[0][2]) == pytest.approx(float(encoder.encode(["a red circle"]).pooled.abs().sum()), rel=1e-5)


@pytest.mark.slow
def test_the_packaged_bert(tmp_path: Path) -> None:
    packaged = load_encoder("packaged")
    assert (packaged.info.width, packaged.info.name) == (384, "packaged")
    batch = packaged.encode(["a dog runs", "a puppy is running", "the stock market fell"])
    near = torch.nn.functional.cosine_similarity(batch.pooled[0], batch.pooled[1:])
    assert near[0] > near[1] + 0.3
    quick = load_encoder(packaged.info)
    captions = ["a dog runs", "a red circle moves up slowly, then to the left", *ODD]
    assert quick.token_ids(captions) == packaged.token_ids(captions)
    assert torch.equal(quick.encode(captions).tokens, packaged.encode(captions).tokens)


def toy_row(key: str, *captions: str) -> Row:
    return Row(key, "train", captions, 1, 10.0, b"", "", {})


@pytest.mark.slow
def test_the_stage(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    caplog.set_level(logging.INFO)
    params = (ROOT / "tests/params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(params.replace("encoder: packaged", f"encoder: {folder}"), encoding="utf-8")
    shard = [toy_row(f"k{i}", caption, "a red circle") for i, caption in enumerate(sentences())]
    write_shard(tmp_path / "shards" / "shapes" / "shard-00000.parquet", [*shard, toy_row("bad", "")])
    outs = []
    for name in ("one", "two"):
        embed.main(
            "shapes",
            params_path=tmp_path / "params.yaml",
            shards=tmp_path / "shards",
            embeddings=tmp_path / name,
            metrics=tmp_path / "metrics",
        )
        outs.append((tmp_path / name / "shapes.parquet").read_bytes())
    assert outs[0] == outs[1]
    metrics = json.loads((tmp_path / "metrics" / "shapes.json").read_text(encoding="utf-8"))
    assert (metrics["captions"], metrics["embedded"], metrics["rejected"]) == (145, 73, {"empty": 1})
    assert "rejected_captions" not in metrics  # git keeps metrics, and these are people's words
    listed = (tmp_path / "two" / "shapes.rejected.csv").read_text(encoding="utf-8").splitlines()
    assert listed[0] == "key,reason,caption"
    assert listed[1].startswith("bad,")
    assert any("73 distinct captions (145 given)" in message for message in caplog.messages)
    with pytest.raises(ValueError, match="'cats' is not a set; allowed: shapes, moving_mnist, videos"):
        embed.main("cats")
