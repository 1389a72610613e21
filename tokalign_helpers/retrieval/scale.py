"""Beyond one machine: a Milvus index with the interface of :class:`SparseIndex`, and encoding with Ray workers.

Needs the extra ``scale``: in a checkout, ``pip install -e '.[scale]'``. Nothing else in the package needs it.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from scipy import sparse

from tokalign_helpers.basics.checks import whole_number
from tokalign_helpers.basics.files import write_text
from tokalign_helpers.retrieval.index import check_documents, check_ids, check_queries
from tokalign_helpers.retrieval.shards import (
    ShardError,
    describe_as_json,
    read_shard,
    read_shards,
    stamp_of,
    write_shard,
)

__all__ = [
    "EncodingError",
    "EngineError",
    "MilvusIndex",
    "ShardError",
    "SparseWorker",
    "encode_with_ray",
    "read_shards",
    "write_shard",
]

BATCH = 1000  # documents in one request
QUERIES = 10  # in one request: Milvus Lite takes about a second for one over 50,000 documents
HITS = 500_000  # at most, in one answer; a server sends no more than 100 MB
MOST_HITS = 16384  # for one query; the largest limit that Milvus knows
ID_BYTES = 512
ATTEMPTS = 4
WIDTH = "tokalign.vocabulary_size"  # in the collection's properties, which Milvus Lite keeps, and in its description

_LATER = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", 2, 8)  # of gRPC; of Milvus: unavailable, too many requests
_LOGGERS = ("pymilvus.decorators", "pymilvus.client.connection_manager", "milvus_lite.server_manager")
_users: Counter[str] = Counter()  # of each Milvus Lite file in this process
_users_lock = threading.Lock()


class EngineError(RuntimeError):
    """The search engine did not answer, or refused; the message says what was stored and what to do.

    Parameters
    ----------
    message : str
        One line for the reader.
    transient : bool
        The same request may succeed later.
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class EncodingError(RuntimeError):
    """A worker could not encode a shard; the message names it, and the document where one is to blame."""


