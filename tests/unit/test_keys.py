import functools
import json
import random
import re
import shutil
import time
import types
import uuid
import warnings
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from tokenizers import processors
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tokalign_helpers.models import pooling
from tokalign_helpers.models.embedding import _shared_passes, embed_all
from tokalign_helpers.models.input_format import InputFormat
from tokalign_helpers.models.keys import (
    Describer,
    NotKeyableError,
    describe,
    digest,
    evaluating,
    quick_sum,
    version_of,
    weights_digest,
)
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.models.pooling import last_token, mean

TEXTS = ["A parrot.", "A quiet garden without birds.", "What diseases are parrots prone to?"]
SCALE = 1.0


def fresh(tiny_folder, **changes):
    return replace(load_embedder(tiny_folder, pooling=last_token), **changes)


def never_stale(before, after):
    """The vectors of `after` are its own, though `before` has filled the cache."""
    old = before.embed(TEXTS)
    new, computed = after.embed(TEXTS), after.embed(TEXTS, cache=False)
    assert torch.equal(new, computed)
    assert not torch.equal(new, old)  # else the case shows nothing


def written(source, **scope):
    """Define a pooling as a notebook cell does; an edited one has the same name."""
    scope = {"torch": torch, "__name__": "__main__", **scope}
    exec(source, scope)
    return scope["pool"]


def scaled(factor):
    return lambda hidden, mask: hidden[:, 0] * factor


class Scaled:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, hidden, mask):
        return hidden[:, 0] * self.factor


