"""Which embedders exist, as data, and loading them by name."""

import copy
import difflib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import peft
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tokalign_helpers.assets import data_dir, default_model_path, quiet_transformers
from tokalign_helpers.embedding import EOL, EOL_ABOUT, SLOT, Embedder, load_llm
from tokalign_helpers.pooling import Pooling, last_token, mean, weighted_mean

SMOL = "SmolLM2-135M-Instruct"
SHARE_ALIKE = "CC BY-SA 4.0 (adapter), Apache-2.0 (model)"


@dataclass(frozen=True)
class EmbedderSpec:
    """What makes an embedder: a row of the table below, never a branch in the code."""

    name: str
    backbone: str
    pooling: Pooling
    template: str = SLOT
    adapter: str = ""
    made_by: str = "as it is"
    license: str = "Apache-2.0"


EMBEDDERS: dict[str, EmbedderSpec] = {
    spec.name: spec
    for spec in (
        EmbedderSpec("smol-last", SMOL, last_token),
        EmbedderSpec("smol-mean", SMOL, mean),
        EmbedderSpec("smol-wmean", SMOL, weighted_mean),
        EmbedderSpec("smol-eol", SMOL, last_token, EOL, made_by="prompt"),
        EmbedderSpec("smol-cse", SMOL, weighted_mean, adapter="smol-cse", made_by="contrastive", license=SHARE_ALIKE),
        EmbedderSpec("smol-sim", SMOL, last_token, EOL, "smol-sim", "prompt + contrastive", SHARE_ALIKE),
        EmbedderSpec("smol-rel", SMOL, last_token, EOL, "smol-rel", "prompt + contrastive", SHARE_ALIKE),
    )
}


def load_embedder(name: str) -> Embedder:
    """Load an embedder of :data:`EMBEDDERS`. For one of your own see :meth:`Embedder.from_pretrained`.

    Parameters
    ----------
    name : str

    Returns
    -------
    Embedder
        Embedders of one backbone share its weights in memory.

    Raises
    ------
    ValueError
        If there is none of that name; the message suggests the nearest.
    AssetError
        If the default model cannot be fetched.
    """
    if name not in EMBEDDERS:
        near = difflib.get_close_matches(name, EMBEDDERS, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"unknown embedder {name!r}{hint} Known: {', '.join(EMBEDDERS)}")
    spec = EMBEDDERS[name]
    model, tokenizer, unembedding = _backbone()
    if spec.adapter:
        model = _adapted(spec.adapter)
    asked = EOL_ABOUT if spec.template == EOL else ""
    return Embedder(spec.name, model, tokenizer, unembedding, spec.pooling, spec.template, instruction_format=asked)


def load_embedders(names: Sequence[str]) -> dict[str, Embedder]:
    """Load several embedders.

    Parameters
    ----------
    names : Sequence[str]

    Returns
    -------
    dict[str, Embedder]
        In the order of `names`.

    Raises
    ------
    ValueError, AssetError
        As :func:`load_embedder`.
    """
    return {name: load_embedder(name) for name in names}


def adapters_dir() -> Path:
    """Return the folder of the course's own adapters, one folder each."""
    return data_dir() / "adapters"


def merge_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Return a copy of a model with a LoRA adapter merged in. What the adapter leaves alone is shared, not copied.

    Parameters
    ----------
    model : PreTrainedModel
        f, without the decoder layer. It is not changed.
    folder : Path
        In PEFT's format: ``adapter_config.json`` and ``adapter_model.safetensors``.

    Returns
    -------
    PreTrainedModel

    Raises
    ------
    ValueError
        If there is no adapter, its file is damaged, or it belongs to another backbone.
    """
    shapes = _adapter_shapes(folder)
    touched = {name.rpartition(".lora_")[0].removeprefix("base_model.model.") for name in shapes}
    modules = dict(model.named_modules())
    for name, shape in shapes.items():
        module, _, side = name.removeprefix("base_model.model.").partition(".lora_")
        weight = getattr(modules.get(module), "weight", None)
        if weight is None or shape[1 if side[0] == "A" else 0] != weight.shape[1 if side[0] == "A" else 0]:
            raise ValueError(f"the adapter in {folder} belongs to another backbone: {name} has no place in this model")
    shared = {id(p): p for name, p in model.named_parameters() if name.rpartition(".")[0] not in touched}
    copied = copy.deepcopy(model, shared)
    with warnings.catch_warnings(), quiet_transformers():
        warnings.simplefilter("ignore")  # peft asks for the embedding layer's vocabulary on a hub that is not needed
        merged = peft.PeftModel.from_pretrained(copied, folder).merge_and_unload(safe_merge=True)
    return merged.eval().requires_grad_(False)


def _adapter_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    try:
        json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        with safe_open(folder / "adapter_model.safetensors", "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        missing = "adapter_model.safetensors" if (folder / "adapter_config.json").is_file() else "adapter_config.json"
        raise ValueError(f"no adapter in {folder}: {missing} is missing") from error
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"the adapter in {folder} is damaged ({error}); fetch it again") from error


@lru_cache(maxsize=8)
def _adapted(adapter: str) -> PreTrainedModel:
    return merge_adapter(_backbone()[0], adapters_dir() / adapter)


@lru_cache(maxsize=1)
def _backbone() -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Tensor]:
    with quiet_transformers():
        return load_llm(default_model_path())
