"""Random models of a few thousand weights of every architecture in the table, saved as the hub lays them out."""

import json
from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AlbertConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoTokenizer,
    BertConfig,
    BioGptConfig,
    BloomConfig,
    CodeGenConfig,
    CohereConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    EsmConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPTJConfig,
    GPTNeoConfig,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    ModernBertConfig,
    MPNetConfig,
    MptConfig,
    OpenAIGPTConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    RobertaConfig,
    XLMConfig,
)

from tests.unit.conftest import CORPUS
from tokalign_helpers.models import loading

MORE = ["[INST] [/INST] {passage: query: Instruct: Query:}", 'This sentence of "a garden" means one word.']
ROTARY = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 256, "initializer_range": 0.4,
}  # fmt: skip
ENCODER = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "initializer_range": 0.4,
}  # fmt: skip
OPT = {
    "ffn_dim": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 256, "init_std": 0.4,
}  # fmt: skip
# Which architecture, with which tokenizer, stands for a backbone of the table.
FAMILIES = {
    "EleutherAI/gpt-neo": (
        GPTNeoConfig, "bytes",
        {
            "hidden_size": 16, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]],
            "window_size": 8, "max_position_embeddings": 256, "initializer_range": 0.4,
        },
    ),
    "facebook/opt-350m": (
        OPTConfig, "bytes, start", {**OPT, "hidden_size": 24, "word_embed_proj_dim": 16, "do_layer_norm_before": False}
    ),
    "facebook/opt": (OPTConfig, "bytes, start", {**OPT, "hidden_size": 16, "word_embed_proj_dim": 16}),
    "huggyllama/": (LlamaConfig, "pieces", {**ROTARY, "tie_word_embeddings": False}),
    "mistralai/": (MistralConfig, "pieces", {**ROTARY, "tie_word_embeddings": False, "sliding_window": None}),
    "GritLM/": (MistralConfig, "pieces", {**ROTARY, "tie_word_embeddings": False, "sliding_window": None}),
    "Qwen/": (Qwen3Config, "bytes, end", {**ROTARY, "tie_word_embeddings": True}),
    "gemma-3": (
        Gemma3TextConfig, "pieces",
        {
            **ROTARY, "query_pre_attn_scalar": 8, "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "SPLADE": (BertConfig, "words", {**ENCODER, "max_position_embeddings": 64}),
    "google-bert/": (BertConfig, "words", {**ENCODER, "max_position_embeddings": 64}),
    "microsoft/mpnet": (MPNetConfig, "words", {**ENCODER, "max_position_embeddings": 66}),
}  # fmt: skip

ENCODER_64 = {**ENCODER, "max_position_embeddings": 64}
GPT = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 256, "initializer_range": 0.4}
# Architectures beyond the table, by what is odd about their decoder layers.
ARCHITECTURES = {
    "bloom": (BloomConfig, "bytes", {"hidden_size": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.4}),
    "falcon": (
        FalconConfig, "bytes",
        {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.4},
    ),
    "mamba": (
        MambaConfig, "bytes", {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 2, "initializer_range": 0.4}
    ),
    "biogpt": (BioGptConfig, "bytes", {**ENCODER, "max_position_embeddings": 256}),
    "gpt": (OpenAIGPTConfig, "bytes", GPT),
    "gptj": (GPTJConfig, "bytes", {**GPT, "rotary_dim": 4}),  # this one, CodeGen and Phi add a bias to their scores
    "codegen": (CodeGenConfig, "bytes", {**GPT, "n_head": 4, "rotary_dim": 4}),
    "phi": (PhiConfig, "bytes", {**{n: v for n, v in ROTARY.items() if n != "head_dim"}, "partial_rotary_factor": 0.5}),
    "mpt": (
        MptConfig, "bytes",
        {"d_model": 16, "n_heads": 2, "n_layers": 2, "max_seq_len": 256, "initializer_range": 0.4},
    ),
    "gpt-neox": (GPTNeoXConfig, "bytes", {**ENCODER, "max_position_embeddings": 256, "rotary_pct": 0.5}),
    "gemma2": (  # caps its scores softly
        Gemma2Config, "bytes", {**ROTARY, "final_logit_softcapping": 5.0, "query_pre_attn_scalar": 8}
    ),
    "granite": (GraniteConfig, "bytes", {**ROTARY, "logits_scaling": 8.0}),  # divides its scores
    "cohere": (CohereConfig, "bytes", {**ROTARY, "logit_scale": 0.0625}),
    "distilbert": (
        DistilBertConfig, "words",
        {
            "dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 64,
            "initializer_range": 0.4,
        },
    ),
    "modernbert": (ModernBertConfig, "words", {**ENCODER_64, "global_attn_every_n_layers": 1, "decoder_bias": True}),
    "electra": (ElectraConfig, "words", {**ENCODER_64, "embedding_size": 8}),
    "deberta-v2": (
        DebertaV2Config, "words",
        {**ENCODER_64, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16},
    ),
    "deberta-v2, new head": (DebertaV2Config, "words", {**ENCODER_64, "legacy": False}),
    "albert": (AlbertConfig, "words", {**ENCODER_64, "embedding_size": 8, "hidden_act": "gelu_new"}),
    "roberta": (RobertaConfig, "words", {**ENCODER, "max_position_embeddings": 66}),
    "esm": (EsmConfig, "words", {**ENCODER_64, "position_embedding_type": "rotary", "mask_token_id": 4}),
    "xlm": (
        XLMConfig, "words",
        {
            "emb_dim": 16, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 64, "embed_init_std": 0.4,
            "init_std": 0.4,
        },
    ),
}  # fmt: skip