class Head(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.inner = nn.Linear(16, 16)
        self.drop = nn.Dropout(0.5)
        nn.init.constant_(self.inner.weight, factor)

    def forward(self, hidden, mask):
        return self.drop(self.inner(hidden[:, 0]))


MAX = "def pool(hidden, mask):\n    return hidden.max(dim=1).values"
NESTED = "def pool(hidden, mask):\n    return torch.stack([(lambda one: one.max(0).values)(h) for h in hidden])"
HELPED = "def helper(h): return h.max(dim=1).values\ndef pool(hidden, mask): return helper(hidden)"
KEYWORD = "def pool(hidden, mask, *, k=1): return hidden[:, 0] * k"
METHOD = "class P:\n def __call__(self, h, mask): return h.max(dim=1).values\npool = P()"
WRAPPED = "@torch.no_grad()\ndef pool(hidden, mask): return hidden.max(dim=1).values"
EDITED = {
    "another method": (written(MAX), written(MAX.replace("max", "min"))),
    "in a nested function": (written(NESTED), written(NESTED.replace("max", "min"))),
    "in a function that it calls": (written(HELPED), written(HELPED.replace("max", "min"))),
    "in a method": (written(METHOD), written(METHOD.replace("max", "min"))),
    "under a decorator of a library": (written(WRAPPED), written(WRAPPED.replace("max", "min"))),
    "another argument by name": (written(MAX), written(MAX.replace("dim=1", "dim=1, keepdim=False")[:-7] + "[0] * 2")),
    "two lambdas": (lambda h, m: h[:, 0], lambda h, m: h[:, 0] * 2),
    "closures": (scaled(1.0), scaled(2.0)),
    "default arguments": (lambda h, m, k=1: h[:, 0] * k, lambda h, m, k=2: h[:, 0] * k),
    "defaults by keyword": (written(KEYWORD), written(KEYWORD.replace("k=1", "k=2"))),
    "global numbers": tuple(written("def pool(h, m): return h[:, 0] * K", K=k) for k in (1, 2)),
    "global tensors": tuple(written("def pool(h, m): return h[:, 0] * K", K=torch.tensor(k)) for k in (1.0, 2.0)),
    "partials": (functools.partial(Scaled.__call__, Scaled(1.0)), functools.partial(Scaled.__call__, Scaled(2.0))),
    "objects": (Scaled(1.0), Scaled(2.0)),
    "bound methods": (Scaled(1.0).__call__, Scaled(2.0).__call__),
    "modules": (Head(1.0), Head(2.0)),
    "of a module of one's own": tuple(
        written("def pool(h, m): return mine.pick(h, m)", mine=module)
        for module in (types.SimpleNamespace(pick=last_token), types.SimpleNamespace(pick=mean))
    ),
}


@pytest.mark.parametrize("pair", EDITED.values(), ids=EDITED.keys())
def test_an_edited_pooling_meets_no_vector_of_the_old_one(tiny, pair, recwarn):
    never_stale(replace(tiny, pooling=pair[0]), replace(tiny, pooling=pair[1]))
    assert not recwarn.list  # all of them can be cached


def test_values_in_words():
    assert describe([1, 2.0, "a", None, True]) == ["list", 1, ["float", "0x1.0000000000000p+1"], "a", None, True]
    assert describe({"a": (1,)}) == ["dict", ["a", ["tuple", 1]]]
    assert describe({"b", "a"}) == ["set", "a", "b"] != describe(["a", "b"])
    assert describe(1) != describe(1.0) != describe("1") and describe(-0.0) != describe(0.0)
    assert describe(torch.ones(2)) == describe(torch.ones(2)) != describe(torch.ones(2, 1))
    assert describe(np.ones(2)) == describe(np.ones(2)) != describe(np.ones(2, dtype="f4"))
    assert describe(np.array(["a", None], dtype=object)) != describe(np.array(["a", 1], dtype=object))
    assert describe(torch.sum) == describe(torch.sum) != describe(torch.mean)
    assert re.fullmatch("[0-9a-f]{32}", digest([1]))
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
    assert version_of("torch") == torch.__version__
    assert version_of("filelock") != "" == version_of("no_such_library")
    describer = Describer()
    describer.of(torch.nn.functional.normalize)
    assert describer.libraries == {"torch": torch.__version__}
    loop = [1]
    loop.append(loop)
    with pytest.raises(NotKeyableError, match="it holds itself"):
        describe(loop)


def test_what_changes_nothing_discards_nothing():
    plain = "def pool(hidden, mask):\n    return hidden.max(dim=1).values"
    told = 'def pool(hidden, mask):\n    "Take the largest."\n\n    # of each\n    return hidden.max(dim=1).values'
    assert describe(written(plain)) == describe(written(told)) != describe(written(plain.replace("max", "min")))
    string = "def pool(hidden, mask):\n    'max'\n    return getattr(hidden, 'max')(dim=1).values"
    assert describe(written(string)) != describe(written(string.replace("max", "min")))


def test_a_module_of_ones_own_is_told_by_what_is_used_of_it():
    mine = types.ModuleType("mine")
    mine.used, mine.unused = written(MAX), 1
    pool = written("def pool(h, m): return mine.used(h, m)", mine=mine)
    before = describe(pool)
    mine.unused = 2
    assert describe(pool) == before
    mine.used = written(MAX.replace("max", "min"))
    assert describe(pool) != before


def unforeseeable():
    draw = (factor for factor in range(9))
    return {
        "a generator": lambda h, m: h[:, 0] * next(draw),
        "a file": written("def pool(h, m): return h[:, 0] * float(open('x').read())"),
        "code made later": written("def pool(h, m): return eval('h')[:, 0]"),
        "a module imported later": written("def pool(h, m):\n    import not_yet_there\n    return h[:, 0]"),
        "a module in training mode": Scaled(nn.Dropout(0.5)),
        "chance": lambda h, m: h[:, 0] * torch.rand(1),
        "dropout": lambda h, m: nn.functional.dropout(h[:, 0]),
        "the environment": written("import os\ndef pool(h, m): return h[:, 0] * float(os.environ['K'])"),
        "a file by a library": lambda h, m: h[:, 0] * torch.tensor(np.load("factor.npy")),
        "a file of numbers": lambda h, m: h[:, 0] * torch.tensor(np.fromfile("factor")),
        "a file opened by its path": lambda h, m: h[:, 0] * float(Path("factor").open().readline()),
        "chance of the standard library": lambda h, m: h[:, 0] * random.uniform(0, 1),
        "the clock": lambda h, m: h[:, 0] * time.monotonic(),
        "the clock by name": written("from time import time_ns\ndef pool(h, m): return h[:, 0] * time_ns()"),
        "the clock, imported late": written("def pool(h, m):\n    import time\n    return h[:, 0] * time.monotonic()"),
        "the clock under another name": written("import time as t\ndef pool(h, m): return h[:, 0] * t.monotonic()"),
        "an identifier": lambda h, m: h[:, 0] * uuid.uuid4().int,
        "another dropout": lambda h, m: nn.functional.alpha_dropout(h[:, 0], training=True),
        "chance in place": lambda h, m: h[:, 0].clone().exponential_(),
        "a compiled script": torch.jit.trace(nn.Identity(), torch.ones(1)),
    }


@pytest.mark.parametrize("name", unforeseeable())
def test_what_cannot_be_keyed_is_refused(name):
    with pytest.raises(NotKeyableError):
        describe(unforeseeable()[name])


def test_what_cannot_be_keyed_is_embedded_and_not_cached(tiny, embedding_cache):
    factors = (factor for factor in (1.0, 2.0))
    embedder = replace(tiny, pooling=lambda h, m: h[:, 0] * next(factors))
    said = "the vectors of 'tiny' are not cached: its pooling cannot be told apart from others"
    with pytest.warns(UserWarning, match=said) as caught:
        first, second = embedder.embed(TEXTS[:1]), embedder.embed(TEXTS[:1])
    assert len(caught) == 2
    assert torch.equal(second, 2 * first)
    assert not list(embedding_cache.glob("*.sqlite"))
    with pytest.raises(NotKeyableError, match="its pooling cannot be told"):
        _ = embedder.fingerprint


def test_one_that_cannot_be_keyed_leaves_the_cache_to_the_others(tiny, passes):
    factors = (factor for factor in (1.0, 2.0))
    both = {"kept": tiny, "not kept": replace(tiny, pooling=lambda h, m: h[:, 0] * next(factors))}
    with pytest.warns(UserWarning, match="'not kept' are not cached"):
        embed_all(both, TEXTS[:1])
    passes.clear()
    tiny.embed(TEXTS[:1])
    assert not passes


def test_a_pooling_that_changes_while_it_embeds_is_not_cached(tiny):
    count = [0]

    def pool(hidden, mask):
        count[0] += 1
        return hidden[:, 0] * count[0]

    embedder = replace(tiny, pooling=pool)
    with pytest.warns(UserWarning, match="vectors of 'tiny' are not cached: it changed while embedding"):
        first = embedder.embed(TEXTS[:1])
    with pytest.warns(UserWarning, match="it changed"):
        assert torch.equal(embedder.embed(TEXTS[:1]), 2 * first)
    count[0] = 0
    with pytest.warns(UserWarning, match="it changed"):
        assert torch.equal(embedder.embed(TEXTS[:1]), first)


def test_hooks_are_run_and_not_cached(tiny_folder):
    embedder = fresh(tiny_folder)
    plain = embedder.embed(TEXTS)
    handle = embedder.model.layers[0].register_forward_hook(lambda module, args, output: output * 2)
    with pytest.warns(UserWarning, match=r"layers.0 has a forward hook"):
        assert not torch.equal(embedder.embed(TEXTS), plain)
    handle.remove()
    assert torch.equal(embedder.embed(TEXTS), plain)


def test_hooks_of_libraries_change_nothing(tiny_folder):
    embedder = fresh(tiny_folder)
    before = embedder.fingerprint
    embedder.model(input_ids=torch.ones(1, 2, dtype=torch.int64), output_hidden_states=True)
    assert embedder.fingerprint == before
    add_hook_to_module(embedder.model, AlignDevicesHook(io_same_device=True))
    assert embedder.fingerprint == embedder.fingerprint  # it can be cached


WRITES = {
    "through .data": lambda model: model.norm.weight.data.mul_(3),
    "a large one through .data": lambda model: model.embed_tokens.weight.data.mul_(3),
    "one number through .data": lambda model: model.layers[1].mlp.up_proj.weight.data.view(-1)[7].add_(1),
    "turned round through .data": lambda model: model.layers[0].mlp.down_proj.weight.data.copy_(
        model.layers[0].mlp.down_proj.weight.data.flip(1).clone()
    ),
    "another tensor": lambda model: setattr(model.norm, "weight", nn.Parameter(model.norm.weight * 3)),
    "through numpy": lambda model: np.multiply(n := model.norm.weight.detach().numpy(), 3, out=n),
    "a buffer": lambda model: model.rotary_emb.inv_freq.data.mul_(3),
    "fewer layers": lambda model: model.layers.__delitem__(1),
    "a setting beside the weights": lambda model: setattr(model.norm, "variance_epsilon", 1.0),
    "a method of one module": lambda model: setattr(model.norm, "forward", lambda x: x * 2),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_a_changed_model_meets_no_vector_of_the_old_one(tiny_folder, write):
    embedder = fresh(tiny_folder)
    old = embedder.embed(TEXTS)
    write(embedder.model)
    never = embedder.embed(TEXTS)
    assert torch.equal(never, embedder.embed(TEXTS, cache=False))
    assert not torch.equal(never, old)


def test_a_method_exchanged_for_a_whole_class_is_noticed(tiny_folder, monkeypatch):
    embedder = fresh(tiny_folder)
    old = embedder.embed(TEXTS)
    monkeypatch.setattr(type(embedder.model.norm), "forward", lambda self, x: x * 2)
    assert not torch.equal(embedder.embed(TEXTS), old)


def test_an_attention_of_ones_own_is_told_by_what_it_does(tiny_folder, monkeypatch):
    embedder, keys = fresh(tiny_folder), set()
    sdpa = ALL_ATTENTION_FUNCTIONS["sdpa"]
    for factor in (1.0, 2.0):
        own = written("def pool(*given, **how):\n    out, kept = sdpa(*given, **how)\n    return out * K, kept",
                      sdpa=sdpa, K=factor)  # fmt: skip
        monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "own", own)
        embedder.model.config._attn_implementation = "own"
        vectors = embedder.embed(TEXTS)
        assert torch.equal(vectors, embedder.embed(TEXTS, cache=False))
        keys.add(embedder.fingerprint)
    assert len(keys) == 2


def test_modules_that_know_each_other_come_to_an_end():
    one, two = types.ModuleType("one"), types.ModuleType("two")
    one.two, two.one, two.pick = two, one, last_token
    pool = written("def pool(h, m): return one.two.one.two.pick(h, m)", one=one)
    before = describe(pool)
    two.pick = mean
    assert describe(pool) != before


def test_every_number_of_a_large_tensor_counts():
    numbers = torch.arange(60_000, dtype=torch.float32)
    before = quick_sum({"": numbers})
    for place in [0, 1, 2_041, 2_042, 31_337, 57_175, 57_176, 59_999]:  # at the borders of blocks, and in the rest
        old = numbers[place].clone()
        numbers.data[place] = -1
        assert quick_sum({"": numbers}) != before, place
        numbers.data[place] = old
    assert quick_sum({"": numbers}) == before
    assert re.fullmatch("[0-9a-f]{32}", before)
    assert quick_sum({"": numbers.flip(0)}) != before
    layer = nn.Linear(400, 300)
    digest_before = weights_digest(layer)
    layer.weight.data[299, 399] += 1
    assert weights_digest(layer) != digest_before


@pytest.mark.parametrize(
    "change",
    [{"hidden_act": "gelu"}, {"rms_norm_eps": 1.0}, {"rope_parameters": {"rope_theta": 9.0, "rope_type": "default"}}],
    ids=lambda change: next(iter(change)),
)
def test_the_same_weights_under_another_configuration(tiny_folder, tmp_path, change):
    other = shutil.copytree(tiny_folder, tmp_path / "other")
    settings = json.loads((other / "config.json").read_text()) | change
    (other / "config.json").write_text(json.dumps(settings))
    never_stale(fresh(tiny_folder), fresh(other))


def test_settings_that_only_the_configuration_holds_are_in_the_key(tiny_folder):
    embedder = fresh(tiny_folder)
    keys = {embedder.fingerprint}
    for name, value in {"sliding_window": 3, "_attn_implementation": "eager", "max_position_embeddings": 99}.items():
        setattr(embedder.model.config, name, value)
        keys.add(embedder.fingerprint)
    assert len(keys) == 4


def test_the_name_and_the_folder_are_not_in_the_key_nor_what_was_read_before(tiny_folder, tmp_path):
    one, two = fresh(tiny_folder), fresh(shutil.copytree(tiny_folder, tmp_path / "elsewhere"), name="two")
    before = one.key_parts()
    assert before == two.key_parts() == json.loads(json.dumps(before))
    one.embed(TEXTS)
    one.tokenizer(TEXTS, truncation=True, max_length=3)
    assert one.key_parts() == before


@pytest.mark.slow
def test_another_process_finds_the_same_key(tiny_folder, start_python, monkeypatch):
    code = (
        "import sys; from tests.unit.test_keys import fresh, STRANGE, describe, digest\n"
        "from pathlib import Path\n"
        "print(fresh(Path(sys.argv[1])).fingerprint, digest(describe(STRANGE)))"
    )
    monkeypatch.setenv("PYTHONHASHSEED", "7")  # sets and dictionaries of strings have another order there
    out, err = start_python(code, tiny_folder).communicate(timeout=300)
    assert out.split() == [fresh(tiny_folder).fingerprint, digest(describe(STRANGE))], err


def STRANGE(hidden, mask, *, of=frozenset({"a", "b", "c", "d"})):  # noqa: N802
    return hidden[:, 0] if "a" in {"a", "b", "c", "d", "e"} and of else Scaled(SCALE)(hidden, mask)


def with_adapters(tiny_folder):
    embedder = fresh(tiny_folder)
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    model = peft.get_peft_model(embedder.model, config, adapter_name="one")
    model.add_adapter("two", config)
    return replace(embedder, model=model)


def test_adapters_switched_on_and_off_are_noticed(tiny_folder):
    embedder = with_adapters(tiny_folder)
    one = embedder.embed(TEXTS)
    embedder.model.set_adapter("two")
    two = embedder.embed(TEXTS)
    with embedder.model.disable_adapter():
        none = embedder.embed(TEXTS)
        assert torch.equal(none, embedder.embed(TEXTS, cache=False))
    assert torch.equal(two, embedder.embed(TEXTS, cache=False))
    embedder.model.set_adapter("one")
    assert torch.equal(one, embedder.embed(TEXTS))
    assert not torch.equal(one, two)
    assert torch.equal(none, fresh(tiny_folder).embed(TEXTS))
    embedder.model.base_model.model.layers[0].self_attn.q_proj.scaling["one"] = 9.0
    assert not torch.equal(one, embedder.embed(TEXTS))


@pytest.mark.filterwarnings("error")
def test_a_model_in_training_mode_makes_no_noise(tiny_folder):
    embedder = fresh(tiny_folder, pooling=Head(0.1).eval())
    embedder.model.config.attention_dropout = 0.5
    for layer in embedder.model.layers:
        layer.self_attn.attention_dropout = 0.5
    quiet = embedder.embed(TEXTS, cache=False)
    embedder.model.train()
    embedder.model.layers[0].eval()
    embedder.pooling.train()
    modes = [m.training for m in embedder.model.modules()]
    assert torch.equal(embedder.embed(TEXTS, cache=False), quiet)
    assert torch.equal(embedder.embed(TEXTS), quiet)
    assert [m.training for m in embedder.model.modules()] == modes
    assert embedder.pooling.training


def test_training_mode_comes_back_after_an_error():
    module = nn.Dropout()
    with pytest.raises(ZeroDivisionError), evaluating(module, "no module"):
        _ = 1 / module.training
    assert module.training


def test_the_tokenizer_is_in_the_key(tiny_folder):
    embedder = fresh(tiny_folder)
    keys = {embedder.fingerprint}
    embedder.tokenizer.add_tokens(["parrot"])
    keys.add(embedder.fingerprint)
    embedder.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|end|>", special_tokens=[("<|end|>", 0)]
    )
    keys.add(embedder.fingerprint)
    embedder.tokenizer.model_max_length = 5
    keys.add(embedder.fingerprint)
    assert len(keys) == 4


