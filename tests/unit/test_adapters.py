"""Adapters of every kind that PEFT merges, on tiny models, against PEFT itself; and what is refused, in one line."""

import copy
import json
import re
from dataclasses import replace

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSequenceClassification

from tests.unit.families import package, save_model
from tokalign_helpers.models import hub, loading
from tokalign_helpers.models.adapters import merge_adapter, merge_into
from tokalign_helpers.models.embedders import SMOL, EmbedderSpec
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.models.pooling import last_token, mean

TEXTS = ["What diseases are parrots prone to?", "No"]
CAUSAL, BODY = AutoModelForCausalLM, AutoModel
BACKBONES = {"llama": "huggyllama/llama-7b", "qwen": "Qwen/Qwen3", "opt": "facebook/opt-125m", "bert": "google-bert/b"}
LAST = "model.layers.1.self_attn.q_proj"  # in full, as it is called in the whole model


def lora(**how):
    return peft.LoraConfig(
        **{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"} | how
    )


def kind(name, **how):
    return getattr(peft, f"{name}Config")(task_type="CAUSAL_LM", **how)


ATTENTION = {"target_modules": ["q_proj", "o_proj"]}
MERGED = {
    "plain": ("llama", CAUSAL, lora()),
    "trained on the body": ("llama", BODY, lora(task_type="FEATURE_EXTRACTION")),
    "trained on the body, no task": ("llama", BODY, lora(task_type=None)),
    "trained with a classifier": ("llama", AutoModelForSequenceClassification, lora(task_type="SEQ_CLS")),
    "alpha by full name": ("llama", CAUSAL, lora(alpha_pattern={LAST: 32})),
    "rank by full name": ("llama", CAUSAL, lora(rank_pattern={LAST: 2})),
    "target by regex": ("llama", CAUSAL, lora(target_modules=r"model\.layers\.\d+\.self_attn\.(q|k)_proj")),
    "target by full name": ("llama", CAUSAL, lora(target_modules=[LAST])),
    "some layers": ("llama", CAUSAL, lora(layers_to_transform=[1])),
    "some layers by pattern": ("llama", CAUSAL, lora(layers_to_transform=[0], layers_pattern="layers")),
    "all-linear": ("llama", CAUSAL, lora(target_modules="all-linear")),
    "all but one": ("llama", CAUSAL, lora(exclude_modules=[LAST])),
    "rsLoRA": ("llama", CAUSAL, lora(use_rslora=True)),
    "DoRA": ("llama", CAUSAL, lora(use_dora=True)),
    "PiSSA": ("llama", CAUSAL, lora(init_lora_weights="pissa")),
    "OLoRA": ("llama", CAUSAL, lora(init_lora_weights="olora")),
    "bias of the adapter": ("opt", CAUSAL, lora(lora_bias=True)),
    "all biases": ("opt", CAUSAL, lora(bias="all")),
    "biases beside": ("opt", CAUSAL, lora(bias="lora_only")),
    "embeddings": ("llama", CAUSAL, lora(target_modules=["embed_tokens", "q_proj"])),
    "tied embeddings": ("qwen", CAUSAL, lora(target_modules=["embed_tokens", "q_proj"])),
    "decoder layer": ("llama", CAUSAL, lora(target_modules=["lm_head", "q_proj"], use_dora=True)),
    "tied decoder layer": ("qwen", CAUSAL, lora(target_modules=["lm_head", "q_proj"])),
    "saved embeddings": ("llama", CAUSAL, lora(modules_to_save=["embed_tokens", "lm_head"])),
    "saved tied decoder layer": ("qwen", CAUSAL, lora(modules_to_save=["lm_head"])),
    "saved norm": ("llama", CAUSAL, lora(modules_to_save=["norm"])),
    "single tokens": ("llama", CAUSAL, lora(trainable_token_indices=[5, 9])),
    "single tied tokens": ("qwen", CAUSAL, lora(trainable_token_indices={"embed_tokens": [5, 9]})),
    "encoder": ("bert", AutoModelForMaskedLM, lora(target_modules=["query", "value"], task_type=None)),
    "IA3": ("llama", CAUSAL, kind("IA3", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])),
    "LoHa": ("llama", CAUSAL, kind("LoHa", r=2, **ATTENTION)),
    "LoKr": ("llama", CAUSAL, kind("LoKr", r=2, **ATTENTION)),
    "OFT": ("llama", CAUSAL, kind("OFT", oft_block_size=4, **ATTENTION)),
    "VeRA": ("llama", CAUSAL, kind("Vera", r=4, **ATTENTION)),
    "FourierFT": ("llama", CAUSAL, kind("FourierFT", n_frequency=10, **ATTENTION)),
    "norms": ("llama", CAUSAL, kind("LNTuning", target_modules=["input_layernorm"])),
    "SHiRA": ("llama", CAUSAL, kind("Shira", r=1, **ATTENTION)),
}


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    hub_folder = tmp_path_factory.mktemp("hub")
    return {name: save_model(hub_folder / name, family) for name, family in BACKBONES.items()}


