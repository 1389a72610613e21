"""Embeddings kept on disk, so that a notebook run again is quick and a changed embedder never meets an old vector.

Some that take minutes come with the package; they are compared with the embedder at hand before they are used.
"""

import hashlib
import sqlite3
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tokalign_helpers.basics.assets import cache_dir, data_dir, folder_from_environment
from tokalign_helpers.basics.checks import check_texts, whole_number
from tokalign_helpers.basics.files import replacing
from tokalign_helpers.models.keys import NotKeyableError

AGREE = 1e-3  # of a vector's length: what two machines may differ by
TABLE = "checked_vectors"
PER_QUERY = 500  # keys looked up in one statement; SQLite allows 999 variables everywhere


def embedding_cache_dir() -> Path:
    """Return the folder of cached embeddings: ``$TOKALIGN_EMBEDDING_CACHE``, or ``<cache>/embeddings``."""
    return folder_from_environment("TOKALIGN_EMBEDDING_CACHE") or cache_dir() / "embeddings"


class EmbeddingCache:
    """A table text → vector for one embedder, in one SQLite file; several processes may use it at once.

    A cache is a convenience: when its file cannot be read or written, it says so once and the work goes on. Every row
    carries a checksum; one that is not what was written counts as not there, and is written again.

    Parameters
    ----------
    fingerprint : str
        Names everything the vector depends on but the text; :attr:`Embedder.fingerprint`.
    dimension : int
        d, the length of a vector.
    """

    def __init__(self, fingerprint: str, dimension: int) -> None:
        self.path = embedding_cache_dir() / f"{fingerprint}.sqlite"
        self.dimension = dimension

    def load(self, texts: Sequence[str], out: Tensor) -> list[int]:
        """Fill the rows of `out` that are known.

        Parameters
        ----------
        texts : Sequence[str], n of them
        out : Tensor, (n, d), float32

        Returns
        -------
        list[int]
            The positions that are not known.
        """
        keys = [_key(text) for text in texts]
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
        vectors : Tensor, (n, d), float32
            A row that holds NaN or infinity is not kept.
        """
        keyed = zip(map(_key, texts), vectors.numpy().astype("<f4"), strict=True)
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


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _checksum(key: bytes, vector: bytes) -> bytes:
    return hashlib.blake2b(key + vector, digest_size=8).digest()


class Embeds(Protocol):
    """What can embed texts: an :class:`~tokalign_helpers.models.embedding.Embedder`."""

    name: str
    fingerprint: str
    dimension: int

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings, (n, d)."""


def ship_embeddings(
    embedders: Mapping[str, Embeds], texts: Sequence[str], collection: str, *, folder: str | Path | None = None
) -> None:
    """Embed texts and write the files that :func:`fill_cache` reads, in float32.

    Parameters
    ----------
    embedders, texts, collection, folder
        As :func:`fill_cache`; the folder is made where there is none.

    Raises
    ------
    TypeError, ValueError
        As :meth:`Embedder.embed`.
    OSError
        If the files cannot be written.
    """
    texts = check_texts(texts)
    for name, embedder in embedders.items():
        file = _shipped_file(folder, collection, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as partial:
            save_file({"embeddings": embedder.embed(texts).contiguous()}, partial, {"texts": _texts_digest(texts)})


def fill_cache(
    embedders: Mapping[str, Embeds],
    texts: Sequence[str],
    collection: str,
    *,
    folder: str | Path | None = None,
    checked: int = 16,
) -> None:
    """Put embeddings that come with the package into the cache, once a sample, embedded again, has turned out the same.

    Whoever wants to compute all of them leaves this call out; nothing else changes. Where a file is missing, damaged,
    of other texts or of another embedder, a warning says so and the texts are embedded when they are asked for.

    Parameters
    ----------
    embedders : Mapping[str, Embedder]
        By name.
    texts : Sequence[str], n of them
        All texts of the collection, in its order.
    collection : str
        The file is ``<collection>-<name of the embedder>.safetensors``.
    folder : str or Path, optional
        Default: ``embeddings`` of :func:`~tokalign_helpers.basics.assets.data_dir`.
    checked : int
        How many texts are embedded again, evenly spread; n or more: all.

    Raises
    ------
    TypeError, ValueError
        If `checked` is not a whole number, 1 or more, or as :func:`~tokalign_helpers.basics.checks.check_texts`.
    """
    checked = whole_number(checked, "checked")
    texts = check_texts(texts)
    for name, embedder in embedders.items():
        try:
            cache = EmbeddingCache(embedder.fingerprint, embedder.dimension)
        except NotKeyableError as error:
            warnings.warn(f"the vectors of {name!r} are not cached: {error}", stacklevel=2)
            continue
        if not cache.load(texts, torch.empty(len(texts), embedder.dimension)):
            continue
        try:
            cache.store(texts, read_shipped(embedder, texts, _shipped_file(folder, collection, name), checked))
        except ValueError as error:
            warnings.warn(f"{error}; the {len(texts)} texts will be embedded", stacklevel=2)


def read_shipped(embedder: Embeds, texts: Sequence[str], file: Path, checked: int) -> Tensor:
    """Return the embeddings of a file of :func:`ship_embeddings`, some of them compared with new ones.

    Parameters
    ----------
    embedder, texts, checked
        As :func:`fill_cache`.
    file : Path

    Returns
    -------
    Tensor, (n, d), float32

    Raises
    ------
    ValueError
        If the file cannot be read, is of other texts, or differs from what the embedder says now.
    """
    try:
        with safe_open(file, "pt") as held:
            about, h = held.metadata() or {}, held.get_tensor("embeddings")
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{file} cannot be read ({error})") from error
    if about.get("texts") != _texts_digest(texts) or len(h) != len(texts):
        raise ValueError(f"{file} is of other texts")
    places = np.unique(np.linspace(0, len(texts) - 1, min(checked, len(texts))).astype(int)).tolist()
    again = embedder.embed([texts[place] for place in places])
    if again.shape[1] != h.shape[1]:
        raise ValueError(f"{file} holds vectors of {h.shape[1]} numbers; {embedder.name} makes {again.shape[1]}")
    same = (h[places] - again).norm(dim=1) <= AGREE * again.norm(dim=1)  # never true of nan
    if not same.all():
        raise ValueError(f"{file} differs from {embedder.name} in {int((~same).sum())} of {len(places)} texts compared")
    return h


def _shipped_file(folder: str | Path | None, collection: str, name: str) -> Path:
    return Path(folder or data_dir() / "embeddings") / f"{collection}-{name}.safetensors"


def _texts_digest(texts: Sequence[str]) -> str:
    return hashlib.sha256(b"".join(map(_key, texts))).hexdigest()
