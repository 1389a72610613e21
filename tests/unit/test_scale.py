"""What the engines' side decides by itself, without the engines: stand-ins take the place of pymilvus and of Ray."""

import dataclasses
import enum
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import sparse

from tokalign_helpers.models import loading
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.models.pooling import last_token
from tokalign_helpers.retrieval import scale
from tokalign_helpers.retrieval.scale import EncodingError, EngineError, MilvusIndex, SparseWorker, encode_with_ray
from tokalign_helpers.retrieval.shards import describe_as_json, stamp_of
from tokalign_helpers.retrieval.sparse import sparsify_documents

V = 30


class Refusal(Exception):
    """Stands in for pymilvus's exception."""

    def __init__(self, code=1, retriable=False):
        super().__init__()
        self.code, self.message, self.retriable = code, f"code {code}\nand more", retriable


class Status(enum.Enum):
    """Stands in for gRPC's."""

    DEADLINE_EXCEEDED = (4, "deadline exceeded")
    INVALID_ARGUMENT = (3, "invalid argument")
    RESOURCE_EXHAUSTED = (8, "resource exhausted")
    UNAUTHENTICATED = (16, "unauthenticated")
    UNAVAILABLE = (14, "unavailable")


class NoAnswer(Exception):
    """Stands in for gRPC's: its code is a method."""

    def __init__(self, name):
        super().__init__(name)
        self.code = lambda: Status[name]


class Client:
    """Keeps rows in a dictionary; every call is written down, and fails where it was told to."""

    collections: dict = {}
    calls: list = []
    errors: list = []

    def __init__(self, uri, timeout):
        self.uri = uri

    def __getattribute__(self, name):
        if not name.startswith("_") and name not in ("prepare_index_params", "uri", "close"):
            Client.calls.append(name)
            if Client.errors:
                raise Client.errors.pop(0)
        return super().__getattribute__(name)

    @staticmethod
    def create_schema(description, **_):
        return SimpleNamespace(description=description, add_field=lambda *_, **__: None)

    def prepare_index_params(self):
        return SimpleNamespace(add_index=lambda *_, **__: None)

    def has_collection(self, name, timeout):
        return name in Client.collections

    def create_collection(self, name, schema, consistency_level, properties, timeout):
        Client.collections[name] = {"properties": properties, "description": schema.description, "rows": {}}

    def describe_collection(self, name, timeout):
        return {"fields": [{"name": "id"}, {"name": "vector"}]} | Client.collections[name]

    def list_indexes(self, name, timeout):
        return ["vector"]

    def load_collection(self, name, timeout):
        Client.collections[name]["loaded"] = True

    def upsert(self, name, rows, timeout):
        Client.collections[name]["rows"] |= {row["id"]: row["vector"] for row in rows}

    def delete(self, name, filter, timeout):
        Client.collections[name].setdefault("filters", []).append(filter)

    def search(self, name, data, limit, anns_field, search_params, timeout):
        assert Client.collections[name]["loaded"]
        rows = Client.collections[name]["rows"].items()
        scores = [{key: sum(w * row.get(t, 0) for t, w in query.items()) for key, row in rows} for query in data]
        Client.calls.append(len(data))
        return [[{"id": key, "distance": s[key]} for key in sorted(s, key=s.get, reverse=True)[:limit]] for s in scores]

    def close(self):
        pass


@pytest.fixture
def client(monkeypatch):
    Client.collections, Client.calls, Client.errors = {}, [], []
    pymilvus, exceptions, grpc = (ModuleType(name) for name in ("pymilvus", "pymilvus.exceptions", "grpc"))
    pymilvus.MilvusClient, pymilvus.DataType = Client, SimpleNamespace(VARCHAR=1, SPARSE_FLOAT_VECTOR=2)
    exceptions.MilvusException, grpc.RpcError, grpc.FutureTimeoutError = Refusal, NoAnswer, TimeoutError
    for module in (pymilvus, exceptions, grpc):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return Client


