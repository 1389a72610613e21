"""Every embedder of the table on a tiny model of its architecture, against a plain computation: loops, one text, no
padding."""

import json
import math
import pickle
import shutil
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    GPTNeoConfig,
    LlamaConfig,
    MistralConfig,
    MPNetConfig,
    OPTConfig,
    Qwen3Config,
)

from tests.unit.families import family_of, save_adapter, save_model
from tokalign_helpers.models import hub, loading
from tokalign_helpers.models.embedders import EMBEDDERS, EmbedderSpec, plan_loading
from tokalign_helpers.models.input_format import InputFormat
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.models.pooling import first_token, last_token, mean, pooler_output, weighted_mean

TEXTS = ["What diseases are parrots prone to?", "No", "A garden {without} birds ]is a quiet garden.", "the beak"]
REMOTE = {name: spec for name, spec in EMBEDDERS.items() if not spec.packaged}
pytestmark = pytest.mark.filterwarnings("ignore:.*different vocabularies")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Make the folders that a spec names, once for each family."""
    made = {}

    def make(kind, backbone, seed, **how):
        key = (kind, family_of(backbone), seed)
        if key not in made:
            folder = tmp_path_factory.mktemp("hub") / kind
            if kind == "adapter":
                made[key] = save_adapter(folder, make("backbone", backbone, 0), seed=seed, head=seed % 2 == 0)
            else:
                made[key] = save_model(folder, backbone, seed=seed, **how)
        return made[key]

    return make


def local(spec, folders):
    """The same row, with tiny folders for names on the hub."""
    big = spec.width == 4096
    return replace(
        spec,
        parameters=10_000,
        backbone=str(folders("backbone", spec.backbone, 0, shards=big)),
        weights=str(folders("weights", spec.backbone, 1, bare=True, shards=big)) if spec.weights else "",
        adapters=tuple(str(folders("adapter", spec.backbone, 2 + i)) for i, _ in enumerate(spec.adapters)),
    )


def plain_weights(spec):
    """The weights by hand: adapters added one after another, W + (alpha / r) B A."""
    model = AutoModel.from_pretrained(spec.weights or spec.backbone).eval()
    state = model.state_dict()
    for adapter in spec.adapters:
        tensors = load_file(f"{adapter}/adapter_model.safetensors")
        for name in tensors:
            if name.endswith("lora_A.weight"):
                module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
                target = f"{module}.weight" if f"{module}.weight" in state else f"{module.partition('.')[2]}.weight"
                state[target] += 6 / 2 * tensors[name.replace("lora_A", "lora_B")] @ tensors[name]
    model.load_state_dict(state)
    return model


def plain_states(model, ids, attention):
    """Hidden states of one prompt; for the models with rotary positions by hand, in loops."""
    if model.config.model_type in ("llama", "mistral", "qwen3"):
        return rotary_states(model, ids, attention)
    assert attention == "causal"
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).last_hidden_state[0]


def rotary_states(model, ids, attention):
    """LLaMA, Mistral and Qwen3 from their weights alone."""
    c, w = model.config, dict(model.state_dict())
    size, heads, groups = 8, c.num_attention_heads, c.num_attention_heads // c.num_key_value_heads
    theta = c.rope_parameters["rope_theta"]

    def rms(x, gain):
        return gain * x / torch.sqrt((x * x).mean() + c.rms_norm_eps)

    def fixed(x, layer, which):
        norm = w.get(f"layers.{layer}.self_attn.{which}_norm.weight")  # Qwen3's
        return x if norm is None else rms(x, norm)

    def turn(x, place):
        out = x.clone()
        for i in range(size // 2):
            angle = place / theta ** (2 * i / size)
            a, b = x[i], x[i + size // 2]
            out[i] = a * math.cos(angle) - b * math.sin(angle)
            out[i + size // 2] = b * math.cos(angle) + a * math.sin(angle)
        return out

    x = [w["embed_tokens.weight"][i] for i in ids]
    for layer in range(c.num_hidden_layers):
        at = {n.split(".", 2)[2].removesuffix(".weight"): t for n, t in w.items() if n.startswith(f"layers.{layer}.")}
        normed = [rms(v, at["input_layernorm"]) for v in x]
        q, k, v = ([at[f"self_attn.{p}_proj"] @ n for n in normed] for p in "qkv")
        mixed = [torch.zeros(heads * size) for _ in ids]
        for head in range(heads):
            own, shared = slice(head * size, (head + 1) * size), head // groups
            share = slice(shared * size, (shared + 1) * size)
            qs = [turn(fixed(t[own], layer, "q"), i) for i, t in enumerate(q)]
            ks = [turn(fixed(t[share], layer, "k"), i) for i, t in enumerate(k)]
            for i in range(len(ids)):
                seen = range(len(ids)) if attention == "full" else range(i + 1)
                weight = torch.softmax(torch.stack([qs[i] @ ks[j] for j in seen]) / math.sqrt(size), 0)
                mixed[i][own] = sum(weight[j] * v[j][share] for j in seen)
        x = [old + at["self_attn.o_proj"] @ m for old, m in zip(x, mixed, strict=True)]
        for i, old in enumerate(x):
            n = rms(old, at["post_attention_layernorm"])
            gate = torch.nn.functional.silu(at["mlp.gate_proj"] @ n)
            x[i] = old + at["mlp.down_proj"] @ (gate * (at["mlp.up_proj"] @ n))
    return torch.stack([rms(v, w["norm.weight"]) for v in x])


def plain_prompt(spec, tokenizer, text):
    """Token ids of one prompt, and the positions that are pooled."""
    ids = tokenizer(spec.template.replace("{text}", text)).input_ids
    before, after = spec.template.split("{text}")
    pooled = list(range(len(ids)))
    if spec.input_format.span == "mask":
        pooled = [i for i in pooled if ids[i] == tokenizer.mask_token_id]
    elif "[/INST]" in after:  # as its authors count: so many tokens from the end as the text has alone
        pooled = pooled[-len(tokenizer(text + after, add_special_tokens=False).input_ids) :]
    elif spec.input_format.span == "text":  # as GritLM's authors count: what the instruction has alone is left out
        pooled = pooled[len(tokenizer(before).input_ids) :]
    if spec.input_format.brackets[0] and tokenizer.convert_tokens_to_ids(spec.input_format.brackets[0]) != ids[0]:
        ids, pooled = [tokenizer.convert_tokens_to_ids(spec.input_format.brackets[0]), *ids], [*pooled, len(ids)]
    if spec.input_format.brackets[1] and tokenizer.convert_tokens_to_ids(spec.input_format.brackets[1]) != ids[-1]:
        ids = [*ids, tokenizer.convert_tokens_to_ids(spec.input_format.brackets[1])]
        pooled = [*pooled, len(ids) - 1]
    return ids, pooled


def plain_embedding(spec, model, tokenizer, text):
    ids, pooled = plain_prompt(spec, tokenizer, text)
    vector = plain_pooling(spec, model, plain_states(model, ids, spec.attention)[pooled])
    return vector / vector.norm() if spec.unit_length else vector


def plain_pooling(spec, model, states):
    if spec.pooling is last_token:
        return states[-1]
    if spec.pooling is first_token:
        return states[0]
    if spec.pooling is pooler_output:
        layer = model.pooler.dense
        return torch.tanh(layer.weight @ states[0] + layer.bias)
    weights = [i + 1 if spec.pooling is weighted_mean else 1 for i in range(len(states))]
    return sum(w * s for w, s in zip(weights, states, strict=True)) / sum(weights)


@pytest.mark.parametrize("name", REMOTE)
def test_every_embedder_equals_a_plain_computation(name, folders):
    spec = local(REMOTE[name], folders)
    embedder = load_embedder(spec, device="cpu", dtype="float32")
    model, tokenizer = plain_weights(spec), AutoTokenizer.from_pretrained(spec.weights or spec.backbone)
    expected = torch.stack([plain_embedding(spec, model, tokenizer, text) for text in TEXTS])
    found = embedder.embed(TEXTS, cache=False, progress=False)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert expected.std() > 0.01


@pytest.mark.parametrize("name", REMOTE)
def test_every_embedder_decodes_as_its_backbone_does(name, folders):
    spec = local(REMOTE[name], folders)
    embedder = load_embedder(spec, device="cpu", dtype="float32")
    h = embedder.embed(TEXTS, cache=False)
    encoder = AutoConfig.from_pretrained(spec.backbone).model_type in ("bert", "mpnet")
    whole = (AutoModelForMaskedLM if encoder else AutoModelForCausalLM).from_pretrained(spec.backbone).eval()
    head = (getattr(whole, "cls", None) or whole.lm_head) if encoder else whole.lm_head
    with torch.no_grad():
        expected = head(h)
    torch.testing.assert_close(embedder.decoder.scores(h), expected, atol=1e-4, rtol=1e-4)
    _, best = embedder.decoder.top_tokens(h, 5)
    torch.testing.assert_close(best, expected.topk(5).values, atol=1e-4, rtol=1e-4)


ATTENTIONS = {
    "EleutherAI/gpt-neo-125m": ["causal"], "facebook/opt-125m": ["causal"], "facebook/opt-350m": ["causal"],
    "huggyllama/llama-7b": ["causal", "full"], "mistralai/Mistral": ["causal", "full"],
    "Qwen/Qwen3": ["causal", "full"], "gemma-3": ["causal"], "google-bert/b": ["causal"], "microsoft/mpnet": ["causal"],
}  # fmt: skip


@pytest.mark.parametrize(("family", "attention"), [(f, a) for f, known in ATTENTIONS.items() for a in known])
@pytest.mark.parametrize("pooling", [first_token, last_token, mean, weighted_mean])
def test_every_architecture_pooling_and_attention(family, pooling, attention, folders):
    read = InputFormat(template='word: "{text}"!', attention=attention)
    spec = EmbedderSpec("made", str(folders("backbone", family, 0)), pooling, read)
    embedder = load_embedder(spec, device="cpu", dtype="float32")
    model, tokenizer = plain_weights(spec), embedder.tokenizer
    expected = torch.stack([plain_embedding(spec, model, tokenizer, text) for text in TEXTS])
    for side in ("left", "right"):  # what a tokenizer says of padding must not matter
        tokenizer.padding_side = side
        found = embedder.embed(TEXTS, cache=False)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_queries_are_read_as_the_row_says(folders):
    spec = local(REMOTE["sgpt-msmarco"], folders)
    asked = load_embedder(spec).for_queries()
    (ids,), _ = asked.prompts(["the beak"])
    assert asked.tokenizer.convert_ids_to_tokens([ids[0], ids[-1]]) == ["[", "]"]
    e5 = load_embedder(local(REMOTE["e5"], folders))
    assert e5.template == e5.for_queries().template == "query: {text}"
    e5 = load_embedder(local(REMOTE["e5-passages"], folders))
    assert (e5.template, e5.for_queries().template) == ("passage: {text}", "query: {text}")
    plain = load_embedder(local(REMOTE["opt-eol"], folders))
    assert plain.for_queries() is plain


def test_a_mark_that_the_tokenizer_sets_itself_is_not_set_twice(folders):
    embedder = load_embedder(local(REMOTE["qwen3-embedding"], folders))
    (ids,), _ = embedder.prompts(["the beak"])
    assert ids.count(embedder.tokenizer.convert_tokens_to_ids("<|endoftext|>")) == 1


def test_an_instruction_does_not_enter_the_mean(folders):
    embedder = load_embedder(local(REMOTE["gritlm"], folders)).with_instruction("Name the birds")
    ((start, end),) = embedder.pooled_spans(["the beak"])
    (ids,), _ = embedder.prompts(["the beak"])
    assert embedder.tokenizer.decode(ids[start:end]).strip() == "the beak"


def test_a_long_text_fits_an_encoder(folders):
    embedder = load_embedder(local(REMOTE["prompt-bert"], folders))
    with pytest.warns(UserWarning, match="were cut"):
        h = embedder.embed(["parrots " * 200], cache=False)
    assert torch.isfinite(h).all()


@pytest.mark.parametrize("name", ["mistral-7b", "gpt-neo-125m", "qwen3-0.6b", "opt-125m-eol"])
def test_the_decoder_layer_is_read_alone(name, folders, tmp_path, monkeypatch):
    """Of a sharded model only the file with that tensor is opened; no model is built."""
    source = folders("backbone", REMOTE[name].backbone, 0, shards=REMOTE[name].width == 4096)
    folder = shutil.copytree(source, tmp_path / "copy")
    listed = folder / hub.WEIGHTS_INDEX
    index = json.loads(listed.read_text(encoding="utf-8"))["weight_map"] if listed.is_file() else {}
    needed = index and index.get("lm_head.weight", index.get("model.embed_tokens.weight"))
    for file in folder.glob("*.safetensors"):
        if index and file.name != needed:
            file.write_bytes(b"not to be opened")
    assert len(set(index.values())) > 5 or not index
    expected = AutoModelForCausalLM.from_pretrained(source).lm_head.weight
    monkeypatch.setattr(AutoModel, "from_pretrained", None)
    found, head = hub.decoder_layer(folder)
    assert head is None
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


READ_ALONE = """
import resource, sys
from tokalign_helpers.models import hub
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
weight, _ = hub.decoder_layer(sys.argv[1])
weight.sum()
print(weight.nbytes // 2**20, peak() - before)
"""


def test_reading_the_decoder_layer_takes_the_memory_of_that_layer(start_python, tmp_path):
    """The backbone has 280 MB; only the 8 MB of its decoder layer come into memory."""
    config = LlamaConfig(vocab_size=2048, hidden_size=1024, tie_word_embeddings=False)
    config.save_pretrained(tmp_path)
    shards = {"a": {"lm_head.weight": torch.ones(2048, 1024)}, "b": {"model.norm.weight": torch.ones(70_000_000)}}
    for name, tensors in shards.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
    index = {name: f"{shard}.safetensors" for shard, tensors in shards.items() for name in tensors}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}), encoding="utf-8")
    out, error = start_python(READ_ALONE, tmp_path).communicate(timeout=300)
    assert out, error
    layer, grown = map(int, out.split())
    assert layer == 8
    assert grown < 60


def test_old_names_of_a_norm_are_known(folders, tmp_path):
    """The BERT on the hub calls the weights of its norms gamma and beta."""
    folder = shutil.copytree(folders("backbone", "google-bert/b", 0), tmp_path / "old")
    tensors = load_file(folder / "model.safetensors")
    old = {n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
           for n, t in tensors.items()}  # fmt: skip
    save_file(old, folder / "model.safetensors", {"format": "pt"})
    h = torch.randn(3, 16)
    heads = [hub.decoder_layer(f)[1].transform(h) for f in (folder, folders("backbone", "google-bert/b", 0))]
    torch.testing.assert_close(*heads, atol=0, rtol=0)


def pickled(folder, target):
    shutil.copytree(folder, target)
    torch.save(load_file(target / "model.safetensors"), target / "pytorch_model.bin")
    (target / "model.safetensors").unlink()
    return target


def test_a_pickle_is_read_only_when_named(folders, tmp_path):
    whole = folders("backbone", "facebook/opt-125m", 0)
    spec = EmbedderSpec("made", str(pickled(whole, tmp_path / "pickled")), last_token)
    with pytest.raises(hub.HubError, match=r"only pickled weights.*say pickles=\['pytorch_model.bin'\]"):
        load_embedder(spec)
    found = load_embedder(spec, pickles=["pytorch_model.bin"]).embed(TEXTS, cache=False)
    expected = load_embedder(replace(spec, backbone=str(whole))).embed(TEXTS, cache=False)
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_sharded_pickles_are_read_when_each_is_named(folders, tmp_path):
    whole = folders("backbone", "mistralai/M", 0, shards=True)
    folder = shutil.copytree(whole, tmp_path / "pickled")
    (index,) = folder.glob("*.index.json")
    names = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    shards = {shard: shard.replace("model", "pytorch_model").replace("safetensors", "bin") for shard in names.values()}
    for shard, file in shards.items():
        torch.save(load_file(folder / shard), folder / file)
        (folder / shard).unlink()
    index.unlink()
    text = json.dumps({"metadata": {}, "weight_map": {name: shards[shard] for name, shard in names.items()}})
    (folder / "pytorch_model.bin.index.json").write_text(text, encoding="utf-8")
    spec, every = EmbedderSpec("made", str(folder), last_token), sorted(shards.values())
    assert len(every) > 5
    for some in ((), every[:-1], ["pytorch_model.bin"]):
        with pytest.raises(hub.HubError, match=r"only pickled weights") as caught:
            load_embedder(spec, pickles=some)
        assert f"say pickles={every!r}" in str(caught.value)
    found = load_embedder(spec, pickles=every)
    expected = load_embedder(replace(spec, backbone=str(whole)))
    torch.testing.assert_close(found.embed(TEXTS, cache=False), expected.embed(TEXTS, cache=False), atol=0, rtol=0)
    torch.testing.assert_close(found.unembedding, expected.unembedding, atol=0, rtol=0)


@pytest.mark.parametrize("with_settings", [True, False])
def test_a_folder_of_gguf_files_alone_is_told_with_what_to_do(folders, tmp_path, with_settings):
    folder = shutil.copytree(folders("backbone", "facebook/opt-125m", 0), tmp_path / "gguf")
    (folder / "model.safetensors").rename(folder / "model-Q4_K_M.gguf")
    if not with_settings:
        (folder / "config.json").unlink()
    for read in (hub.decoder_layer, lambda f: load_embedder(EmbedderSpec("made", str(f), mean))):
        with pytest.raises(
            hub.HubError, match=r"only model-Q4_K_M.gguf.*: name the model that it was made from"
        ) as caught:
            read(folder)
        assert "\n" not in str(caught.value)


def test_a_configuration_that_the_library_does_not_know_is_told(folders, tmp_path):
    folder = shutil.copytree(folders("backbone", "facebook/opt-125m", 0), tmp_path / "new")
    (folder / "config.json").write_text('{"model_type": "tomorrow"}', encoding="utf-8")
    with pytest.raises(hub.HubError, match="the configuration of .* cannot be read .*tomorrow") as caught:
        hub.decoder_layer(folder)
    assert "\n" not in str(caught.value)


ODD_CONFIGURATIONS = [
    {"hidden_size": 0}, {"hidden_size": -1}, {"hidden_size": "x"}, {"hidden_size": None}, {"hidden_size": 32},
    {"num_hidden_layers": "two"}, {"num_hidden_layers": None}, {"num_hidden_layers": 9}, {"num_attention_heads": 0},
    {"num_attention_heads": 3}, {"num_key_value_heads": 7}, {"vocab_size": 0}, {"vocab_size": -5}, {"vocab_size": 500},
    {"hidden_act": "foo"}, {"hidden_act": 5}, {"rms_norm_eps": "x"}, {"model_type": None}, {"model_type": ["llama"]},
    {"model_type": 3}, {"rope_parameters": 5}, {"rope_parameters": {"rope_type": "x"}}, {"dtype": "x"},
    {"quantization_config": 5}, {"pad_token_id": 10**6},
]  # fmt: skip


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("hub") / "llama", "huggyllama/llama-7b")


def told_in_one_line(call, said="."):
    with pytest.raises((ValueError, hub.HubError), match=said) as caught:
        call()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    frame = caught.traceback[-1]
    assert Path(hub.__file__).parents[1] in frame.path.parents, f"raised in {frame.path}"


@pytest.mark.parametrize("change", ODD_CONFIGURATIONS, ids=str)
def test_an_odd_configuration_is_told_in_one_line(change, llama, tmp_path):
    folder = shutil.copytree(llama, tmp_path / "odd")
    about = json.loads((folder / "config.json").read_text(encoding="utf-8")) | change
    (folder / "config.json").write_text(json.dumps(about), encoding="utf-8")
    told_in_one_line(lambda: load_embedder(EmbedderSpec("made", str(folder), mean), device="cpu"))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"5", b"\xff\xfe\x00", b"[" * 100_000], ids=lambda c: repr(c[:3])
)
def test_a_file_of_something_else_is_told_in_one_line(name, content, llama, tmp_path):
    folder = shutil.copytree(llama, tmp_path / "odd")
    (folder / name).write_bytes(content)
    told_in_one_line(lambda: load_embedder(EmbedderSpec("made", str(folder), mean), device="cpu"))
    if not name.startswith("tokenizer"):
        told_in_one_line(lambda: hub.decoder_layer(folder))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w[0].clone(), r"lm_head.weight of .* is \(16,\), by its config.json \(432, 16\)"),
        (lambda w: w[:100].clone(), r"is \(100, 16\), by"),
        (lambda w: w.T.contiguous(), r"is \(16, 432\), by"),
        (lambda w: w / 0, "lm_head.weight of .* holds NaN or Inf"),
    ],
)
def test_a_decoder_layer_that_reads_nothing_is_refused(change, said, llama, tmp_path):
    folder = shutil.copytree(llama, tmp_path / "odd")
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"lm_head.weight": change(tensors["lm_head.weight"])}, folder / "model.safetensors")
    told_in_one_line(lambda: hub.decoder_layer(folder), said)


@pytest.mark.parametrize(
    "content", [b"", b"hello there", b"PK\x03\x04", pickle.dumps(print), [1, 2], {"a": "b"}], ids=str
)
def test_a_pickle_of_something_else_is_told_in_one_line(content, folders, tmp_path):
    folder = shutil.copytree(folders("backbone", "facebook/opt-125m", 0), tmp_path / "odd")
    (folder / "model.safetensors").unlink()
    if isinstance(content, bytes):
        (folder / hub.PICKLE).write_bytes(content)
    else:
        torch.save(content, folder / hub.PICKLE)
    said, spec = f"{hub.PICKLE} is damaged or holds more than tensors", EmbedderSpec("made", str(folder), mean)
    told_in_one_line(lambda: hub.decoder_layer(folder, pickles=[hub.PICKLE]), said)
    told_in_one_line(lambda: hub.read_tensors(folder / hub.PICKLE), said)
    told_in_one_line(lambda: load_embedder(spec, pickles=[hub.PICKLE]))


def test_a_pickle_of_the_older_format_is_read(folders, tmp_path):
    """PyTorch before 1.6 wrote it; many encoders on the hub were never saved again."""
    whole = folders("backbone", "facebook/opt-125m", 0)
    folder = shutil.copytree(whole, tmp_path / "old")
    torch.save(load_file(folder / hub.WEIGHTS), folder / hub.PICKLE, _use_new_zipfile_serialization=False)
    (folder / hub.WEIGHTS).unlink()
    (found, _), (expected, _) = hub.decoder_layer(folder, pickles=[hub.PICKLE]), hub.decoder_layer(whole)
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_an_adapter_beside_a_whole_model_is_not_put_on_unasked(llama, folders, tmp_path):
    folder = shutil.copytree(llama, tmp_path / "both")
    shutil.copytree(folders("adapter", "huggyllama/llama-7b", 2), folder, dirs_exist_ok=True)
    spec = EmbedderSpec("made", str(folder), mean)
    told_in_one_line(
        lambda: load_embedder(spec, device="cpu"), "a whole model and an adapter beside it; move the adapter"
    )
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / file).unlink()
    assert load_embedder(spec, device="cpu").dimension == 16


def test_a_configuration_that_asks_for_tuples_is_read_all_the_same(folders, tmp_path):
    folder = shutil.copytree(folders("backbone", "google-bert/b", 0), tmp_path / "old")
    about = json.loads((folder / "config.json").read_text(encoding="utf-8")) | {"return_dict": False}
    (folder / "config.json").write_text(json.dumps(about), encoding="utf-8")
    assert load_embedder(EmbedderSpec("made", str(folder), mean), device="cpu").dimension == 16


def test_an_adapter_of_another_architecture_is_refused(folders):
    adapter = folders("adapter", "facebook/opt-125m", 2)
    spec = EmbedderSpec("made", str(folders("backbone", "mistralai/M", 0)), mean, adapters=(str(adapter),))
    with pytest.raises(ValueError, match="belongs to another backbone"):
        load_embedder(spec)


def test_a_wrong_backbone_is_refused(folders):
    wide = str(folders("backbone", "facebook/opt-125m", 0))
    with pytest.raises(ValueError, match="holds no decoder layer"):
        hub.decoder_layer(folders("weights", "google-bert/b", 1, bare=True))
    narrow = replace(EmbedderSpec("made", wide, mean), backbone=str(folders("backbone", "facebook/opt-350m", 0)))
    assert load_embedder(narrow).dimension == 16


def test_a_checkpoint_that_lacks_a_layer_is_refused(folders, tmp_path):
    folder = shutil.copytree(folders("backbone", "facebook/opt-125m", 0), tmp_path / "lacking")
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("model.decoder.layers.1.fc1.weight")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="lacks 1 tensors of the model"):
        load_embedder(EmbedderSpec("made", str(folder), mean))


@pytest.mark.parametrize("name", ["model.safetensors", "model.safetensors.index.json"])
def test_a_damaged_file_is_told(name, folders, tmp_path):
    family = "mistralai/M" if name.endswith("json") else "facebook/opt-125m"
    folder = shutil.copytree(folders("backbone", family, 0), tmp_path / "damaged")
    (folder / name).write_bytes(b"half")
    with pytest.raises(hub.HubError, match="is damaged"):
        hub.decoder_layer(folder)


SIZES = {
    "gpt-neo-125m": GPTNeoConfig(hidden_size=768, num_layers=12, num_heads=12, attention_types=[[["global"], 12]]),
    "gpt-neo-1.3b": GPTNeoConfig(hidden_size=2048, num_layers=24, num_heads=16),
    "opt-125m-eol": OPTConfig(),
    "opt-350m-eol": OPTConfig(hidden_size=1024, num_hidden_layers=24, ffn_dim=4096, num_attention_heads=16,
                              word_embed_proj_dim=512, do_layer_norm_before=False),
    "opt-1.3b": OPTConfig(hidden_size=2048, num_hidden_layers=24, ffn_dim=8192, num_attention_heads=32,
                          word_embed_proj_dim=2048),
    "llama-7b": LlamaConfig(),
    "mistral-7b": MistralConfig(),
    "qwen3-0.6b": Qwen3Config(hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
                              num_key_value_heads=8, head_dim=128, tie_word_embeddings=True),
    "bert-mean": BertConfig(),
    "mpnet-mean": MPNetConfig(max_position_embeddings=514),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_the_sizes_in_the_table_are_those_of_the_architectures(name):
    spec, config = EMBEDDERS[name], SIZES[name]
    assert (config.vocab_size, getattr(config, "word_embed_proj_dim", config.hidden_size)) == (
        spec.vocabulary,
        spec.width,
    )
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    assert sum(p.numel() for p in model.parameters()) == spec.parameters
    layer = spec.vocabulary * spec.width
    assert spec.bytes("float32") == 4 * (spec.parameters + (0 if spec.tied else layer))
    assert spec.tied == config.tie_word_embeddings
    assert spec.bytes("4bit") < spec.bytes("bfloat16") < spec.bytes("float32")


def test_a_plan_names_what_fits():
    tight = plan_loading("gritlm", device="cpu", free=8 * 10**9)
    assert (tight.fits, tight.instead) == (False, "sgpt-nli")
    assert "choose sgpt-nli instead" in str(tight)
    assert plan_loading("gritlm", device="cpu", free=40 * 10**9).dtype == "float32"
    assert plan_loading("gritlm", device="cpu", free=20 * 10**9).dtype == "bfloat16"
    nothing = plan_loading("smol-eol", device="cpu", free=0)
    assert not nothing.instead and "too little for any embedder" in str(nothing)
    with pytest.raises(ValueError, match="unknown dtype 'int3'"):
        plan_loading("gritlm", "int3")


def test_what_does_not_fit_is_not_fetched(monkeypatch):
    monkeypatch.setattr("tokalign_helpers.models.embedders._free_bytes", lambda device: 10**9)
    with pytest.raises(ValueError, match="opt-1.3b needs .* GB are free, too little"):
        load_embedder("opt-1.3b", device="cpu")


def test_rows_name_rows():
    for spec in EMBEDDERS.values():
        assert spec.raw == "" or spec.name == "gritlm" or EMBEDDERS[spec.raw].backbone == spec.backbone
        assert not spec.raw or EMBEDDERS[spec.raw].width == spec.width
        assert all(spec.bytes(dtype) > 0 for dtype in ("float32", "bfloat16", "float16", "4bit"))
    assert sum(spec.raw != "" for spec in REMOTE.values()) >= 12
    assert not [spec.name for spec in REMOTE.values() if spec.made_by != "as it is" and not spec.raw]


def test_embedders_on_a_further_model_share_its_weights(folders, monkeypatch):
    folder = folders("backbone", "gemma-3-270m", 0)
    monkeypatch.setattr(loading, "model_path", lambda name: folder)
    monkeypatch.setattr(loading, "_course_model", lru_cache(maxsize=1)(loading._course_model.__wrapped__))
    last, eol = (load_embedder(name, device="cpu", dtype="float32") for name in ("gemma-last", "gemma-eol"))
    assert last.model is eol.model and last.unembedding is eol.unembedding
    assert last.template != eol.template


def test_an_adapter_that_its_reader_makes_is_named_with_the_command_and_found_once_it_is_there(tmp_path, monkeypatch):
    made = tmp_path / "gemma-rel"
    monkeypatch.setattr(loading, "adapters_dir", lambda: tmp_path)
    with pytest.raises(ValueError, match=r"gemma-rel does not come .* -m tokalign_helpers.training gemma-rel --data"):
        load_embedder("gemma-rel", device="cpu", dtype="float32")
    made.mkdir()
    (made / "adapter_config.json").write_text("{}")
    asked = []
    monkeypatch.setattr(loading, "model_path", lambda name: tmp_path)
    monkeypatch.setattr(loading, "load_parts", lambda weights, backbone, adapters, **how: asked.append(adapters))
    with pytest.raises(TypeError):  # there is no model here
        load_embedder("gemma-rel", device="cpu", dtype="float32")
    assert asked == [[(made, "main")]]
