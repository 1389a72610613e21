"""Speed and memory compared with their targets: ``python -m tests.bench.run [encode load memory decode …]``.

Every line states a measured figure, its target and whether it was met. Figures of one line come from one run of one
process, and are compared as ratios; absolute times depend on the machine.
"""

import json
import os
import random
import resource
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import sparse

import tokalign_helpers as ta
from tokalign_helpers.basics import assets
from tokalign_helpers.models import embedding

ROWS: list[tuple[str, str, str, bool]] = []
# Time of a query by the recipe's tokens, of dense search's with one thread, by the number of documents.
SEARCH_TARGETS = {2540: 6.0, 50_000: 0.8, 1_000_000: 0.8}


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


def gemm_gflops(device: str, dtype: torch.dtype, m: int = 1024, k: int = 576, n: int = 1536) -> float:
    """Return the speed of the machine's own matrix product, at the model's shapes."""
    a, b = torch.randn(m, k).to(device, dtype), torch.randn(k, n).to(device, dtype)

    def products() -> None:
        for _ in range(20):
            a @ b
        finish(device)

    products()
    return 2 * m * k * n / seconds(products) * 20 / 1e9


def finish(device: str) -> None:
    """Wait for what a GPU was given to do."""
    if device == "cuda":
        torch.cuda.synchronize()


def bench_texts(n: int) -> list[str]:
    """Return n natural sentences: of the file ``$TOKALIGN_BENCH_TEXTS``, one text on each line, or of Wikipedia."""
    if not os.environ.get("TOKALIGN_BENCH_TEXTS"):
        return ta.load_sentences(n, seed=1)
    lines = Path(os.environ["TOKALIGN_BENCH_TEXTS"]).read_text(encoding="utf-8").splitlines()
    lines = [line.rpartition("\t")[2] for line in lines]  # as the package keeps them: after the article's name
    texts = list(dict.fromkeys(line for line in lines if 8 <= len(line.split()) <= 40))
    if not texts:
        raise SystemExit("$TOKALIGN_BENCH_TEXTS holds no line of 8 to 40 words")
    return random.Random(1).sample(texts, min(n, len(texts)))


def encode() -> None:
    """Texts per second by device, dtype and padded tokens in a batch; then against sentence-transformers."""
    cases = [("cpu", torch.float32, 1000, [1024])]  # on 300 texts the ratio below is noise
    if torch.cuda.is_available():
        sizes = [1024, 4096, 16_384, 32_768, 65_536, 131_072]
        cases += [("cuda", dtype, 12_000, sizes) for dtype in (torch.float32, torch.bfloat16)]
    for device, dtype, n, sizes in cases:
        embedder = ta.load_embedder(
            assets.default_model_path(), pooling=ta.mean, device=device, dtype=str(dtype).removeprefix("torch.")
        )
        texts = bench_texts(n)
        ours = by_batch(embedder, texts, sizes, str(dtype).removeprefix("torch."))
        against_sentence_transformers(embedder, texts, ours)


def by_batch(embedder: ta.Embedder, texts: list[str], sizes: list[int], dtype: str) -> float:
    """Print texts per second for every number of padded tokens; return the seconds that the package's own takes."""
    device = embedder.model.device.type
    own = embedding.PORTIONS[device]
    tokens = sum(map(len, embedder.prompts(texts)[0]))
    weights = sum(p.numel() for name, p in embedder.model.named_parameters() if "embed" not in name)
    took = {}
    for size in dict.fromkeys([*sizes, own.tokens]):
        embedding.PORTIONS[device] = replace(own, tokens=size)
        embedder.embed(texts[:1000], cache=False, progress=False)  # a first run is slower
        took[size] = seconds(lambda: embedder.embed(texts, cache=False, progress=False), 2)
        share = 2 * weights * tokens / took[size] / 1e9 / gemm_gflops(device, embedder.model.dtype, size)
        print(
            f"       {device} {dtype}, {size:>7,} tokens a batch: {len(texts) / took[size]:>9,.0f} texts a second, "
            f"{tokens / took[size]:>11,.0f} tokens; {share:.2f} of the machine's matrix product",
            flush=True,
        )
        if size == own.tokens:
            report(f"encode: share of the matrix product, {device} {dtype}", f"{share:.2f}", "0.50", share >= 0.5)
    embedding.PORTIONS[device] = own
    return took[own.tokens]


