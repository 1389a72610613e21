"""Files of a model, from a local folder or the Hugging Face hub, and single tensors out of them.

Code that comes with a model is never run. Weights are read from safetensors; a pickle, which may hold code, is read
only when the caller names the file, as tensors and nothing else. One from the hub is read once: the safetensors made of
it take its place in the cache.
"""

import json
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import huggingface_hub
import torch
from huggingface_hub import constants, errors
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tokalign_helpers.basics.assets import AssetError, quiet_transformers
from tokalign_helpers.basics.checks import escaped, first_line, one_line
from tokalign_helpers.basics.files import replacing, write_text
from tokalign_helpers.models.heads import Head, Outline
from tokalign_helpers.models.patience import Silence, limited_wait, patience

T = TypeVar("T")
Model = TypeVar("Model", bound=nn.Module)
SETTINGS = ("*.json", "*.txt", "*.model", "*.jinja")  # configuration, tokenizer, and which tensor is in which file
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = f"{WEIGHTS}.index.json"
PICKLE = "pytorch_model.bin"
PICKLE_INDEX = f"{PICKLE}.index.json"
PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")  # a file's name: no folder, no pattern
ON_THE_HUB = re.compile(r"\w[\w.-]*/[\w.-]+")  # a model's name there
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER = "adapter_model.safetensors"
ADAPTER_PICKLE = "adapter_model.bin"


class HubError(AssetError):
    """A model's files could not be fetched or read; the message says why and what to do."""


class SilentHubError(HubError):
    """The hub took the connection and sent nothing, or next to nothing."""


def settings_folder(source: str | Path, revision: str = "main") -> Path:
    """Return a folder with a model's configuration and tokenizer, no weights.

    Parameters
    ----------
    source : str or Path
        A local folder, which is returned as it is, or a name on the hub.
    revision : str
        Branch, tag or commit on the hub.

    Returns
    -------
    Path

    Raises
    ------
    HubError
        If there is no such folder or model, or the hub does not give it; one line that says what to do.
    """
    if not isinstance(source, str | Path) or source == "":
        raise HubError(f"the model is {source!r}; give a folder, or a name on the hub, such as 'facebook/opt-125m'")
    if is_folder(source):
        return Path(source).expanduser()
    if isinstance(source, Path) or not ON_THE_HUB.fullmatch(source):
        shown = escaped(str(source))[:200]
        raise HubError(f"there is no folder {shown}, and that is not a name on the hub, such as 'facebook/opt-125m'")
    return _download(source, revision, SETTINGS)


def is_folder(source: str | Path) -> bool:
    """Return whether a source is a folder on this machine, and not a name on the hub.

    Parameters
    ----------
    source : str or Path
        A folder or a name on the hub.

    Returns
    -------
    bool
    """
    try:
        return Path(source).expanduser().is_dir()
    except (OSError, RuntimeError):  # a name too long for a folder; a home that nobody has
        return False


def weights_folder(source: str | Path, revision: str = "main", pickles: Sequence[str] = ()) -> Path:
    """Return a folder with a whole model: configuration, tokenizer, weights.

    Parameters
    ----------
    source, revision
        As :func:`settings_folder`.
    pickles : Sequence[str]
        Names of pickled files that may be read where there are no safetensors, such as ``pytorch_model.bin``; that of
        an index, ``pytorch_model.bin.index.json``, stands for the files that it names.

    Returns
    -------
    Path

    Raises
    ------
    HubError
        As :func:`settings_folder`; or if the weights are pickled and not named in `pickles`.
    """
    folder = settings_folder(source, revision)
    index = _index(source, folder, revision, pickles)
    names = sorted(set(index.values())) or [_weights_file(source, folder, revision, WEIGHTS, PICKLE, pickles)]
    folder = _with_files(source, folder, revision, names)
    if index and not (folder / WEIGHTS_INDEX).is_file() and (folder / _safe_name(names[0])).is_file():
        made = {tensor: _safe_name(name) for tensor, name in index.items()}
        write_text(folder / WEIGHTS_INDEX, json.dumps({"metadata": {}, "weight_map": made}))
    return folder