class MilvusIndex:
    """Search in Milvus: a Milvus Lite file, a server or a cluster; nothing but the address differs.

    Only one process at a time can open a Milvus Lite file. Close the index, or use it in a ``with`` statement, to let
    the next one have it.

    Parameters
    ----------
    uri : str or Path
        A file name that ends in ``.db`` (Milvus Lite), or ``http://host:19530``.
    vocabulary_size : int
        V.
    name : str
        Of the collection; made if it is not there.
    timeout : float
        Seconds for one request. A request that gets no answer is tried four times; a refused one
        is not.

    Raises
    ------
    EngineError
        If the engine does not answer, or another process has the file open: it is reported after two seconds.
    ImportError
        If pymilvus is not installed.
    ValueError
        If V is not a whole number, 1 or more, or a collection of that name is of another vocabulary or of
        another kind.
    """

    def __init__(self, uri: str | Path, vocabulary_size: int, *, name: str = "tokalign", timeout: float = 30.0) -> None:
        from pymilvus import MilvusClient

        self.vocabulary_size, self.name, self.timeout = whole_number(vocabulary_size, "vocabulary_size"), name, timeout
        self._uri = os.fspath(uri)
        self._file = os.path.abspath(self._uri) if self._uri.endswith(".db") else ""
        self._client: Any = None
        with _users_lock:
            _users[self._file] += 1
        try:
            self._client = self._patiently(lambda: MilvusClient(self._uri, timeout=timeout), f"connect to {self._uri}")
            self._open()
        except BaseException:
            self._let_go()
            raise

    def __enter__(self) -> "MilvusIndex":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        rows = self._call("query", self.name, filter="", output_fields=["count(*)"])
        return int(rows[0]["count(*)"])

    def close(self) -> None:
        """Release the engine; another process can then open a Milvus Lite file. Closing twice does nothing."""
        if self._client is not None:
            self._let_go()

    def add(self, ids: Sequence[str], vectors: sparse.csr_array) -> None:
        """Add documents, a thousand at a time; a document that is already there is replaced.

        Unlike :meth:`SparseIndex.add`, which refuses an id that is in the index unless `replace` is set: a stopped run
        is repeated by adding the same documents again. A document without weights matches nothing and is not kept, nor
        is an older version of it.

        Parameters
        ----------
        ids : Sequence[str], n of them
            At most 512 bytes each, in UTF-8.
        vectors : sparse array, (n, V)
            One row for each document, one column for each token.

        Raises
        ------
        TypeError, ValueError
            As :meth:`SparseIndex.add`, and for an id that Milvus cannot keep; nothing is stored then.
        EngineError
            If the engine stops answering; the message says how many documents are known to be stored.
        """
        ids, vectors = check_documents(ids, vectors, self.vocabulary_size)
        _check_lengths(ids)
        for start in range(0, len(ids), BATCH):
            places = range(start, min(start + BATCH, len(ids)))
            rows = {ids[place]: _as_dict(vectors, place) for place in places}
            try:
                filled = [{"id": name, "vector": row} for name, row in rows.items() if row]
                if filled:
                    self._call("upsert", self.name, filled)
                self._delete([name for name, row in rows.items() if not row])  # Milvus has no empty vectors
            except EngineError as error:
                again = "; add the same ones again." if error.transient else "."
                raise EngineError(
                    f"{error} {start} of {len(ids)} documents are stored{again}", transient=error.transient
                ) from error

    def remove(self, ids: Sequence[str]) -> None:
        """Remove documents; an id that is not in the index changes nothing, so that a stopped run can be repeated.

        :meth:`SparseIndex.remove` refuses such an id.

        Parameters
        ----------
        ids : Sequence[str]
            Ids of documents.

        Raises
        ------
        TypeError, ValueError
            If an id is not a string, is given twice, or is one that Milvus cannot keep.
        EngineError
            If the engine does not answer.
        """
        ids = check_ids(ids)
        _check_lengths(ids)
        for start in range(0, len(ids), BATCH):
            self._delete(ids[start : start + BATCH])

    def search(self, queries: sparse.csr_array, k: int = 10) -> list[list[tuple[str, float]]]:
        """Return the k best documents of each query, as :meth:`SparseIndex.search`.

        Parameters
        ----------
        queries : sparse array, (n, V)
            One row for each query.
        k : int
            At most 16,384.

        Returns
        -------
        list of lists of (id, score), best first
            Documents with a score above 0. Equal scores are in an order of Milvus's own.

        Raises
        ------
        TypeError, ValueError
            As :meth:`SparseIndex.search`, and if k is larger than Milvus allows.
        EngineError
            If the engine does not answer.
        """
        queries = check_queries(queries, self.vocabulary_size, k)
        if k > MOST_HITS:
            raise ValueError(f"k is {k}; Milvus gives at most {MOST_HITS} documents for a query")
        asked = [_as_dict(queries, place) for place in range(queries.shape[0])]
        filled = [place for place, query in enumerate(asked) if query]
        found: list[list[tuple[str, float]]] = [[] for _ in asked]
        step = max(1, min(QUERIES, HITS // k))
        for start in range(0, len(filled), step):
            places = filled[start : start + step]
            answers = self._call(
                "search",
                self.name,
                data=[asked[place] for place in places],
                limit=int(k),
                anns_field="vector",
                search_params={"metric_type": "IP", "params": {"drop_ratio_search": 0.0}},
            )
            for place, hits in zip(places, answers, strict=True):
                found[place] = [(hit["id"], float(hit["distance"])) for hit in hits if hit["distance"] > 0]
        return found

    def _open(self) -> None:
        """Make the collection, or check that the one of that name is ours; load it, or nothing would be found."""
        from pymilvus import DataType, MilvusClient

        params = self._client.prepare_index_params()
        params.add_index("vector", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
        if not self._call("has_collection", self.name):
            schema = MilvusClient.create_schema(
                auto_id=False, enable_dynamic_field=False, description=f"{WIDTH}={self.vocabulary_size}"
            )
            schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=ID_BYTES)
            schema.add_field("vector", DataType.SPARSE_FLOAT_VECTOR)
            self._call(
                "create_collection",
                self.name,
                schema=schema,
                consistency_level="Strong",
                properties={WIDTH: str(self.vocabulary_size)},
            )
        self._check_collection(self._call("describe_collection", self.name))
        if not self._call("list_indexes", self.name):  # new, or its making was stopped half-way
            self._call("create_index", self.name, params)
        self._call("load_collection", self.name)

    def _let_go(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()
        with _users_lock:
            _users[self._file] -= 1
            if self._file and client is not None and not _users[self._file]:
                from milvus_lite.server_manager import server_manager_instance

                server_manager_instance.release_server(self._file)  # else it locks the file until the process ends

    def _check_collection(self, about: Mapping[str, Any]) -> None:
        noted = re.fullmatch(rf"{re.escape(WIDTH)}=(\d+)", about.get("description") or "")
        width = dict(about.get("properties") or {}).get(WIDTH, noted and noted[1])
        if width is None or {field["name"] for field in about["fields"]} != {"id", "vector"}:
            raise ValueError(
                f"the collection {self.name!r} in {self._uri} was not made by MilvusIndex, or before it kept the "
                "size of its vocabulary; give another name, or drop the collection and add the documents again"
            )
        if int(width) != self.vocabulary_size:
            raise ValueError(
                f"the collection {self.name!r} in {self._uri} has {width} tokens, not {self.vocabulary_size}: it is "
                "the collection of another model; give another name"
            )

    def _delete(self, ids: Sequence[str]) -> None:
        if ids:  # not delete(ids=…): pymilvus puts them into the filter as they are, quotation marks and all
            self._call("delete", self.name, filter=f"id in [{', '.join(map(_quoted, ids))}]")

    def _call(self, method: str, *arguments: object, **options: object) -> Any:
        if self._client is None:
            raise ValueError("this index is closed; open it again with MilvusIndex")

        def work() -> object:
            return getattr(self._client, method)(*arguments, timeout=self.timeout, **options)

        return self._patiently(work, method.replace("has_", "look for ").replace("_", " "))

    def _patiently(self, work: Callable[[], object], what: str) -> Any:
        """Send a request to the engine; try again only where a later answer may differ."""
        import grpc
        from pymilvus.exceptions import MilvusException

        for attempt in range(ATTEMPTS):
            with _overheard() as causes:
                try:
                    return work()
                except (MilvusException, grpc.RpcError, grpc.FutureTimeoutError) as error:
                    last, locked = error, any(type(cause).__name__ == "DataDirLockedError" for cause in causes)
                    reason = causes[0] if self._client is None and causes else error
            if not (locked or _is_transient(last)):
                raise EngineError(f"Milvus refused to {what} ({_line(reason)}).") from last
            if attempt + 1 < ATTEMPTS:
                time.sleep(min(2.0**attempt, self.timeout) / 10)
        if locked:
            raise EngineError(
                f"{self._uri} is open in another process, and Milvus Lite serves one at a time; close the index there "
                "(MilvusIndex.close) and try again.",
                transient=True,
            ) from last
        raise EngineError(
            f"Milvus could not {what} after {ATTEMPTS} attempts ({_line(reason)}).", transient=True
        ) from last


def encode_with_ray(
    texts: Mapping[str, str],
    folder: str | Path,
    encode: type,
    *,
    settings: Mapping[str, object] | None = None,
    workers: int = 2,
    shard: int = 1000,
) -> list[Path]:
    """Encode a corpus on Ray workers into Parquet shards; what is there already and whole is not done again.

    Parameters
    ----------
    texts : Mapping[str, str]
        Name → text.
    folder : str or Path
        For the shards, reachable by every worker.
    encode : type
        A class such as :class:`SparseWorker`: made once on each worker with `settings`, called with a list of texts,
        returns a csr_array. If it has an attribute ``fingerprint``, that names its model: shards of another one are
        refused.
    settings : Mapping, optional
        Numbers, strings, paths, arrays, and containers, dataclasses, functions and classes made of them.
    workers : int
        How many processes encode at the same time.
    shard : int
        Texts in one file.

    Returns
    -------
    list[Path]
        The shards, in the order of the texts; read them with :func:`read_shards`.

    Raises
    ------
    EncodingError
        If a worker fails; the message names the shard, and the document if one is to blame. Shards that are done stay.
    TypeError
        If a name or a text is not a string, `encode` is not a class, or a later run could not recognise a setting.
    ValueError
        If there are no texts, `workers` or `shard` is not a whole number, 1 or more, or the folder holds shards of
        other texts, settings, code or another model.
    """
    import ray

    folder, settings = Path(folder), dict(settings or {})
    _check_run(texts, encode, settings)
    workers, shard = whole_number(workers, "workers"), whole_number(shard, "shard")
    stamp_of(encode, settings, "", shard, {})  # refuses a setting before a model is loaded
    model = _fingerprint(encode, settings) if hasattr(encode, "fingerprint") else None
    made_by = stamp_of(encode, settings, model or "", shard, texts)
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, made_by)
    names = list(texts)
    parts = {
        folder / f"part-{start:09d}.parquet": names[start : start + shard] for start in range(0, len(names), shard)
    }
    todo = [path for path, held in parts.items() if not _is_done(path, held, made_by)]
    if todo:
        rows = ray.data.from_items(
            [{"part": json.dumps([str(path), parts[path], [texts[name] for name in parts[path]]])} for path in todo],
            override_num_blocks=len(todo),
        )
        written = rows.map_batches(
            _ShardWriter,
            fn_constructor_args=(encode, settings, made_by, model),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(todo))),
        )
        for row in written.iter_rows():
            if row["error"]:
                raise EncodingError(row["error"])
    return list(parts)


