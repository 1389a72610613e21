"""Architectures beyond the table, on tiny random models: vectors and tokens are those of the library's own model."""

import ast
import json
import re
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, MobileBertConfig, T5Config, ViTConfig

from tests.unit.families import ARCHITECTURES, save_architecture
from tokalign_helpers.models import heads, hub
from tokalign_helpers.models.decoding import TokenDecoder
from tokalign_helpers.models.embedders import EmbedderSpec
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.models.pooling import first_token, last_token, mean, weighted_mean
from tokalign_helpers.reading.explain import token_contributions

TEXTS = ["What diseases are parrots prone to?", "No", "A garden without birds is a quiet garden."]
ENCODERS = {name for name, (_, kind, _) in ARCHITECTURES.items() if kind == "words"}
# What some do to their scores afterwards, which changes no token's rank.
AFTERWARDS = {
    "gemma2": lambda scores: 5 * torch.tanh(scores / 5),
    "granite": lambda scores: scores / 8,
    "cohere": lambda scores: scores * 0.0625,
}


UNREADABLE = {"modernbert", "deberta-v2, new head"}
POOLINGS = (first_token, last_token, mean, weighted_mean)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    made = {}

    def make(name):
        if name in UNREADABLE and version("transformers").startswith("5.10."):
            pytest.skip("this version of the library cannot read back what it saves of this architecture")
        if name not in made:
            made[name] = save_architecture(tmp_path_factory.mktemp("hub") / "model", *ARCHITECTURES[name])
        return made[name]

    return make


def the_library(folder, name, dtype=torch.float32):
    family = AutoModelForMaskedLM if name in ENCODERS else AutoModelForCausalLM
    return family.from_pretrained(folder, dtype=dtype).eval()


def by_hand(states, pooling):
    n = len(states)
    weights = {
        first_token: [1, *[0] * (n - 1)],
        last_token: [*[0] * (n - 1), 1],
        mean: [1 / n] * n,
        weighted_mean: [2 * (i + 1) / n / (n + 1) for i in range(n)],
    }[pooling]
    return torch.tensor(weights, dtype=torch.float32) @ states


