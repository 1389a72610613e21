"""Shards: sparse vectors in Parquet files that are checked when they are read, and what names the run that made them.

Needs pyarrow, which comes with the extra ``scale``.
"""

import dataclasses
import enum
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType
from typing import Any

import numpy as np
from scipy import sparse

from tokalign_helpers.basics.checks import first_line
from tokalign_helpers.basics.files import replacing
from tokalign_helpers.retrieval.index import check_documents

FORMAT = 1  # of a shard and of its stamp
KEY = b"tokalign"  # of what a shard's Parquet metadata says about it
_BARE = frozenset(
    [
        "__module__",
        "__qualname__",
        "__dict__",
        "__weakref__",
        "__doc__",
        "__annotations__",
        "__slots__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__classdictcell__",
        "__firstlineno__",
        "__static_attributes__",
        "__abstractmethods__",
        "_abc_impl",
    ]
)


class ShardError(ValueError):
    """A shard is damaged: cut short, or some of its bits have changed."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """What a Parquet file holds.

    Parameters
    ----------
    names : list[str], n of them
        Ids of the documents.
    vectors : csr_array, (n, V)
        One row for each document, one column for each token.
    stamp : str
        Names the run that made it; empty outside a run.
    """

    names: list[str]
    vectors: sparse.csr_array
    stamp: str


def write_shard(path: str | Path, names: Sequence[str], vectors: sparse.csr_array, *, stamp: str = "") -> None:
    """Write documents to a Parquet file; it appears whole or not at all, and holds what is needed to check it.

    Parameters
    ----------
    path : str or Path
        Where to write.
    names : Sequence[str], n of them
        Ids of the documents.
    vectors : csr_array, (n, V)
        One row for each document, one column for each token.
    stamp : str
        Names the run; see :func:`stamp_of`.

    Raises
    ------
    TypeError, ValueError
        As :meth:`SparseIndex.add`.
    OSError
        If the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names, vectors = check_documents(names, vectors, getattr(vectors, "shape", (0,))[-1])
    about = {"format": FORMAT, "vocabulary_size": int(vectors.shape[1]), "documents": len(names), "stamp": stamp}
    about["sha256"] = _digest(about, names, vectors)
    offsets = pa.array(vectors.indptr, pa.int32())
    columns = {
        "id": pa.array(names, pa.string()),
        "tokens": pa.ListArray.from_arrays(offsets, pa.array(vectors.indices, pa.int32())),
        "weights": pa.ListArray.from_arrays(offsets, pa.array(vectors.data, pa.float32())),
    }
    table = pa.table(columns).replace_schema_metadata({KEY: json.dumps(about).encode()})
    with replacing(path) as partial:
        pq.write_table(table, partial, write_page_checksum=True)


def read_shards(paths: Iterable[str | Path]) -> tuple[list[str], sparse.csr_array]:
    """Read Parquet shards back, for any index.

    Parameters
    ----------
    paths : Iterable of str or Path
        Files that :func:`write_shard` or :func:`~tokalign_helpers.retrieval.scale.encode_with_ray` wrote.

    Returns
    -------
    names : list[str]
    vectors : csr_array, (n, V)

    Raises
    ------
    FileNotFoundError
        If a shard is not there.
    ShardError
        If a file was cut short, or does not hold what was written to it.
    ValueError
        If there are no paths, a file is another program's, or the shards are of different widths.
    """
    paths = [Path(path) for path in paths]
    if not paths:
        raise ValueError("there are no shards to read: the list of paths is empty")
    shards = [read_shard(path) for path in paths]
    width = shards[0].vectors.shape[1]
    for path, shard in zip(paths, shards, strict=True):
        if shard.vectors.shape[1] != width:
            raise ValueError(
                f"{path} has {shard.vectors.shape[1]} tokens, {paths[0]} has {width}: they are of different models"
            )
    names = [name for shard in shards for name in shard.names]
    return names, sparse.csr_array(sparse.vstack([shard.vectors for shard in shards], format="csr"))