def rows(*weights):
    return sparse.csr_array(np.array([[weight] + [0] * (V - 1) for weight in weights], dtype=np.float32))


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (Refusal(1), 1), (Refusal(1100), 1), (Refusal(100), 1), (NoAnswer("INVALID_ARGUMENT"), 1),
        (NoAnswer("UNAUTHENTICATED"), 1), (NoAnswer("RESOURCE_EXHAUSTED"), 1),
        (Refusal(2), 4), (Refusal(8), 4), (Refusal(1, retriable=True), 4), (NoAnswer("UNAVAILABLE"), 4),
        (Refusal(Status.UNAVAILABLE), 4), (NoAnswer("DEADLINE_EXCEEDED"), 4),
    ],
)  # fmt: skip
def test_only_what_may_pass_is_tried_again(client, error, tries):
    with MilvusIndex("http://stand-in", V) as index:
        client.calls.clear()
        client.errors = [error] * 9
        with pytest.raises(EngineError) as caught:
            index.add(["a"], rows(1))
        assert client.calls == ["upsert"] * tries
        assert caught.value.transient == (tries > 1)
        assert ("add the same ones again" in str(caught.value)) == (tries > 1)
        assert "\n" not in str(caught.value)
        client.errors = [Refusal(2)] * 3  # one fewer than it has the patience for
        index.add(["a"], rows(1))
        client.errors = []
        assert index.search(rows(1)) == [[("a", 1.0)]]


def test_a_collection_remembers_its_vocabulary(client):
    for lost in ({}, {"description": ""}, {"properties": {}}):  # a server may keep one of the two
        client.collections.clear()
        MilvusIndex("http://stand-in", V).close()
        client.collections["tokalign"] |= lost
        MilvusIndex("http://stand-in", V).close()
        with pytest.raises(ValueError, match="has 30 tokens, not 31: it is the collection of"):
            MilvusIndex("http://stand-in", V + 1)
    client.collections["tokalign"]["description"] = "something else"
    with pytest.raises(ValueError, match="before it kept the size of its vocabulary; give another name, or drop"):
        MilvusIndex("http://stand-in", V)


@pytest.mark.parametrize("size", [0, -1, 2.5, "30", None, True])
def test_a_vocabulary_without_a_size_makes_no_collection(client, size):
    with pytest.raises(ValueError, match="vocabulary_size is"):
        MilvusIndex("http://stand-in", size)
    assert client.collections == {} and client.calls == []


def test_a_collection_is_loaded_whenever_it_is_opened(client):
    for _ in range(2):
        with MilvusIndex("http://stand-in", V):
            assert client.collections["tokalign"].pop("loaded")


def test_requests_stay_within_what_a_server_answers(client, monkeypatch):
    monkeypatch.setattr(scale, "BATCH", 4)
    monkeypatch.setattr(scale, "QUERIES", 4)
    monkeypatch.setattr(scale, "HITS", 6)
    with MilvusIndex("http://stand-in", V) as index:
        index.add([f"d{i}" for i in range(9)], rows(*range(9)))
        assert client.calls.count("upsert") == 3
        found = {}
        for k, asked in ((1, [4, 1]), (3, [2, 2, 1]), (7, [1, 1, 1, 1, 1])):
            client.calls.clear()
            found[k] = index.search(rows(1, 0, 2, 3, 4, 5), k)
            assert [call for call in client.calls if isinstance(call, int)] == asked
    assert found[3][1] == []
    assert [hits[0] for hits in found[7] if hits] == [("d8", 8.0 * weight) for weight in (1, 2, 3, 4, 5)]


def test_a_document_without_weights_is_deleted_and_a_score_of_zero_is_no_hit(client):
    with MilvusIndex("http://stand-in", V) as index:
        index.add(["a", 'b"\\\n', "c"], rows(1, 0, 2))
        assert client.collections["tokalign"]["filters"] == [r'id in ["b\"\\\n"]']
        other = sparse.csr_array(([1.0], [5], [0, 1]), shape=(1, V))
        assert index.search(other) == [[]]


ONE = {"name": "a", "n": 3}


class Encoder:
    """An encoder with a setting and a constant."""

    SCALE = 2

    def __init__(self, scale=1.0):
        self.scale = scale

    def __call__(self, texts):
        """Fail at texts that end in a mark."""
        if any(text.endswith("!") for text in texts):
            raise KeyError("no mark")
        return sparse.csr_array((len(texts), V), dtype=np.float32)


