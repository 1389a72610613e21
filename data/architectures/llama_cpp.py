"""Compare our last hidden states with llama.cpp's: ``python data/architectures/llama_cpp.py PYTHON``.

PYTHON is the interpreter of an environment of its own, made by ``pip install xllamacpp==2026.10.11549 gguf==0.19.0``.
Ten sentences go through the same GGUF files twice: through llama.cpp, and through the weights that the course converts
from them. llama.cpp computes with the few bits as they are and rounds activations to 8 bits on the way; a copy of
the file with float32 weights, where it rounds none, tells that rounding from a difference in the model. Given texts in
place of token ids, llama.cpp tokenizes by itself, which judges the tokenizer. Writes ``llama_cpp.csv``.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

import tokalign_helpers as ta
from tokalign_helpers.basics.assets import MODELS, asset_path
from tokalign_helpers.course.claims import write_results

HERE = Path(__file__).parent
TEXTS = 10
EMBEDDERS = ("smol-last", "gemma-last")


@contextmanager
def whole_file(backbone: str) -> Iterator[Path]:
    """Join the parts of a GGUF for as long as it is needed."""
    parts = [asset_path(part) for part in MODELS[backbone].parts]
    with tempfile.TemporaryDirectory() as folder:
        joined = Path(folder) / "model.gguf"
        with joined.open("wb") as target:
            for part in parts:
                target.write(part.read_bytes())
        yield joined


def theirs(python: str, file: Path, inputs: list, *more: str) -> Tensor:
    """Return llama.cpp's states, (n, d)."""
    command = [python, str(HERE / "llama_states.py"), str(file), *more]
    done = subprocess.run(command, input=json.dumps(inputs).encode(), capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.decode(errors="replace")[-2000:])
    return torch.tensor(json.loads(done.stdout))


def compared(embedder: ta.Embedder, ours: Tensor, other: Tensor) -> Iterator[dict[str, object]]:
    """Yield a row for each sentence. Less the mean: the states share most of their length, which flatters a cosine."""
    cosine = torch.nn.functional.cosine_similarity
    whole, apart = cosine(ours, other), cosine(ours - ours.mean(dim=0), other - other.mean(dim=0))
    best = [embedder.decoder.top_tokens(h, 10)[0].tolist() for h in (ours, other)]
    for text in range(len(ours)):
        yield {
            "sentence": text,
            "cosine": float(whole[text]),
            "cosine, less the mean": float(apart[text]),
            "length, theirs / ours": float(other[text].norm() / ours[text].norm()),
            "same of the ten best tokens": len({*best[0][text]} & {*best[1][text]}),
        }


def rows_of(name: str, python: str) -> Iterator[dict[str, object]]:
    """Compare one embedder in three ways."""
    embedder, texts = ta.load_embedder(name, dtype="float32"), ta.load_sentences(1000, seed=0)[:TEXTS]
    ours, ids = embedder.embed(texts, cache=False), embedder.prompts(texts)[0]
    with whole_file(ta.EMBEDDERS[name].backbone) as file:
        ways = {
            "few bits, our token ids": (ids,),
            "few bits, their own tokenizer": (texts,),
            "float32, our token ids": (ids, "--float32", str(file.with_name("float32.gguf"))),
        }
        for way, given in ways.items():
            other = theirs(python, file, *given)
            yield from ({"embedder": name, "llama.cpp": way, **row} for row in compared(embedder, ours, other))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", help="of an environment with xllamacpp and gguf")
    table = pd.DataFrame([row for name in EMBEDDERS for row in rows_of(name, parser.parse_args().python)])
    write_results(HERE / "llama_cpp.csv", table, "python data/architectures/llama_cpp.py PYTHON", digits=6)
    print(table.groupby(["embedder", "llama.cpp"]).min().drop(columns="sentence").round(6).to_string())
