"""The engines behind the extra ``scale``, on loopback or in a file; skipped where the extra is not installed."""

import numpy as np
import pytest
from scipy import sparse

from tokalign_helpers.index import SparseIndex
from tokalign_helpers.scale import EngineError, MilvusIndex, encode_with_ray, read_shards, write_shard

V = 300


def random_rows(n, seed=0):
    return sparse.random_array((n, V), density=0.05, format="csr", rng=np.random.default_rng(seed), dtype=np.float32)


@pytest.fixture
def milvus(tmp_path):
    pytest.importorskip("milvus_lite")
    return MilvusIndex(str(tmp_path / "index.db"), V)


def same_hits(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose([s for _, s in ours], [s for _, s in theirs], rtol=1e-5)
        clear = {name for name, score in theirs if score > theirs[-1][1] * (1 + 1e-5)}
        assert clear <= {name for name, _ in ours}


def test_milvus_finds_what_the_exact_index_finds(milvus):
    documents, queries, names = random_rows(500), random_rows(20, 1), [f"d{i}" for i in range(500)]
    index = SparseIndex(V)
    index.add(names, documents)
    milvus.add(names, documents)
    milvus.add(names[:100], documents[:100])  # again: changes nothing
    assert len(milvus) == 500
    same_hits(milvus.search(queries), index.search(queries))


def test_milvus_is_told_the_same_bad_input(milvus):
    with pytest.raises(ValueError, match="there already"):
        milvus.add(["a", "a"], random_rows(2))
    with pytest.raises(ValueError, match="expected"):
        milvus.add(["a"], random_rows(2))
    assert milvus.search(sparse.csr_array((1, V), dtype=np.float32)) == [[]]


def test_an_engine_that_is_down_is_told():
    pytest.importorskip("pymilvus")
    with pytest.raises(EngineError, match="could not connect to http://127.0.0.1:9"):
        MilvusIndex("http://127.0.0.1:9", V, timeout=0.3)


def test_an_engine_that_stops_is_told_with_what_is_stored(milvus, monkeypatch):
    from pymilvus.exceptions import MilvusException

    real, calls = milvus._client.upsert, []

    def upsert(*arguments, **options):
        calls.append(1)
        if len(calls) > 1:
            raise MilvusException(message="gone")
        return real(*arguments, **options)

    monkeypatch.setattr(milvus._client, "upsert", upsert)
    monkeypatch.setattr("tokalign_helpers.scale.BATCH", 10)
    with pytest.raises(EngineError, match="10 of 30 documents are stored; add the same ones again"):
        milvus.add([f"d{i}" for i in range(30)], random_rows(30) + sparse.csr_array(np.ones((30, V), dtype=np.float32)))


class Lengths:
    """Stands in for an embedder: token i of a text of i letters."""

    def __init__(self, scale=1.0):
        self.scale = scale

    def __call__(self, texts):
        rows = np.zeros((len(texts), V), dtype=np.float32)
        rows[range(len(texts)), [len(text) for text in texts]] = self.scale
        return sparse.csr_array(rows)


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, configure_logging=False, _node_ip_address="127.0.0.1")
    yield ray
    ray.shutdown()


def test_ray_and_one_process_agree_and_a_stopped_run_goes_on(cluster, tmp_path):
    texts = {f"d{i}": "x" * (i % 50 + 1) for i in range(95)}
    paths = encode_with_ray(texts, tmp_path, Lengths, settings={"scale": 2.0}, shard=20)
    names, vectors = read_shards(paths)
    assert names == list(texts)
    assert (vectors != Lengths(2.0)(list(texts.values()))).nnz == 0
    times = [path.stat().st_mtime_ns for path in paths]
    paths[2].unlink()
    again = encode_with_ray(texts, tmp_path, Lengths, settings={"scale": 2.0}, shard=20)
    assert [p.stat().st_mtime_ns == t for p, t in zip(again, times, strict=True)] == [True, True, False, True, True]
    with pytest.raises(ValueError, match="shards of other texts or settings"):
        encode_with_ray(texts, tmp_path, Lengths, settings={"scale": 3.0}, shard=20)


def test_a_shard_read_back_is_what_was_written(tmp_path):
    pytest.importorskip("pyarrow")
    rows = random_rows(7)
    write_shard(tmp_path / "a.parquet", [f"d{i}" for i in range(7)], rows)
    names, again = read_shards([tmp_path / "a.parquet"])
    assert names[3] == "d3"
    assert (again != rows).nnz == 0
