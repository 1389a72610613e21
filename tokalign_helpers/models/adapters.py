"""PEFT adapters, merged into a body f as PEFT merges them into the whole language model.

An adapter is first tried on an outline of the model, which has no weights: what does not fit is refused before anything
is changed, and what it leaves alone need not be copied.
"""

import copy
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel

from tokalign_helpers.basics.assets import AssetError, quiet_transformers
from tokalign_helpers.basics.checks import first_line, one_line
from tokalign_helpers.models.heads import outline_model
from tokalign_helpers.models.hub import ADAPTER, ADAPTER_PICKLE, read_tensors

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

OUTER = "base_model.model."  # in front of every name in an adapter's file


def merge_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Return a copy of a model with an adapter merged in. What a LoRA adapter leaves alone is shared, not copied.

    Parameters
    ----------
    model : PreTrainedModel
        f, without the decoder layer; the adapter may have been trained with it. It is not changed.
    folder : Path
        In PEFT's format: ``adapter_config.json`` and ``adapter_model.safetensors``.

    Returns
    -------
    PreTrainedModel
        Its vectors are those of PEFT: adapter put on the whole language model, merged, decoder layer taken off.

    Raises
    ------
    ValueError
        If there is no adapter, its file is damaged or incomplete, it belongs to another backbone, or it is of a kind
        that cannot be merged; one line that names the reason.
    """
    return _merged(model, folder, copied=True)


def merge_into(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Merge an adapter into a model, in place: a large model is not held twice.

    Parameters
    ----------
    model : PreTrainedModel
        f, without the decoder layer; the adapter may have been trained with it.
    folder : Path
        In PEFT's format, as :func:`~tokalign_helpers.models.hub.adapter_folder` gives it.

    Returns
    -------
    PreTrainedModel

    Raises
    ------
    ValueError
        As :func:`merge_adapter`.
    """
    return _merged(model, folder, copied=False)


@dataclass(frozen=True, eq=False)
class _Adapter:
    """An adapter's files, read and checked."""

    folder: Path
    config: "PeftConfig"
    tensors: dict[str, Tensor]

    @property
    def kind(self) -> str:
        return str(getattr(self.config.peft_type, "value", self.config.peft_type))

    def refuse(self, why: str) -> ValueError:
        return ValueError(f"the adapter in {self.folder} {why}")


def _merged(model: PreTrainedModel, folder: Path, copied: bool) -> PreTrainedModel:
    adapter = _read(folder)
    with _one_line_for(adapter):
        whole = _shadow(model)
        inner = _inner(whole, model)
        shadow = inner if whole is None or _places(adapter, whole) < _places(adapter, inner) else whole
        outer = shadow is whole
        touched = _tried_on(adapter, shadow)
        root = _around(model, touched) if outer else model
        if copied:
            root = copy.deepcopy(root, _left_alone(adapter, root, touched))
        wrapped = _wrapped(root, adapter.config)
        wrapped.load_adapter(str(folder), "default")
        merged = wrapped.merge_and_unload(safe_merge=True)
    body = merged.base_model if outer else merged
    return body.eval().requires_grad_(False)


def _read(folder: Path) -> _Adapter:
    """Read an adapter's files; refuse what is missing, damaged, not finite or of a kind without weights to merge."""
    about, config = _about(folder), _config(folder)
    file = next((folder / name for name in (ADAPTER, ADAPTER_PICKLE) if (folder / name).is_file()), None)
    if file is None:
        raise ValueError(f"no adapter in {folder}: {ADAPTER} is missing")
    try:
        adapter = _Adapter(folder, config, read_tensors(file))
    except AssetError as error:
        raise ValueError(f"the adapter in {folder} is damaged ({first_line(error)}); fetch it again") from error
    if config.is_prompt_learning:
        raise adapter.refuse(
            f"is of the kind {adapter.kind}: it puts vectors of its own before each text, and has no weights that "
            "could be merged"
        )
    if getattr(config, "layer_replication", None):
        raise adapter.refuse("repeats layers that share their weights (layer_replication), so that none can be merged")
    unknown = set(about) - {field.name for field in fields(config)}
    newer = [key for key in unknown if about[key] is True or (isinstance(about[key], dict | list) and about[key])]
    if newer:
        raise adapter.refuse(
            f"sets {min(newer)}, which this version of peft does not know; update it: pip install -U peft"
        )
    bad = next((name for name, tensor in adapter.tensors.items() if not torch.isfinite(tensor).all()), None)
    if bad:
        raise adapter.refuse(f"holds NaN or Inf in {bad}; it cannot be used")
    return adapter


def _about(folder: Path) -> dict[str, object]:
    try:
        about = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"no adapter in {folder}: adapter_config.json is missing") from error
    except ValueError as error:
        raise ValueError(f"the adapter in {folder} is damaged ({first_line(error)}); fetch it again") from error
    if not isinstance(about, dict) or not about.get("peft_type"):
        raise ValueError(f"the adapter in {folder} is not PEFT's: its adapter_config.json names no peft_type")
    return about


def _config(folder: Path) -> "PeftConfig":
    import peft

    with one_line(f"peft cannot read the configuration of the adapter in {folder}"), _quiet():
        config = peft.PeftConfig.from_pretrained(str(folder))
    config.inference_mode = True
    config.task_type = None  # it says what is generated, not what is merged
    config.base_model_name_or_path = None  # peft would ask the hub for it
    return config


