"""The live page: a sentence is typed, and the tokens in its embedding appear. ``python docs/site/live.py FOLDER``.

``FOLDER`` gets what a static host needs: the page from ``docs/site/live``; wllama, which runs llama.cpp in the browser,
from npm, pinned by its integrity hash; and the model out of the course's cache, in pieces that any host takes. With
``--serve`` it is then served on this machine. Importing the module needs Python alone: without the course's packages
the page can be written, and only :func:`write_model` needs them.
"""

import argparse
import base64
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PIECE = 10_000_000  # bytes: what every static host accepts as one file
PACKAGE, VERSION = "@wllama/wllama", "3.13.0"
INTEGRITY = "sha512-ZvoRdQAn+E+18EvQ9qS036gudiI9rbZRBJgG/qNICPPwrA0Y6SMMdbziz/j7K/0WxcbJlhaRraVIYsnEy732NA=="
VENDORED = {"esm/index.min.js": "wllama.js", "esm/wasm/wllama.wasm": "wllama.wasm", "LICENCE": "LICENCE.txt"}
RAW, TRAINED = "smol-eol", "smol-sim"  # last-token pooling, which is what llama.cpp offers; one prompt for both
MODULES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
PART = re.compile(r"(?:base_model\.model\.)?(?:model\.)?layers\.(\d+)\.([\w.]+)\.lora_([AB])\.weight")


class FetchError(RuntimeError):
    """The package could not be fetched from npm; the message says why."""


# --- the page and its engine ----------------------------------------------------------------------------------------


