"""The index as a whole: what is added, replaced, removed, saved and loaded, against a dictionary and brute force."""

import itertools
import json
import os
import random
import shutil
import signal
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from scipy import sparse

from tokalign_helpers.retrieval.index import SparseIndex, check_documents, check_queries

V = 6
EXAMPLES = int(os.environ.get("TOKALIGN_EXAMPLES", "30"))  # of the state machine; TOKALIGN_EXAMPLES=500 takes a minute
KILLS = int(os.environ.get("TOKALIGN_KILLS", "15"))  # in the middle of a save; TOKALIGN_KILLS=100 takes half a minute
DECODER = SimpleNamespace(token=lambda number: f"token {number}")
WEIGHTS = st.sampled_from([0, 0, 0, 0.5, 1, 3])  # few, so that scores are equal often; their sums are exact
ROW = st.lists(WEIGHTS, min_size=V, max_size=V)
IDS = st.sampled_from([f"d{i}" for i in range(12)] + ["é", "\ud800", ""])
DOCUMENTS = st.dictionaries(IDS, ROW, max_size=6)
FORMATS = st.sampled_from(["csr", "csc", "coo", "lil", "bsr", "dok"])


def rows(values, form="csr"):
    return sparse.coo_array(np.array(values, dtype=np.float64).reshape(-1, V)).asformat(form)


def made(documents=("a", "b", "c"), seed=0, width=V):
    index = SparseIndex(width)
    values = np.random.default_rng(seed).random((len(documents), width)).astype(np.float32)
    index.add(list(documents), sparse.csr_array(values))
    return index


def state(index):
    return index.ids, index.search(rows(np.eye(V)), 100, workers=1)


class AnyOrder(RuleBasedStateMachine):
    """Whatever is done in whatever order: the index is a dictionary from ids to rows."""

    @initialize()
    def start(self):
        self.index, self.documents, self.saved = SparseIndex(V), {}, None
        AnyOrder.number = getattr(AnyOrder, "number", 0) + 1
        self.folder = AnyOrder.root / str(AnyOrder.number)

    def teardown(self):
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder, ignore_errors=True)

    @rule(documents=DOCUMENTS, replace=st.booleans(), form=FORMATS)
    def add(self, documents, replace, form):
        vectors = rows(list(documents.values()), form)
        if not replace and documents.keys() & self.documents.keys():
            with pytest.raises(ValueError, match="already in use"):
                self.index.add(documents, vectors)
            return
        self.index.add(documents, vectors, replace=replace)
        if form == "csr":
            vectors.data[:] = 77  # the caller's array is the caller's
        for name, row in documents.items():
            self.documents.pop(name, None)
            self.documents[name] = np.array(row, dtype=np.float32)

    @rule(ids=st.lists(IDS, unique=True, max_size=4))
    def remove(self, ids):
        if not set(ids) <= self.documents.keys():
            with pytest.raises(ValueError, match="no document"):
                self.index.remove(ids)
            return
        self.index.remove(ids)
        for name in ids:
            del self.documents[name]

    @rule(n=st.integers(1, 12))
    def remove_the_oldest(self, n):
        for name in list(self.documents)[:n]:
            self.remove([name])

    @rule(query=st.lists(ROW, max_size=3), k=st.integers(1, 20))
    def search(self, query, k):
        asked = np.array(query, dtype=np.float32).reshape(-1, V).astype(np.float64)
        held = np.array(list(self.documents.values())).reshape(-1, V).astype(np.float64)
        found = self.index.search(rows(query), k, workers=1)
        assert len(found) == len(query)
        for hits, scores in zip(found, asked @ held.T, strict=True):
            pairs = [pair for pair in zip(self.documents, scores.tolist(), strict=True) if pair[1] > 0]
            assert hits == sorted(pairs, key=lambda pair: -pair[1])[:k]

    @rule(query=ROW, name=IDS)
    def explain(self, query, name):
        if name not in self.documents:
            with pytest.raises(ValueError, match="no document"):
                self.index.explain(rows(query), name, DECODER)
            return
        table = self.index.explain(rows(query), name, DECODER)
        products = (np.array(query) * self.documents[name]).tolist()
        expected = sorted(((i, p) for i, p in enumerate(products) if p > 0), key=lambda pair: -pair[1])
        assert [*zip(table["token"], table["score"], strict=True)] == [(f"token {i}", p) for i, p in expected]

    @rule()
    def save(self):
        self.index.save(self.folder)
        self.saved = dict(self.documents)

    @rule(verify=st.booleans())
    def load(self, verify):
        if self.saved is not None:
            self.index = SparseIndex.load(self.folder, V, verify=verify)
            self.documents = dict(self.saved)

    @invariant()
    def holds_the_same(self):
        if hasattr(self, "documents"):
            assert self.index.ids == list(self.documents)
            assert len(self.index) == len(self.documents)


