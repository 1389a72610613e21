"""Speed and memory against their targets: ``python -m tests.bench.run [encode load memory decode …]``.

Every line states a measured figure, its target and whether it was met. Figures of one line come from one run of one
process, and are compared as ratios; absolute times depend on the machine.
"""

import os
import resource
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from scipy import sparse

import tokalign_helpers as ta
from tokalign_helpers import widgets
from tokalign_helpers.index import SparseIndex

ROWS: list[tuple[str, str, str, bool]] = []


def report(what: str, found: str, target: str, met: bool) -> None:
    """Print a line of the table and remember it."""
    ROWS.append((what, found, target, met))
    print(f"{'ok    ' if met else 'MISSED'} {what:<58} {found:<26} target: {target}", flush=True)


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the shortest time of a few."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def sgemm_gflops(m: int = 1024, k: int = 576, n: int = 1536) -> float:
    """Return the speed of the machine's own float32 matrix product, at the model's shapes."""
    a, b = torch.randn(m, k), torch.randn(k, n)
    return 2 * m * k * n / seconds(lambda: [a @ b for _ in range(20)]) * 20 / 1e9


def encode() -> None:
    """Texts per second against sentence-transformers: the same model, pooling and 1,000 natural sentences."""
    embedder = ta.load_embedder("smol-mean")
    texts = ta.sentences(1000, seed=1)
    ours = embedder.embed(texts, cache=False, progress=False)
    ours_s = seconds(lambda: embedder.embed(texts, cache=False, progress=False), 2)
    tokens = sum(map(len, embedder.prompts(texts)[0]))
    weights = sum(p.numel() for name, p in embedder.model.named_parameters() if "embed" not in name)
    share = 2 * weights * tokens / ours_s / 1e9 / sgemm_gflops()
    report("encode: share of the machine's sgemm", f"{share:.2f}", "0.50", share >= 0.5)
    try:
        from sentence_transformers import SentenceTransformer, models
    except ImportError:
        print("       sentence-transformers is not installed: pip install '.[interop]' to compare")
        return
    word = models.Transformer(str(ta.default_model_path()), max_seq_length=512)
    word.tokenizer.pad_token = word.tokenizer.pad_token or word.tokenizer.eos_token
    other = SentenceTransformer(modules=[word, models.Pooling(ta.load_embedder("smol-mean").dimension, "mean")])
    theirs = torch.tensor(other.encode(texts, batch_size=32))
    theirs_s = seconds(lambda: other.encode(texts, batch_size=32), 2)
    report(
        "encode: texts per second, ours / sentence-transformers", f"{theirs_s / ours_s:.2f}", "1.00", ours_s <= theirs_s
    )
    gap = ((ours - theirs).norm(dim=1) / theirs.norm(dim=1)).max().item()
    report("encode: largest relative difference of a vector", f"{gap:.1e}", "1e-4", gap < 1e-4)


def load() -> None:
    """A second load_embedder in a new process."""
    code = (
        "import time, torch, transformers; import tokalign_helpers as ta; ta.load_embedder; s = time.perf_counter();"
        "ta.load_embedder('smol-eol'); print(time.perf_counter() - s)"
    )
    took = min(float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(2))
    report("load: load_embedder in a new process, seconds", f"{took:.2f}", "2", took < 2)


MEMORY = """
import resource, sys, torch
from transformers import LlamaConfig, LlamaForCausalLM
from tokalign_helpers.pooling import mean
import tokalign_helpers as ta
tokenizer = ta.load_embedder("smol-mean").tokenizer
config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                     num_attention_heads=2, num_key_value_heads=1)
model = LlamaForCausalLM(config).eval().requires_grad_(False)
e = ta.Embedder("tiny", model.base_model, tokenizer, model.lm_head.weight, mean)
texts = [f"Text number {i} says a few words." for i in range(int(sys.argv[1]))]
e.embed(texts[:5000], cache=False, progress=False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
h = e.embed(texts, cache=False, progress=False)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 - h.numel() * 4)
"""


