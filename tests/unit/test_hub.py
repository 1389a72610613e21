"""The way to the hub and what can go wrong on it, against a stand-in on this machine that speaks the hub's protocol."""

import hashlib
import json
import re
import shutil
import threading
from collections import Counter
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from tests.unit.families import as_published, package, save_adapter, save_model
from tokalign_helpers.__main__ import main
from tokalign_helpers.basics.assets import MODELS
from tokalign_helpers.models import hub, loading
from tokalign_helpers.models.embedders import EMBEDDERS, SMOL, EmbedderSpec
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.models.pooling import last_token, weighted_mean

COMMIT = "c0ffee" + "0" * 34
REMOTE = {name: spec for name, spec in EMBEDDERS.items() if not spec.packaged and spec.backbone not in MODELS}


class StandIn(BaseHTTPRequestHandler):
    """Answer as the hub does: what a model consists of, a file's name and size, a file."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        hub_state = self.server.state
        path = self.path.partition("?")[0].strip("/")
        hub_state.asked.append(path)
        info = re.fullmatch(r"api/models/([^/]+/[^/]+)(?:/(?:revision|tree)/([^/]+))?(?:/.*)?", path)
        file = re.fullmatch(r"([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repo, revision = (info or file).group(1), (info or file).group(2) or "main"
        if repo in hub_state.refused:
            return self.refuse(*hub_state.refused[repo])
        if repo not in hub_state.models:
            return self.refuse(404, "RepoNotFound")
        if revision != "main" and not re.fullmatch("[0-9a-f]{40}", revision):
            return self.refuse(404, "RevisionNotFound")
        folder = hub_state.models[repo]
        self.commit = COMMIT if revision == "main" else revision
        if info:
            return self.send_info(repo, folder, path)
        wanted = folder / file.group(3)
        return self.send_file(wanted, body) if wanted.is_file() else self.refuse(404, "EntryNotFound")

    def refuse(self, status, code):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", f"refused as {code}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_info(self, repo, folder, path):
        files = sorted(file for file in folder.iterdir() if file.is_file())
        if "/tree/" in path:
            what = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": oid(f)} for f in files]
        else:
            what = {"id": repo, "sha": self.commit, "siblings": [{"rfilename": f.name} for f in files], "tags": []}
        content = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def send_file(self, file, body):
        content = file.read_bytes()
        start = int(re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
        broken = body and self.server.state.breaks[file.name] > 0
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{oid(file)}"')
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if body and not broken:
            self.wfile.write(content[start:])
        if broken:  # half of the file, then the line goes dead
            self.server.state.breaks[file.name] -= 1
            self.wfile.write(content[start : start + (len(content) - start) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()

    def log_message(self, *arguments):
        pass


def oid(file):
    return hashlib.sha1(file.read_bytes()).hexdigest()


class State:
    """What the stand-in holds and has been asked."""

    def __init__(self):
        self.models, self.refused, self.breaks, self.asked = {}, {}, Counter(), []

    def files(self, repo):
        """Which files of a model were sent."""
        return {path.rpartition("/")[2] for path in self.asked if path.startswith(f"{repo}/resolve/")}


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    server.state = State()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the library waits between its attempts
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    server.state.close = lambda: (server.shutdown(), server.server_close())
    close_session()
    yield server.state
    server.shutdown()
    server.server_close()
    close_session()


@pytest.fixture(scope="session")
def opt(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("stand-in") / "opt", "facebook/opt-125m")


def one_line(error):
    text = str(error.value)
    assert "\n" not in text and len(text) < 260
    return text


def test_a_model_is_fetched_once_and_found_offline_later(stand_in, opt, monkeypatch):
    stand_in.models["facebook/opt-125m"] = opt
    first = load_embedder("opt-125m-eol", device="cpu").embed(["the beak"], cache=False)
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= stand_in.files("facebook/opt-125m")
    stand_in.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = load_embedder("opt-125m-eol", device="cpu").embed(["the beak"], cache=False)
    torch.testing.assert_close(first, again, atol=0, rtol=0)
    assert stand_in.asked == []


def test_of_the_backbone_only_the_file_with_the_decoder_layer_is_fetched(stand_in, tmp_path):
    stand_in.models["EleutherAI/gpt-neo-125m"] = save_model(tmp_path / "neo", "EleutherAI/gpt-neo", shards=True)
    stand_in.models["Muennighoff/SGPT-125M-weightedmean-nli-bitfit"] = save_model(
        tmp_path / "sgpt", "EleutherAI/gpt-neo", seed=1, bare=True
    )
    load_embedder("sgpt-125m-nli", device="cpu")
    weights = {f for f in stand_in.files("EleutherAI/gpt-neo-125m") if f.endswith("safetensors")}
    shards = {f.name for f in (tmp_path / "neo").glob("*.safetensors")}
    assert len(weights) == 1
    assert len(shards) > 5


@pytest.mark.parametrize("name", REMOTE)
def test_each_name_loads_at_the_first_try_from_its_own_models_and_revisions(name, stand_in, tmp_path, monkeypatch):
    spec = REMOTE[name]
    own = (spec.weights, spec.revision) if spec.weights else (spec.backbone, spec.backbone_revision)
    adapters = [((f"{adapter}@{spec.revision}").split("@")[:2]) for adapter in spec.adapters]
    revisions = dict([own, *adapters, (spec.backbone, spec.backbone_revision)])
    repos = [own[0], *(repo for repo, _ in adapters), spec.backbone]
    monkeypatch.setattr("tokalign_helpers.models.embedders._free_bytes", lambda device: 10**12)
    stand_in.models = {repos[0]: save_model(tmp_path / "m", spec.backbone, seed=1, bare=bool(spec.weights))}
    if spec.weights:
        stand_in.models[spec.backbone] = save_model(tmp_path / "b", spec.backbone)
    for number, (adapter, _) in enumerate(adapters):
        stand_in.models[adapter] = save_adapter(tmp_path / f"a{number}", tmp_path / "m", seed=number)
    for repo in repos:
        as_published(stand_in.models[repo], spec.pickles if repo in (own[0], *dict(adapters)) else ())
    assert load_embedder(name).name == name
    for repo in repos:
        wanted = re.compile(rf"api/models/{repo}/(revision|tree)/{revisions[repo]}")
        assert any(wanted.fullmatch(path) for path in stand_in.asked)
        published = {file.name for file in stand_in.models[repo].iterdir()}
        assert stand_in.files(repo) == {file for file in published if not file.endswith(".py")}
    asked = {m[1] for path in stand_in.asked if (m := re.match(r"(?:api/models/)?([^/]+/[^/]+)", path))}
    assert asked == set(repos)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_embedder(name).name == name
    cached = [file.name for file in (tmp_path / "hub").rglob("*")]
    assert not [file for file in cached if file.endswith((".bin", ".py", ".pt"))]


def test_a_pinned_commit_is_what_is_asked_for(stand_in, opt):
    stand_in.models["facebook/opt-125m"] = opt
    spec = replace(EMBEDDERS["opt-125m-eol"], backbone_revision=COMMIT)
    assert load_embedder(spec, device="cpu").dimension == 16
    assert stand_in.asked
    assert all(COMMIT in path for path in stand_in.asked)


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (None, "there is no model 'facebook/opt-125m' on the hub"),
        ((401, "GatedRepo"), "facebook/opt-125m is gated: accept its terms.*hf auth login"),
        ((403, "GatedRepo"), "facebook/opt-125m is gated: accept its terms.*hf auth login"),
        ((401, "RepoNotFound"), "private and you are not logged in"),
        ((500, "Broken"), "facebook/opt-125m.*run again"),
    ],
)
def test_a_refusal_is_told_in_one_line(stand_in, refusal, said):
    if refusal:
        stand_in.refused["facebook/opt-125m"] = refusal
    with pytest.raises(hub.HubError) as caught:
        load_embedder("opt-125m-eol", device="cpu")
    assert re.search(said, one_line(caught))


@pytest.mark.parametrize("name", ["llm2vec", "e5-mistral"])
def test_terms_are_told_before_anything_is_downloaded(name, stand_in, tmp_path, monkeypatch):
    monkeypatch.setattr("tokalign_helpers.models.embedders._free_bytes", lambda device: 10**12)
    spec, whole = EMBEDDERS[name], save_model(tmp_path / "m", "mistralai/")
    stand_in.models = {spec.weights: whole} | dict.fromkeys((a.partition("@")[0] for a in spec.adapters), whole)
    stand_in.refused[spec.backbone] = (403, "GatedRepo")
    with pytest.raises(hub.HubError) as caught:
        load_embedder(name)
    assert f"{spec.backbone} is gated: accept its terms on https://huggingface.co/{spec.backbone}" in one_line(caught)
    assert all(spec.backbone in path for path in stand_in.asked)


def test_a_wrong_revision_is_told(stand_in, opt):
    stand_in.models["facebook/opt-125m"] = opt
    spec = replace(EMBEDDERS["opt-125m-eol"], backbone_revision="v9")
    with pytest.raises(hub.HubError) as caught:
        load_embedder(spec, device="cpu")
    assert "facebook/opt-125m has no revision 'v9'" in one_line(caught)


def test_an_interrupted_download_is_told_and_goes_on(stand_in, opt):
    stand_in.models["facebook/opt-125m"] = opt
    stand_in.breaks["model.safetensors"] = 50
    with pytest.raises(hub.HubError) as caught:
        load_embedder("opt-125m-eol", device="cpu")
    assert "the download of facebook/opt-125m broke off" in one_line(caught)
    stand_in.breaks.clear()
    found = load_embedder("opt-125m-eol", device="cpu").embed(["the beak"], cache=False)
    whole = load_embedder(replace(EMBEDDERS["opt-125m-eol"], backbone=str(opt)), device="cpu")
    torch.testing.assert_close(found, whole.embed(["the beak"], cache=False), atol=0, rtol=0)


def test_offline_without_a_copy_is_told(stand_in, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(hub.HubError) as caught:
        load_embedder("opt-125m-eol", device="cpu")
    assert "facebook/opt-125m is not in the cache and HF_HUB_OFFLINE is set" in one_line(caught)


def test_a_dead_hub_is_told(stand_in):
    stand_in.close()
    with pytest.raises(hub.HubError) as caught:
        load_embedder("opt-125m-eol", device="cpu")
    assert "the hub cannot be reached; check the network" in one_line(caught)


@pytest.mark.parametrize(
    "source",
    [
        "./nowhere", "/no/such/folder", "justaname", "a/b/c", Path("gone"), "a/b\n", "a b/c", "https://x.org/y", "\0",
        "~nobody-of-that-name/x", "x" * 5000,
    ],
)  # fmt: skip
def test_a_missing_folder_is_told(source, monkeypatch):
    monkeypatch.setattr(hub, "_download", lambda repo, *_: pytest.fail(f"{repo[:20]} was asked for"))
    with pytest.raises(hub.HubError, match="^there is no folder [^\n]{,400}$"):
        hub.settings_folder(source)


@pytest.mark.parametrize("source", [None, "", 5, b"a/b", ["a/b"]])
def test_what_is_no_name_of_a_model_is_refused(source):
    with pytest.raises(hub.HubError, match="^the model is .*; give a folder, or a name on the hub"):
        hub.settings_folder(source)


def test_a_repository_without_weights_is_told(stand_in, tmp_path):
    folder = save_model(tmp_path / "bare", "facebook/opt-125m")
    (folder / "model.safetensors").unlink()
    stand_in.models["made/bare"] = folder
    with pytest.raises(hub.HubError, match="neither model.safetensors nor pytorch_model.bin"):
        load_embedder(EmbedderSpec("made", "made/bare", last_token))


def test_a_pickled_repository_is_refused_before_the_download(stand_in, tmp_path):
    folder = save_model(tmp_path / "pickled", "EleutherAI/gpt-neo")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    stand_in.models["made/pickled"] = folder
    with pytest.raises(hub.HubError, match="only pickled weights"):
        load_embedder(EmbedderSpec("made", "made/pickled", weighted_mean))
    assert "pytorch_model.bin" not in stand_in.files("made/pickled")


def test_an_adapter_from_the_hub_goes_on_the_packaged_backbone(stand_in, tmp_path, monkeypatch):
    """And on a local one; without the network the copy on disk is found."""
    llama = save_model(tmp_path / "llama", "huggyllama/llama-7b")
    stand_in.models["me/mine"] = save_adapter(tmp_path / "adapter", llama, seed=1)
    package(llama, monkeypatch)
    specs = [EmbedderSpec("made", backbone, last_token, adapters=("me/mine",)) for backbone in (SMOL, str(llama))]
    found = [load_embedder(spec, device="cpu").embed(["the beak"], cache=False) for spec in specs]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found.append(load_embedder(specs[0]).embed(["the beak"], cache=False))
    raw = load_embedder(replace(specs[0], adapters=())).embed(["the beak"], cache=False)
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2], atol=0, rtol=0)
    assert (found[0] - raw).abs().max() > 0.01
    with pytest.raises(hub.HubError, match="me/yours is not in the cache and HF_HUB_OFFLINE is set"):
        load_embedder(replace(specs[0], adapters=("me/yours",)))


def test_code_beside_a_model_is_never_fetched_or_run(stand_in, tmp_path):
    folder = save_model(tmp_path / "coded", "facebook/opt-125m")
    (folder / "modeling_own.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoModel": "modeling_own.Model", "AutoConfig": "modeling_own.Config"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    stand_in.models["made/coded"] = folder
    assert load_embedder(EmbedderSpec("made", "made/coded", last_token)).dimension == 16
    assert "modeling_own.py" not in stand_in.files("made/coded")


OWN = {
    "config.json": {
        "AutoConfig": "own.Config", "AutoModel": "own.Model", "AutoModelForCausalLM": "own.Model",
        "AutoModelForMaskedLM": "own.Model",
    },
    "tokenizer_config.json": {"AutoTokenizer": ["own.Tokenizer", "own.Tokenizer"]},
}  # fmt: skip
READERS = {
    "the tokenizer": hub.load_tokenizer,
    "the body": hub.load_body,
    "the decoder layer": hub.decoder_layer,
    "a raw language model": lambda folder: load_embedder(folder, pooling=last_token, attention="causal", device="cpu"),
    "the packaged kind": loading._packaged,
    "a row": lambda folder: load_embedder(EmbedderSpec("made", str(folder), last_token), device="cpu"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["facebook/opt-125m", None])
def test_code_beside_a_tokenizer_or_a_model_is_never_run_nor_asked_about(reader, kind, opt, tmp_path, monkeypatch):
    """Also where the library knows no other way: it would ask, and whoever types y has run the code."""
    folder = shutil.copytree(opt, tmp_path / "coded")
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", encoding="utf-8")
    for name, own in OWN.items():
        about = json.loads((folder / name).read_text(encoding="utf-8")) | {"auto_map": own}
        if kind is None:
            about |= {"model_type": "own"} if name == "config.json" else {"tokenizer_class": "OwnTokenizer"}
        (folder / name).write_text(json.dumps(about), encoding="utf-8")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks whether to run the code"))
    if kind:
        READERS[reader](folder)
    else:
        with pytest.raises(ValueError if reader == "the packaged kind" else hub.HubError) as caught:
            READERS[reader](folder)
        if isinstance(caught.value, hub.HubError):
            assert "coded works only with code of its own, and code that comes with a model is never" in one_line(
                caught
            )
    assert not (tmp_path / "ran").exists()


def test_the_command_line_tells_a_refusal_in_one_line(stand_in, capsys):
    assert main(["a text", "-e", "opt-125m-eol"]) == 2
    assert re.fullmatch(r"error: there is no model 'facebook/opt-125m'[^\n]+\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    "weight_map",
    [
        {"a": "pytorch_model.bin"},
        {"a": "/etc/passwd"},
        {"a": "../model.safetensors"},
        {"a": "*"},
        {"a": "*.safetensors"},
        {"a": "model?.safetensors"},
        {"a": ".safetensors/../x.safetensors"},
        {"a": "model\n.safetensors"},
        {"a": 3},
        {"a": ["model.safetensors"]},
        {"a": None},
        {},
        [],
        "model.safetensors",
        None,
    ],
)
def test_an_index_may_name_plain_safetensors_files_only(tiny_folder, tmp_path, weight_map, monkeypatch):
    """Or a model could have a pickle fetched and read without consent, or a file of another folder."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in tiny_folder.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    torch.save({"a": torch.ones(1)}, folder / "pytorch_model.bin")
    (folder / hub.WEIGHTS_INDEX).write_text(json.dumps({"weight_map": weight_map}))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was read"))
    for read in (hub.weights_folder, hub.decoder_layer):
        with pytest.raises(hub.HubError, match=r"^[^\n]*index\.json (names|is damaged)[^\n]*$"):
            read(folder)
