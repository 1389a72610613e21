"""Parquet shards and the Ray workers that write them; skipped where pyarrow or Ray is not installed."""

import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

from tokalign_helpers.retrieval import shards
from tokalign_helpers.retrieval.scale import EncodingError, ShardError, encode_with_ray, read_shards, write_shard

V = 300
pa = pytest.importorskip("pyarrow")


def random_rows(n, seed=0, width=V):
    rng = np.random.default_rng(seed)
    return sparse.random_array((n, width), density=0.05, format="csr", rng=rng, dtype=np.float32)


def same(a, b):
    return a.shape == b.shape and (a != b).nnz == 0


@pytest.fixture
def shard(tmp_path):
    rows = random_rows(40)
    path = tmp_path / "a.parquet"
    write_shard(path, [f"d{i}" for i in range(40)], rows, stamp="made here")
    return path, rows


def test_shards_read_back_are_what_was_written(tmp_path):
    paths, rows = [tmp_path / "a.parquet", tmp_path / "b.parquet", tmp_path / "c.parquet"], random_rows(7)
    write_shard(paths[0], [f"d{i}" for i in range(7)], rows.tocsc())
    write_shard(paths[1], ["é", "line\nline"], sparse.coo_array((2, V), dtype=np.float32))
    write_shard(str(paths[2]), [], sparse.csr_array((0, V), dtype=np.float32))
    names, again = read_shards(map(str, paths))
    assert names == [f"d{i}" for i in range(7)] + ["é", "line\nline"]
    assert same(again, sparse.vstack([rows, sparse.csr_array((2, V), dtype=np.float32)]))
    assert again.dtype == np.float32
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet", "c.parquet"]


def test_a_shard_is_plain_parquet_with_page_checksums(shard):
    import pyarrow.parquet as pq

    path, rows = shard
    table = pq.read_table(path)
    assert table.column_names == ["id", "tokens", "weights"]
    assert table["tokens"][3].as_py() == rows[[3]].indices.tolist()
    raw = bytearray(path.read_bytes())
    where = pq.ParquetFile(path).metadata.row_group(0).column(2)
    raw[(where.dictionary_page_offset + where.data_page_offset) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(OSError, match="CRC checksum"):
        pq.read_table(path, page_checksum_verification=True)


def test_a_flipped_bit_is_an_error_or_changes_nothing(shard):
    path, rows = shard
    raw, bits = path.read_bytes(), np.random.default_rng(0).permutation(8 * path.stat().st_size)[:600]
    said = []
    for bit in bits.tolist():
        path.write_bytes(raw[: bit // 8] + bytes([raw[bit // 8] ^ 1 << bit % 8]) + raw[bit // 8 + 1 :])
        try:
            found = shards.read_shard(path)
        except ValueError as error:
            said.append(str(error))
        else:
            assert found.names == [f"d{i}" for i in range(40)] and found.stamp == "made here"
            assert same(found.vectors, rows)
    assert len(said) > len(bits) / 2
    assert all(str(path) in line and "\n" not in line for line in said)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_shard_cut_short_is_told_with_its_name(shard, share):
    path, _ = shard
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(ShardError, match=r"a\.parquet is damaged \(.*\); delete it and make it again$"):
        read_shards([path])


def test_what_is_no_shard_is_told_with_its_name(tmp_path):
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ["a"], "text": ["b"]}), tmp_path / "foreign.parquet")
    (tmp_path / "text.parquet").write_text("no Parquet at all")
    with pytest.raises(ValueError, match=r"foreign\.parquet is a Parquet file, but not one that write_shard wrote"):
        read_shards([tmp_path / "foreign.parquet"])
    with pytest.raises(ShardError, match=r"text\.parquet is damaged"):
        read_shards([tmp_path / "text.parquet"])
    with pytest.raises(FileNotFoundError, match=r"there is no shard .*none\.parquet"):
        read_shards([tmp_path / "none.parquet"])
    with pytest.raises(ValueError, match="the list of paths is empty"):
        read_shards([])


def test_shards_of_two_widths_are_refused(shard, tmp_path):
    write_shard(tmp_path / "b.parquet", ["e"], random_rows(1, width=V + 1))
    with pytest.raises(ValueError, match=r"b\.parquet is over 301 tokens, .*a\.parquet over 300"):
        read_shards([shard[0], tmp_path / "b.parquet"])