def memory() -> None:
    """Peak memory of embedding 100,000 short texts beyond the result itself, after a first 5,000."""
    grown = int(subprocess.check_output([sys.executable, "-c", MEMORY, "100000"], text=True)) / 1e6
    report("memory: growth from 5,000 to 100,000 texts, MB", f"{grown:.0f}", "50", grown < 50)


def decode() -> None:
    """Exact top k over the vocabulary as a share of the bare matrix product."""
    decoder = ta.load_embedder("smol-eol").decoder
    h = torch.randn(2000, decoder.weight.shape[1])
    bare = seconds(lambda: [h[i : i + 256] @ decoder.weight.T for i in range(0, 2000, 256)])
    exact = (h[:200] @ decoder.weight.T).sort(dim=1, descending=True).values[:, :1000]
    for k, target in ((10, 0.7), (1000, 0.6)):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        share = bare / seconds(lambda k=k: decoder.top_tokens(h, k))
        extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 - 2000 * k * 12 / 1e6
        same = torch.equal(decoder.top_tokens(h[:200], k)[1], exact[:, :k])
        report(f"decode: k = {k}, share of sgemm", f"{share:.2f}", f"{target}", share >= target)
        report(f"decode: k = {k}, exact; extra memory, MB", f"{same}; {extra:.0f}", "True; 150", same and extra < 150)


def zipf_rows(n: int, per_row: int, rng: np.random.Generator, v: int = 49_152) -> sparse.csr_array:
    """Make sparse rows whose tokens are drawn by Zipf's law, without repeats within a row."""
    weights = 1 / np.arange(1, v + 1)
    drawn = rng.choice(v, size=(n, 2 * per_row), p=weights / weights.sum()).astype(np.int32)
    rows = [np.unique(row)[:per_row] for row in drawn]
    pointers = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int32)
    values = rng.random(pointers[-1], dtype=np.float32)
    return sparse.csr_array((values, np.concatenate(rows), pointers), shape=(n, v))


def index() -> None:
    """Exact search over 20,000 documents × 500 non-zeros, 200 queries × 60 tokens, one thread."""
    rng = np.random.default_rng(0)
    documents, queries = zipf_rows(20_000, 500, rng), zipf_rows(200, 60, rng)
    names = [f"d{i}" for i in range(documents.shape[0])]
    start = time.perf_counter()
    made = SparseIndex(documents.shape[1])
    made.add(names, documents)
    made.search(queries[[0]], 10)
    built = time.perf_counter() - start
    report("index: build, seconds", f"{built:.2f}", "1", built < 1)
    columns = made._inverted
    size = (columns.data.nbytes + columns.indices.nbytes + columns.indptr.nbytes) / columns.nnz
    report("index: bytes a non-zero", f"{size:.2f}", "8.5", size <= 8.5)
    ours, bare = [], []
    for i in range(queries.shape[0]):
        one = queries[[i]]
        ours.append(seconds(lambda one=one: made.search(one, 10, workers=1)))
        bare.append(seconds(lambda one=one: np.argpartition(-(columns[:, one.indices] @ one.data), 10)[:10]))
    ratio = float(np.median(ours) / np.median(bare))
    report(f"index: median query {1000 * np.median(ours):.2f} ms, of bare scipy's", f"{ratio:.2f}", "1.2", ratio <= 1.2)
    exact = (queries[:20].astype(np.float64) @ documents.astype(np.float64).T).toarray()
    right = all(
        np.allclose([s for _, s in hits], np.sort(row)[::-1][:10], rtol=1e-9)
        for hits, row in zip(made.search(queries[:20]), exact, strict=True)
    )
    report("index: equal to brute force in float64", str(right), "True", right)
    alone, both = (seconds(lambda w=w: made.search(queries, 10, workers=w)) for w in (1, None))
    report("index: batch search, speed-up by all cores", f"{alone / both:.2f}", "1.2", alone / both >= 1.2)