@pytest.fixture(scope="module")
def loaded(backbones):
    """A fresh copy of a model, read from disk once."""
    seen = {}

    def load(name, family):
        if (name, family) not in seen:
            torch.manual_seed(7)  # a classifier's head is drawn
            seen[name, family] = family.from_pretrained(backbones[name]).eval().requires_grad_(False)
        return copy.deepcopy(seen[name, family])

    return load


def trained(model, config, folder, seed=0):
    """Save an adapter whose every weight has been changed."""
    wrapped = peft.get_peft_model(model, copy.deepcopy(config))
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    wrapped.save_pretrained(folder)
    return folder


def merged_by_peft(whole, *folders):
    """The definition: each adapter put on the whole model and merged; then the body is taken."""
    for folder in folders:
        whole = peft.PeftModel.from_pretrained(whole, folder).merge_and_unload(safe_merge=True)
    return whole.base_model


def vectors(body):
    with torch.no_grad():
        ids = [torch.tensor([[5, 9, 20, 33, 7]]), torch.tensor([[8, 1]])]
        return torch.cat([body(input_ids=i).last_hidden_state[0] for i in ids])


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MERGED)
def test_what_peft_merges_is_merged_as_peft_does(name, loaded, tmp_path):
    backbone, family, config = MERGED[name]
    folder = trained(loaded(backbone, family), config, tmp_path / "adapter")
    if family is BODY:
        expected = vectors(merged_by_peft(loaded(backbone, BODY), folder).base_model)
    else:
        whole = AutoModelForMaskedLM if backbone == "bert" else CAUSAL
        expected = vectors(merged_by_peft(loaded(backbone, whole), folder))
    body = loaded(backbone, BODY)
    before, raw = state(body), vectors(body)
    torch.testing.assert_close(vectors(merge_adapter(body, folder)), expected, atol=1e-5, rtol=1e-5)
    assert all(torch.equal(tensor, before[n]) for n, tensor in body.state_dict().items())
    torch.testing.assert_close(vectors(merge_into(body, folder)), expected, atol=1e-5, rtol=1e-5)
    assert (raw - expected).abs().max() > 0.02


def test_what_a_lora_leaves_alone_is_shared(loaded, tmp_path):
    folder = trained(loaded("llama", CAUSAL), lora(), tmp_path / "adapter")
    body = loaded("llama", BODY)
    merged = dict(merge_adapter(body, folder).named_parameters())
    own = {name for name, parameter in body.named_parameters() if merged[name] is not parameter}
    assert own == {name for name in merged if "q_proj" in name or "v_proj" in name}


@pytest.mark.filterwarnings("ignore")
def test_several_adapters_are_merged_in_order(backbones, loaded, tmp_path):
    """On a local backbone, and on the packaged one; E_g stays that of the original."""
    configs = [MERGED[name][2] for name in ("plain", "tied decoder layer", "DoRA", "single tied tokens")]
    folders, whole = [], loaded("qwen", CAUSAL)
    for number, config in enumerate(configs):
        folders.append(trained(copy.deepcopy(whole), config, tmp_path / str(number), seed=number))
        whole = peft.PeftModel.from_pretrained(whole, folders[-1]).merge_and_unload(safe_merge=True)
    spec = EmbedderSpec("made", str(backbones["qwen"]), last_token, adapters=tuple(map(str, folders)))
    embedder = load_embedder(spec, device="cpu")
    torch.testing.assert_close(vectors(embedder.model), vectors(whole.base_model), atol=1e-5, rtol=1e-5)
    original = loaded("qwen", CAUSAL).lm_head.weight
    assert torch.equal(embedder.unembedding, original)
    assert not torch.equal(whole.lm_head.weight, original)
    other_way = load_embedder(replace(spec, adapters=spec.adapters[::-1]), device="cpu")
    assert (vectors(other_way.model) - vectors(embedder.model)).abs().max() > 1e-3


@pytest.fixture
def packaged(backbones, monkeypatch):
    """A tiny model in the place of the packaged one."""
    package(backbones["llama"], monkeypatch)
    return EmbedderSpec("made", SMOL, mean)


