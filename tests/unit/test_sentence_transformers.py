"""What sentence-transformers saved, read by the one loader: equal to its own encode, on tiny random models."""

import json
import warnings

import numpy as np
import peft
import pytest
import torch
from transformers import Gemma2Config, LlamaConfig, MPNetConfig, Qwen2Config

import tokalign_helpers as ta
from tests.unit.families import ENCODER, ROTARY, save_architecture
from tokalign_helpers.models import hub
from tokalign_helpers.models.loading import describe_embedder
from tokalign_helpers.models.published import read_published

theirs = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
from sentence_transformers.models import Normalize, Pooling, Transformer  # noqa: E402

TEXTS = ["What diseases are parrots prone to?", "No", "the beak and the feathers of a parrot in a garden " * 4]
SMALL = {name: value for name, value in ROTARY.items() if name != "head_dim"}
# Backbone: architecture, tokenizer, sizes; then how it was trained.
BACKBONES = {
    "Qwen2.5": (Qwen2Config, "bytes, end", {**SMALL, "tie_word_embeddings": True}),
    "Llama-3.2": (LlamaConfig, "pieces", {**ROTARY, "tie_word_embeddings": True}),
    "Gemma": (Gemma2Config, "bytes", {**ROTARY, "query_pre_attn_scalar": 8}),
    "MPNet": (MPNetConfig, "words", {**ENCODER, "max_position_embeddings": 66}),
}
TRAINED = {
    "Qwen2.5": ({"pooling_mode": "lasttoken"}, {"query": "Instruct: find\nQuery:", "document": ""}, None),
    "Llama-3.2": ({"pooling_mode": "mean", "include_prompt": False}, {"query": "ask: ", "document": "say: "}, None),
    "Gemma": ({"pooling_mode": "weightedmean"}, {"classification": "sort: ", "query": "search:"}, "classification"),
    "MPNet": ({"pooling_mode": "cls"}, None, None),
}
CUT = pytest.mark.filterwarnings("ignore:.*were cut to fit")
pytestmark = [pytest.mark.filterwarnings("ignore:.*own token embeddings"), CUT]


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    folders = {name: save_architecture(tmp_path_factory.mktemp("hub") / name, *how) for name, how in BACKBONES.items()}
    change(folders["Llama-3.2"], "tokenizer_config.json", pad_token="</s>")  # it pads
    return folders


def saved(backbone, folder, pooling, prompts=None, default=None, *, normalize=True, limit=24, lora=False):
    """Make and save a model as its users do."""
    body = Transformer(str(backbone))
    body.max_seq_length = limit
    layers = [body, Pooling(16, **pooling), *([Normalize()] if normalize else [])]
    model = theirs.SentenceTransformer(modules=layers, prompts=prompts, default_prompt_name=default, device="cpu")
    if lora:
        torch.manual_seed(7)
        model.add_adapter(peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    model.save(str(folder))
    return model


def by_default(model, texts):
    return model.encode(texts) if model.default_prompt_name else model.encode_document(texts)


@pytest.mark.parametrize("name", BACKBONES)
def test_documents_and_queries_are_those_of_its_own_encode(name, backbones, tmp_path):
    model = saved(backbones[name], tmp_path / "theirs", *TRAINED[name])
    embedder = ta.load_embedder(tmp_path / "theirs", backbone=backbones[name])
    expected = by_default(model, TEXTS), model.encode_query(TEXTS)
    found = embedder.embed(TEXTS, cache=False), embedder.for_queries().embed(TEXTS, cache=False)
    for ours, own in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), own, atol=1e-5)
    assert embedder.unit_length
    row = ta.load_embedder(describe_embedder(tmp_path / "theirs", backbone=str(backbones[name])), device="cpu")
    assert torch.equal(row.embed(TEXTS, cache=False), found[0])


def test_an_adapter_that_it_saved_is_merged_into_its_base(backbones, tmp_path):
    base = backbones["Qwen2.5"]
    model = saved(base, tmp_path / "theirs", {"pooling_mode": "mean"}, normalize=False, lora=True)
    assert not (tmp_path / "theirs" / "model.safetensors").is_file()
    embedder = ta.load_embedder(tmp_path / "theirs")
    np.testing.assert_allclose(embedder.embed(TEXTS, cache=False).numpy(), model.encode(TEXTS), atol=1e-5)
    assert not embedder.unit_length
    plain = ta.load_embedder(base, pooling=ta.mean)
    assert torch.equal(embedder.unembedding, plain.unembedding)
    assert not torch.allclose(embedder.embed(TEXTS, cache=False), plain.embed(TEXTS, cache=False), atol=1e-2)


def test_a_tied_model_read_through_its_own_matrix_asks_for_the_backbone(backbones, tmp_path):
    saved(backbones["Qwen2.5"], tmp_path / "theirs", {"pooling_mode": "mean"})
    with pytest.warns(UserWarning, match="its own token embeddings, .* as backbone"):
        ta.load_embedder(tmp_path / "theirs")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ta.load_embedder(tmp_path / "theirs", backbone=backbones["Qwen2.5"])
        ta.load_embedder(backbones["Qwen2.5"], pooling=ta.mean)  # as it is: it has its decoder layer


def change(folder, file, **entries):
    path = folder / file
    held = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps(held | entries), encoding="utf-8")