def family_of(backbone):
    return next(prefix for prefix in FAMILIES if backbone.startswith(prefix))


def bytes_tokenizer(post=""):
    """As GPT-2's; ``start``: OPT's mark in front; ``end``: Qwen3-Embedding's mark behind."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=380, special_tokens=["<|endoftext|>", "</s>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    bpe.train_from_iterator(CORPUS + MORE, trainer)
    if post:
        single = {"start": "</s> $A", "end": "$A <|endoftext|>"}[post]
        marks = [(mark, bpe.token_to_id(mark)) for mark in ("</s>", "<|endoftext|>")]
        bpe.post_processor = processors.TemplateProcessing(single=single, special_tokens=marks)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="</s>", pad_token="<|endoftext|>", padding_side="left"
    )


def pieces_tokenizer():
    """As LLaMA's: SentencePiece with a mark for spaces, single bytes for the rest, <s> in front."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first")
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    marks = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=440, special_tokens=marks, show_progress=False)
    bpe.train_from_iterator(CORPUS + MORE, trainer)
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def words_tokenizer():
    """As BERT's: lower-case WordPiece."""
    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.decoder = decoders.WordPiece()
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces.train_from_iterator(
        CORPUS + MORE, trainers.WordPieceTrainer(vocab_size=200, special_tokens=marks, show_progress=False)
    )
    pieces.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=pieces, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]",
        mask_token="[MASK]", model_max_length=64,
    )  # fmt: skip


TOKENIZERS = {
    "bytes": bytes_tokenizer,
    "bytes, start": lambda: bytes_tokenizer("start"),
    "bytes, end": lambda: bytes_tokenizer("end"),
    "pieces": pieces_tokenizer,
    "words": words_tokenizer,
}


def save_model(folder, backbone, *, seed=0, bare=False, shards=False):
    """Save a random model; ``bare``: without its head, as most embedders are; ``shards``: in many small files."""
    return save_architecture(folder, *FAMILIES[family_of(backbone)], seed=seed, bare=bare, shards=shards)


def save_architecture(folder, config_class, kind, sizes, *, seed=0, bare=False, shards=False):
    """Save a random model of an architecture; ``kind``: of its tokenizer."""
    tokenizer = TOKENIZERS[kind]()
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 1 if config_class is MPNetConfig else 0}
    config = config_class(vocab_size=len(tokenizer), **sizes, **special)
    torch.manual_seed(seed)
    whole = AutoModelForMaskedLM if kind == "words" else AutoModelForCausalLM
    whole = AutoModelForPreTraining if config_class is BertConfig else whole  # with a pooler, as it is published
    model = (AutoModel if bare else whole).from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:  # fresh models have biases of 0 and norms of 1, which hide mistakes
                parameter.add_(torch.randn_like(parameter) * 0.1)
            assert torch.isfinite(parameter).all(), name
    model.save_pretrained(folder, **({"max_shard_size": "4KB"} if shards else {}))
    tokenizer.save_pretrained(folder)
    return folder