@contextmanager
def _one_line_for(adapter: _Adapter) -> Iterator[None]:
    """Turn any error of peft about an adapter into one line."""
    try:
        with _quiet():
            yield
    except Exception as error:  # peft refuses by many kinds of errors
        if isinstance(error, ValueError) and str(adapter.folder) in str(error):
            raise
        why = f" ({first_line(error)})" if str(error) else ""
        raise adapter.refuse(f"of the kind {adapter.kind} cannot be merged into this model{why}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), quiet_transformers():
        warnings.simplefilter("ignore")
        yield


def _shadow(model: PreTrainedModel) -> PreTrainedModel | None:
    """Outline the language model whose body this is, if there is one."""
    try:
        whole = outline_model(copy.deepcopy(model.config), type(model).__name__)
    except ValueError:
        return None
    return whole if type(whole.base_model) is type(model) else None


def _inner(whole: PreTrainedModel | None, model: PreTrainedModel) -> PreTrainedModel:
    if whole is not None:
        body = whole.base_model
        assert isinstance(body, PreTrainedModel)  # _shadow has compared its class with the model's
        return body
    with torch.device("meta"):
        return AutoModel.from_config(copy.deepcopy(model.config), trust_remote_code=False)


def _around(model: PreTrainedModel, touched: set[str]) -> PreTrainedModel:
    """Put the language model around a body again; a decoder layer of its own has weights only if they are needed."""
    whole = outline_model(copy.deepcopy(model.config), type(model).__name__)
    setattr(whole, whole.base_model_prefix, model)
    whole.tie_weights()
    for name in touched:
        module = whole.get_submodule(name)
        if any(p.is_meta for p in module.parameters()):  # outside the body: whatever it holds, no vector depends on it
            module.to_empty(device=model.device).to(model.dtype)
            for parameter in module.parameters():
                nn.init.ones_(parameter)
    return whole


def _module_of(name: str, root: nn.Module) -> str:
    """Return the module that an adapter's tensor belongs to, by its name; empty if there is none."""
    parts, module, path = name.removeprefix(OUTER).split("."), root, []
    for part in parts:
        inner = module._modules.get(part)
        if inner is None:
            break
        module = inner
        path.append(part)
    return ".".join(path)


def _places(adapter: _Adapter, root: nn.Module) -> int:
    return sum(_module_of(name, root) != "" for name in adapter.tensors)


def _tried_on(adapter: _Adapter, shadow: PreTrainedModel) -> set[str]:
    """Put an adapter on an outline; refuse it if it does not fit tensor by tensor. Return the modules it changes."""
    import peft
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    homes = {name: _module_of(name, shadow) for name in adapter.tensors}
    if not any(homes.values()):
        lost = next(iter(homes), "an empty file")
        raise adapter.refuse(f"belongs to another backbone: {lost} has no place in this model")
    config = copy.deepcopy(adapter.config)
    if hasattr(config, "init_lora_weights"):
        config.init_lora_weights = True  # other ways of starting look at the weights
    own = {name for name, _ in shadow.named_modules()}
    try:
        tried = _wrapped(shadow, config, low_cpu_mem_usage=True)
    except NotImplementedError:  # a kind that counts: it needs numbers, if any
        tried = _wrapped(shadow.to_empty(device="cpu"), config)
    if not hasattr(tried.base_model, "merge_and_unload"):
        raise adapter.refuse(f"is of the kind {adapter.kind}, which peft cannot merge")
    expected = peft.get_peft_model_state_dict(tried, save_embedding_layers=False)
    _compare(adapter, expected, tried.state_dict())
    changed = (BaseTunerLayer, AuxiliaryTrainingWrapper)
    inside = tried.get_base_model().named_modules()
    return own & ({name for name, module in inside if isinstance(module, changed)} | {*homes.values()} - {""})


def _compare(adapter: _Adapter, expected: dict[str, Tensor], known: dict[str, Tensor]) -> None:
    absent = [name for name in expected if name not in adapter.tensors]
    of_a_task = {f"{OUTER}{name}" for name in getattr(adapter.config, "modules_to_save", None) or ()}
    for name, tensor in adapter.tensors.items():
        place = expected.get(name, known.get(name))
        if place is None and name.rpartition(".")[0] in of_a_task:
            continue  # a classifier's or a regressor's head, on which no vector depends
        if place is None:
            raise adapter.refuse(f"belongs to another backbone: {name} has no place in this model")
        if place.shape != tensor.shape:
            shapes = f"{name} is {tuple(tensor.shape)}, in this model {tuple(place.shape)}"
            raise adapter.refuse(f"belongs to another backbone: {shapes}")
    if absent:
        raise adapter.refuse(
            f"lacks {len(absent)} of {len(expected)} tensors, such as {absent[0]}: "
            "the file is incomplete, or belongs to another backbone"
        )


def _left_alone(adapter: _Adapter, root: nn.Module, touched: set[str]) -> dict[int, Tensor]:
    """Return the parameters that a LoRA adapter does not change, in the form of `copy.deepcopy`'s memo."""
    if adapter.config.peft_type != "LORA":
        return {}
    changed = {id(p) for name in touched for p in root.get_submodule(name).parameters()}
    return {id(p): p for p in root.parameters() if id(p) not in changed}


def _wrapped(root: PreTrainedModel, config: "PeftConfig", *, low_cpu_mem_usage: bool = False) -> "PeftModel":
    import peft

    with torch.random.fork_rng(devices=[]):  # the quick way to PiSSA's start draws numbers
        torch.manual_seed(0)
        return peft.PeftModel(root, config, low_cpu_mem_usage=low_cpu_mem_usage)