OTHERWISE = {
    "template": "{text}!", "max_tokens": 7, "max_length": 9, "span": "rest", "attention": "full",
    "brackets": ("<|end|>", ""), "query_template": "q {text}", "query_brackets": ("", "<|end|>"),
    "instruction_format": "{instruction} {text}",
}  # fmt: skip


def test_every_field_of_the_input_format_is_tried():
    assert OTHERWISE.keys() == {field.name for field in fields(InputFormat)}


@pytest.mark.parametrize("field", OTHERWISE)
def test_how_a_text_is_read_is_in_the_key_and_parts_the_passes(tiny, field):
    other = tiny.with_input_format(**{field: OTHERWISE[field]})
    assert other.fingerprint != tiny.fingerprint
    assert _shared_passes({"a": tiny, "b": other, "c": replace(tiny, pooling=mean)}) == [["a", "c"], ["b"]]


def test_what_is_made_of_the_states_is_in_the_key_but_shares_the_pass(tiny):
    others = [tiny, replace(tiny, pooling=mean), replace(tiny, unit_length=True)]
    assert len({embedder.fingerprint for embedder in others}) == 3
    assert _shared_passes(dict(zip("abc", others, strict=True))) == [["a", "b", "c"]]


def test_a_vector_has_the_length_that_its_makers_give_it(tiny):
    unit = replace(tiny, name="unit", unit_length=True)
    both = embed_all({"plain": tiny, "unit": unit}, TEXTS, cache=False)
    assert torch.equal(both["unit"], nn.functional.normalize(both["plain"], dim=1))
    assert torch.equal(unit.embed(TEXTS), both["unit"])


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("template", "none", "must contain {text} exactly once"), ("query_template", "none", "exactly once"),
        ("instruction_format", "{instruction}", "exactly once"), ("template", "\ud800 {text}", "lone surrogate"),
        ("max_tokens", 0, "max_tokens is 0"), ("max_length", -1, "max_length is -1"),
        ("span", "some", "span is one of"), ("attention", "both", "attention of"),
        ("brackets", "[]", "brackets is .*give two strings"),
        ("query_brackets", ("[",), "query_brackets is .*give two strings"),
    ],
)  # fmt: skip
def test_an_input_format_that_says_nothing_sensible_is_refused(field, value, said):
    with pytest.raises(ValueError, match=said):
        InputFormat(**{field: value})