def growth() -> None:
    """Time a query over more and more documents of 100 non-zeros, up to a million."""
    rng = np.random.default_rng(1)
    block, queries = zipf_rows(50_000, 100, rng), zipf_rows(20, 60, rng)
    times = {}
    for n in (50_000, 200_000, 1_000_000):
        made = SparseIndex(block.shape[1])
        for part in range(n // block.shape[0]):
            made.add([f"d{part}-{i}" for i in range(block.shape[0])], block)
        made.search(queries[[0]])
        times[n] = seconds(lambda made=made: made.search(queries, 10, workers=1)) / queries.shape[0]
        print(f"       {n:>9} documents: {1000 * times[n]:.2f} ms a query")
    ratio = times[1_000_000] / times[50_000] / 20
    report("growth: time a document, 1,000,000 to 50,000 documents", f"{ratio:.2f}", "2", ratio <= 2)


def sparsify() -> None:
    """Sparse vectors of 2,000 embeddings at K = 1,000 against the decoding alone."""
    decoder = ta.load_embedder("smol-eol").decoder
    h = torch.randn(2000, decoder.weight.shape[1])
    ratio = seconds(lambda: ta.sparsify_documents(decoder, h, 1000)) / seconds(lambda: decoder.top_tokens(h, 1000))
    report("sparsify: K = 1,000, of the decoding alone", f"{ratio:.2f}", "1.3", ratio <= 1.3)


def slider() -> None:
    """One movement of the adjustment widget's slider: an addition, a decode, the bars."""
    embedder = ta.load_embedder("smol-eol")
    components = ta.PrincipalComponents.fit(embedder.embed(ta.sentences(100), progress=False), 5)
    text = "What diseases are parrots prone to?"
    widgets.adjustment_view(embedder, text, components, 0.0)
    took = 1000 * seconds(lambda: widgets.adjustment_view(embedder, text, components, -40.0), 5)
    report("slider: redraw, milliseconds", f"{took:.0f}", "150", took < 150)


def spectrum() -> None:
    """Components of 1,000,000 embeddings, read in chunks: the memory beyond one chunk."""

    def chunks() -> Iterator[torch.Tensor]:
        for i in range(125):
            yield torch.randn(8000, 576, generator=torch.Generator().manual_seed(i)) + 1

    ta.PrincipalComponents.fit(torch.randn(8000, 576))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found = ta.PrincipalComponents.fit(chunks(), 5)
    took = time.perf_counter() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    report(f"spectrum: {found.n} embeddings in {took:.0f} s, extra memory, MB", f"{grown:.0f}", "200", grown < 200)


def scifact() -> None:
    """All of SciFact, 5,183 abstracts cut at 64 tokens and 809 train queries: is the ruler right, how good is sparse?

    A quarter of an hour the first time; skipped without ``$TOKALIGN_DATA``.
    """
    if not os.environ.get("TOKALIGN_DATA"):
        print("       scifact: set TOKALIGN_DATA to a folder with scifact in BEIR's layout; skipped")
        return
    collection = ta.load_beir(Path(os.environ["TOKALIGN_DATA"]) / "scifact", "train")
    judge = runpy.run_path(str(ta.data_dir() / "retrieval" / "make.py"))["rows_of"]
    found = {row["method"]: row for row in judge(ta.load_embedder("smol-eol"), "SciFact, whole", collection)}
    said = {m: f"{row['nDCG@10']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" for m, row in found.items()}
    right = abs(found["BM25"]["nDCG@10"] - 0.67) < 0.03
    report("scifact: nDCG@10 of BM25", said["BM25"], "0.67 ± 0.03", right)
    for method in ("dense", "sparse", "sparse / dense", "sparse, improved", "BM25 + sparse − BM25"):
        print(f"       {method:<58} {said[method]}")
    more = found["sparse, improved − dense"]
    report(
        "scifact: improved sparse − dense",
        said["sparse, improved − dense"],
        "0 in its interval, or above",
        more["high"] >= 0,
    )


ALL = (encode, load, memory, decode, index, growth, sparsify, slider, spectrum, scifact)
BENCHES = {bench.__name__: bench for bench in ALL}


def main(names: list[str]) -> int:
    """Run the named benches, or all."""
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"unknown bench {unknown[0]!r}; known: {', '.join(BENCHES)}")
        return 2
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for name in names or BENCHES:
        BENCHES[name]()
    return 0 if all(met for *_, met in ROWS) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