def adapter_folder(source: str | Path, revision: str = "main", pickles: Sequence[str] = ()) -> Path:
    """Return a folder with a PEFT adapter.

    Parameters
    ----------
    source, revision, pickles
        As :func:`weights_folder`.

    Returns
    -------
    Path

    Raises
    ------
    HubError
        As :func:`weights_folder`.
    """
    folder = settings_folder(source, revision)
    name = _weights_file(source, folder, revision, ADAPTER, ADAPTER_PICKLE, pickles)
    return _with_files(source, folder, revision, [name])


def pickles_of(source: str | Path, revision: str = "main", *, adapter: bool = False) -> list[str]:
    """List the pickled files that would have to be read: none where the weights are there as safetensors.

    Parameters
    ----------
    source, revision
        As :func:`settings_folder`.
    adapter : bool
        Whether it is a PEFT adapter.

    Returns
    -------
    list[str]

    Raises
    ------
    HubError
        As :func:`settings_folder`.
    """
    folder = settings_folder(source, revision)
    there = _listed(source, folder, revision)
    safe, whole, index = (ADAPTER, ADAPTER_PICKLE, "") if adapter else (WEIGHTS, PICKLE, PICKLE_INDEX)
    if safe in there or (not adapter and (folder / WEIGHTS_INDEX).is_file()):
        return []
    if whole in there:
        return [whole]
    return sorted(set(_weight_map(folder / index).values())) if index and (folder / index).is_file() else []


def check_pickles(
    weights: Iterable[tuple[str | Path, str]], adapters: Iterable[tuple[str | Path, str]], allowed: Sequence[str]
) -> None:
    """Refuse pickles that the caller has not named, all of them at once and before anything is downloaded.

    Parameters
    ----------
    weights, adapters : Iterable[tuple[str or Path, str]]
        Source and revision of each.
    allowed : Sequence[str]
        As `pickles` of :func:`weights_folder`.

    Raises
    ------
    HubError
        One line that names every file, and how to consent.
    """
    found = {(source, revision): pickles_of(source, revision) for source, revision in weights}
    found |= {(source, revision): pickles_of(source, revision, adapter=True) for source, revision in adapters}
    refused = {str(key[0]): names for key, names in found.items() if not _consented(names, allowed)}
    if refused:
        every = sorted({name for names in found.values() for name in names})
        raise HubError(_only_pickles(" and ".join(refused), every))


def _consented(names: Sequence[str], allowed: Sequence[str]) -> bool:
    sharded = len(names) > 1 or (names and names[0] not in (PICKLE, ADAPTER_PICKLE))
    return set(names) <= set(allowed) or bool(sharded and PICKLE_INDEX in allowed)


def load_body(
    folder: Path, dtype: torch.dtype = torch.float32, device: str = "cpu", *, four_bit: bool = False
) -> PreTrainedModel:
    """Load a model without its decoder layer: f.

    Parameters
    ----------
    folder : Path
        From :func:`weights_folder`.
    dtype : torch.dtype
        Of the weights.
    device : str
        Such as ``cpu`` or ``cuda``.
    four_bit : bool
        Keep the weights in 4 bits (bitsandbytes, on a GPU only).

    Returns
    -------
    PreTrainedModel
        In evaluation mode, without gradients.

    Raises
    ------
    ValueError
        If the checkpoint lacks a part of the model, which would then be random.
    HubError
        If the library cannot make a model of these files; or beside them lies an adapter, which it would add unasked.
    """
    config = _config(folder, folder, "main")
    if (folder / ADAPTER_CONFIG).is_file():
        raise HubError(
            f"{folder} holds a whole model and an adapter beside it; move the adapter to a folder of its own and name "
            "that one in adapters"
        )
    how = (
        {"quantization_config": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=dtype)} if four_bit else {}
    )
    pickled = not (folder / WEIGHTS).is_file() and not (folder / WEIGHTS_INDEX).is_file()
    with _loading(folder), quiet_transformers():
        model, found = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            output_loading_info=True,
            use_safetensors=not pickled,
            trust_remote_code=False,
            **how,
        )
    missing = sorted(name for name in found["missing_keys"] if not name.startswith("pooler."))
    if len(missing) < len(found["missing_keys"]):
        model.pooler = None  # or it would be random; most embedders never ask it
    if missing:
        raise ValueError(f"{folder} lacks {len(missing)} tensors of the model, such as {missing[0]}")
    return (model if four_bit else model.to(device)).eval().requires_grad_(False)