def test_an_embedder_takes_an_input_format_only(tiny):
    with pytest.raises(TypeError, match="input_format is '{text}'; give InputFormat"):
        replace(tiny, input_format="{text}")


def test_how_the_machine_counts_is_in_the_key(tiny):
    plain = tiny.fingerprint
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert tiny.fingerprint != plain
        rounded = tiny.embed(TEXTS)
    assert not torch.equal(rounded, tiny.embed(TEXTS))
    assert tiny.fingerprint == plain
    torch.set_float32_matmul_precision("medium")
    try:
        assert tiny.fingerprint != plain
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_comment_in_the_code_of_the_package_is_not_in_the_key(tiny, monkeypatch):
    from tokalign_helpers.models import embedding

    before = tiny.fingerprint
    monkeypatch.setattr(embedding, "__file__", "/no/such/file")
    monkeypatch.setattr(pooling, "__file__", "/no/such/file")
    assert tiny.fingerprint == before
    monkeypatch.setattr(embedding, "VERSION", embedding.VERSION + 1)
    assert tiny.fingerprint != before


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused_with_its_text_and_never_cached(tiny, passes, number):
    def pool(hidden, mask):
        vectors = last_token(hidden, mask).clone()
        vectors[mask.sum(1) == longest, 3] = number
        return vectors

    longest = max(len(ids) for ids in tiny.prompts(TEXTS)[0])
    texts = [TEXTS[0], TEXTS[2], TEXTS[1]] if longest == len(tiny.prompts(TEXTS[2:])[0][0]) else TEXTS
    embedder = replace(tiny, pooling=pool)
    place = [len(ids) for ids in tiny.prompts(texts)[0]].index(longest)
    embedder.embed([texts[0]])
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"'tiny' makes NaN or infinity for texts\[{place}\], "):
            embedder.embed(texts)


def test_warnings_are_not_raised_for_the_packages_own_embedders(smol):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parts = smol.key_parts()
    assert list(parts)[:2] == ["computation", "libraries"]
    assert {"torch", "transformers", "tokenizers"} <= parts["libraries"].keys()