def logits_of(whole, h):
    """The library's own forward pass, with these vectors put where its body's output is."""

    def put(module, arguments, output):
        output.last_hidden_state = h[:, None]
        return output

    hook = whole.base_model.register_forward_hook(put)
    with torch.no_grad():
        logits = whole(input_ids=torch.zeros(len(h), 1, dtype=torch.int64)).logits[:, 0]
    hook.remove()
    return logits


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_vectors_and_tokens_are_the_librarys_own(name, dtype, folder_of):
    """Under every pooling; at 16 bits the decoder layer is still computed in float32."""
    folder = folder_of(name)
    whole = the_library(folder, name, getattr(torch, dtype))
    close = {"atol": 1e-4, "rtol": 1e-4} if dtype == "float32" else {"atol": 0.06, "rtol": 0.05}
    states = None
    for pooling in (first_token, last_token, mean, weighted_mean):
        embedder = load_embedder(EmbedderSpec(name, str(folder), pooling), device="cpu", dtype=dtype)
        if states is None:
            prompts = [torch.tensor([ids]) for ids in embedder.prompts(TEXTS)[0]]
            with torch.no_grad():
                states = [whole.base_model(input_ids=ids).last_hidden_state[0].float() for ids in prompts]
            ends = [whole(input_ids=ids).logits[0, [0, -1]].float() for ids in prompts]
            whole.float()
        h = embedder.embed(TEXTS, cache=False)
        torch.testing.assert_close(h, torch.stack([by_hand(s, pooling) for s in states]), **close)
        logits, (ids, scores) = logits_of(whole, h), embedder.decoder.top_tokens(h, 20)
        torch.testing.assert_close(logits.gather(1, ids), logits.topk(20).values, atol=1e-5, rtol=1e-5)
        after = AFTERWARDS.get(name, lambda scores: scores)
        torch.testing.assert_close(after(embedder.decoder.scores(h)), logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(after(scores), logits.gather(1, ids), atol=1e-4, rtol=1e-4)
        if pooling in (first_token, last_token) and dtype == "float32":  # nothing put anywhere: the plain model
            plain = torch.stack([end[0 if pooling is first_token else 1] for end in ends])
            torch.testing.assert_close(after(embedder.decoder.scores(h)), plain, atol=1e-3, rtol=1e-3)
        assert h.std(dim=0).max() > 0.01


@pytest.mark.parametrize("name", ["gptj", "phi", "codegen"])
def test_the_bias_of_a_causal_decoder_layer_counts(name, folder_of):
    weight, head = hub.decoder_layer(folder_of(name))
    bias = the_library(folder_of(name), name).lm_head.bias
    torch.testing.assert_close(head.bias, bias.detach(), atol=0, rtol=0)
    assert head.transform is None
    scores = TokenDecoder(weight, None, head).scores(torch.zeros(1, 16))
    torch.testing.assert_close(scores[0], bias.detach())


def test_an_embedding_may_be_wider_than_the_decoder_layers_matrix(folder_of):
    embedder = load_embedder(EmbedderSpec("made", str(folder_of("albert")), mean), device="cpu")
    assert (embedder.dimension, embedder.unembedding.shape[1]) == (16, 8)
    with pytest.raises(ValueError, match=r"this decoder reads \(n, 16\)"):
        embedder.decoder.scores(torch.zeros(1, 8))


def test_a_bias_does_not_hinder_the_split_of_a_cosine(folder_of):
    embedder = load_embedder(EmbedderSpec("made", str(folder_of("phi")), mean), device="cpu")
    a, b = embedder.embed(TEXTS[:2], cache=False)
    table = token_contributions(embedder.decoder, a, b)
    assert table["contribution"].sum() == pytest.approx(torch.cosine_similarity(a, b, dim=0).item(), abs=1e-4)
    masked = load_embedder(EmbedderSpec("made", str(folder_of("albert")), mean), device="cpu")
    with pytest.raises(ValueError, match="the head of an encoder is not linear"):
        token_contributions(masked.decoder, a, b)


@pytest.mark.parametrize("name", ["bloom", "falcon", "mamba", "gpt", "biogpt", "electra"])
def test_names_without_the_bodys_prefix_are_found(name, folder_of, tmp_path):
    """BLOOM and GPT lie so on the hub, with an encoder's head beside."""
    folder = shutil.copytree(folder_of(name), tmp_path / "bare")
    prefix = heads.outline_model(AutoConfig.from_pretrained(folder), name).base_model_prefix
    tensors = load_file(folder / "model.safetensors")
    stripped = {n.removeprefix(f"{prefix}."): t for n, t in tensors.items()}
    assert stripped.keys() != tensors.keys()
    save_file(stripped, folder / "model.safetensors", {"format": "pt"})
    (found, _), (expected, _) = (hub.decoder_layer(f) for f in (folder, folder_of(name)))
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("name", "missing"), [("gptj", "lm_head.weight"), ("distilbert", "vocab_projector.bias"), ("phi", "lm_head.weight")]
)
def test_a_model_saved_without_its_head_is_refused_by_what_is_missing(name, missing, tmp_path):
    folder = save_architecture(tmp_path / "bare", *ARCHITECTURES[name], bare=True)
    with pytest.raises(ValueError, match=rf"holds no decoder layer \({missing} is missing\); name the language model"):
        hub.decoder_layer(folder)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (T5Config(), r"is an encoder-decoder model \(t5\)"),
        (ViTConfig(), "is a vit model, of which the library knows no"),
    ],
)
def test_a_model_without_a_readable_decoder_layer_is_refused_with_the_reason(config, said, tmp_path):
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=said) as caught:
        hub.decoder_layer(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_head_that_is_no_matrix_after_layers_is_refused(tmp_path):
    """MobileBERT's matrix is put together from two."""
    sizes = {"hidden_size": 16, "embedding_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
             "num_attention_heads": 2, "intra_bottleneck_size": 16, "true_hidden_size": 16}  # fmt: skip
    folder = save_architecture(tmp_path / "odd", MobileBertConfig, "words", sizes)
    with pytest.raises(ValueError, match="cannot be read apart from its model: MobileBertForMaskedLM is unlike others"):
        hub.decoder_layer(folder)


def test_debertas_own_head_is_found_though_the_configuration_does_not_tell(folder_of, tmp_path):
    name = "deberta-v2, new head"
    folder = shutil.copytree(folder_of(name), tmp_path / "silent")
    about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert about.pop("legacy") is False
    (folder / "config.json").write_text(json.dumps(about), encoding="utf-8")
    decoders = [TokenDecoder(weight, None, head) for weight, head in map(hub.decoder_layer, (folder, folder_of(name)))]
    h = torch.randn(2, 16)
    torch.testing.assert_close(*(decoder.scores(h) for decoder in decoders), atol=0, rtol=0)


def test_untied_matrices_are_told_apart(tmp_path):
    """The decoder layer is read, not the token embeddings, wherever the two differ."""
    for tied in (True, False):
        config, kind, sizes = ARCHITECTURES["falcon"]
        folder = save_architecture(tmp_path / str(tied), config, kind, sizes | {"tie_word_embeddings": tied})
        whole = the_library(folder, "falcon")
        assert (whole.lm_head.weight is whole.transformer.word_embeddings.weight) is tied
        found, _ = hub.decoder_layer(folder)
        torch.testing.assert_close(found, whole.lm_head.weight.detach(), atol=0, rtol=0)


def test_every_call_says_that_no_foreign_code_is_run():
    """No model's own code, anywhere in the package."""
    package, seen = Path(hub.__file__).parents[1], 0
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if re.fullmatch(r"(Auto\w+|family)\.from_(pretrained|config)", called):
                seen += 1
                given = {keyword.arg for keyword in node.keywords}
                assert "trust_remote_code" in given or "**how" in ast.unparse(node), f"{file.name}:{node.lineno}"
    assert seen >= 9