def saved_without_head(folder: Path) -> bool:
    """Return whether a folder's model was saved without its decoder layer, as embedders are.

    Parameters
    ----------
    folder : Path
        From :func:`weights_folder`.

    Returns
    -------
    bool
    """
    made = _config(folder, folder, "main").architectures or [""]
    return str(made[0]).endswith("Model") and not str(made[0]).endswith("LMHeadModel")


@contextmanager
def _loading(folder: Path) -> Iterator[None]:
    """Turn any error of the library about a model's weights into one line."""
    with one_line(f"the model in {folder} cannot be loaded", HubError):
        try:
            yield
        except SafetensorError as error:
            raise SafetensorError(f"its weights are damaged: {first_line(error)}; fetch them again") from error
        except RuntimeError as error:
            if "ignore_mismatched_sizes" not in str(error):
                raise
            raise RuntimeError("its weights have other shapes than its config.json says; fetch both again") from error


@contextmanager
def _own_code(source: str | Path) -> Iterator[None]:
    """Raise a plain error where the library would have run code that lies beside a model."""
    try:
        yield
    except HubError as error:
        if "trust_remote_code" not in str(error.__cause__):
            raise
        said = f"{source} works only with code of its own, and code that comes with a model is never run here"
        raise HubError(f"{said}; choose another model") from error.__cause__


def move_to(model: Model, to: str | torch.device | torch.dtype) -> Model:
    """Move a model to a device, or give its numbers another type, in place.

    transformers wraps its own ``to`` in such a way that type checkers reject every call; PyTorch's signature holds.

    Parameters
    ----------
    model : Module
        Any PyTorch module.
    to : str, torch.device or torch.dtype
        The device or the type of number.

    Returns
    -------
    Module
        The same.
    """
    return model.to(to)


def load_tokenizer(source: str | Path, revision: str = "main") -> PreTrainedTokenizerBase:
    """Load a model's tokenizer.

    Parameters
    ----------
    source, revision
        As :func:`settings_folder`.

    Returns
    -------
    PreTrainedTokenizerBase

    Raises
    ------
    HubError
        As :func:`settings_folder`; or if the library cannot make a tokenizer of the files.
    """
    folder = settings_folder(source, revision)
    said = f"the tokenizer of {source} cannot be read; fetch its files again"
    with _own_code(source), one_line(said, HubError), quiet_transformers():
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def decoder_layer(
    source: str | Path,
    revision: str = "main",
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    pickles: Sequence[str] = (),
) -> tuple[Tensor, Head | None]:
    """Read E_g out of a model's files, without loading the model; of a sharded one only the files that hold it.

    Parameters
    ----------
    source, revision, pickles
        As :func:`weights_folder`.
    dtype : torch.dtype
        Of the tensors.
    device : str
        Such as ``cpu`` or ``cuda``.

    Returns
    -------
    unembedding : Tensor, (V, d)
    head : Head or None
        What surrounds it: a bias, an encoder's masked-LM head.

    Raises
    ------
    HubError
        As :func:`weights_folder`.
    ValueError
        If there is no decoder layer in the files: the model is not a language model, or was saved without its head.
    """
    folder = settings_folder(source, revision)
    config = _config(source, folder, revision)
    outline = Outline(config, str(source))
    index = _index(source, folder, revision, pickles)
    if not index:
        file = _weights_file(source, folder, revision, WEIGHTS, PICKLE, pickles)
        folder = _with_files(source, folder, revision, [file])
        file = _held(folder, file)
        index = dict.fromkeys(tensor_names(folder / file), file)
    if getattr(config, "legacy", False) and any(name.startswith("lm_predictions.") for name in index):
        config.legacy = False  # DeBERTa as its makers saved it, with a head that the library reads only if told so
        outline = Outline(config, str(source))
    found = outline.found_in(index)
    folder = _with_files(source, folder, revision, sorted({index[name] for name in found.values()}))
    index = {name: _held(folder, index[name]) for name in found.values()}
    tensors = {name: _read(folder, index, dtype, device, stored) for name, stored in found.items()}
    _check(source, tensors, outline)
    return tensors[outline.matrix], outline.head(tensors)