def test_prompts_of_any_name(backbones, tmp_path):
    base, folder = backbones["Gemma"], tmp_path / "theirs"
    prompts = {"s2p_query": "s2p: ", "web_search_query": "web: ", "document": "d: "}
    model = saved(base, folder, {"pooling_mode": "mean"}, prompts)
    for given, text in ((None, "s2p: "), ("web_search_query", "web: ")):
        embedder = ta.load_embedder(folder, backbone=base, query_prompt=given).for_queries()
        expected = model.encode(TEXTS, prompt=text)
        np.testing.assert_allclose(embedder.embed(TEXTS, cache=False).numpy(), expected, atol=1e-5)
    with pytest.raises(ValueError, match="no prompt 'question'; known: .*s2p_query"):
        describe_embedder(folder, backbone=str(base), query_prompt="question")


def test_a_prompt_for_passages_is_one_for_documents(backbones, tmp_path):
    """Where the one called document is empty, as the newest version writes it unasked."""
    base, folder = backbones["Gemma"], tmp_path / "theirs"
    model = saved(base, folder, {"pooling_mode": "mean"}, {"passage": "p: "})
    found = ta.load_embedder(folder, backbone=base).embed(TEXTS, cache=False).numpy()
    np.testing.assert_allclose(found, model.encode(TEXTS, prompt_name="passage"), atol=1e-5)


def test_the_limit_is_read_where_older_versions_wrote_it(backbones, tmp_path):
    folder = tmp_path / "theirs"
    saved(backbones["Gemma"], folder, {"pooling_mode": "mean"}, limit=200)
    change(folder, "sentence_bert_config.json", max_seq_length=9)
    row = describe_embedder(folder, backbone=str(backbones["Gemma"]))
    assert (row.input_format.max_length, row.input_format.max_tokens) == (9, 9)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("Dense", "a Dense layer .*a space of their own, .* no decoder layer reads them"), ("LSTM", "a LSTM layer")],
)
def test_a_layer_behind_the_pooling_is_refused(kind, said, backbones, tmp_path):
    folder = tmp_path / "theirs"
    saved(backbones["Gemma"], folder, {"pooling_mode": "mean"})
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    more = {"idx": 3, "name": "3", "path": "3", "type": f"sentence_transformers.models.{kind}"}
    (folder / "modules.json").write_text(json.dumps([*modules, more]), encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        ta.load_embedder(folder, backbone=backbones["Gemma"])


def test_code_of_its_own_is_read_in_both_directions_only_if_told(backbones, tmp_path):
    folder = tmp_path / "theirs"
    saved(backbones["Qwen2.5"], folder, {"pooling_mode": "mean"})
    change(folder, "config.json", auto_map={"AutoModel": "modeling_own.Both"})
    for load in (describe_embedder, ta.load_embedder):
        with pytest.raises(ValueError, match=r"modeling_own\.Both.*never run.*give attention='full'"):
            load(folder, backbone=str(backbones["Qwen2.5"]))
    both, one = (
        ta.load_embedder(folder, backbone=backbones["Qwen2.5"], attention=attention) for attention in ("full", "causal")
    )
    assert not torch.allclose(both.embed(TEXTS, cache=False), one.embed(TEXTS, cache=False), atol=1e-3)


def test_a_model_that_says_nothing_asks_for_the_pooling(backbones):
    with pytest.raises(ValueError, match="does not say how it pools; give pooling"):
        ta.load_embedder(backbones["Gemma"])


def test_pickles_are_refused_once_with_every_file_and_the_argument(backbones, tmp_path):
    from tests.unit.families import as_published, save_adapter

    base = save_architecture(tmp_path / "base", *BACKBONES["Qwen2.5"])
    adapter = as_published(save_adapter(tmp_path / "adapter", base, seed=1), ("adapter_model.bin",))
    as_published(base, ("pytorch_model.bin",))
    with pytest.raises(hub.HubError) as caught:
        ta.load_embedder(adapter, backbone=base, pooling=ta.mean)
    assert "pickles=['adapter_model.bin', 'pytorch_model.bin']" in str(caught.value)
    assert "--pickles adapter_model.bin pytorch_model.bin" in str(caught.value)
    named = ["adapter_model.bin", "pytorch_model.bin"]
    h = ta.load_embedder(adapter, backbone=base, pooling=ta.mean, pickles=named).embed(TEXTS, cache=False)
    row = describe_embedder(adapter, backbone=str(base), pooling="mean", pickles=named)
    torch.testing.assert_close(ta.load_embedder(row, device="cpu").embed(TEXTS, cache=False), h)
    assert (base / "pytorch_model.bin").is_file()  # a folder of one's own stays as it is


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("modules.json", '["Pooling"]'), ("modules.json", '[{"path": "1_Pooling"}]'),
        ("config_sentence_transformers.json", '{"prompts": ["query: "]}'),
        ("config_sentence_transformers.json", '{"default_prompt_name": ["query"]}'),
        ("config.json", '{"auto_map": "own.Model"}'), ("config.json", "[" * 100_000),
    ],
)  # fmt: skip
def test_odd_files_are_told_in_one_line(file, content, tmp_path):
    (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"{file} is damaged \([^\n]+\); fetch it again$"):
        read_published(tmp_path)


@pytest.mark.parametrize("base", ["~nobody-of-that-name/x", "\0", "x" * 5000, 5])
def test_a_base_that_is_no_name_asks_for_the_backbone(base, tmp_path):
    change(tmp_path, "adapter_config.json", base_model_name_or_path=base)
    with pytest.raises(ValueError, match="^the adapter [^\n]{,400}; give backbone$"):
        read_published(tmp_path)


def test_a_truth_value_is_no_limit(tmp_path):
    change(tmp_path, "tokenizer_config.json", model_max_length=True)
    (tmp_path / "modules.json").write_text("[]", encoding="utf-8")
    assert read_published(tmp_path).input_format.max_length == 0
