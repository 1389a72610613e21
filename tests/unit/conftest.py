"""A language model of a few thousand random weights, saved and loaded as a real one is; one cache a test."""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tokalign_helpers.models import embedding
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.models.pooling import last_token

# The same examples on every run, and no time limit on one of them: a slow machine is no failure.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")

CORPUS = [
    "The parrot spoke to the parrots in the garden.",
    "Parrots are prone to diseases of the beak and of the feathers.",
    "What diseases are parrots prone to?",
    "A garden without birds is a quiet garden.",
    "This sentence means one thing in one word.",
]


def save_llama(folder, tokenizer, *, hidden=16, seed=0):
    """Save a random LLaMA and its tokenizer as the hub lays them out."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=1024,
        tie_word_embeddings=False, initializer_range=0.3, bos_token_id=None, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def embedding_cache(tmp_path, monkeypatch):
    """Keep every test's vectors apart, from each other and from the user's."""
    folder = tmp_path / "embeddings"
    monkeypatch.setenv("TOKALIGN_EMBEDDING_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def tokenizer():
    """Byte-level BPE with 400 entries: it has a token for any text, as the real ones do."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|end|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    bpe.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|end|>")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory, tokenizer):
    return save_llama(tmp_path_factory.mktemp("hub") / "tiny", tokenizer)


@pytest.fixture(scope="session")
def tiny(tiny_folder):
    return load_embedder(tiny_folder, pooling=last_token)


@pytest.fixture(scope="session")
def smol():
    return load_embedder("smol-eol")


@pytest.fixture
def passes(monkeypatch):
    """The batch size of every forward pass for embeddings, in order. No hook: what has one is not cached."""
    seen, pad = [], embedding.pad
    monkeypatch.setattr(embedding, "pad", lambda prompts, device: seen.append(len(prompts)) or pad(prompts, device))
    return seen


@pytest.fixture
def start_python(tmp_path):
    """Start code in a new Python process; whatever still runs at the end of the test is stopped."""
    started = []

    def start(code, *arguments):
        found = os.pathsep.join(path for path in sys.path if path)
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": found, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