def stamp(encode=Encoder, settings=ONE, fingerprint="", shard=10, texts=ONE):
    return stamp_of(encode, settings, fingerprint, shard, texts)


def kin(name="Encoder", bases=(), **changed):
    """Make a class of the encoder's name with other members."""
    members = {key: value for key, value in vars(Encoder).items() if key not in ("__dict__", "__weakref__")}
    made = type(name, bases, members | changed)
    made.__qualname__ = name
    return made


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass(frozen=True)
class Recipe:
    steps: int
    rate: float = 0.1


def scaled(by):
    return lambda x: x * by


DIFFERENT = [
    None, True, 1, 1.0, "1", b"1", 2, float("nan"), float("inf"), -0.0, 0.0, 1 + 0j, Path("1"), ..., len, max,
    [1], (1,), [[1]], [1, 1], {1}, {2}, {1: 2}, {2: 1}, {"1": 2}, np.float32(1), np.float64(1), np.array(1.0),
    np.array([1.0]), np.array([1], np.int32), np.arange(4), np.arange(4).reshape(2, 2), Colour.RED, Colour.BLUE,
    Recipe(1), Recipe(2), Recipe(1, 0.2), Recipe, Encoder, kin(SCALE=3),
    scaled(2), scaled(3), lambda x: x + 1, lambda x: x + 2, lambda x, y=1: x,
]  # fmt: skip


def test_values_that_differ_are_named_differently_and_equal_ones_alike():
    stamps = [stamp(settings={"value": value}) for value in DIFFERENT]
    assert len(set(stamps)) == len(DIFFERENT)
    assert stamps == [stamp(settings={"value": value}) for value in DIFFERENT]
    assert stamp(settings={"a": {1, "x"}, "b": {3: 1, 4: 2}}) == stamp(settings={"b": {4: 2, 3: 1}, "a": {"x", 1}})
    assert stamp(settings={"a": np.arange(4)}) == stamp(settings={"a": np.arange(8)[:4]})


@pytest.mark.parametrize("value", [object(), [object()], {"a": object()}, np.array([object()]), torch.nn.Linear(1, 1)])
def test_a_setting_that_no_later_run_could_recognise_is_refused(value):
    with pytest.raises(
        TypeError, match=r"settings\['model'\] holds a \S+, which a later run could not recognise; give"
    ):
        stamp(settings={"model": value})


def test_a_value_inside_itself_is_named():
    loop = [1]
    loop.append(loop)
    assert describe_as_json(loop, "it") == ["list", ["int", "1"], ["itself", 0]]


@pytest.mark.parametrize(
    "other",
    [
        {"encode": kin(SCALE=3)}, {"encode": kin("Other")}, {"encode": kin(bases=(dict,))},
        {"encode": kin(__call__=lambda self, texts: None)}, {"encode": type("Encoder", (Encoder,), {})},
        {"encode": kin(extra=property(lambda self: 1))}, {"encode": kin(extra=staticmethod(lambda: 1))},
        {"settings": {}}, {"settings": ONE | {"n": 4}}, {"fingerprint": "x"}, {"shard": 11}, {"texts": {}},
        {"texts": {"n": 3, "name": "a"}}, {"texts": {"name": "a\n", "n": 3}},
    ],
)  # fmt: skip
def test_all_that_a_run_depends_on_is_in_its_stamp(other):
    assert stamp(**other) != stamp()
    assert stamp(encode=kin()) == stamp()  # a copy is the same code