def test_adapters_of_your_own_go_on_the_packaged_backbone(packaged, loaded, tmp_path, monkeypatch):
    plain = trained(loaded("llama", CAUSAL), lora(), tmp_path / "plain")
    other = trained(loaded("llama", BODY), lora(use_dora=True, task_type=None), tmp_path / "other", seed=1)
    monkeypatch.chdir(tmp_path)
    expected = loaded("llama", CAUSAL)
    expected = peft.PeftModel.from_pretrained(expected, plain).merge_and_unload().base_model
    for name in (str(plain), "./plain", "plain", "../" + f"{tmp_path.name}/plain"):
        found = load_embedder(replace(packaged, adapters=(name,)))
        torch.testing.assert_close(vectors(found.model), vectors(expected), atol=1e-5, rtol=1e-5)
    both = load_embedder(replace(packaged, adapters=("plain", "other")))
    expected = peft.PeftModel.from_pretrained(expected, other).merge_and_unload()
    torch.testing.assert_close(vectors(both.model), vectors(expected), atol=1e-5, rtol=1e-5)
    raw = load_embedder(packaged)
    torch.testing.assert_close(vectors(raw.model), vectors(loaded("llama", BODY)), atol=0, rtol=0)


def test_an_adapter_that_was_trained_again_is_read_again(packaged, loaded, tmp_path):
    spec = replace(packaged, adapters=(str(tmp_path / "mine"),))
    found = []
    for seed in (0, 1):
        trained(loaded("llama", CAUSAL), lora(), tmp_path / "mine", seed=seed)
        found.append(vectors(load_embedder(spec).model))
    assert (found[0] - found[1]).abs().max() > 1e-3
    assert load_embedder(spec).model is load_embedder(spec).model


def test_a_bare_name_is_the_courses_own_first(packaged, loaded, tmp_path, monkeypatch):
    own = tmp_path / "own"
    trained(loaded("llama", CAUSAL), lora(), own / "mine")
    trained(loaded("llama", CAUSAL), lora(), tmp_path / "mine", seed=1)
    monkeypatch.setattr(loading, "adapters_dir", lambda: own)
    monkeypatch.chdir(tmp_path)
    assert loading._adapter("mine") == own / "mine"
    assert loading._adapter("./mine").resolve() == tmp_path / "mine"
    with pytest.raises(hub.HubError, match="there is no folder gone"):
        load_embedder(replace(packaged, adapters=("gone",)))


def test_own_weights_of_a_row_on_the_packaged_backbone_are_used(packaged, backbones, tmp_path):
    other = save_model(tmp_path / "other", BACKBONES["llama"], seed=1, bare=True)
    found = load_embedder(replace(packaged, weights=str(other)), device="cpu")
    torch.testing.assert_close(vectors(found.model), vectors(AutoModel.from_pretrained(other).eval()))
    assert torch.equal(found.unembedding, load_embedder(packaged).unembedding)


REFUSED = {
    "prompt tuning": (kind("PromptTuning", num_virtual_tokens=3), "kind PROMPT_TUNING: it puts"),
    "prefix tuning": (kind("PrefixTuning", num_virtual_tokens=3), "kind PREFIX_TUNING: it puts"),
    "adaption prompt": (
        kind("AdaptionPrompt", adapter_len=3, adapter_layers=1),
        "kind ADAPTION_PROMPT, which peft cannot merge",
    ),
    "no bias to add to": (lora(lora_bias=True), r"cannot be merged .*the base layer has no bias"),
    "on some texts only": (lora(alora_invocation_tokens=[5, 6]), "cannot be merged .*aLoRA"),
    "repeated layers": (lora(layer_replication=[[0, 2], [0, 2]]), "repeats layers that share their weights"),
}


def refused(body, folder, said):
    before = state(body)
    for merge in (merge_adapter, merge_into):
        with pytest.raises(ValueError, match=said) as caught:
            merge(body, folder)
        text = str(caught.value).replace(str(folder), "")
        assert "\n" not in text and len(text) < 300
    return before


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_merged_is_refused_with_the_reason(name, loaded, tmp_path):
    config, said = REFUSED[name]
    folder = trained(loaded("llama", CAUSAL), config, tmp_path / "adapter")
    refused(loaded("llama", BODY), folder, said)


def without(pattern):
    return lambda tensors: {name: t for name, t in tensors.items() if not re.search(pattern, name)}


def renamed(tensors):
    return {name.replace("self_attn", "attn"): tensor for name, tensor in tensors.items()}


def wider(tensors):
    return {name: torch.cat([tensor, tensor], 1) for name, tensor in tensors.items()}


