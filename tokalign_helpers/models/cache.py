"""Embeddings kept on disk, so that a second run is quick and a changed embedder never gets an old vector."""

import hashlib
import sqlite3
import warnings
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tokalign_helpers.basics.assets import cache_dir, folder_from_environment

TABLE = "checked_vectors"
PER_QUERY = 500  # keys looked up in one statement; SQLite allows 999 variables everywhere


def embedding_cache_dir() -> Path:
    """Return the folder of cached embeddings: ``$TOKALIGN_EMBEDDING_CACHE``, or ``<cache>/embeddings``."""
    return folder_from_environment("TOKALIGN_EMBEDDING_CACHE") or cache_dir() / "embeddings"


class EmbeddingCache:
    """A table text → vector for one embedder, in one SQLite file; several processes may use it at once.

    A cache is a convenience: when its file cannot be read or written, one warning says so and the work goes on. Every
    row carries a checksum; a row that has changed counts as missing, and is written again.

    Parameters
    ----------
    fingerprint : str
        Identifies everything that a vector depends on except the text; :attr:`Embedder.fingerprint`.
    dimension : int
        d, the length of a vector.
    """

    def __init__(self, fingerprint: str, dimension: int) -> None:
        self.path = embedding_cache_dir() / f"{fingerprint}.sqlite"
        self.dimension = dimension

    def load(self, texts: Sequence[str], out: Tensor) -> list[int]:
        """Fill the rows of `out` whose vectors are in the cache.

        Parameters
        ----------
        texts : Sequence[str], n of them
            The texts to look up.
        out : Tensor, (n, d), float32
            Its rows are filled in place.

        Returns
        -------
        list[int]
            The positions of the texts that are not in the cache.
        """
        keys = [text_key(text) for text in texts]
        try:
            if not self.path.exists():
                return list(range(len(texts)))
            with closing(self._connect()) as database:
                found = self._select(database, keys)
        except (sqlite3.Error, OSError) as error:  # OSError: a folder that only another user may look into
            self._complain("read", error)
            return list(range(len(texts)))
        unknown = []
        for position, key in enumerate(keys):
            vector = self._read(key, *found.get(key, (None, None)))
            if vector is None:
                unknown.append(position)
            else:
                out[position] = torch.from_numpy(vector)
        return unknown

    def store(self, texts: Sequence[str], vectors: Tensor) -> None:
        """Keep the vectors of these texts; all of them or, if the process dies, none.

        Parameters
        ----------
        texts : Sequence[str], n of them
            The texts that were embedded.
        vectors : Tensor, (n, d), float32
            A row that holds NaN or infinity is not kept.
        """
        keyed = zip(map(text_key, texts), vectors.numpy().astype("<f4"), strict=True)
        rows = [(key, row.tobytes(), _checksum(key, row.tobytes())) for key, row in keyed if np.isfinite(row).all()]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()  # SQLite would make the file for its owner alone to write, whatever the umask allows
            with closing(self._connect()) as database, database:
                database.execute(
                    f"CREATE TABLE IF NOT EXISTS {TABLE} (key BLOB PRIMARY KEY, vector BLOB, checksum BLOB)"
                )
                database.executemany(f"INSERT OR REPLACE INTO {TABLE} VALUES (?, ?, ?)", rows)
        except (sqlite3.Error, OSError) as error:
            self._complain("write", error)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=30)

    def _select(self, database: sqlite3.Connection, keys: list[bytes]) -> dict[bytes, tuple[object, object]]:
        found: dict[bytes, tuple[object, object]] = {}
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (TABLE,)).fetchone():
            return found  # its writer has only begun
        for start in range(0, len(keys), PER_QUERY):
            part = keys[start : start + PER_QUERY]
            marks = ",".join("?" * len(part))
            rows = database.execute(f"SELECT key, vector, checksum FROM {TABLE} WHERE key IN ({marks})", part)
            found.update((key, (vector, checksum)) for key, vector, checksum in rows)
        return found

    def _read(self, key: bytes, vector: object, checksum: object) -> np.ndarray | None:
        """Return the numbers of a row, if they are those that were written for this text."""
        if not isinstance(vector, bytes) or len(vector) != 4 * self.dimension or checksum != _checksum(key, vector):
            return None
        numbers = np.frombuffer(vector, dtype="<f4").copy()
        return numbers if np.isfinite(numbers).all() else None

    def _complain(self, verb: str, error: Exception) -> None:
        """Warn; a damaged file is removed, so that the next run has a cache again."""
        warnings.warn(f"cannot {verb} the embedding cache {self.path} ({error}); computing instead", stacklevel=4)
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            try:
                for ending in ("", "-journal"):  # an old journal would be played back into the new file
                    Path(f"{self.path}{ending}").unlink(missing_ok=True)
            except OSError:
                return


def text_key(text: str) -> bytes:
    """Return what a text is kept under: its SHA-256, of any string.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    bytes
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _checksum(key: bytes, vector: bytes) -> bytes:
    return hashlib.blake2b(key + vector, digest_size=8).digest()
