# ruff: noqa: F811
"""The paper's eight embedders by name, from files as the hub has them, against the authors' way written plainly.

One text at a time, no padding; their prompts are written out here, not taken from our table.
"""

import json
from functools import lru_cache

import peft
import pytest
import torch
from huggingface_hub import constants
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.unit.families import as_published, save_adapter, save_model
from tests.unit.test_families import plain_states
from tests.unit.test_hub import stand_in  # noqa: F401
from tokalign_helpers.models.embedders import EMBEDDERS
from tokalign_helpers.models.loading import load_embedder

TEXTS = ["What diseases are parrots prone to?", "No", "A garden {without} birds ]is a quiet garden."]
PICKLED = ("pytorch_model.bin", "adapter_model.bin")
CODE = {"auto_map": {"AutoModel": "modeling_own.Model", "AutoConfig": "modeling_own.Config"}}


@pytest.fixture(scope="module")
def hub_of(tmp_path_factory):
    """Make the repositories of one embedder: a whole copy that the plain way reads, and the one that is published."""

    @lru_cache
    def made(repo, backbone, seed, bare, published):
        place = tmp_path_factory.mktemp("published")
        shards = {"plain": False, "hub": published == "shards"}
        folders = [save_model(place / side, backbone, seed=seed, bare=bare, shards=s) for side, s in shards.items()]
        if published == "code":
            (folders[1] / "modeling_own.py").write_text("raise SystemExit('ran')", encoding="utf-8")
            config = json.loads((folders[1] / "config.json").read_text(encoding="utf-8")) | CODE
            (folders[1] / "config.json").write_text(json.dumps(config), encoding="utf-8")
        if published in ("bin", "old bin", "bin shards"):
            as_published(folders[1], PICKLED, shards="shards" in published, legacy="old" in published, tokenizer=True)
        return folders

    @lru_cache
    def adapter(repo, backbone, seed, published):
        place, plain = tmp_path_factory.mktemp("adapter"), made(backbone, backbone, 0, False, "shards")[0]
        return [as_published(save_adapter(place / side, plain, seed=seed), PICKLED if side == published else ())
                for side in ("plain", "bin")]  # fmt: skip

    return made, adapter


def whole(folder, adapters=()):
    """Load a language model, with the adapters merged by peft."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    for one in adapters:
        model = peft.PeftModel.from_pretrained(model, str(one)).merge_and_unload()
    return model.eval()


def states(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]


def weighted(vectors):
    weights = torch.arange(1, len(vectors) + 1).float()
    return (weights[:, None] * vectors).sum(0) / weights.sum()


def sgpt(tokenizer, model, text, around=("", "")):
    before, after = (tokenizer(mark).input_ids for mark in around)
    return weighted(states(model, before + tokenizer(text).input_ids + after))


def prompteol(tokenizer, model, text):
    ids = tokenizer(f'This sentence : "{text}" means in one word:"').input_ids
    return states(model, ids)[-1]


def grit(tokenizer, model, text, attention="full"):
    ids = tokenizer(f"<|embed|>\n{text}").input_ids
    found = plain_states(model.model, ids, attention)[len(tokenizer("<|embed|>\n").input_ids) :].mean(0)
    return found / found.norm()


def llm2vec(tokenizer, model, text):
    ids = tokenizer(f"[INST] {text} [/INST]").input_ids
    own = len(tokenizer(f"{text} [/INST]", add_special_tokens=False).input_ids)
    return plain_states(model.model, ids, "full")[-own:].mean(0)


# Name: how it is published, its weights elsewhere or not, the authors' way.
WAYS = {
    "sgpt-nli": ("bin", lambda t, m, text: sgpt(t, m, text)),
    "sgpt-msmarco": ("old bin", lambda t, m, text: sgpt(t, m, text, ("{", "}"))),
    "sgpt-msmarco-plain": ("bin shards", lambda t, m, text: sgpt(t, m, text)),
    "opt-eol": ("bin", prompteol),
    "opt-eol-cse": ("old bin", prompteol),
    "llama-eol": ("shards", prompteol),
    "llama-eol-cse": ("shards", prompteol),
    "mistral-7b": ("safetensors", lambda t, m, text: grit(t, m, text, "causal")),
    "gritlm": ("code", grit),
    "llm2vec": ("shards", llm2vec),
    "llm2vec-unsup": ("safetensors", llm2vec),
}


@pytest.mark.parametrize("name", WAYS)
def test_the_embedder_is_what_its_authors_compute(name, stand_in, hub_of, monkeypatch):
    monkeypatch.setattr("tokalign_helpers.models.embedders._free_bytes", lambda device: 10**12)
    (published, way), spec, (made, adapter) = WAYS[name], EMBEDDERS[name], hub_of
    repos = {spec.backbone: made(spec.backbone, spec.backbone, 0, False, "safetensors" if spec.weights else published)}
    if spec.weights:
        repos[spec.weights] = made(spec.weights, spec.backbone, 1, True, published)
    adapters = [one.partition("@")[0] for one in spec.adapters]
    for number, one in enumerate(adapters):
        repos[one] = adapter(one, spec.backbone, number, "bin" if "royokong" in one else "")
    stand_in.models = {repo: pair[1] for repo, pair in repos.items()}

    embedder = load_embedder(name)
    backbone = whole(repos[spec.backbone][0])
    model = whole(repos[spec.backbone][0], [repos[one][0] for one in adapters])
    if spec.weights:
        found = model.base_model.load_state_dict(
            type(model.base_model).from_pretrained(repos[spec.weights][0]).state_dict()
        )
        assert not found.missing_keys
        backbone = whole(repos[spec.backbone][0])
    tokenizer = AutoTokenizer.from_pretrained(repos[spec.weights or spec.backbone][0])
    expected = torch.stack([way(tokenizer, model, text) for text in TEXTS])
    h = embedder.embed(TEXTS, cache=False, progress=False)
    torch.testing.assert_close(h, expected, atol=1e-5, rtol=1e-5)
    scores = expected @ backbone.lm_head.weight.detach().T
    torch.testing.assert_close(embedder.decoder.scores(h), scores, atol=1e-5, rtol=1e-5)

    cached = {
        file.suffix
        for file in (constants.HF_HUB_CACHE and __import__("pathlib").Path(constants.HF_HUB_CACHE)).rglob("*")
    }
    assert ".safetensors" in cached and not cached & {".bin", ".py"}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    stand_in.asked.clear()
    assert torch.equal(load_embedder(name).embed(TEXTS, cache=False, progress=False), h)
    assert stand_in.asked == []
