"""What a computation depends on, as plain values: what could compute differently never looks the same.

A key is made of plain values (JSON can hold them), so that one can look at it. What cannot be described raises
:class:`NotKeyableError`; whoever keeps results must then compute instead.
"""

import builtins
import copyreg
import dis
import enum
import functools
import hashlib
import importlib.metadata
import json
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

Plain = Any  # None, bool, int, str, and lists and dicts of these

# Libraries whose code is identified by their version. All other code, installed or not, is identified by what it does.
TRUSTED = frozenset(
    ("torch", "transformers", "tokenizers", "peft", "accelerate", "bitsandbytes", "numpy", "scipy", "pandas", "sklearn")
)
UNFORESEEABLE = frozenset(("__import__", "compile", "eval", "exec", "globals", "input", "locals", "open", "vars"))
CONSTANTS = ("LOAD_CONST", "RETURN_CONST", "KW_NAMES", "LOAD_CONST_IMMORTAL", "LOAD_CONST_MORTAL")
# What code takes from outside itself, by name: chance, the clock, files, the environment. A list cannot be complete; it
# holds what a pooling might be written with.
OUTSIDE = frozenset(
    ("bernoulli", "bernoulli_", "cauchy_", "choice", "environ", "exponential_", "fromfile", "genfromtxt", "geometric_",
     "getenv", "gumbel_softmax", "load", "load_file", "loadtxt", "log_normal_", "memmap", "multinomial", "normal",
     "normal_", "now", "open", "perf_counter", "poisson", "rand", "rand_like", "randint", "randn", "randn_like",
     "random", "random_", "randperm", "read_bytes", "read_csv", "read_json", "read_parquet", "read_pickle", "read_text",
     "safe_open", "shuffle", "time", "uniform_", "urandom")
)  # fmt: skip
OUTSIDE_MODULES = frozenset(("datetime", "random", "secrets", "time", "uuid"))  # whatever one takes of them
# In a method such a name is that of a module, which is in evaluation mode.
DROPOUTS = frozenset(("alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"))
GLOBAL_NAMES = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
NOT_CODE = frozenset(
    ("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__firstlineno__", "__qualname__",
     "__static_attributes__", "__abstractmethods__", "_abc_impl", "__orig_bases__", "__parameters__", "__match_args__",
     "__annotate_func__", "__annotations_cache__", "__slots__",
     "__slotnames__")
)  # fmt: skip
# Described elsewhere, or irrelevant.
OWN_NAMES = frozenset(vars(nn.Module())) | {"name_or_path", "_is_hf_initialized", "_output_capturing_hooks_installed"}
NO_MATTER = frozenset(
    ("_name_or_path", "_model_name_or_path", "name_or_path", "transformers_version", "architectures", "dtype",
     "torch_dtype", "use_cache", "_commit_hash")
)  # fmt: skip
NEW_OBJECT = vars(copyreg)["__newobj__"]  # how pickle makes an object; the library's stubs leave it out
HAS_DOCSTRING = 0x4000000  # a flag of code objects from Python 3.13 on
SMALL = 1 << 16  # bytes of a tensor that are hashed rather than summed at every look
BLOCK = 1021  # words of 8 bytes in a sum; a prime, so that no row of a matrix begins where a block does


class NotKeyableError(ValueError):
    """Something that cannot be recognised when it is met again."""


def describe(value: object) -> Plain:
    """Describe a value, a function or an object by plain values.

    Parameters
    ----------
    value : object
        A function is identified by its instructions, names, constants, defaults, closure and the globals that it uses;
        an object by its class and its state.

    Returns
    -------
    Plain
        The same in every process. Names of files, line numbers, comments and docstrings have no part in it.

    Raises
    ------
    NotKeyableError
        If it depends on what cannot be seen from here: open files, generators, code that is evaluated or imported
        later, modules in training mode, hooks.
    """
    try:
        return Describer().of(value)
    except RecursionError as error:
        raise NotKeyableError("it holds itself") from error


