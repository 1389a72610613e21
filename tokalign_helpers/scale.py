"""Past one machine: a Milvus index with the interface of :class:`SparseIndex`, and encoding with Ray workers.

Needs the extra ``scale``: ``pip install 'tokalign-helpers[scale]'``. Nothing else in the package needs it.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from tokalign_helpers.checks import whole_number
from tokalign_helpers.index import _check_ids

BATCH = 1000  # documents in one insert
ATTEMPTS = 4


class EngineError(RuntimeError):
    """The search engine did not answer; the message says what was stored and what to do."""


class MilvusIndex:
    """Search in Milvus: a Milvus Lite file, a server or a cluster; nothing but the address differs.

    Parameters
    ----------
    uri : str
        A file name that ends in ``.db`` (Milvus Lite), or ``http://host:19530``.
    vocabulary_size : int
        V.
    name : str
        Of the collection; made if it is not there.
    timeout : float
        Seconds for one request; a request that fails for want of an answer is tried four times.

    Raises
    ------
    EngineError
        If the engine does not answer.
    ImportError
        If pymilvus is not installed.
    """

    def __init__(self, uri: str, vocabulary_size: int, *, name: str = "tokalign", timeout: float = 30.0) -> None:
        from pymilvus import DataType, MilvusClient

        self.vocabulary_size, self.name, self.timeout = vocabulary_size, name, timeout
        self._client = self._patiently(lambda: MilvusClient(uri, timeout=timeout), f"connect to {uri}")
        if self._call("has_collection", name):
            return
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=512)
        schema.add_field("vector", DataType.SPARSE_FLOAT_VECTOR)
        params = self._client.prepare_index_params()
        params.add_index("vector", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
        self._call("create_collection", name, schema=schema, index_params=params, consistency_level="Strong")

    def __len__(self) -> int:
        rows = self._call("query", self.name, filter="", output_fields=["count(*)"])
        return int(rows[0]["count(*)"])

    def add(self, ids: Sequence[str], vectors: sparse.csr_array) -> None:
        """Add documents, a thousand at a time. Adding the same ones again changes nothing: repeat a stopped run.

        Parameters
        ----------
        ids : Sequence[str], n of them
        vectors : csr_array, (n, V)

        Raises
        ------
        TypeError, ValueError
            As :meth:`SparseIndex.add`.
        EngineError
            If the engine stops answering; the message says how many documents are known to be stored.
        """
        ids = list(ids)
        _check_ids(ids, set())
        if vectors.shape != (len(ids), self.vocabulary_size):
            raise ValueError(
                f"{len(ids)} ids came with vectors of the shape {vectors.shape}; expected "
                f"({len(ids)}, {self.vocabulary_size})"
            )
        rows = [
            {"id": name, "vector": _as_dict(vectors, place)}
            for place, name in enumerate(ids)
            if vectors.indptr[place] < vectors.indptr[place + 1]  # Milvus refuses empty vectors; they match nothing
        ]
        for start in range(0, len(rows), BATCH):
            try:
                self._call("upsert", self.name, rows[start : start + BATCH])
            except EngineError as error:
                raise EngineError(
                    f"{error} {start} of {len(rows)} documents are stored; add the same ones again."
                ) from error

    def search(self, queries: sparse.csr_array, k: int = 10) -> list[list[tuple[str, float]]]:
        """Return the k best documents of each query, as :meth:`SparseIndex.search`.

        Parameters
        ----------
        queries : csr_array, (n, V)
        k : int

        Returns
        -------
        list of lists of (id, score), best first

        Raises
        ------
        ValueError
            If the width is not V, or k is no whole number from 1 on.
        EngineError
            If the engine does not answer.
        """
        if queries.shape[1] != self.vocabulary_size:
            raise ValueError(f"the queries are {queries.shape[1]} wide, the index {self.vocabulary_size}")
        k = whole_number(k, "k")
        asked = [_as_dict(queries, place) for place in range(queries.shape[0])]
        filled = [place for place, query in enumerate(asked) if query]
        found: list[list[tuple[str, float]]] = [[] for _ in asked]
        if filled:
            answers = self._call(
                "search", self.name, data=[asked[place] for place in filled], limit=k, anns_field="vector",
                search_params={"metric_type": "IP", "params": {"drop_ratio_search": 0.0}},
            )  # fmt: skip
            for place, hits in zip(filled, answers, strict=True):
                found[place] = [(hit["id"], float(hit["distance"])) for hit in hits if hit["distance"] != 0]
        return found

    def _call(self, method: str, *arguments: object, **options: object) -> object:
        def work() -> object:
            return getattr(self._client, method)(*arguments, timeout=self.timeout, **options)

        return self._patiently(work, method)

    def _patiently(self, work: Callable[[], object], what: str) -> object:
        from pymilvus.exceptions import MilvusException

        for attempt in range(ATTEMPTS):
            try:
                return work()
            except MilvusException as error:
                last = error
                time.sleep(min(2.0**attempt, self.timeout) / 10)
        raise EngineError(f"Milvus could not {what} after {ATTEMPTS} attempts ({last}).") from last


def encode_with_ray(
    texts: Mapping[str, str],
    folder: str | Path,
    encode: type,
    *,
    settings: Mapping[str, object] | None = None,
    workers: int = 2,
    shard: int = 1000,
) -> list[Path]:
    """Encode a corpus on Ray workers into Parquet shards; what is there already is not done again.

    Parameters
    ----------
    texts : Mapping[str, str]
        Name → text.
    folder : str or Path
        For the shards, reachable by every worker.
    encode : type
        A class such as :class:`SparseWorker`: made once a worker with `settings`, called with a list of texts, returns
        a csr_array.
    settings : Mapping, optional
    workers : int
    shard : int
        Texts in one file.

    Returns
    -------
    list[Path]
        The shards, in the order of the texts; read them with :func:`read_shards`.

    Raises
    ------
    ValueError
        If the folder holds shards of other texts or settings.
    """
    import ray

    folder, names = Path(folder), list(texts)
    folder.mkdir(parents=True, exist_ok=True)
    plan = json.dumps([encode.__name__, sorted((settings or {}).items()), shard, names, list(texts.values())])
    stamp = hashlib.sha256(plan.encode()).hexdigest()
    if (folder / "plan").is_file() and (folder / "plan").read_text() != stamp:
        raise ValueError(f"{folder} holds shards of other texts or settings; give an empty folder")
    (folder / "plan").write_text(stamp)
    parts = [
        {"path": str(folder / f"part-{start:09d}.parquet"), "names": names[start : start + shard],
         "texts": [texts[name] for name in names[start : start + shard]]}
        for start in range(0, len(names), shard)
    ]  # fmt: skip
    todo = [part for part in parts if not Path(part["path"]).is_file()]
    if todo:
        rows = ray.data.from_items(todo, override_num_blocks=len(todo))
        rows.map_batches(
            _ShardWriter, fn_constructor_args=(encode, dict(settings or {})), concurrency=min(workers, len(todo)),
            batch_size=1,
        ).materialize()  # fmt: skip
    return [Path(part["path"]) for part in parts]


class SparseWorker:
    """Embed texts and keep their K best aligned tokens; loads its embedder once.

    Parameters
    ----------
    embedder : str
        A name of :data:`~tokalign_helpers.embedders.EMBEDDERS`.
    k : int
    weights : str
        As :func:`~tokalign_helpers.sparse.sparsify_documents`.
    """

    def __init__(self, embedder: str, k: int = 1000, weights: str = "log") -> None:
        from tokalign_helpers.embedders import load_embedder

        self.embedder, self.k, self.weights = load_embedder(embedder), k, weights

    def __call__(self, texts: list[str]) -> sparse.csr_array:
        """Return the sparse vectors of texts, (n, V)."""
        from tokalign_helpers.sparse import sparsify_documents

        h = self.embedder.embed(texts, cache=False, progress=False)
        return sparsify_documents(self.embedder.decoder, h, self.k, weights=self.weights)


class _ShardWriter:
    def __init__(self, encode: type, settings: dict[str, object]) -> None:
        self.encode = encode(**settings)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for path, names, texts in zip(batch["path"], batch["names"], batch["texts"], strict=True):
            write_shard(Path(path), list(names), self.encode(list(texts)))
        return {"path": batch["path"]}


def write_shard(path: Path, names: Sequence[str], vectors: sparse.csr_array) -> None:
    """Write documents to a Parquet file; it appears whole or not at all.

    Parameters
    ----------
    path : Path
    names : Sequence[str], n of them
    vectors : csr_array, (n, V)
    """
    spans = list(zip(vectors.indptr[:-1], vectors.indptr[1:], strict=True))
    table = pd.DataFrame({
        "id": list(names),
        "tokens": [vectors.indices[a:b] for a, b in spans],
        "weights": [vectors.data[a:b] for a, b in spans],
    })  # fmt: skip
    table.attrs["vocabulary_size"] = int(vectors.shape[1])
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    table.to_parquet(partial)
    os.replace(partial, path)


def read_shards(paths: Sequence[Path]) -> tuple[list[str], sparse.csr_array]:
    """Read Parquet shards back, for any index.

    Parameters
    ----------
    paths : Sequence[Path]

    Returns
    -------
    names : list[str]
    vectors : csr_array, (n, V)
    """
    tables = [pd.read_parquet(path) for path in paths]
    width = tables[0].attrs["vocabulary_size"]
    table = pd.concat(tables, ignore_index=True)
    pointers = np.concatenate([[0], np.cumsum(table["tokens"].map(len).to_numpy())])
    columns = np.concatenate(table["tokens"].to_list()).astype(np.int32)
    values = np.concatenate(table["weights"].to_list()).astype(np.float32)
    return table["id"].to_list(), sparse.csr_array((values, columns, pointers), shape=(len(table), width))


def _as_dict(matrix: sparse.csr_array, row: int) -> dict[int, float]:
    here = slice(matrix.indptr[row], matrix.indptr[row + 1])
    return dict(zip(matrix.indices[here].tolist(), matrix.data[here].tolist(), strict=True))