def _check(source: str | Path, tensors: dict[str, Tensor], outline: Outline) -> None:
    """Refuse a decoder layer that is not of the shape that the configuration says, or not of numbers."""
    for name, tensor in tensors.items():
        due = tuple(outline.tensors[name].shape)
        if tuple(tensor.shape) != due:
            raise HubError(f"{name} of {source} is {tuple(tensor.shape)}, by its config.json {due}; fetch both again")
        if tensor.numel() and not torch.isfinite(torch.stack(tensor.aminmax())).all():
            raise HubError(f"{name} of {source} holds NaN or Inf; no token can be read with it")


def tensor_names(file: Path) -> list[str]:
    """List the tensors of a weights file, without reading them.

    Parameters
    ----------
    file : Path
        The weights file.

    Returns
    -------
    list[str]

    Raises
    ------
    HubError
        If the file is damaged.
    """
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as opened:
                return list(opened.keys())
        return list(_unpickled(file))
    except (SafetensorError, OSError) as error:
        raise HubError(f"{file.name} is damaged ({first_line(error)}); fetch it again") from error


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read a small weights file whole, such as an adapter's.

    Parameters
    ----------
    file : Path
        The weights file.

    Returns
    -------
    dict[str, Tensor]

    Raises
    ------
    HubError
        If the file is damaged.
    """
    if file.suffix != ".safetensors":
        return _unpickled(file)
    names = tensor_names(file)
    with safe_open(file, "pt") as opened:
        return {name: opened.get_tensor(name) for name in names}


def _read(folder: Path, index: dict[str, str], dtype: torch.dtype, device: str, name: str) -> Tensor:
    file = folder / index[name]
    try:
        if file.suffix != ".safetensors":
            return _unpickled(file)[name].to(device, dtype)
        with safe_open(file, "pt") as opened:
            return opened.get_tensor(name).to(device, dtype)
    except (SafetensorError, OSError, KeyError) as error:
        raise HubError(f"{file.name} is damaged ({first_line(error)}); fetch it again") from error


def _unpickled(file: Path) -> dict[str, Tensor]:
    """Read a pickle that the caller has named; tensors only, mapped into memory where its format allows for it."""
    with one_line(f"{file.name} is damaged or holds more than tensors; fetch it again", HubError):
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
        if not (isinstance(found, dict) and all(isinstance(tensor, Tensor) for tensor in found.values())):
            raise TypeError("no dictionary of tensors")
        return dict(found)


def _config(source: str | Path, folder: Path, revision: str) -> PretrainedConfig:
    if not (folder / "config.json").is_file():
        raise HubError(f"{source} has no config.json{_instead(_listed(source, folder, revision))}")
    with _own_code(source), one_line(f"the configuration of {source} cannot be read", HubError):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        config.return_dict = True  # old files may say otherwise; what comes out of a model is asked for by name
        return config


def _index(source: str | Path, folder: Path, revision: str, pickles: Sequence[str]) -> dict[str, str]:
    """Return which file holds which tensor, or nothing where the model is one file."""
    if (folder / WEIGHTS_INDEX).is_file():
        return _weight_map(folder / WEIGHTS_INDEX)
    if not (folder / PICKLE_INDEX).is_file():
        return {}
    there = _listed(source, folder, revision)
    if WEIGHTS in there or PICKLE in there & set(pickles):
        return {}
    index = _weight_map(folder / PICKLE_INDEX)
    shards = sorted(set(index.values()))
    if not _consented(shards, pickles):
        raise HubError(_only_pickles(source, shards))
    return index


def _weight_map(file: Path) -> dict[str, str]:
    """Read an index: tensor → file. Its names go into a download and a reader, so none but a plain one passes."""
    kind = ".safetensors" if file.name == WEIGHTS_INDEX else ".bin"
    try:
        named = dict(json.loads(file.read_text(encoding="utf-8"))["weight_map"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise HubError(f"{file.name} is damaged ({first_line(error)}); fetch it again") from error
    odd = [
        name for name in named.values() if not (isinstance(name, str) and PLAIN.fullmatch(name) and name.endswith(kind))
    ]
    if odd or not named:
        what = f"names {odd[0]!r}" if odd else "names no file"
        raise HubError(
            f"{file.name} {what}; it may name only files beside it that end in {kind}. Do not use this model"
        )
    return named


def _weights_file(
    source: str | Path, folder: Path, revision: str, safe: str, pickle: str, allowed: Sequence[str]
) -> str:
    """Choose the file that holds the weights: safetensors if there are any, else a pickle that was named."""
    there = _listed(source, folder, revision)
    if safe in there:
        return safe
    if pickle in there and pickle in allowed:
        return pickle
    if pickle in there:
        raise HubError(_only_pickles(source, [pickle]))
    other = _instead(there - {safe, pickle}) or "; is it the right model?"
    raise HubError(f"{source} has neither {safe} nor {pickle}{other}")


def _only_pickles(source: str | Path, names: list[str]) -> str:
    return (
        f"of {source} there are only pickled weights, and a pickle can hold code; if you trust whoever made them, say "
        f"pickles={names!r} (on the command line: --pickles {' '.join(names)})"
    )


def _instead(there: set[str]) -> str:
    """Describe what a folder holds that lacks the files looked for, and what to do about it."""
    gguf = sorted(name for name in there if name.endswith(".gguf"))
    if gguf:
        return f", only {gguf[0]}, whose weights are rounded for other programs: name the model that it was made from"
    if ADAPTER in there or ADAPTER_PICKLE in there:
        return ", it is an adapter: name it in adapters, and the model that it was trained on as backbone"
    if there & {WEIGHTS, WEIGHTS_INDEX, PICKLE, PICKLE_INDEX}:
        return ", it is a whole model: name it as weights"
    return ""


def _listed(source: str | Path, folder: Path, revision: str) -> set[str]:
    """List a model's files: those that are here, and where it is on the hub those that are there."""
    here = {file.name for file in folder.iterdir()}
    if is_folder(source) or here & {WEIGHTS, ADAPTER} or constants.HF_HUB_OFFLINE:
        return here
    api = huggingface_hub.HfApi(endpoint=_endpoint())
    return here | set(_ask(str(source), revision, lambda: api.list_repo_files(str(source), revision=revision)))