def read_shard(path: str | Path) -> Shard:
    """Read one Parquet shard and check all of it: pages, checksum, bounds.

    Parameters
    ----------
    path : str or Path
        The file to read.

    Returns
    -------
    Shard

    Raises
    ------
    FileNotFoundError
        If it is not there.
    ShardError
        If it was cut short, or does not hold what was written to it.
    ValueError
        If it is another program's.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no shard {path}")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            known = (file.schema_arrow.metadata or {}).get(KEY)
            table = file.read(use_threads=False) if known is not None else None
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise _damaged(path, error) from error
    if known is None:
        raise ValueError(f"{path} is a Parquet file, but not one that write_shard wrote; it lacks its metadata")
    try:
        return _unpacked(json.loads(known), table)
    except (pa.ArrowException, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise _damaged(path, error) from error


def stamp_of(
    encode: type, settings: Mapping[str, object], fingerprint: str, shard: int, texts: Mapping[str, str]
) -> str:
    """Return a name for everything that the shards of a run depend on.

    Parameters
    ----------
    encode : type
        The class that encodes: its module and name, its code and that of its bases count. What it reads elsewhere,
        such as a global variable or a file, is not seen.
    settings : Mapping
        What it is made with.
    fingerprint : str
        What it says about its model.
    shard : int
        Texts in one file.
    texts : Mapping[str, str]
        Name → text.

    Returns
    -------
    str
        SHA-256, in hexadecimal. The same in every process with the same minor version of Python.

    Raises
    ------
    TypeError
        If a setting is of a type that a later run could not recognise.
    """
    digest = hashlib.sha256()
    given = {name: describe_as_json(value, f"settings[{name!r}]") for name, value in sorted(settings.items())}
    for part in ([FORMAT, describe_as_json(encode, "encode"), given, fingerprint, shard], *map(list, texts.items())):
        digest.update(json.dumps(part).encode() + b"\n")
    return digest.hexdigest()


def describe_as_json(value: object, what: str, within: tuple[object, ...] = ()) -> Any:
    """Turn a value into JSON that is the same for equal values in every process and differs for others.

    Parameters
    ----------
    value : object
        Any value.
    what : str
        What to call it in an error.
    within : tuple
        The classes and containers that hold it.

    Returns
    -------
    list
        Of the type's name and what distinguishes values of that type.

    Raises
    ------
    TypeError
        If the value cannot be told from others of its type by what it holds.
    """
    if any(value is outer for outer in within):  # a class in its own method's closure, a list in itself
        return ["itself", next(place for place, outer in enumerate(within) if outer is value)]

    def each(parts: Iterable[object]) -> list:
        return [describe_as_json(part, what, (*within, value)) for part in parts]

    for known in (_scalar, _container, _code):
        held = known(value, each)
        if held is not None:
            return [type(value).__name__, *held]
    raise TypeError(
        f"{what} holds a {_place(type(value))}, which a later run could not recognise; give what it is made from, "
        "such as a name, a number or an array"
    )


def _scalar(value: object, _: object) -> list | None:
    match value:
        case enum.Enum():
            return [_place(type(value)), value.name]
        case float():
            return ["nan" if math.isnan(value) else float(value).hex()]
        case None | bool() | int() | str() | complex():
            return [repr(value)]
        case bytes() | bytearray():
            return [bytes(value).hex()]
        case PurePath():
            return [str(value)]
        case np.ndarray() | np.generic() if not value.dtype.hasobject:
            numbers = np.ascontiguousarray(value)
            return [numbers.dtype.str, list(np.shape(value)), hashlib.sha256(numbers.tobytes()).hexdigest()]
    return [] if value is Ellipsis else None


def _container(value: object, each: Callable[[Iterable[object]], list]) -> list | None:
    match value:
        case list() | tuple():
            return each(value)
        case set() | frozenset():
            return sorted(each(value), key=json.dumps)
        case Mapping():
            return sorted((each(pair) for pair in value.items()), key=json.dumps)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return [_place(type(value)), *each([fields])]
    return None


def _code(value: object, each: Callable[[Iterable[object]], list]) -> list | None:
    match value:
        case CodeType():
            return [value.co_code.hex(), value.co_names, value.co_varnames, each(value.co_consts)]
        case FunctionType():
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            return [_place(value), each([value.__code__, value.__defaults__, value.__kwdefaults__, cells])]
        case BuiltinFunctionType():
            return [_place(value)]
        case type():
            return [_body(base, each) for base in value.__mro__]
    return None


def _body(base: type, each: Callable[[Iterable[object]], list]) -> list:
    """Describe what a class itself defines; attributes that are neither code nor plain values by their type."""
    held: list = [_place(base)]
    if base.__module__ in ("builtins", "abc", "typing"):
        return held
    for name, member in sorted(vars(base).items()):
        if name in _BARE:
            continue
        member = getattr(member, "__func__", getattr(member, "fget", getattr(member, "func", member)))
        try:
            held.append([name, *each([member])])
        except (TypeError, ValueError):  # ValueError: a closure that is not filled yet
            held.append([name, _place(type(member))])
    return held


def _place(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _digest(about: Mapping[str, object], names: Sequence[str], vectors: sparse.csr_array) -> str:
    told = {name: value for name, value in about.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps([told, list(names)], sort_keys=True).encode())
    for array, dtype in ((vectors.indptr, "<i8"), (vectors.indices, "<i4"), (vectors.data, "<f4")):
        digest.update(np.ascontiguousarray(array, dtype=dtype).data)
    return digest.hexdigest()


def _unpacked(about: dict[str, Any], table: Any) -> Shard:
    if about["format"] != FORMAT:
        raise ValueError(f"its format is {about['format']}, not {FORMAT}: another version of this package wrote it")
    names = table["id"].to_pylist()
    tokens, weights = (table[column].combine_chunks() for column in ("tokens", "weights"))
    pointers = _pointers(tokens)
    if not np.array_equal(pointers, _pointers(weights)):
        raise ValueError("a document does not have as many weights as tokens")
    values = weights.flatten().to_numpy().astype(np.float32, copy=False)
    columns = tokens.flatten().to_numpy().astype(np.int32, copy=False)
    width = about["vocabulary_size"]
    _check_tokens(columns, pointers, width)
    names, vectors = check_documents(names, sparse.csr_array((values, columns, pointers), (len(names), width)), width)
    if about["sha256"] != _digest(about, names, vectors):
        raise ValueError("its checksum differs")
    return Shard(names, vectors, about["stamp"])


def _pointers(lists: Any) -> np.ndarray:
    """Return where each list starts in the flat array, and where the last one ends."""
    if lists.null_count or lists.flatten().null_count:
        raise ValueError("a value is missing")
    return np.concatenate([[0], np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=False))]).astype(np.int64)


def _check_tokens(columns: np.ndarray, pointers: np.ndarray, width: int) -> None:
    """Refuse token ids that scipy would take for places outside of the matrix."""
    if columns.size and (columns.min() < 0 or columns.max() >= width):
        wrong = columns[(columns < 0) | (columns >= width)][0]
        raise ValueError(f"it holds the token id {wrong}; ids lie in 0..{width - 1}")
    rising = np.ones(len(columns), dtype=bool)
    rising[1:] = columns[1:] > columns[:-1]
    rising[pointers[:-1][pointers[:-1] < len(columns)]] = True  # the first of a document follows another document's
    if not rising.all():
        raise ValueError("the token ids of a document do not ascend")


def _damaged(path: Path, error: Exception) -> ShardError:
    return ShardError(f"{path} is damaged ({first_line(error)}); delete it and make it again")