def test_any_order_of_changes_is_a_dictionary(tmp_path):
    AnyOrder.root = tmp_path
    run_state_machine_as_test(AnyOrder, settings=settings(max_examples=EXAMPLES, stateful_step_count=20))


BAD = [(-0.5, "-0.5"), (np.nan, "nan"), (np.inf, "inf"), (1e39, r"1e\+39")]


@pytest.mark.parametrize(("weight", "said"), BAD)
def test_what_is_no_weight_is_refused_with_its_place(weight, said):
    vectors = rows([[1, 0, 0, 0, 0, 0], [0, 0, 2, weight, 0, 0]])
    index = made()
    before = state(index)
    with pytest.raises(ValueError, match=rf"document 'y': the weight of token 3 is {said}; .*float32"):
        index.add(["x", "y"], vectors)
    for ask in (index.search, lambda q: index.explain(q[[1]], "a", DECODER)):
        with pytest.raises(ValueError, match=rf"query [01]: the weight of token 3 is {said}"):
            ask(vectors)
    assert state(index) == before


def test_vectors_are_taken_as_they_are_meant():
    twice = sparse.csr_array((np.array([100, 100, 1], dtype=np.int8), [4, 4, 0], [0, 3]), shape=(1, V))
    for form in ("csr", "csc", "coo"):
        ids, vectors = check_documents(("a" for _ in range(1)), twice.asformat(form) if form != "csr" else twice, V)
        assert (ids, vectors.indices.tolist(), vectors.data.tolist()) == (["a"], [0, 4], [1, 200])
        assert vectors.dtype == np.float32
        assert vectors.indices.dtype == np.int32
    tiny = rows([[1e-60, -0.0, 0, 0, 0, 7]], "csr")
    assert check_queries(tiny, V).indices.tolist() == [5]
    assert tiny.nnz == 1 or tiny.data[0] == 1e-60  # the caller's stays as it was


@pytest.mark.parametrize(
    ("vectors", "error", "said"),
    [
        (np.ones((1, V)), TypeError, "the vectors are a ndarray"),
        (sparse.coo_array(np.ones(V)), ValueError, "1 dimensions"),
        (sparse.csr_array(np.ones((1, V)) * 1j), ValueError, "hold complex128"),
        (sparse.csr_array((np.ones(1), [V], [0, 1]), shape=(1, V)), ValueError, "valid CSR matrix: .* must be < 6"),
        (sparse.csr_array((np.ones(1), [-1], [0, 1]), shape=(1, V)), ValueError, "valid CSR matrix: .* >= 0"),
    ],
)
def test_what_is_no_sparse_matrix_is_refused(vectors, error, said):
    with pytest.raises(error, match=said):
        check_queries(vectors, V)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, None, "3", float("nan")])
def test_a_bad_k_is_refused(k):
    with pytest.raises(ValueError, match="it must be a whole number, 1 or more"):
        made().search(rows([1] * V), k)


@pytest.mark.parametrize("workers", [0, -1, 2.5, "2", True])
def test_a_bad_number_of_threads_is_refused(workers):
    for query in (rows([1] * V), rows([[1] * V] * 2)):
        with pytest.raises(ValueError, match="workers is .*; it must be a whole number, 1 or more"):
            made().search(query, workers=workers)