def digest(parts: Plain) -> str:
    """Hash what :func:`describe` and similar functions return.

    Parameters
    ----------
    parts : Plain
        Values that JSON can hold.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Describer:
    """Describes values, and remembers which libraries they rely on.

    Attributes
    ----------
    libraries : dict[str, str]
        Name → version of what has been identified by its version so far.
    """

    def __init__(self) -> None:
        self.libraries: dict[str, str] = {}
        self._met: dict[object, tuple[int, object]] = {}  # holds the objects, so that no id is given out twice
        self._kinds: tuple[tuple[Any, Callable], ...] = (
            (enum.Enum, lambda v: ["enum", self.of(type(v)), v.name, self.of(v.value)]),
            ((np.generic, np.ndarray), self._array),
            (float, lambda v: ["float", v.hex()]),
            (complex, lambda v: ["complex", v.real.hex(), v.imag.hex()]),
            ((bytes, bytearray), lambda v: ["bytes", hashlib.sha256(v).hexdigest(), len(v)]),
            (Tensor, _tensor),
            ((types.UnionType, types.GenericAlias), lambda v: ["type", repr(v)]),
            ((torch.dtype, torch.device, torch.layout, types.EllipsisType), lambda v: [type(v).__name__, str(v)]),
            (tuple, lambda v: ["tuple", self.of(type(v)), *map(self.of, v)] if type(v) is not tuple
                else ["tuple", *map(self.of, v)]),
            ((frozenset, set), self._set),
            (list, lambda v: ["list", *map(self.of, v)] if type(v) is list else self._object(v)),
            (dict, lambda v: self._dict(v) if type(v) is dict else self._object(v)),
            (types.ModuleType, lambda v: self._module(v, frozenset())),
            (types.BuiltinFunctionType, self._builtin),
            ((types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType),
                lambda v: ["method", self.of(v.__objclass__), v.__name__]),
        )  # fmt: skip
        self._once: tuple[tuple[Any, Callable], ...] = (
            (types.FunctionType, self._function),
            (type, self._class),
            (nn.Module, self.network),
            (types.MethodType, lambda v: ["method", self.of(v.__func__), self.of(v.__self__)]),
            (functools._lru_cache_wrapper, lambda v: ["kept", self.of(v.__wrapped__)]),
            ((staticmethod, classmethod), lambda v: [type(v).__name__, self.of(v.__func__)]),
            (property, lambda v: ["property", *map(self.of, (v.fget, v.fset, v.fdel))]),
            (functools.cached_property, lambda v: ["property", self.of(v.func)]),
        )

    def of(self, value: object) -> Plain:
        """Return the description of one value; see :func:`describe`.

        Parameters
        ----------
        value : object
            Any value.

        Returns
        -------
        Plain

        Raises
        ------
        NotKeyableError
            As :func:`describe`.
        """
        if value is None or type(value) in (bool, int, str):
            return value
        for kinds, words in self._kinds:
            if isinstance(value, kinds):
                return words(value)
        if id(value) in self._met:
            return ["again", self._met[id(value)][0]]
        self._met[id(value)] = len(self._met), value
        for kinds, words in self._once:
            if isinstance(value, kinds):
                return words(value)
        return self._object(value)

    def network(self, top: nn.Module, *, settled: bool = False) -> dict[str, Plain]:
        """Return the description of a model: its classes, plain settings and weights; not where it came from.

        Parameters
        ----------
        top : Module
            The model or the layer.
        settled : bool
            It is put into evaluation mode before it computes; else one in training mode is refused, whose noise does
            not depend on what it reads.

        Returns
        -------
        dict
            ``class``, ``modules``, ``weights``.

        Raises
        ------
        NotKeyableError
            If there are hooks, compiled scripts, or modules in training mode.
        """
        self._met.setdefault(id(top), (len(self._met), top))
        if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
            raise NotKeyableError("there are forward hooks on all modules")
        modules = [[name, self._layer(name or "the module itself", m, settled)] for name, m in top.named_modules()]
        return {"class": _name(type(top)), "modules": digest(modules), "weights": weights_digest(top)}

    def _layer(self, name: str, layer: nn.Module, settled: bool) -> Plain:
        for hook in [*layer._forward_hooks.values(), *layer._forward_pre_hooks.values()]:
            if not self._library(getattr(hook, "__globals__", {}).get("__name__", "")):
                raise NotKeyableError(f"{name} has a forward hook")
        if isinstance(layer, torch.jit.ScriptModule):
            raise NotKeyableError(f"{name} is a compiled script")
        if layer.training and not settled:
            raise NotKeyableError(f"{name} is in training mode; call .eval() on it")
        known = self._library(type(layer).__module__)
        settings = {key: value for key, value in vars(layer).items() if key not in OWN_NAMES}
        forward = type(layer).forward
        replaced = not self._library(getattr(forward, "__globals__", {}).get("__name__", type(layer).__module__))
        words = {key: self._setting(value) if known else self.of(value) for key, value in sorted(settings.items())}
        return [_name(type(layer)) if known else self.of(type(layer)), self.of(forward) if replaced else "", words]

    def _setting(self, value: object) -> Plain:
        """Describe what a library keeps beside a module's weights; of its own objects only the class."""
        told = _is_plain(value) or isinstance(value, Tensor) or _is_configuration(value) or callable(value)
        return self.of(value) if told else _name(type(value))

    def _configuration(self, config: Any) -> Plain:
        """Describe a configuration without names and paths, and without the dtype, which is that of the weights."""
        ways = {way: getattr(config, way, None) for way in ("_attn_implementation", "_experts_implementation")}
        words = {"class": _name(type(config)), **_settings(config.to_dict()), **ways}
        return words | {"attention": [self.of(function) for function in _attention(ways["_attn_implementation"])]}

    def _used(self, module: str | None) -> bool:
        """Return whether code is identified by a version; refuse it if it is not the same at every call."""
        if module in OUTSIDE_MODULES:
            raise NotKeyableError(f"it uses {module}")
        return self._library(module)

    def _library(self, module: str | None) -> bool:
        """Return whether a module's code is identified by a version, and note that version."""
        root = (module or "").partition(".")[0]
        if root in sys.stdlib_module_names:
            self.libraries["python"] = "{}.{}".format(*sys.version_info)
            return True
        if root in TRUSTED and root not in self.libraries:
            self.libraries[root] = version_of(root)
        return root in TRUSTED

    def _array(self, value: np.ndarray | np.generic) -> Plain:
        array = np.asarray(value)
        if array.dtype.hasobject:
            return ["objects", list(array.shape), *map(self.of, array.ravel().tolist())]
        content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        return ["array", type(value).__name__, str(array.dtype), list(array.shape), content]

    def _set(self, value: frozenset | set) -> Plain:
        return [type(value).__name__, *sorted((self.of(item) for item in value), key=json.dumps)]

    def _dict(self, value: Mapping) -> Plain:
        return ["dict", *([self.of(key), self.of(item)] for key, item in value.items())]

    def _builtin(self, value: Any) -> Plain:
        owner = value.__self__
        if owner is None or isinstance(owner, types.ModuleType):
            self._used(value.__module__ or getattr(owner, "__name__", ""))
            return ["library", f"{value.__module__}.{value.__qualname__}"]
        return ["method", self.of(owner), value.__name__]

    def _module(self, module: types.ModuleType, names: frozenset[str]) -> Plain:
        """Describe a module that a function uses: a library by its version, another by what the function may use."""
        if self._used(module.__name__):
            return ["library", module.__name__]
        if (place := (id(module), names)) in self._met:
            return ["again", self._met[place][0]]
        self._met[place] = len(self._met), module
        held = vars(module)
        return ["module", module.__name__, *([n, self._global(held[n], names)] for n in sorted(names) if n in held)]

    def _global(self, value: object, names: frozenset[str]) -> Plain:
        return self._module(value, names) if isinstance(value, types.ModuleType) else self.of(value)

    def _function(self, function: types.FunctionType) -> Plain:
        cells = [_content(cell) for cell in function.__closure__ or ()]
        inner = [self.of(cell) for cell in cells]
        if self._used(function.__globals__.get("__name__")):
            return ["library", f"{function.__module__}.{function.__qualname__}", inner]
        names = frozenset(_names(function.__code__))
        of_a_method = function.__code__.co_varnames[:1] == ("self",)
        outside = names & (OUTSIDE if of_a_method else OUTSIDE | DROPOUTS)
        if outside:
            raise NotKeyableError(f"it uses {min(outside)}")
        return {
            "function": f"{function.__module__}.{function.__qualname__}",
            "code": self._code(function.__code__),
            "defaults": [self.of(function.__defaults__), self.of(function.__kwdefaults__)],
            "closure": inner,
            "globals": {name: self._found(name, function.__globals__, names) for name in _globals(function.__code__)},
            "imports": [self._imported(name, names) for name in _imports(function.__code__)],
            "attributes": self.of(vars(function)),
        }

    def _code(self, code: types.CodeType) -> Plain:
        """Describe instructions with what they name; a constant that no instruction loads is a docstring."""
        rows = []
        for step in dis.get_instructions(code):
            if isinstance(step.argval, types.CodeType):
                rows.append([step.opname, self._code(step.argval)])
            elif step.opname in CONSTANTS and step.arg is not None:  # dis does not resolve all of them in every Python
                rows.append([step.opname, self.of(code.co_consts[step.arg])])
            else:
                rows.append([step.opname, step.argrepr or step.arg])
        arguments = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~HAS_DOCSTRING]
        return [arguments, rows, code.co_exceptiontable.hex()]

    def _found(self, name: str, scope: Mapping[str, object], names: frozenset[str]) -> Plain:
        if name in scope:
            return self._global(scope[name], names)
        if name in UNFORESEEABLE:
            raise NotKeyableError(f"it calls {name}()")
        return "builtin" if hasattr(builtins, name) else "not defined"

    def _imported(self, name: str, names: frozenset[str]) -> Plain:
        if self._used(name):
            return ["library", name]
        if name not in sys.modules:
            raise NotKeyableError(f"it imports {name or 'a module'} when it is called")
        return self._global(sys.modules[name], names)

    def _class(self, cls: type) -> Plain:
        if self._library(cls.__module__):
            return ["library", _name(cls)]
        members = [
            [name, self.of(value)]
            for name, value in sorted(vars(cls).items())
            if name not in NOT_CODE and not name.startswith("__dataclass") and not _is_slot(value)
        ]
        return {"class": _name(cls), "bases": [self.of(base) for base in cls.__bases__], "members": members}

    def _object(self, value: object) -> Plain:
        """Describe an object as pickle would take it apart."""
        if _is_configuration(value):
            return self._configuration(value)
        try:
            parts = value.__reduce_ex__(4)
        except Exception as error:  # whatever its own methods raise
            raise NotKeyableError(f"an object of {_name(type(value))} cannot be told apart from another") from error
        if isinstance(parts, str):
            return ["named", self.of(type(value)), parts]
        make, arguments, state, items, pairs = (*parts, None, None, None, None)[:5]
        if make is NEW_OBJECT and state is None and not arguments[1:] and not (items or pairs):
            return ["object", self.of(type(value))]
        rest = [list(part) if isinstance(part, Iterator) else part for part in (items, pairs)]
        return ["object", self.of(type(value)), self.of(make), self.of(arguments), self.of(state), *map(self.of, rest)]