def _with_files(source: str | Path, folder: Path, revision: str, names: Sequence[str]) -> Path:
    """Return a folder that holds these files as well."""
    absent = [name for name in names if not (folder / _held(folder, name)).is_file()]
    if is_folder(source):
        if absent:
            raise HubError(f"{source} lacks {absent[0]}, which its own index names")
        return folder
    if absent:
        folder = _download(str(source), revision, [*SETTINGS, *absent])
        gone = [name for name in absent if not (folder / name).is_file()]
        if gone:
            raise HubError(f"{source}: {gone[0]} is not in the cache; go online once to fetch it")
    for name in names:
        if name.endswith(".bin") and (folder / name).is_file():
            _convert(folder, name)
    return folder


def _safe_name(name: str) -> str:
    """Return what the safetensors made of a pickle are called: as if its makers had published them."""
    if name == ADAPTER_PICKLE:
        return ADAPTER
    return name.removesuffix(".bin").replace("pytorch_model", "model", 1) + ".safetensors"


def _held(folder: Path, name: str) -> str:
    """Return the file that holds these weights: of a pickle the safetensors made of it, where there are any."""
    made = _safe_name(name) if name.endswith(".bin") else name
    return made if (folder / made).is_file() else name


def _convert(folder: Path, name: str) -> None:
    """Write the tensors of a downloaded pickle as safetensors, compare the two, and remove the pickle."""
    pickled, target = folder / name, folder / _safe_name(name)
    tensors = _apart(_unpickled(pickled))
    try:
        with replacing(target) as partial:
            save_file(tensors, partial, {"format": "pt"})
            _compare(tensors, partial)
    except OSError as error:
        raise HubError(f"{name} cannot be kept as safetensors in {folder} ({first_line(error)}); make room") from error
    blob = pickled.resolve()
    pickled.unlink(missing_ok=True)
    blob.unlink(missing_ok=True)


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give each tensor memory of its own, which safetensors require and a pickle of tied weights lacks."""
    seen: set[int] = set()
    out = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        out[name] = tensor.clone().contiguous() if place in seen else tensor.contiguous()
        seen.add(place)
    return out


def _compare(tensors: dict[str, Tensor], file: Path) -> None:
    with safe_open(file, "pt") as written:
        kept = set(written.keys())
        for name, tensor in tensors.items():
            again = written.get_tensor(name) if name in kept else None
            if again is None or again.dtype != tensor.dtype or not _same_bytes(again, tensor):
                raise OSError(f"{name} was not written as it was read")


def _same_bytes(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    return a.numel() == 0 or torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))


def _download(repo: str, revision: str, patterns: Sequence[str]) -> Path:
    """Fetch files, or find them in the cache: after a silence, those that were there before it."""
    fetch = partial(
        huggingface_hub.snapshot_download, repo, revision=revision, endpoint=_endpoint(), allow_patterns=list(patterns)
    )
    cached = None
    with suppress(Exception):  # nothing of it is there
        cached = fetch(local_files_only=True)
    try:
        return Path(_ask(repo, revision, fetch))
    except SilentHubError:
        if cached is None:
            raise
        return Path(cached)


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _ask(repo: str, revision: str, call: Callable[[], T]) -> T:
    """Ask the hub; every way of failing becomes one line."""
    try:
        with limited_wait(patience()):
            return call()
    except Silence as error:
        raise SilentHubError(
            f"{repo} is not in the cache and the hub does not answer ({error}); try again later, or wait longer: set "
            "HF_HUB_DOWNLOAD_TIMEOUT=60"
        ) from error
    except errors.GatedRepoError as error:
        raise HubError(
            f"{repo} is gated: accept its terms on https://huggingface.co/{repo}, then log in with `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{repo} has no revision {revision!r}; see its commits on the hub") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(f"there is no model {repo!r} on the hub, or it is private and you are not logged in") from error
    except Exception as error:  # the library lets through what its own client raises, which differs by version
        if _status(error) in (401, 403):
            raise HubError(f"the hub refuses {repo}: log in with `hf auth login`, or accept its terms") from error
        if constants.HF_HUB_OFFLINE:
            raise HubError(f"{repo} is not in the cache and HF_HUB_OFFLINE is set; go online once") from error
        if _unreachable(error):
            raise HubError(f"{repo} is not in the cache and the hub cannot be reached; check the network") from error
        raise HubError(
            f"the download of {repo} broke off ({first_line(error)}); run again, it resumes where it stopped"
        ) from error


def _unreachable(error: BaseException | None) -> bool:
    """Return whether there was no connection at all behind an error, which the library may have wrapped."""
    while error is not None:
        if type(error).__name__ in ("ConnectError", "ConnectTimeout"):
            return True
        error = error.__cause__ or error.__context__
    return False


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status behind an error, which the library may have wrapped."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return response.status_code
        error = error.__cause__
    return None