def test_one_query_of_the_right_width_is_explained():
    index = made()
    with pytest.raises(ValueError, match="2 queries were given; explain one at a time"):
        index.explain(rows([[1] * V] * 2), "a", DECODER)
    with pytest.raises(ValueError, match="the queries are 7 wide, the index 6"):
        index.explain(sparse.csr_array(np.ones((1, V + 1))), "a", DECODER)


def test_removal_is_of_all_or_none():
    index = made()
    for ids, error, said in [
        (["a", "z"], ValueError, "no document 'z'"), (["a", "a"], ValueError, "ids must differ"),
        (["a", 3], TypeError, "must be a str"), ("a", TypeError, "give a list"),
    ]:  # fmt: skip
        with pytest.raises(error, match=said):
            index.remove(ids)
        assert index.ids == ["a", "b", "c"]


def test_what_comes_again_stands_last_among_equals():
    index, same = SparseIndex(V), rows([[1] * V] * 4)
    index.add(list("abcd"), same)
    index.add(["b"], same.tocsr()[[0]], replace=True)
    index.remove(["a"])
    index.add(["a"], same.tocsr()[[0]])
    assert [name for name, _ in index.search(same)[0]] == index.ids == ["c", "d", "b", "a"]


def test_many_batches_with_searches_between_touch_a_document_a_few_times(monkeypatch):
    """Counted, not timed: how many non-zeros go through a merge."""
    moved, stack = [], sparse.vstack

    def counted(parts, **options):
        moved.append(sum(part.nnz for part in parts))
        return stack(parts, **options)

    monkeypatch.setattr("tokalign_helpers.retrieval.index.sparse.vstack", counted)
    index, one = SparseIndex(V), rows([1] * V).tocsr()
    for number in range(300):
        index.add([f"d{number}"], one)
        assert len(index.search(one, 500)[0]) == number + 1
    assert sum(moved) <= one.nnz * 300 * (np.log2(300) + 2)
    moved.clear()
    for number in range(300):
        index.remove([f"d{number}"])
        assert len(index.search(one, 500)[0]) == 299 - number
    assert sum(moved) <= one.nnz * 300 * 2


def test_searches_side_by_side_find_the_same():
    values = sparse.random_array((400, V), density=0.5, rng=np.random.default_rng(0), format="csr")
    index = SparseIndex(V)
    for start in range(0, 400, 40):
        index.add([f"d{i}" for i in range(start, start + 40)], values[start : start + 40])
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda _: index.search(values[:5], 20), range(6)))
        assert all(hits == found[0] for hits in found)
    assert state(index) == state(made_of(index, values))


def made_of(index, values):
    other = SparseIndex(V)
    other.add(index.ids, values)
    return other


def everything(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def left_over(folder):
    """Return what lies in the folder beside its one version."""
    version = json.loads((folder / "index.json").read_text())["version"]
    return sorted({path.name for path in folder.iterdir()} - {"index.json", ".lock", version})


@pytest.mark.parametrize(
    "files", [{"thesis.tex": "years of work"}, {"index.json": '{"name": "a web page"}'}, {"index.json": "[1, "},
              {"version-0/data.npy": ""}, {"index.json": '{"sizes": {}, "ids": [], "vocabulary_size": 6}'}],
)  # fmt: skip
def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path, monkeypatch, files):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = everything(tmp_path)
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, "."):
        with pytest.raises(ValueError, match="holds (no index|an index of an older format).* nothing was written"):
            made().save(folder)
    with pytest.raises(ValueError, match="is a file; give a folder"):
        made().save(next(iter(files)))
    assert everything(tmp_path) == before