@pytest.mark.parametrize(
    ("tokens", "weights", "message"),
    [
        ([1, V], [1, 1], "the token id 300; ids lie in 0..299"), ([-1, 2], [1, 1], "the token id -1"),
        ([2, 1], [1, 1], "do not ascend"), ([2, 2], [1, 1], "do not ascend"),
        ([1, 2], [1, np.nan], "weight of token 2"), ([1, 2], [-1, 1], "weight of token 1"),
    ],
)  # fmt: skip
def test_vectors_that_no_index_takes_are_not_written_and_not_read(tmp_path, monkeypatch, tokens, weights, message):
    rows = sparse.csr_array((2, V), dtype=np.float32)
    rows.indices, rows.data = np.array([5, *tokens], np.int32), np.array([1, *weights], np.float32)
    rows.indptr = np.array([0, 1, 3], np.int32)
    monkeypatch.setattr(shards, "check_documents", lambda ids, vectors, width: (ids, vectors))  # of another writer
    write_shard(tmp_path / "a.parquet", ["a", "b"], rows)
    monkeypatch.undo()
    with pytest.raises(ShardError, match=message):
        read_shards([tmp_path / "a.parquet"])
    if message != "do not ascend":  # in memory scipy puts them in order
        with pytest.raises(ValueError, match="indices must be|weight"):
            write_shard(tmp_path / "b.parquet", ["a", "b"], rows)
        assert not (tmp_path / "b.parquet").exists()


OUTSIDE = {"made": 0, "fails": None, "scale": 1.0}  # is no part of an encoder's code


class Lengths:
    """Stands in for an embedder: token i of a text of i letters; fails where OUTSIDE says so."""

    def __init__(self, scale=1.0):
        self.scale = float(scale)
        OUTSIDE["made"] += 1

    def __call__(self, texts):
        if OUTSIDE["fails"] in texts:
            raise RuntimeError("out of words\nor of memory")
        rows = np.zeros((len(texts), V), dtype=np.float32)
        rows[range(len(texts)), [len(text) for text in texts]] = self.scale
        return sparse.csr_array(rows)


class Here:
    """What encode_with_ray asks of Ray, in this process."""

    def __init__(self, items):
        self.items = items

    def map_batches(self, kind, *, fn_constructor_args, batch_size, compute):
        assert batch_size == 1 and compute >= 1
        work = kind(*fn_constructor_args)
        return Here([{"error": work({key: [item[key]] for key in item})["error"][0]} for item in self.items])

    def iter_rows(self):
        return iter(self.items)


@pytest.fixture
def here(monkeypatch):
    """Ray's interface without its processes."""
    ray = SimpleNamespace(
        data=SimpleNamespace(
            from_items=lambda items, override_num_blocks: Here(items), ActorPoolStrategy=lambda size: size
        ),
        remote=lambda **_: lambda work: SimpleNamespace(remote=work),
        get=lambda result: result,
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    for name, value in {"made": 0, "fails": None, "scale": 1.0}.items():
        monkeypatch.setitem(OUTSIDE, name, value)


TEXTS = {f"d{i}": "x" * (i % 50 + 1) for i in range(95)}


def test_only_what_is_missing_or_damaged_is_done_again(here, tmp_path):
    paths = encode_with_ray(TEXTS, tmp_path, Lengths, shard=20)
    times = [path.stat().st_mtime_ns for path in paths]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert encode_with_ray(TEXTS, tmp_path, Lengths, shard=20) == paths
    assert OUTSIDE["made"] == 1
    raw = paths[1].read_bytes()
    paths[1].write_bytes(raw[:-100])
    paths[2].unlink()
    damaged = bytearray(paths[3].read_bytes())
    damaged[300] ^= 16
    paths[3].write_bytes(damaged)
    with pytest.warns(UserWarning, match=r"part-0000000[26]0\.parquet is damaged .*: it is made again") as told:
        encode_with_ray(TEXTS, tmp_path, Lengths, shard=20)
    assert len(told) == 2
    again = [path.stat().st_mtime_ns == t for path, t in zip(paths, times, strict=True)]
    assert again == [True, False, False, False, True]
    names, vectors = read_shards(paths)
    assert names == list(TEXTS)
    assert same(vectors, Lengths()(list(TEXTS.values())))


def test_shards_of_another_run_are_never_taken(here, tmp_path):
    encode_with_ray(TEXTS, tmp_path, Lengths, settings={"scale": np.float32(2)}, shard=20)
    changed = type("Lengths", (Lengths,), {"__call__": lambda self, texts: 100 * Lengths.__call__(self, texts)})
    changed.__module__, changed.__qualname__ = Lengths.__module__, Lengths.__qualname__
    renamed = type("Renamed", (Lengths,), {})
    two, texts = {"scale": np.float32(2)}, TEXTS | {"d7": "another"}
    for others in (
        (texts, Lengths, two, 20), (TEXTS, Lengths, {"scale": np.float32(3)}, 20), (TEXTS, changed, two, 20),
        (TEXTS, renamed, two, 20), (TEXTS, Lengths, two, 30), (dict(reversed(TEXTS.items())), Lengths, two, 20),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="holds shards of other texts or settings, or of another encoder or model"):
            encode_with_ray(others[0], tmp_path, others[1], settings=others[2], shard=others[3])


@pytest.mark.parametrize("lost", ["deleted", "emptied", "another's"])
def test_a_lost_plan_gives_no_texts_the_shards_of_others(here, tmp_path, lost):
    plan = tmp_path / "plan"
    paths = encode_with_ray(TEXTS, tmp_path, Lengths, shard=20)
    plan.write_text({"emptied": "", "another's": "\xff a plan"}.get(lost, ""), encoding="latin-1")
    if lost == "deleted":
        plan.unlink()
    texts = {name: text + "x" for name, text in TEXTS.items()}
    for given in (texts, TEXTS):
        with pytest.raises(ValueError, match="give an empty folder"):
            encode_with_ray(given, tmp_path, Lengths, shard=20)
    plan.write_text(
        shards.stamp_of(Lengths, {}, "", 20, texts)
    )  # as if somebody had put it there: the shards know better
    with pytest.raises(ValueError, match=r"part-000000000\.parquet is a shard of other texts"):
        encode_with_ray(texts, tmp_path, Lengths, shard=20)
    assert same(read_shards(paths)[1], Lengths()(list(TEXTS.values())))


def test_a_model_that_changed_under_its_name_is_noticed(here, tmp_path):
    class Adapted(Lengths):
        def __init__(self):
            super().__init__(OUTSIDE["scale"])

        @property
        def fingerprint(self):
            return f"weights {self.scale}"

    encode_with_ray(TEXTS, tmp_path, Adapted, shard=20)
    encode_with_ray(TEXTS, tmp_path, Adapted, shard=20)
    OUTSIDE["scale"] = 100.0
    with pytest.raises(ValueError, match="another encoder or model"):
        encode_with_ray(TEXTS, tmp_path, Adapted, shard=20)


def test_a_worker_with_another_model_than_the_first_writes_nothing(here, tmp_path):
    class Drifting(Lengths):
        @property
        def fingerprint(self):
            return f"weights {OUTSIDE['made']}"

    with pytest.raises(EncodingError, match=r"part-000000000\.parquet: .* another model"):
        encode_with_ray(TEXTS, tmp_path, Drifting, shard=20)
    assert not list(tmp_path.glob("*.parquet"))


def test_an_error_names_the_shard_and_the_document(here, tmp_path):
    OUTSIDE["fails"] = "x" * 33
    with pytest.raises(EncodingError) as caught:
        encode_with_ray(TEXTS, tmp_path, Lengths, shard=20)
    assert str(caught.value) == (
        "part-000000020.parquet: document 'd32' could not be encoded: RuntimeError: out of words or of memory"
    )
    OUTSIDE["fails"] = None
    assert len(read_shards(encode_with_ray(TEXTS, tmp_path / "more", Lengths, shard=20))[0]) == 95


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (lambda texts: sparse.csr_array((1, V)), "20 ids came with vectors"), (lambda texts: [[1.0]], "a sparse array"),
        (lambda texts: sparse.csr_array(np.full((len(texts), V), -1)), "document 'd0': the weight of token 0 is -1"),
    ],
)  # fmt: skip
def test_an_encoder_that_gives_no_vectors_is_told_with_the_shard(here, tmp_path, vectors, message):
    class Wrong(Lengths):
        def __call__(self, texts):
            return vectors(texts)

    with pytest.raises(EncodingError, match=r"part-000000000\.parquet: its vectors could not be written: .*" + message):
        encode_with_ray(TEXTS, tmp_path, Wrong, shard=20)