@pytest.mark.slow
def test_a_stamp_is_the_same_in_every_process():
    code = "from tests.unit import test_scale as t; print(t.stamp(settings={'a': {'x', 'y', 'z'}, 'b': t.Colour.RED}))"
    place = {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | place, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == stamp(settings={"b": Colour.RED, "a": {"z", "y", "x"}})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"texts": {}}, ValueError, "no texts"), ({"texts": ["a"]}, TypeError, "expected a mapping"),
        ({"texts": {"a": None}}, TypeError, "document 'a' has the text None"),
        ({"texts": {1: "a"}}, TypeError, "document 1"),
        ({"encode": Encoder()}, TypeError, "expected a class"), ({"workers": 0}, ValueError, "workers is 0"),
        ({"shard": 0}, ValueError, "shard is 0"), ({"shard": 2.5}, ValueError, "shard is 2.5"),
        ({"settings": {1: 2, "a": 3}}, TypeError, "settings holds the name 1"),
        ({"settings": {"scale": object()}}, TypeError, "could not recognise"),
    ],
)  # fmt: skip
def test_a_run_that_cannot_be_made_is_refused_before_it_starts(tmp_path, monkeypatch, change, error, message):
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    given = {"texts": {"a": "b"}, "encode": Encoder} | change
    with pytest.raises(error, match=message):
        encode_with_ray(given.pop("texts"), tmp_path / "shards", given.pop("encode"), **given)
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize("bad", [[], [0], [7], [99], [3, 4], [0, 99]])
def test_the_document_at_fault_is_found_by_halving(bad):
    texts, calls = [f"t{i}{'!' if i in bad else ''}" for i in range(100)], []

    def encode(some):
        calls.append(len(some))
        return Encoder()(some)

    assert scale._culprit(encode, texts) == (bad[0] if bad else None)
    assert sum(calls) < 3 * len(texts)


def test_a_folder_whose_shards_nobody_can_name_is_refused(tmp_path):
    scale._claim(tmp_path, "mine")
    scale._claim(tmp_path, "mine")
    assert (tmp_path / "plan").read_text() == "mine"
    with pytest.raises(ValueError, match="holds shards of other texts"):
        scale._claim(tmp_path, "other")
    (tmp_path / "plan").unlink()
    (tmp_path / "part-000000000.parquet").write_text("")
    with pytest.raises(ValueError, match="no file 'plan' that says of which texts"):
        scale._claim(tmp_path, "mine")
    assert not (tmp_path / "plan").exists()


def test_the_error_of_an_encoder_is_one_line_with_shard_and_document(monkeypatch):
    written = []
    monkeypatch.setattr(scale, "write_shard", lambda path, names, vectors, stamp: written.append((path, names, stamp)))
    worker = scale._ShardWriter(Encoder, {"scale": 2.0}, "mine", None)
    parts = ['["f/part-1", ["a", "b"], ["x", "y"]]', '["f/part-2", ["c", "d"], ["x", "y!"]]']
    assert worker({"part": parts}) == {
        "error": ["", "part-2: document 'd' could not be encoded: KeyError: 'no mark'"]
    }  # fmt: skip
    assert written == [("f/part-1", ["a", "b"], "mine")]


def test_the_workers_error_is_raised(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    rows = SimpleNamespace(iter_rows=lambda: iter([{"error": ""}, {"error": "part-2: no"}]))
    data = SimpleNamespace(
        from_items=lambda items, override_num_blocks: SimpleNamespace(map_batches=lambda *_, **__: rows),
        ActorPoolStrategy=lambda size: None,
    )
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(data=data))
    with pytest.raises(EncodingError, match="^part-2: no$"):
        encode_with_ray({"a": "b"}, tmp_path, Encoder)


def test_the_workers_fingerprint_names_embedder_decoder_and_weights(tiny_folder, monkeypatch):
    made = load_embedder(tiny_folder, pooling=last_token)
    monkeypatch.setattr(loading, "load_embedder", lambda name: made)
    worker = SparseWorker("tiny", 5)
    texts = ["The parrot spoke.", "A quiet garden."]
    expected = sparsify_documents(made.decoder, made.embed(texts, cache=False, progress=False), 5)
    assert (worker(texts) != expected).nnz == 0
    seen = [worker.fingerprint, SparseWorker("tiny", 5, "raw").fingerprint]
    for weights in (next(made.model.parameters()), made.unembedding):
        with torch.no_grad():
            weights[0, 0] += 1
        seen.append(worker.fingerprint)
        assert worker.fingerprint == SparseWorker("tiny", 5).fingerprint
    assert len(set(seen)) == 4