class SparseWorker:
    """Embed texts and keep their K best aligned tokens; loads its embedder once.

    Parameters
    ----------
    embedder : str
        A name of :data:`~tokalign_helpers.models.embedders.EMBEDDERS`.
    k : int
        How many tokens to keep for each text.
    weights : str
        As :func:`~tokalign_helpers.retrieval.sparse.sparsify_documents`.
    """

    def __init__(self, embedder: str, k: int = 1000, weights: str = "log") -> None:
        from tokalign_helpers.models.loading import load_embedder

        self.embedder, self.k, self.weights = load_embedder(embedder), k, weights

    def __call__(self, texts: list[str]) -> sparse.csr_array:
        """Return the sparse vectors of texts, (n, V)."""
        from tokalign_helpers.retrieval.sparse import sparsify_documents

        h = self.embedder.embed(texts, cache=False, progress=False)
        return sparsify_documents(self.embedder.decoder, h, self.k, weights=self.weights)

    @property
    def fingerprint(self) -> str:
        """Identifies what a vector depends on besides text and settings: embedder, decoder layer, weights' code."""
        from tokalign_helpers.retrieval.sparse import WEIGHTS, sparsify_documents

        digest = hashlib.sha256(self.embedder.fingerprint.encode())
        digest.update(self.embedder.unembedding.detach().float().cpu().contiguous().numpy().data)
        digest.update(json.dumps(describe_as_json([sparsify_documents, WEIGHTS[self.weights]], "the code")).encode())
        return digest.hexdigest()