def test_an_encoder_that_cannot_be_made_is_told(here, tmp_path):
    with pytest.raises(EncodingError, match=r"the encoder could not be made: TypeError: .*wrong"):
        encode_with_ray(TEXTS, tmp_path, Lengths, settings={"wrong": 1})


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray")
    for patience in (2, 1, 0):  # Ray gives its own processes 30 seconds to start, which is too few on a busy machine
        try:
            ray.init(num_cpus=2, include_dashboard=False, configure_logging=False, _node_ip_address="127.0.0.1")
            break
        except Exception:
            ray.shutdown()
            if not patience:
                raise
    yield ray
    ray.shutdown()


class Named(Lengths):
    """Says what its model is."""

    @property
    def fingerprint(self):
        return f"weights {self.scale}"


@pytest.mark.slow
def test_ray_and_one_process_agree_and_a_stopped_run_goes_on(cluster, tmp_path):
    texts = TEXTS | {"nul\0": "x\0", "quote": '"\\'}
    paths = encode_with_ray(texts, tmp_path, Named, settings={"scale": 2.0}, shard=20)
    names, vectors = read_shards(paths)
    assert names == list(texts)
    assert same(vectors, Lengths(2.0)(list(texts.values())))
    times = [path.stat().st_mtime_ns for path in paths]
    paths[2].unlink()
    again = encode_with_ray(texts, tmp_path, Named, settings={"scale": 2.0}, shard=20)
    assert [p.stat().st_mtime_ns == t for p, t in zip(again, times, strict=True)] == [True, True, False, True, True]
    with pytest.raises(ValueError, match="shards of other texts or settings"):
        encode_with_ray(texts, tmp_path, Named, settings={"scale": 3.0}, shard=20)


@pytest.mark.slow
def test_an_error_on_a_ray_worker_is_one_line(cluster, tmp_path):
    texts = TEXTS | {"long": "x" * V}
    with pytest.raises(EncodingError, match=r"^part-000000080\.parquet: document 'long' could not be encoded: Index"):
        encode_with_ray(texts, tmp_path, Lengths, shard=20)