def spoilt(tensors):
    return {name: tensor * float("nan") for name, tensor in tensors.items()}


DAMAGED = {
    "a layer": (without(r"layers\.1\."), "lacks 4 of 8 tensors, such as .*layers.1.*incomplete"),
    "every lora_B": (without("lora_B"), "lacks 4 of 8 tensors, such as .*lora_B"),
    "nothing there": (without(""), "belongs to another backbone: an empty file"),
    "of other names": (renamed, "has no place in this model"),
    "of other sizes": (wider, r"another backbone: .* is \(\d+, \d+\), in this model \(\d+, \d+\)"),
    "not a number": (spoilt, "holds NaN or Inf in base_model"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_an_adapter_that_is_not_whole_is_refused_before_anything_changes(name, loaded, tmp_path):
    change, said = DAMAGED[name]
    folder = trained(loaded("llama", CAUSAL), lora(), tmp_path / "adapter")
    save_file(change(load_file(folder / hub.ADAPTER)), folder / hub.ADAPTER)
    body = loaded("llama", BODY)
    before = refused(body, folder, said)
    assert all(torch.equal(tensor, before[n]) for n, tensor in body.state_dict().items())
    assert not any("lora" in n for n, _ in body.named_modules())


ODD = {
    "a new option": ({"use_tomorrow": True}, "sets use_tomorrow, which this version of peft does not know"),
    "an unknown kind": ({"peft_type": "TOMORROW"}, "cannot read the configuration .*TOMORROW"),
    "no kind": ({"peft_type": None}, "names no peft_type"),
    "a rank of words": ({"r": "four"}, "cannot be merged into this model"),
    "no targets": ({"target_modules": ["nothing"]}, "cannot be merged into this model .*nothing"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_configuration_is_told_in_one_line(name, loaded, tmp_path):
    change, said = ODD[name]
    folder = trained(loaded("llama", CAUSAL), lora(), tmp_path / "adapter")
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | change), encoding="utf-8")
    refused(loaded("llama", BODY), folder, said)


@pytest.mark.parametrize("base", ["https://example.org/some/model", None, "somewhere/else", 7])
def test_where_an_adapter_says_that_its_base_is_does_not_matter(base, loaded, tmp_path):
    folder = trained(loaded("llama", CAUSAL), lora(), tmp_path / "adapter")
    expected = vectors(merge_adapter(loaded("llama", BODY), folder))
    file = folder / "adapter_config.json"
    about = json.loads(file.read_text(encoding="utf-8")) | {"base_model_name_or_path": base, "task_type": None}
    file.write_text(json.dumps(about), encoding="utf-8")
    torch.testing.assert_close(vectors(merge_adapter(loaded("llama", BODY), folder)), expected, atol=0, rtol=0)


def test_an_adapter_with_a_larger_vocabulary_is_refused(loaded, tmp_path):
    whole = loaded("llama", CAUSAL)
    whole.resize_token_embeddings(whole.config.vocab_size + 1)
    folder = trained(whole, lora(modules_to_save=["embed_tokens"]), tmp_path / "adapter")
    refused(loaded("llama", BODY), folder, r"weight is \(433, 16\), in this model \(432, 16\)")


def test_a_pickled_adapter_is_read_when_named(backbones, loaded, tmp_path):
    folder = trained(loaded("llama", CAUSAL), lora(), tmp_path / "adapter")
    spec = EmbedderSpec("made", str(backbones["llama"]), mean, adapters=(str(folder),))
    expected = vectors(load_embedder(spec, device="cpu").model)
    torch.save(load_file(folder / hub.ADAPTER), folder / hub.ADAPTER_PICKLE)
    (folder / hub.ADAPTER).unlink()
    with pytest.raises(hub.HubError, match=r"only pickled weights.*pickles=\['adapter_model.bin'\]"):
        load_embedder(spec, device="cpu")
    found = load_embedder(spec, device="cpu", pickles=[hub.ADAPTER_PICKLE])
    torch.testing.assert_close(vectors(found.model), expected, atol=0, rtol=0)


def test_a_model_where_an_adapter_is_expected_is_told_and_the_other_way_round(backbones, loaded, tmp_path):
    llama = str(backbones["llama"])
    with pytest.raises(hub.HubError, match="it is a whole model: name it as weights"):
        load_embedder(EmbedderSpec("made", llama, mean, adapters=(llama,)), device="cpu")
    folder = trained(loaded("llama", CAUSAL), lora(), tmp_path / "adapter")
    with pytest.raises(hub.HubError, match="it is an adapter: name it in adapters"):
        load_embedder(EmbedderSpec("made", str(folder), mean), device="cpu")