class _ShardWriter:
    """What a Ray worker does; an error is returned as one line, so that the caller can report it in one line."""

    def __init__(self, encode: type, settings: dict[str, object], stamp: str, model: str | None) -> None:
        self.kind, self.settings, self.stamp, self.model = encode, settings, stamp, model
        self.encode: Any = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        return {"error": [self._write(*json.loads(part)) for part in batch["part"]]}

    def _write(self, path: str, names: list[str], texts: list[str]) -> str:
        what = "the encoder could not be made"
        try:
            if self.encode is None:
                self.encode = self._made()
            what = "its texts could not be encoded"
            vectors = self.encode(texts)
            what = "its vectors could not be written"
            write_shard(path, names, vectors, stamp=self.stamp)
        except Exception as error:
            if what.startswith("its texts"):
                place = _culprit(self.encode, texts)
                what = f"document {names[place]!r} could not be encoded" if place is not None else what
            return f"{Path(path).name}: {what}: {type(error).__name__}: {_line(error)}"
        return ""

    def _made(self) -> Any:
        made = self.kind(**self.settings)
        if self.model is not None and str(made.fingerprint) != self.model:
            raise ValueError("the model on this worker differs from that on the first")
        return made


def _culprit(encode: Callable[[list[str]], object], texts: Sequence[str]) -> int | None:
    """Find the first text that cannot be encoded by halving; None if each half can, as where memory ran out."""
    start, stop = 0, len(texts)
    while stop - start > 1:
        middle = (start + stop) // 2
        if _fails(encode, texts[start:middle]):
            stop = middle
        elif _fails(encode, texts[middle:stop]):
            start = middle
        else:
            return None
    return start if _fails(encode, texts[start:stop]) else None


