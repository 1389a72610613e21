import multiprocessing
import os
import sqlite3
import stat
import sys
import warnings
from contextlib import closing

import pytest
import torch

from tokalign_helpers.models.cache import TABLE, EmbeddingCache, embedding_cache_dir
from tokalign_helpers.models.shipped import fill_cache, ship_embeddings

TEXTS = [f"text {n}" for n in range(6)]


@pytest.fixture
def cache():
    cache = EmbeddingCache("0" * 32, 4)
    cache.store(TEXTS, vectors())
    return cache


def vectors(rows=6):
    return torch.arange(4.0 * rows).view(rows, 4)


def known(cache, texts=TEXTS):
    out = torch.full((len(texts), 4), -1.0)
    return cache.load(texts, out), out


def change(cache, statement, *values):
    with closing(sqlite3.connect(cache.path)) as database, database:
        assert database.execute(statement, values).rowcount == 1


def row_of(cache, place):
    with closing(sqlite3.connect(cache.path)) as database:
        rows = database.execute(f"SELECT rowid, key, vector, checksum FROM {TABLE} ORDER BY rowid").fetchall()
    return rows[place]


def flipped(data, bit):
    return bytes(byte ^ (1 << bit % 8 if place == bit // 8 else 0) for place, byte in enumerate(data))


def test_rows_come_back_as_they_were_written(cache):
    missing, out = known(cache, ["unknown", *TEXTS[::-1]])
    assert missing == [0]
    assert torch.equal(out[1:], vectors().flip(0))


@pytest.mark.parametrize("column", ["vector", "checksum", "key"])
def test_every_flipped_bit_is_noticed(cache, column):
    number, *values = row_of(cache, 2)
    whole = dict(zip(("key", "vector", "checksum"), values, strict=True))[column]
    for bit in range(0, 8 * len(whole), 5):
        change(cache, f"UPDATE {TABLE} SET {column} = ? WHERE rowid = ?", flipped(whole, bit), number)
        missing, out = known(cache)
        assert missing == [2], bit
        assert (out[2] == -1).all()
    cache.store(TEXTS[2:3], vectors()[2:3])
    missing, out = known(cache)
    assert not missing
    assert torch.equal(out, vectors())


DAMAGES = {
    "NULL": None, "text": "no bytes", "text of the right length": "x" * 16, "a number": 7, "short": b"abc",
    "empty": b"", "not a number": torch.full((4,), torch.nan).numpy().tobytes(),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("column", ["vector", "checksum"])
def test_a_damaged_row_is_not_there(cache, column, damage):
    change(cache, f"UPDATE {TABLE} SET {column} = ? WHERE rowid = ?", damage, row_of(cache, 4)[0])
    assert known(cache)[0] == [4]


def test_the_vector_of_another_text_is_not_believed(cache):
    _, _, vector, checksum = row_of(cache, 1)
    change(cache, f"UPDATE {TABLE} SET vector = ?, checksum = ? WHERE rowid = ?", vector, checksum, row_of(cache, 3)[0])
    assert known(cache)[0] == [3]


def test_what_is_no_number_is_neither_kept_nor_believed(cache, monkeypatch):
    bad = vectors()
    bad[0, 1], bad[5, 3] = torch.nan, torch.inf
    other = EmbeddingCache("1" * 32, 4)
    other.store(TEXTS, bad)
    assert known(other)[0] == [0, 5]
    monkeypatch.setattr("tokalign_helpers.models.cache.np.isfinite", lambda row: torch.ones(1).bool().numpy())
    other.store(TEXTS, bad)  # by somebody who did not look
    monkeypatch.undo()
    monkeypatch.setenv("TOKALIGN_EMBEDDING_CACHE", str(other.path.parent))
    assert known(other)[0] == [0, 5]


def test_damaged_rows_are_embedded_and_written_anew(tiny, passes):
    texts = ["A parrot.", "A garden.", "No birds."]
    expected = tiny.embed(texts)
    cache = EmbeddingCache(tiny.fingerprint, tiny.dimension)
    number, _, vector, _ = row_of(cache, 1)
    change(cache, f"UPDATE {TABLE} SET vector = ? WHERE rowid = ?", flipped(vector, 77), number)
    passes.clear()
    again = tiny.embed(texts)
    torch.testing.assert_close(again, expected)  # not to the last bit: the damaged one was padded in its batch before
    assert passes == [1]
    assert torch.equal(tiny.embed(texts), again)
    assert passes == [1]


@pytest.mark.filterwarnings("error")
def test_an_empty_file_and_one_of_an_older_layout_are_an_empty_cache():
    cache = EmbeddingCache("2" * 32, 4)
    embedding_cache_dir().mkdir(parents=True)
    cache.path.touch()  # what a process killed at the right moment leaves
    assert known(cache)[0] == list(range(6))
    with closing(sqlite3.connect(cache.path)) as database, database:
        database.execute("CREATE TABLE vectors (key BLOB PRIMARY KEY, vector BLOB)")
    assert known(cache)[0] == list(range(6))
    cache.store(TEXTS, vectors())
    assert not known(cache)[0]


def test_a_damaged_file_goes_with_its_journal(cache):
    cache.path.write_bytes(b"no database" * 500)
    journal = cache.path.with_name(cache.path.name + "-journal")
    journal.write_bytes(b"old")
    with pytest.warns(UserWarning, match="cannot read the embedding cache"):
        known(cache)
    assert not cache.path.exists()
    assert not journal.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no modes there")
@pytest.mark.parametrize(("mask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_the_modes_are_those_that_the_umask_allows(mask, mode):
    before = os.umask(mask)
    try:
        cache = EmbeddingCache("3" * 32, 4)
        cache.store(TEXTS, vectors())
    finally:
        os.umask(before)
    assert stat.S_IMODE(cache.path.stat().st_mode) == mode
    assert stat.S_IMODE(cache.path.parent.stat().st_mode) == mode | (mode & 0o444) >> 2


def hammer(cache, number, failed):
    warnings.simplefilter("error")
    try:
        for turn in range(15):
            texts = [f"{(number + turn) % 3} {n}" for n in range(20)]
            filled = torch.full((20, 4), float((number + turn) % 3))
            out = torch.empty(20, 4)
            missing = set(cache.load(texts, out))
            assert all(n in missing or torch.equal(out[n], filled[n]) for n in range(20))
            cache.store(texts, filled)
    except BaseException as error:
        failed.put(repr(error))
        raise


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork to start quickly")
def test_several_processes_write_and_read_one_file_at_once():
    context = multiprocessing.get_context("fork")
    cache, failed = EmbeddingCache("4" * 32, 4), context.SimpleQueue()
    processes = [context.Process(target=hammer, args=(cache, number, failed)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert failed.empty(), failed.get()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    texts = [f"{kind} {n}" for kind in range(3) for n in range(20)]
    missing, out = known(cache, texts)
    assert not missing
    assert out.tolist() == [[float(text[0])] * 4 for text in texts]


@pytest.mark.parametrize(
    ("texts", "said"),
    [("A parrot.", "texts is one string"), (None, "texts is None"), ({"a": "A parrot."}, "texts is a dict"),
     ([None], r"texts\[0\] is None"), ([], "texts is empty")],
)  # fmt: skip
def test_what_is_no_list_of_texts_is_neither_shipped_nor_looked_for(tiny, tmp_path, texts, said):
    for call in (ship_embeddings, fill_cache):
        with pytest.raises((TypeError, ValueError), match=said):
            call({"tiny": tiny}, texts, "made", folder=tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_shipped_embeddings_are_found_in_a_folder_given_as_a_string(tiny, tmp_path, passes):
    texts = [f"Text {n} of a parrot." for n in range(40)]
    ship_embeddings({"tiny": tiny}, iter(texts), "made", folder=str(tmp_path / "new"))
    fill_cache({"tiny": tiny}, iter(texts), "made", folder=str(tmp_path / "new"))
    passes.clear()
    tiny.embed(texts)
    assert not passes


def test_a_folder_that_may_not_be_looked_into_is_no_cache(cache, monkeypatch):
    def refuse(path, **_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.exists", refuse)
    with pytest.warns(UserWarning, match="cannot read the embedding cache .* computing instead"):
        assert known(cache)[0] == list(range(6))