def write_page(folder: Path, *, beside_the_course: bool = False) -> None:
    """Write the page and its engine.

    Parameters
    ----------
    folder : Path
        Made if it is missing.
    beside_the_course : bool
        Whether the course's pages will lie around the folder; the page links to them then, or where they do already.

    Raises
    ------
    FetchError
        If the engine is neither in the folder nor available from npm.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_engine(folder / "engine")
    for source in sorted((HERE / "live").iterdir()):
        shutil.copy(source, folder)
    if not beside_the_course and not (folder.parent / "index.html").exists():
        page = folder / "index.html"
        text = page.read_text(encoding="utf-8")
        page.write_text(re.sub(r"<a href=\"\.\./[^>]*>.*?</a>", "", text), encoding="utf-8")


def write_engine(folder: Path) -> None:
    """Put wllama into a folder, unless this version is there already.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    FetchError
        If npm cannot be reached, or serves something else than the pinned package.
    """
    about = folder / "package.json"
    if about.exists() and json.loads(about.read_text(encoding="utf-8")).get("integrity") == INTEGRITY:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place:
        archive = download(Path(place))
        check_integrity(archive.read_bytes(), INTEGRITY)
        with tarfile.open(archive) as members:
            for member, name in VENDORED.items():
                (folder / name).write_bytes(members.extractfile(f"package/{member}").read())
    kept = {"name": PACKAGE, "version": VERSION, "integrity": INTEGRITY, "license": "MIT"}
    about.write_text(json.dumps(kept, indent=1), encoding="utf-8")  # last: the folder is whole


def download(folder: Path) -> Path:
    """Fetch the pinned package: with npm where there is one, which knows the user's mirror, else from the registry.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    Path

    Raises
    ------
    FetchError
        If it cannot be reached.
    """
    archive = folder / f"wllama-{VERSION}.tgz"
    if npm := shutil.which("npm"):
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        if done.returncode:
            raise FetchError(
                f"npm cannot fetch {PACKAGE} {VERSION}: {(done.stderr.strip() or 'no reason given')[-300:]}"
            )
        return next(folder.glob("*.tgz"))
    address = f"https://registry.npmjs.org/{PACKAGE}/-/{archive.name}"
    try:
        with urllib.request.urlopen(address, timeout=60) as answer, archive.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except OSError as error:
        raise FetchError(f"{address} cannot be fetched: {error}") from error
    return archive


def check_integrity(data: bytes, integrity: str) -> None:
    """Refuse bytes that are not the pinned ones.

    Parameters
    ----------
    data : bytes
    integrity : str
        As npm writes it: ``sha512-`` and the digest in base 64.

    Raises
    ------
    FetchError
        If the digests differ.
    """
    found = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    if found != integrity:
        raise FetchError(f"{PACKAGE} {VERSION} has the integrity hash {found}, not the pinned {integrity}; not used")


# --- the model ------------------------------------------------------------------------------------------------------


def write_model(folder: Path) -> None:
    """Put the model beside the page: the GGUF file, the trained embedder's adapter, and what the page reads with.

    Parameters
    ----------
    folder : Path
        Pieces of an earlier build that are no longer used are removed.
    """
    sys.path.insert(0, str(ROOT))
    from tokalign_helpers.basics.assets import ASSETS, asset_path, data_dir
    from tokalign_helpers.models.embedders import EMBEDDERS

    folder.mkdir(parents=True, exist_ok=True)
    gguf_file = asset_path("smollm2-gguf")
    with tempfile.TemporaryDirectory() as place:
        adapter = Path(place) / "adapter.gguf"
        write_adapter(data_dir() / "adapters" / TRAINED, gguf_file, adapter)
        files = {
            "backbone": cut(gguf_file.read_bytes(), "backbone", folder),
            "adapter": cut(adapter.read_bytes(), "adapter", folder),
        }
    matrices, amount = reading(gguf_file, data_dir() / "embeddings" / f"sentences-{RAW}.safetensors")
    files["reading"] = cut(matrices, "reading", folder)
    manifest = {
        "model": "SmolLM2-135M-Instruct",
        "template": EMBEDDERS[RAW].template,
        "amount": amount,
        "raw": RAW,
        "trained": TRAINED,
        "licenses": {"backbone": ASSETS["smollm2-gguf"].license, "adapter": EMBEDDERS[TRAINED].license},
        "files": files,
    }
    used = {piece["name"] for file in files.values() for piece in file["pieces"]} | {"manifest.json"}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for left in folder.iterdir():
        if left.name not in used:
            left.unlink()


def cut(data: bytes, name: str, folder: Path) -> dict[str, object]:
    """Write data in pieces, and describe them. Pieces are named after their digests: no browser uses an old one.

    Parameters
    ----------
    data : bytes
    name : str
    folder : Path

    Returns
    -------
    dict
        ``size`` and ``pieces``, each with ``name``, ``size`` and ``sha256``.
    """
    pieces = []
    for number, start in enumerate(range(0, len(data), PIECE)):
        piece = data[start : start + PIECE]
        digest = hashlib.sha256(piece).hexdigest()
        file = folder / f"{name}-{number:02}-{digest[:12]}.bin"
        if not file.exists() or file.stat().st_size != len(piece):
            file.write_bytes(piece)
        pieces.append({"name": file.name, "size": len(piece), "sha256": digest})
    return {"size": len(data), "pieces": pieces}


def write_adapter(folder: Path, gguf_file: Path, target: Path) -> None:
    """Write a LoRA adapter of PEFT as llama.cpp reads it, so that it is added to the quantized weights as they run.

    Parameters
    ----------
    folder : Path
        With ``adapter_config.json`` and ``adapter_model.safetensors``.
    gguf_file : Path
        The model that it belongs to; its attention heads say how the rows of queries and keys are ordered.
    target : Path

    Raises
    ------
    ValueError
        If it is more than a plain LoRA adapter of the layers' matrices.
    """
    import gguf
    from safetensors.numpy import load_file

    about = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    odd = [key for key in ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save") if about.get(key)]
    if about["peft_type"] != "LORA" or about.get("bias", "none") != "none" or odd:
        raise ValueError(
            f"the adapter in {folder} is not a plain LoRA adapter ({', '.join(odd) or about['peft_type']})"
        )
    fields = gguf.GGUFReader(gguf_file).fields
    heads = {
        "attn_q": int(fields["llama.attention.head_count"].contents()),
        "attn_k": int(fields["llama.attention.head_count_kv"].contents()),
    }
    alpha = about["lora_alpha"] * (about["r"] ** 0.5 if about.get("use_rslora") else 1)  # llama.cpp divides it by r
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(alpha))
    for name, tensor in load_file(folder / "adapter_model.safetensors").items():
        found = PART.fullmatch(name)
        if not found or found[2] not in MODULES:
            raise ValueError(f"the adapter in {folder} holds {name}, which has no place in the GGUF file")
        layer, module, side = found[1], MODULES[found[2]], found[3].lower()
        if side == "b" and module in heads:  # GGUF keeps the two halves of a head's rows interleaved
            tensor = tensor.reshape(heads[module], 2, -1, tensor.shape[1]).swapaxes(1, 2).reshape(tensor.shape)
        writer.add_tensor(f"blk.{layer}.{module}.weight.lora_{side}", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def reading(gguf_file: Path, embeddings: Path) -> tuple[bytes, float]:
    """Compute what the page reads embeddings with.

    Parameters
    ----------
    gguf_file : Path
    embeddings : Path
        The raw embedder's vectors of many sentences.

    Returns
    -------
    data : bytes
        float32, one after another: u_1 (d), the mean (d), and (E_gᵀE_g)^(−1/2) (d × d), which makes E_g a tight frame.
    amount : float
        The λ that takes the sentences' mean along u_1 to 0.
    """
    import gguf
    import numpy as np
    from safetensors.torch import load_file

    from tokalign_helpers.reading.spectrum import PrincipalComponents

    h = load_file(embeddings)["embeddings"]
    u = PrincipalComponents.fit(h, 1).direction(1)
    stored = next(tensor for tensor in gguf.GGUFReader(gguf_file).tensors if tensor.name == "token_embd.weight")
    weight = gguf.dequantize(stored.data, stored.tensor_type).astype(np.float64)
    values, vectors = np.linalg.eigh(weight.T @ weight)
    root = (vectors / np.sqrt(values)) @ vectors.T
    parts = (u.numpy(), h.mean(dim=0).numpy(), root)
    return b"".join(np.ascontiguousarray(part, dtype="<f4").tobytes() for part in parts), -float((h @ u).mean())


# --- serving it -----------------------------------------------------------------------------------------------------


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files, with the two headers under which a browser lets WebAssembly use several threads."""

    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".wasm": "application/wasm",
    }

    def end_headers(self) -> None:
        """Add the headers to every answer."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing: what is read here is private."""


def server(root: Path, port: int) -> http.server.ThreadingHTTPServer:
    """Make a server that only this machine reaches.

    Parameters
    ----------
    root : Path
    port : int
        0: any that is free.

    Returns
    -------
    ThreadingHTTPServer
    """
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, directory=str(root)))


def main(arguments: list[str] | None = None) -> int:
    """Write the page and the model into a folder, and serve them if asked; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--serve", action="store_true", help="serve it on 127.0.0.1 until Ctrl-C")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", 8000)), help="default: %(default)s")
    given = parser.parse_args(arguments)
    folder = given.folder.resolve()
    try:
        write_page(folder)
        write_model(folder / "model")
    except (FetchError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"the live page is in {folder}; any static host can serve that folder")
    if given.serve:
        root = folder.parent if (folder.parent / "index.html").exists() else folder
        with server(root, given.port) as serving:
            path = "" if root == folder else f"{folder.name}/"
            print(f"open http://127.0.0.1:{serving.server_address[1]}/{path} (Ctrl-C ends it)")
            try:
                serving.serve_forever()
            except KeyboardInterrupt:
                print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