def _fails(encode: Callable[[list[str]], object], texts: Sequence[str]) -> bool:
    try:
        encode(list(texts))
    except Exception:
        return True
    return False


def _check_run(texts: Mapping[str, str], encode: type, settings: Mapping[str, object]) -> None:
    if not isinstance(texts, Mapping):
        raise TypeError(f"the texts are a {type(texts).__name__}; expected a mapping from names to texts")
    if not texts:
        raise ValueError("there are no texts to encode")
    if not isinstance(encode, type):
        raise TypeError(f"encode is {encode!r}; expected a class, of which each worker makes one")
    for name in settings:
        if not isinstance(name, str):
            raise TypeError(f"settings holds the name {name!r}; the names of arguments are strings")
    for name, text in texts.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(f"document {name!r} has the text {text!r:.80}; names and texts must be strings")


def _fingerprint(encode: type, settings: Mapping[str, object]) -> str:
    """Ask an encoder for the name of its model, on a worker: this machine may be too small for it."""
    import ray

    def ask() -> tuple[str, str]:
        try:
            return str(encode(**settings).fingerprint), ""
        except Exception as error:
            return "", f"the encoder could not be made: {type(error).__name__}: {_line(error)}"

    found, error = ray.get(ray.remote(max_calls=1)(ask).remote())
    if error:
        raise EncodingError(error)
    return found


def _claim(folder: Path, stamp: str) -> None:
    """Refuse a folder with shards of another run, or of an unknown run; write into it which run it is of."""
    plan = folder / "plan"
    known = plan.read_text(encoding="utf-8", errors="replace") if plan.is_file() else None
    if known == stamp:
        return
    if known is not None:
        raise ValueError(
            f"{folder} holds shards of other texts or settings, or of another encoder or model; give an empty folder"
        )
    if any(folder.glob("part-*.parquet")):
        raise ValueError(f"{folder} holds shards, but no file 'plan' that says of which texts; give an empty folder")
    write_text(plan, stamp)


def _is_done(path: Path, names: Sequence[str], stamp: str) -> bool:
    try:
        found = read_shard(path)
    except FileNotFoundError:
        return False
    except ShardError as error:
        warnings.warn(f"{error}: it is made again", stacklevel=3)
        return False
    if found.stamp != stamp or found.names != list(names):
        raise ValueError(f"{path} is a shard of other texts, settings or model than its folder; give an empty folder")
    return True


@contextlib.contextmanager
def _overheard() -> Iterator[list[BaseException]]:
    """Collect what the engine's clients log about errors: a traceback for each, and the only mention of the cause."""
    causes: list[BaseException] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1]:
            causes.append(record.exc_info[1])
        return record.levelno < logging.WARNING

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(keep)
    try:
        yield causes
    finally:
        for logger in loggers:
            logger.removeFilter(keep)


def _is_transient(error: Any) -> bool:
    code = error.code() if callable(getattr(error, "code", None)) else getattr(error, "code", None)
    return bool(getattr(error, "retriable", False)) or getattr(code, "name", code) in _LATER or code in _LATER


def _check_lengths(ids: Sequence[str]) -> None:
    for position, name in enumerate(ids):
        try:
            length = len(name.encode())
        except UnicodeEncodeError:
            raise ValueError(f"ids[{position}] is {name!r}, which is not valid Unicode") from None
        if length > ID_BYTES:
            raise ValueError(
                f"ids[{position}] is {length} bytes long ({name[:40]!r}…); Milvus keeps at most {ID_BYTES}"
            )


def _quoted(text: str) -> str:
    """Quote a string so that the filters of Milvus and of Milvus Lite both accept it."""
    for mark, written in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(mark, written)
    return f'"{text}"'


def _line(error: object) -> str:
    return " ".join(str(getattr(error, "message", error)).split())


def _as_dict(matrix: sparse.csr_array, row: int) -> dict[int, float]:
    here = slice(matrix.indptr[row], matrix.indptr[row + 1])
    return dict(zip(matrix.indices[here].tolist(), matrix.data[here].tolist(), strict=True))