def version_of(library: str) -> str:
    """Return the version of a library that is imported or installed.

    Parameters
    ----------
    library : str
        The name that one imports.

    Returns
    -------
    str
        Empty if there is none.
    """
    told = getattr(sys.modules.get(library), "__version__", None)
    if told:
        return str(told)
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _is_slot(value: object) -> bool:
    return isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType))


def _is_configuration(value: object) -> bool:
    return hasattr(type(value), "to_diff_dict")  # of transformers, or of a kind that behaves as theirs


def _attention(way: str | None) -> list[object]:
    """Return what transformers calls under this name: anybody may register a function of their own."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    return [registry.get(way) for registry in (ALL_ATTENTION_FUNCTIONS, ALL_MASK_ATTENTION_FUNCTIONS)]


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str, bytes, torch.dtype, torch.device, enum.Enum))


def _settings(value: Plain) -> Plain:
    """Leave out of a configuration what no vector depends on, and make it plain."""
    if isinstance(value, Mapping):
        return {str(key): _settings(item) for key, item in value.items() if key not in NO_MATTER}
    if isinstance(value, (list, tuple, set)):
        items = [_settings(item) for item in value]
        return sorted(items, key=str) if isinstance(value, set) else items
    return value if value is None or isinstance(value, (bool, int, str)) else repr(value)


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # filled later
        return "empty"


def _steps(code: types.CodeType) -> Iterator[dis.Instruction]:
    """Yield the instructions of a code object and of those inside it."""
    for step in dis.get_instructions(code):
        yield step
        if isinstance(step.argval, types.CodeType):
            yield from _steps(step.argval)


def _names(code: types.CodeType) -> set[str]:
    inner = [step.argval for step in _steps(code) if isinstance(step.argval, types.CodeType)]
    return set(code.co_names).union(*(part.co_names for part in inner))


def _globals(code: types.CodeType) -> list[str]:
    return sorted({step.argval for step in _steps(code) if step.opname in GLOBAL_NAMES})


def _imports(code: types.CodeType) -> list[str]:
    return sorted({step.argval for step in _steps(code) if step.opname == "IMPORT_NAME"})


# --- weights --------------------------------------------------------------------------------------------------------

_digests: WeakKeyDictionary[nn.Module, tuple[str, str]] = WeakKeyDictionary()


def weights_digest(model: nn.Module) -> str:
    """Hash every parameter and buffer of a model: two models agree only if all their numbers do.

    Parameters
    ----------
    model : nn.Module
        Any PyTorch module.

    Returns
    -------
    str
        Hexadecimal. Remembered per model until :func:`quick_sum` changes.
    """
    tensors = _tensors(model)
    state = quick_sum(tensors)
    if model in _digests and _digests[model][0] == state:
        return _digests[model][1]
    whole = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        whole.update(_bytes(tensor).cpu().numpy().data)
    _digests[model] = (state, whole.hexdigest())
    return whole.hexdigest()


def quick_sum(tensors: Mapping[str, Tensor]) -> str:
    """Return what changes whenever a number of a tensor does, however it was written: at the speed of the memory.

    Parameters
    ----------
    tensors : Mapping[str, Tensor]
        Parameters and buffers by name.

    Returns
    -------
    str
        Of small tensors every byte is hashed, of the others sums of 1,021 words of eight bytes each, in order.
        Counters of changes would not do: PyTorch's do not move when one writes through ``.data``. Words that
        change places within a block of a large tensor would not be seen.
    """
    state = hashlib.blake2b(digest_size=16)
    for name, tensor in tensors.items():
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {id(tensor)}".encode())
        flat = _bytes(tensor)
        summed = 0 if len(flat) <= SMALL else len(flat) // (8 * BLOCK) * 8 * BLOCK
        if summed:
            state.update(_sums(flat[:summed]).data)
        state.update(flat[summed:].cpu().numpy().data)
    return state.hexdigest()


def _sums(flat: Tensor) -> np.ndarray:
    if flat.is_cuda:
        return flat.view(torch.int64).view(-1, BLOCK).sum(1).cpu().numpy()
    # PyTorch's threads would wait for each other after every tensor, for seconds where the cores are busy.
    return flat.cpu().numpy().view(np.int64).reshape(-1, BLOCK).sum(1)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters, buffers and what else a model would save: the scales of weights in four bits."""
    saved = model.state_dict(keep_vars=True)
    for name, value in saved.items():
        if not isinstance(value, Tensor):
            raise NotKeyableError(f"{name} is not a tensor")
    return saved | dict(model.named_buffers()) | dict(model.named_parameters())


def _bytes(tensor: Tensor) -> Tensor:
    with torch.no_grad():
        try:
            flat = tensor.detach().contiguous().view(-1)
            return flat.view(torch.uint8) if flat.numel() else flat.new_empty(0, dtype=torch.uint8)
        except (RuntimeError, NotImplementedError) as error:  # sparse tensors, tensors without memory
            raise NotKeyableError(f"a tensor of {tensor.layout} on {tensor.device} cannot be read") from error


def _tensor(tensor: Tensor) -> Plain:
    content = hashlib.blake2b(_bytes(tensor).cpu().numpy().data, digest_size=16).hexdigest()
    return ["tensor", str(tensor.dtype), list(tensor.shape), content]


@contextmanager
def evaluating(*parts: object) -> Iterator[None]:
    """Put modules into evaluation mode, and those that were in training mode back afterwards.

    Parameters
    ----------
    *parts : object
        What is not a module is left alone.

    Yields
    ------
    None
    """
    modules = [m for part in parts if isinstance(part, nn.Module) for m in part.modules() if m.training]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module in modules:
            module.training = True