def without_chat_template(model: Path, folder: Path) -> None:
    """Link a model's files in another folder, so that no text is read as a message of a chat."""
    for file in model.iterdir():
        if file.name != "chat_template.jinja":
            (folder / file.name).symlink_to(file)
    settings = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def against_sentence_transformers(embedder: ta.Embedder, texts: list[str], ours_s: float) -> None:
    """Compare with sentence-transformers: the same model, pooling, texts and tokens, at its best batch size of a few.

    A ratio is printed only where the tokens are equal and the vectors differ by rounding alone.
    """
    try:
        from sentence_transformers import SentenceTransformer, models
    except ImportError:
        print("       sentence-transformers is not installed: pip install -e '.[interop]' to compare")
        return
    device, dtype = embedder.model.device.type, embedder.model.dtype
    where = f"{device} {str(dtype).removeprefix('torch.')}"
    with tempfile.TemporaryDirectory() as folder:
        without_chat_template(assets.default_model_path(), Path(folder))
        read_by = SentenceTransformer(folder, device=device, model_kwargs={"dtype": dtype})[0]
    # A model without settings of its own is pooled in ways that differ from version to version.
    other = SentenceTransformer(modules=[read_by, models.Pooling(embedder.dimension, "mean")], device=device)
    other.max_seq_length = embedder.max_tokens
    other.tokenizer.pad_token = other.tokenizer.pad_token or other.tokenizer.eos_token
    tokenize = getattr(other, "preprocess", None) or other.tokenize  # the name before version 6
    read = [tokenize([text])["input_ids"][0].tolist() for text in texts[:200]]
    if read != embedder.prompts(texts[:200])[0]:
        report(f"encode: the same tokens as sentence-transformers, {where}", "no", "yes", False)
        return
    some = texts[:1000]
    theirs = torch.as_tensor(other.encode(some, batch_size=32, convert_to_tensor=True)).float().cpu()
    ours = embedder.embed(some, cache=False, progress=False)
    gap = ((ours - theirs).norm(dim=1) / theirs.norm(dim=1)).max().item()
    allowed = 1e-4 if dtype == torch.float32 else 2e-2  # bfloat16 keeps 8 bits of a number
    report(f"encode: largest relative difference of a vector, {where}", f"{gap:.1e}", f"{allowed:.0e}", gap <= allowed)
    if not gap <= allowed:
        return
    sizes = (32,) if device == "cpu" else (32, 256, 1024)
    times = {size: seconds(lambda size=size: other.encode(texts, batch_size=size), 2) for size in sizes}
    best = min(times, key=times.__getitem__)
    ratio = times[best] / ours_s
    print(f"       sentence-transformers {where}: {len(texts) / times[best]:,.0f} texts a second in batches of {best}")
    report(f"encode: texts per second, of sentence-transformers', {where}", f"{ratio:.2f}", "1.50", ratio >= 1.5)


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
from tokalign_helpers.models.pooling import mean
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
    made = ta.SparseIndex(documents.shape[1])
    made.add(names, documents)
    made.search(queries[[0]], 10)
    built = time.perf_counter() - start
    report("index: build, seconds", f"{built:.2f}", "1", built < 1)
    (columns,) = made._inverted()
    size = (columns.data.nbytes + columns.indices.nbytes + columns.indptr.nbytes) / columns.nnz
    report("index: bytes a non-zero", f"{size:.2f}", "8.5", size <= 8.5)
    ours, bare, single = [], [], []
    for i in range(queries.shape[0]):
        one, double = queries[[i]], queries[[i]].data.astype(np.float64)
        ours.append(seconds(lambda one=one: made.search(one, 10, workers=1)))
        bare.append(seconds(lambda one=one, w=double: np.argpartition(-(columns[:, one.indices] @ w), 10)[:10]))
        single.append(seconds(lambda one=one: np.argpartition(-(columns[:, one.indices] @ one.data), 10)[:10]))
    ratio, rough = (float(np.median(ours) / np.median(times)) for times in (bare, single))
    report(f"index: median query {1000 * np.median(ours):.2f} ms, of bare scipy's", f"{ratio:.2f}", "1.2", ratio <= 1.2)
    print(f"       {rough:.2f} of bare scipy's in float32, whose sums differ from the exact ones in the seventh digit")
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
        made = ta.SparseIndex(block.shape[1])
        for part in range(n // block.shape[0]):
            made.add([f"d{part}-{i}" for i in range(block.shape[0])], block)
        made.search(queries[[0]])
        times[n] = seconds(lambda made=made: made.search(queries, 10, workers=1)) / queries.shape[0]
        print(f"       {n:>9} documents: {1000 * times[n]:.2f} ms a query")
    ratio = times[1_000_000] / times[50_000] / 20
    report("growth: time a document, 1,000,000 to 50,000 documents", f"{ratio:.2f}", "2", ratio <= 2)
    with tempfile.TemporaryDirectory() as folder:
        save = seconds(lambda: made.save(folder), 1)
        whole, mapped = (seconds(lambda v=v: ta.SparseIndex.load(folder, verify=v), 2) for v in (True, False))
        size = sum(file.stat().st_size for file in Path(folder).rglob("*")) / 1e9
    print(f"       {size:.2f} GB: saved in {save:.1f} s, loaded in {whole:.2f} s, without checksums in {mapped:.2f} s")
    batches(block, queries[[0]])


def batches(documents: sparse.csr_array, query: sparse.csr_array, size: int = 100) -> None:
    """Time taking in documents in batches with a search between; what the search itself takes is not counted."""
    n = documents.shape[0]
    whole, made = ta.SparseIndex(documents.shape[1]), ta.SparseIndex(documents.shape[1])
    start = time.perf_counter()
    whole.add([f"d{i}" for i in range(n)], documents)
    whole.search(query)
    at_once = time.perf_counter() - start
    taken = []
    for begin in range(0, n, size):
        batch, names = documents[begin : begin + size], [f"d{i}" for i in range(begin, begin + size)]
        start = time.perf_counter()
        made.add(names, batch)
        made.search(query)
        taken.append(time.perf_counter() - start - seconds(lambda: made.search(query), 2))
    halves = np.array_split(np.array(taken), 2)
    what = f"growth: {len(taken)} batches, searches between, {sum(taken):.1f} s: 2nd half"
    ratio, more = halves[1].sum() / halves[0].sum(), sum(taken) / at_once
    report(f"{what} to 1st", f"{ratio:.2f}", "2", ratio <= 2)
    report(
        "growth: the same, of adding all at once",
        f"{more:.1f}",
        f"{np.log2(len(taken)):.0f}, log2 of the batches",
        more <= np.log2(len(taken)),
    )
    same = made.search(query, 100) == whole.search(query, 100)
    report("growth: the same hits as added at once", str(same), "True", same)


def search(sizes: Sequence[int] = (2540, 50_000)) -> None:
    """Dense, sparse, SPLADE and BM25 among 2,540 and 50,000 documents, alone and with the encoding of the query."""
    rows = runpy.run_path(str(ta.data_dir() / "results" / "seconds.py"))["rows"](sizes)
    table = pd.DataFrame(rows).fillna({"embedder": "", "note": "", "asked": ""})
    for what, of in table.groupby("what", sort=False):
        print(f"{what}\n{of.drop(columns='what').round(3).to_string(index=False)}", flush=True)
    recipe = table[(table["retriever"] == "recipe") & (table["threads"] == 1)].set_index("n")
    (cost,) = recipe.loc[recipe["what"] == "multiply-adds, of dense", "value"]
    report("search: multiply-adds of the recipe, of dense", f"{cost:.3f}", "0.08", cost <= 0.08)
    found = recipe.loc[recipe["what"] == "search, of dense", "value"]
    for n in sizes:
        said, met = (f"{found[n]:.2f}", found[n] <= SEARCH_TARGETS[n]) if n in found else ("does not fit", False)
        report(f"search: recipe of dense, one query, {n:,} documents", said, f"{SEARCH_TARGETS[n]}", met)


def million() -> None:
    """The same among a million documents: 12 GB of memory and some minutes, so only where it is asked for."""
    search((1_000_000,))


def sparsify() -> None:
    """Sparse vectors of 2,000 embeddings at K = 1,000 against the decoding alone."""
    decoder = ta.load_embedder("smol-eol").decoder
    h = torch.randn(2000, decoder.weight.shape[1])
    ratio = seconds(lambda: ta.sparsify_documents(decoder, h, 1000)) / seconds(lambda: decoder.top_tokens(h, 1000))
    report("sparsify: K = 1,000, of the decoding alone", f"{ratio:.2f}", "1.3", ratio <= 1.3)


def slider() -> None:
    """One movement of the adjustment widget's slider: an addition, a decode, the bars."""
    from tokalign_helpers.course import widgets

    embedder = ta.load_embedder("smol-eol")
    components = ta.PrincipalComponents.fit(embedder.embed(ta.load_sentences(100), progress=False), 5)
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
    make = runpy.run_path(str(ta.data_dir() / "retrieval" / "make.py"))
    splade = make["splade_run"](make["load_splade"](), collection)
    scores, cost = make["judged"](ta.load_embedder("smol-eol"), collection, splade, make["TOKENS"])
    rows = make["rows_of"]("smol-eol", "SciFact, whole", scores, cost)
    found = {row["method"]: row for row in rows}
    said = {m: f"{row['nDCG@10']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" for m, row in found.items()}
    right = abs(found["BM25"]["nDCG@10"] - 0.67) < 0.03
    report("scifact: nDCG@10 of BM25", said["BM25"], "0.67 ± 0.03", right)
    for method in ("dense", "sparse", "sparse / dense", "recipe", "SPLADE", "BM25 + recipe − BM25"):
        print(f"       {method:<58} {said[method]}")
    more = found["recipe − dense"]
    report(
        "scifact: recipe − dense",
        said["recipe − dense"],
        "0 in its interval, or above",
        more["high"] >= 0,
    )


ALL = (encode, load, memory, decode, index, growth, search, sparsify, slider, spectrum, scifact)
BENCHES = {bench.__name__: bench for bench in (*ALL, million)}


def main(names: list[str]) -> int:
    """Run the named benches, or all but the million; commas separate as spaces do."""
    names = [name for given in names for name in given.split(",")]
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"unknown bench {unknown[0]!r}; known: {', '.join(BENCHES)}")
        return 2
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for name in names or [bench.__name__ for bench in ALL]:
        BENCHES[name]()
    return 0 if all(met for *_, met in ROWS) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