def save_adapter(folder, model_folder, *, seed, head=True):
    """Save a LoRA adapter as PEFT does, by hand; ``head``: trained on the model with its decoder layer."""
    body = AutoModel.from_pretrained(model_folder)
    outer = "model." if head else ""
    draw, tensors = torch.Generator().manual_seed(seed), {}
    for name, module in body.named_modules():
        if name.endswith(("q_proj", "v_proj")):
            rows, columns = module.weight.shape
            stem = f"base_model.model.{outer}{name}"
            tensors[f"{stem}.lora_A.weight"] = torch.randn(2, columns, generator=draw) * 0.2
            tensors[f"{stem}.lora_B.weight"] = torch.randn(rows, 2, generator=draw) * 0.2
    about = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj"],
        "base_model_name_or_path": "somewhere/else", "bias": "none",
    }  # fmt: skip
    Path(folder).mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(about), encoding="utf-8")
    return folder


def as_published(folder, pickles=(), *, shards=False, legacy=False, tokenizer=False):
    """Lay a model or an adapter out as the hub has it.

    ``pickles``: which pickled files there may be, in place of safetensors; ``shards``: in several; ``legacy``: as
    PyTorch wrote them before 1.6; ``tokenizer``: GPT-2's in its two old files, without a tokenizer.json.
    """
    for safe, name in (("model.safetensors", "pytorch_model.bin"), ("adapter_model.safetensors", "adapter_model.bin")):
        if name in pickles and (folder / safe).is_file():
            tensors = load_file(folder / safe)
            if "lm_head.weight" not in tensors and (stem := tied_name(tensors)) and name.startswith("pytorch"):
                tensors["lm_head.weight"] = tensors[stem]  # tied: one memory under two names, as pickles have it
            (folder / safe).unlink()
            _pickle(folder, name, tensors, shards, legacy)
    if tokenizer:
        _old_tokenizer(folder)
    return folder


def tied_name(tensors):
    return next((n for n in tensors if n.startswith("model.") and n.endswith("embed_tokens.weight")), None)


def _pickle(folder, name, tensors, shards, legacy):
    how = {"_use_new_zipfile_serialization": not legacy}
    if not shards:
        torch.save(tensors, folder / name, **how)
        return
    names, index = list(tensors), {}
    for number, some in enumerate((names[::2], names[1::2]), 1):
        file = f"pytorch_model-{number:05d}-of-00002.bin"
        torch.save({n: tensors[n] for n in some}, folder / file, **how)
        index |= dict.fromkeys(some, file)
    text = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "pytorch_model.bin.index.json").write_text(text, encoding="utf-8")


def _old_tokenizer(folder):
    whole = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    begins = len(AutoTokenizer.from_pretrained(folder)("a").input_ids) > 1
    (folder / "vocab.json").write_text(json.dumps(whole["model"]["vocab"]), encoding="utf-8")
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in whole["model"]["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]), encoding="utf-8")
    about = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, "add_bos_token": begins}
    about |= dict.fromkeys(("bos_token", "eos_token", "unk_token"), "</s>") | {"pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about), encoding="utf-8")
    (folder / "tokenizer.json").unlink()
    (folder / "special_tokens_map.json").unlink(missing_ok=True)


def package(folder, monkeypatch):
    """Put a model in the place of the packaged one, for a test."""
    monkeypatch.setattr(loading, "_backbone", lru_cache(loading._backbone.__wrapped__))
    monkeypatch.setattr(loading, "_merged_backbone", lru_cache(loading._merged_backbone.__wrapped__))
    monkeypatch.setattr(loading, "default_model_path", lambda: folder)
    monkeypatch.setattr(loading, "model_path", lambda name: folder)