def test_other_files_beside_an_index_stay(tmp_path):
    made().save(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "version-of-mine").mkdir()
    made("xy").save(tmp_path)
    assert left_over(tmp_path) == ["notes.txt", "version-of-mine"]
    assert SparseIndex.load(tmp_path).ids == ["x", "y"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_a_saved_index_has_the_modes_of_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        made().save(tmp_path / "index")
    finally:
        os.umask(before)
    for path in [tmp_path / "index", *(tmp_path / "index").rglob("*")]:
        wanted = (0o777 if path.is_dir() else 0o666) & ~umask
        assert stat.S_IMODE(path.stat().st_mode) == wanted or path.name == ".lock", path


def test_a_disk_that_is_full_costs_nothing(tmp_path, monkeypatch):
    made().save(tmp_path)
    before = everything(tmp_path)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    for broken in ("tokalign_helpers.retrieval.index.np.save", "tokalign_helpers.retrieval.versions.write_text"):
        with monkeypatch.context() as patch:
            patch.setattr(broken, full)
            with pytest.raises(OSError, match="No space"):
                made("xyz").save(tmp_path)
        assert SparseIndex.load(tmp_path).ids == ["a", "b", "c"]
        assert before.items() <= everything(tmp_path).items()
    made("xyz").save(tmp_path)
    assert left_over(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is killed while it saves")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_killed_save_loses_nothing_and_leaves_nothing(tmp_path):
    draw, folder = random.Random(0), tmp_path / "index"
    indexes = [made([f"{which}{i}" for i in range(20)], seed) for seed, which in enumerate("ab")]
    answers = [state(index) for index in indexes]
    indexes[0].save(folder)
    hit_in_the_middle = 0
    for kill in range(KILLS):
        child = os.fork()
        if not child:
            try:
                for index in itertools.cycle(indexes):
                    index.save(folder)
            finally:
                os._exit(1)
        time.sleep(draw.uniform(0.002, 0.03))
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "a save failed before it was killed"
        hit_in_the_middle += bool(left_over(folder))
        assert state(SparseIndex.load(folder, V)) in answers, f"lost at kill {kill}"
        indexes[kill % 2].save(folder)
        assert left_over(folder) == []
        assert state(SparseIndex.load(folder, V)) == answers[kill % 2]
    assert hit_in_the_middle >= KILLS // 4
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes save side by side")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_savers_and_readers_side_by_side_never_fail(tmp_path):
    """Six processes save ten times each into one folder, which is not there at first, while we read it."""
    folder, children = tmp_path / "index", []
    answers = [state(made([f"{which}{i}" for i in range(9)])) for which in range(6)]
    for which in range(6):
        child = os.fork()
        if not child:
            code = 1
            try:
                for _ in range(10):
                    made([f"{which}{i}" for i in range(9)]).save(folder)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    while not (folder / "index.json").exists():
        time.sleep(0.001)
    for _ in range(20):
        assert state(SparseIndex.load(folder, V)) in answers
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    assert state(SparseIndex.load(folder, V)) in answers
    assert left_over(folder) == []


def test_a_reader_goes_on_with_the_version_that_took_over(tmp_path, monkeypatch):
    made().save(tmp_path)
    real, saves = np.load, []

    def late(*arguments, **options):
        if not saves:
            saves.append(made("xyz").save(tmp_path))
        return real(*arguments, **options)

    monkeypatch.setattr("tokalign_helpers.retrieval.index.np.load", late)
    assert SparseIndex.load(tmp_path).ids == ["x", "y", "z"]


def test_an_open_index_outlives_its_files(tmp_path):
    made().save(tmp_path)
    opened = SparseIndex.load(tmp_path)
    made("xyz").save(tmp_path)
    assert state(opened) == state(made())
    opened.add(["d"], rows([1] * V))
    opened.save(tmp_path)
    assert SparseIndex.load(tmp_path).ids == ["a", "b", "c", "d"]


@pytest.mark.parametrize("name", ["data.npy", "indices.npy", "indptr.npy", "ids.json"])
def test_any_changed_bit_is_told(tmp_path, name):
    made().save(tmp_path)
    (file,) = tmp_path.glob(f"version-*/{name}")
    good = file.read_bytes()
    for place in range(0, len(good), 7):
        file.write_bytes(good[:place] + bytes([good[place] ^ 1 << place % 8]) + good[place + 1 :])
        with pytest.raises(ValueError, match=rf"{name} was changed: its SHA-256 differs; build the index again"):
            SparseIndex.load(tmp_path)
        try:  # without checksums a weight may be another one; a search must live all the same
            SparseIndex.load(tmp_path, verify=False).search(rows([1] * V))
        except ValueError:
            assert name != "data.npy" or place < 128
    for bad, said in ((good[:-2], "cut short"), (good + b"x", "cut short or changed"), (b"", "has 0 bytes")):
        file.write_bytes(bad)
        for verify in (True, False):
            with pytest.raises(ValueError, match=said):
                SparseIndex.load(tmp_path, verify=verify)
    file.unlink()
    with pytest.raises(ValueError, match=rf"no whole index: .*{name} is missing"):
        SparseIndex.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [("indptr", 2, 2**30), ("indptr", 2, -1), ("indptr", 0, 1), ("indptr", -1, 2), ("indptr", -1, 2**31 - 1),
     ("indices", 0, 3), ("indices", 4, -1), ("indices", 4, -(2**31))],
)  # fmt: skip
def test_numbers_out_of_bounds_are_told_without_checksums_too(tmp_path, name, place, value):
    made().save(tmp_path)
    (file,) = tmp_path.glob(f"version-*/{name}.npy")
    array = np.load(file)
    array[place] = value
    np.save(file, array)
    for verify, said in ((True, "SHA-256"), (False, "arrays that make no index of 3 documents")):
        with pytest.raises(ValueError, match=said):
            SparseIndex.load(tmp_path, verify=verify)


@pytest.mark.parametrize("ids", ['["a", "b", "b"]', '["a", "bcde"]  ', '["a", "b", 42] ', '{"a": "b"}     ', "[" * 15])
def test_ids_that_are_no_ids_are_told_without_checksums_too(tmp_path, ids):
    made().save(tmp_path)
    (file,) = tmp_path.glob("version-*/ids.json")
    assert len(ids) == file.stat().st_size
    file.write_text(ids)
    with pytest.raises(ValueError, match="ids.json was changed: .* build the index again"):
        SparseIndex.load(tmp_path, verify=False)


def test_what_is_no_index_of_ours_is_not_opened(tmp_path):
    with pytest.raises(ValueError, match="holds no index"):
        SparseIndex.load(tmp_path / "nowhere")
    made().save(tmp_path)
    with pytest.raises(ValueError, match="has 6 tokens, not 50: it is another model's"):
        SparseIndex.load(tmp_path, 50)
    pointer = tmp_path / "index.json"
    about = json.loads(pointer.read_text())
    for changed in ({"version": "../elsewhere"}, {"files": []}, {"files": {"data.npy": 3}}, {"kind": "another"}):
        pointer.write_text(json.dumps(about | changed))
        with pytest.raises(ValueError, match="no index of ours"):
            SparseIndex.load(tmp_path)
    for name in ("vocabulary_size", "documents"):
        for wrong in ({}, {name: None}, {name: "3"}, {name: -1}, {name: 2.5}):
            pointer.write_text(json.dumps({key: value for key, value in about.items() if key != name} | wrong))
            with pytest.raises(ValueError, match=rf"^{tmp_path}: {name} is .*; it must be a whole number"):
                SparseIndex.load(tmp_path)
    pointer.write_text("[" * 200_000)
    for ask in (lambda: SparseIndex.load(tmp_path), lambda: made().save(tmp_path)):
        with pytest.raises(ValueError, match="no index that can be read: index.json: .*recursion"):
            ask()
    for changed in ({"documents": 4}, {"vocabulary_size": 7}, {"vocabulary_size": "6"}, {"files": {}}):
        pointer.write_text(json.dumps(about | changed))
        with pytest.raises(ValueError, match=r"was changed|make no index|no whole index|vocabulary_size"):
            SparseIndex.load(tmp_path, verify=False)
    pointer.write_text(json.dumps({"vocabulary_size": V, "ids": ["a"], "sizes": {"data.npy": 140}}))
    with pytest.raises(ValueError, match="an index of an older format, without checksums; build and save it again"):
        SparseIndex.load(tmp_path)


@pytest.mark.parametrize("size", [0, -1, 2.5, "6", None, True])
def test_a_vocabulary_has_a_size(size):
    with pytest.raises(ValueError, match="vocabulary_size is"):
        SparseIndex(size)
