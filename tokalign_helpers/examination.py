"""The measurements of the whole course in one call, for any embedder: rates, variation, λ, sparse search, ratings."""

import base64
import gc
import hashlib
import html
import importlib.metadata
import io
import json
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pandas as pd
import torch

from tokalign_helpers.basics.assets import AssetError
from tokalign_helpers.basics.checks import check_texts, first_line, whole_number
from tokalign_helpers.basics.files import write_text
from tokalign_helpers.basics.statistics import bootstrap_interval, rank_correlation
from tokalign_helpers.datasets.collections import Collection, load_cloze_collection
from tokalign_helpers.datasets.ratings import load_sts_pairs, load_word_ratings
from tokalign_helpers.datasets.wikipedia import load_sentences
from tokalign_helpers.models import keys
from tokalign_helpers.models.embedders import EMBEDDERS, EmbedderSpec, plan_loading
from tokalign_helpers.models.embedding import Embedder
from tokalign_helpers.models.loading import describe_embedder, load_embedder
from tokalign_helpers.reading.alignment import align, aligned_tokens
from tokalign_helpers.reading.explain import pair_similarities
from tokalign_helpers.reading.spectrum import PrincipalComponents, sweep
from tokalign_helpers.retrieval.evaluation import evaluate_run
from tokalign_helpers.retrieval.index import SparseIndex, bm25_run, dense_run, sparse_run
from tokalign_helpers.retrieval.sparse import aligned_vectors, multiply_adds

EXAMPLES = ("What diseases are parrots prone to?", "I like apple and banana", "YMCA in South Australia")
STEPS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)  # of the way along u_1
COMPONENTS = 10
KEPT, ADDED = 1000, 100  # K of a document, M of a query: the paper's
OURS = ("smol-eol", "smol-sim", "smol-cse")
# What to examine on a machine with so many bytes free, from the largest down.
SUGGESTED = (
    (22e9, ("sgpt-nli", "sgpt-msmarco", "opt-eol", "opt-eol-cse", "llama-eol", "llama-eol-cse", "gritlm", "llm2vec")),
    (10e9, ("sgpt-nli", "sgpt-msmarco", "opt-eol", "opt-eol-cse", "qwen3-embedding")),
    (0, ("sgpt-125m-nli", "sgpt-125m-msmarco", "opt-125m-eol")),
)
STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .75rem;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}img{max-width:100%}"
)


@dataclass(frozen=True)
class Report:
    """The result of an examination.

    Parameters
    ----------
    figures : dict
        As it is written to JSON: ``name``, ``settings``, ``tokens``, ``rates``, ``variation``, ``sweep``, ``search``,
        ``ratings``.
    """

    figures: dict

    @property
    def name(self) -> str:
        """The embedder's."""
        return self.figures["name"]

    @property
    def table(self) -> pd.DataFrame:
        """All figures, one row for each: ``figure``, ``of``, ``value``, ``low``, ``high``.

        ``of`` says which model or texts where that is not plain. A bound is NaN where there is no interval, a value
        where the figure needs a raw model and none was given.
        """
        f, nan = self.figures, np.nan
        rows = [(f"{row['rate']} ({row['reading']})", "", row["value"], row["low"], row["high"]) for row in f["rates"]]
        raw, v = (f["variation"]["raw"], f["variation"]["v"]) if f["variation"] else ("", [nan])
        rows.append(("v_1", f"against {raw}" if raw else "", v[0], nan, nan))
        rows.append(
            ("largest other |v_j|", f"j ≤ {len(v)}" if raw else "", max(map(abs, v[1:]), default=nan), nan, nan)
        )
        start, best = f["sweep"]["rows"][0], max(f["sweep"]["rows"], key=lambda row: row["GAR"])
        rows.append(("GAR, λ = 0", f["sweep"]["of"], start["GAR"], nan, nan))
        rows.append(("GAR, best λ", f"{f['sweep']['of']}, λ = {best['amount']:.1f}", best["GAR"], nan, nan))
        rows += [(row["figure"], "", row["value"], row["low"], row["high"]) for row in f["search"]]
        rating = f["ratings"]
        rows.append(("Spearman", rating["of"], rating["value"], rating["low"], rating["high"]))
        return pd.DataFrame(rows, columns=["figure", "of", "value", "low", "high"])

    def figure(self, name: str) -> float:
        """Return one number of the table.

        Parameters
        ----------
        name : str
            What the column ``figure`` says, such as ``GAR (ids)``.

        Returns
        -------
        float
            NaN for a figure that needs a raw model, where there was none.

        Raises
        ------
        ValueError
            If there is no such figure; the message names those that there are.
        """
        known = self.table.set_index("figure")["value"]
        if name not in known:
            raise ValueError(f"unknown figure {name!r}; known: {', '.join(known.index)}")
        return float(known[name])

    def html(self) -> str:
        """Return the report as one page that needs no other file and no network."""
        f = self.figures
        said = "".join(
            f"<tr><td>{html.escape(row['text'])}</td><td>{html.escape(' '.join(row['tokens']))}</td></tr>"
            for row in f["tokens"]
        )
        settings = ", ".join(f"{key}: {value}" for key, value in f["settings"].items())
        return (
            f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(f['name'])}</title>"
            f"<style>{STYLE}</style><h1>What {html.escape(f['name'])} says</h1>"
            f"<h2>Aligned tokens</h2><table>{said}</table>"
            f"<h2>Figures</h2>{self.table.round(3).to_html(index=False, na_rep='', border=0)}"
            f"<h2>Along the first component</h2><p>λ as a share of {f['sweep']['reach']:.1f}, on texts that were not "
            f"used to find u₁.</p><img alt='Rates against λ' src='data:image/png;base64,{self._picture()}'>"
            f"<p><small>{html.escape(settings)}</small></p></html>"
        )

    def _picture(self) -> str:
        import matplotlib.pyplot as plt

        from tokalign_helpers.course import plots

        f = self.figures["sweep"]
        table = pd.DataFrame(f["rows"])
        table["amount"] = table["amount"] / (f["reach"] or 1.0)
        axes = plots.plot_sweep({f["of"]: table}, "Moving along the first component", xlabel="λ / reach")
        picture, figure = io.BytesIO(), np.ravel(axes)[0].figure
        figure.savefig(picture, format="png", bbox_inches="tight")
        plt.close(figure)
        return base64.b64encode(picture.getvalue()).decode("ascii")

    def save(self, file: str | Path) -> None:
        """Write to a JSON file; it appears whole or not at all.

        Parameters
        ----------
        file : str or Path
            Where to write.
        """
        file = Path(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(self.figures, indent=1, ensure_ascii=False))


def examine(
    embedder: str | Path | EmbedderSpec | Embedder,
    texts: Sequence[str] | None = None,
    *,
    raw: str | EmbedderSpec | Embedder | None = None,
    results: str | Path | None = None,
    sts: str | Path | None = None,
    documents: int = 300,
    pairs: int = 300,
    **how: Any,
) -> Report:
    """Run the course's measurements on an embedder.

    Parameters
    ----------
    embedder : str, Path, EmbedderSpec or Embedder
        A name of the table, a name on the hub, a folder, a row of your own, or an embedder that is loaded.
    texts : Sequence[str], optional
        Default: 1,000 sentences of Wikipedia.
    raw : str, EmbedderSpec or Embedder, optional
        What it was before training, for the variation. Default: what the table says.
    results : str or Path, optional
        A folder. A report that is there, of the same embedder and settings, is returned at once; a new one is kept.
    sts : str or Path, optional
        The folder of the STS benchmark. Without it: word pairs of SimLex-999.
    documents, pairs : int
        How many passages of the course's own collection are searched (those that answer a query come first), and how
        many word pairs are compared.
    **how
        For an embedder that the table lacks: as :func:`~tokalign_helpers.models.loading.describe_embedder`.

    Returns
    -------
    Report

    Raises
    ------
    ValueError, AssetError
        As :func:`load_embedder`; or if there are fewer than 20 texts, 2 documents or 3 pairs.
    """
    texts = check_texts(load_sentences(1000, seed=0) if texts is None else texts)
    documents, pairs = whole_number(documents, "documents", 2), whole_number(pairs, "pairs", 3)
    if len(texts) < 20:
        raise ValueError(f"{len(texts)} texts are too few; give at least 20")
    spec = embedder if isinstance(embedder, EmbedderSpec | Embedder) else describe_embedder(embedder, **how)
    raw = raw or getattr(spec, "raw", "") or None
    settings = _settings(spec, texts, raw, sts, documents, pairs)
    kept = Path(results) / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', spec.name)}.json" if results else None
    known = _kept(kept, settings)
    if known:
        return known
    loaded = spec if isinstance(spec, Embedder) else load_embedder(spec)
    figures = {
        "name": spec.name,
        "settings": settings,
        "tokens": _tokens(loaded),
        "rates": _rates(loaded, texts),
        "search": sparse_against_dense(loaded, _part(documents)),
        "ratings": _ratings(loaded, sts, pairs),
    }
    after, subject = loaded.embed(texts), loaded
    if raw:
        del loaded, subject  # two large models need not fit at once
        _let_go()
        before = raw if isinstance(raw, Embedder) else load_embedder(raw)
        subject = replace(before, unit_length=spec.unit_length)  # or the difference would be one of lengths
    report = Report(figures | _component(subject, after if raw else None, texts))
    if kept:
        report.save(kept)
    return report


def examine_all(
    embedders: Iterable[str], texts: Sequence[str] | None = None, *, results: str | Path, **settings: Any
) -> tuple[dict[str, Report], dict[str, str]]:
    """Examine embedders one after another; one that fails does not cost the others.

    Parameters
    ----------
    embedders : Iterable[str]
        Their names, as for :func:`examine`.
    texts, results, **settings
        As :func:`examine`.

    Returns
    -------
    reports : dict[str, Report]
    failures : dict[str, str]
        Why, in one line, for each that could not be examined.

    Raises
    ------
    TypeError, ValueError
        If the texts are not texts: no single embedder is to blame for that.
    """
    texts = None if texts is None else check_texts(texts)
    reports, failures = {}, {}
    for name in embedders:
        try:
            reports[name] = examine(name, texts, results=results, **settings)
        except (ValueError, AssetError, OSError, RuntimeError) as error:  # among them a GPU that is full
            failures[name] = first_line(error)
        _let_go()
    return reports, failures


def _let_go() -> None:
    """Free the memory of a model that is no longer used, before the next one is loaded."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def suggest_embedders(*, hub: bool, free: int | None = None) -> list[str]:
    """Name the embedders that are worth examining on this machine.

    Parameters
    ----------
    hub : bool
        Whether models may be fetched from the hub. The course's own come last, or alone: they load everywhere.
    free : int, optional
        Bytes. Default: what is free on the GPU; without a GPU 0, because a CPU takes too long for large models.

    Returns
    -------
    list[str]
        Those whose terms must be accepted are included only where a user is logged in to the hub.
    """
    if not hub:
        return list(OURS)
    if free is None:
        free = plan_loading("smol-eol").free if torch.cuda.is_available() else 0
    names = next(names for bound, names in SUGGESTED if free >= bound)
    open_to_all = [name for name in names if not EMBEDDERS[name].gated]
    return [*(names if huggingface_hub.get_token() else open_to_all), *OURS]


# --- the measurements -----------------------------------------------------------------------------------------------


def _tokens(embedder: Embedder) -> list[dict]:
    table = aligned_tokens(embedder, EXAMPLES, k=10)
    return [
        {"text": EXAMPLES[place], "tokens": rows["token"].tolist()} for place, rows in table.groupby("text", sort=True)
    ]


def _rates(embedder: Embedder, texts: list[str]) -> list[dict]:
    alignment = align(embedder, texts)
    tables = [alignment.rates().assign(reading="ids"), alignment.folded().rates().assign(reading="folded")]
    return [{key: _or_none(value) for key, value in row.items()} for row in pd.concat(tables).to_dict("records")]


def _component(subject: Embedder, after: torch.Tensor | None, texts: list[str]) -> dict:
    """Variation against the raw model, and the sweep: u_1 and how far to go from one half, tested on the other.

    `subject`: the raw model, or where there is none the embedder; `after`: the embedder's vectors where there is one.
    """
    half = len(texts) // 2
    h = subject.embed(texts)
    components = PrincipalComponents.fit(h[:half])
    u, variation = components.direction(1), None
    reach = -float((h[:half] @ u).mean())
    if after is not None:
        v = components.variation(h[:half], after[:half])[:COMPONENTS]
        variation = {"raw": subject.name, "v": v.tolist()}
        reach = float(v[0])
    rows = sweep(subject, h[half:], texts[half:], u, [reach * step for step in STEPS])
    return {
        "variation": variation,
        "sweep": {"of": subject.name, "reach": reach, "rows": rows.to_dict("records")},
    }


def _part(documents: int) -> Collection:
    """Take a part of the offline collection: as many passages as asked for, first those that answer a query."""
    whole = load_cloze_collection()
    answered = {document: query for query, answers in whole.relevant.items() for document in answers}
    kept = sorted(whole.documents, key=lambda document: document not in answered)[:documents]
    queries = [answered[document] for document in kept if document in answered]
    return Collection(
        {document: whole.documents[document] for document in kept},
        {query: whole.queries[query] for query in queries},
        {query: whole.relevant[query] for query in queries},
    )


def sparse_against_dense(embedder: Embedder, part: Collection) -> list[dict]:
    """Search with the vectors, and with their tokens as in the paper's section 5.

    Parameters
    ----------
    embedder : Embedder
        The embedder to search with.
    part : Collection
        The documents, queries and judgements to search with.

    Returns
    -------
    list[dict]
        Rows of ``figure``, ``value``, ``low``, ``high``: nDCG@10 of dense, sparse and BM25, and how they compare.
    """
    decoder, asking = embedder.decoder, embedder.for_queries()
    h, q = embedder.embed(list(part.documents.values())), asking.embed(list(part.queries.values()))
    literal, most = embedder.literal_tokens(list(part.queries.values())), decoder.vocabulary_size
    asked, held = aligned_vectors(literal, decoder=decoder, q=q, h=h, k=min(KEPT, most), m=min(ADDED, most))
    runs = {
        "dense": dense_run(part.queries, part.documents, q=q, h=h),
        "sparse": sparse_run(part.queries, SparseIndex.of(part.documents, held), q=asked),
        "BM25": bm25_run(part.queries, part.documents),
    }
    found = {name: evaluate_run(run, part.relevant)["nDCG@10"] for name, run in runs.items()}
    rows: list[tuple[str, float | None, float | None, float | None]] = [("queries", len(part.queries), None, None)]
    rows += [(f"nDCG@10, {name}", *bootstrap_interval(values)) for name, values in found.items()]
    rows.append(("nDCG@10, sparse minus dense", *bootstrap_interval(found["sparse"] - found["dense"])))
    dense, sparse = (float(found[name].mean()) for name in ("dense", "sparse"))
    rows.append(("sparse / dense", sparse / dense if dense else None, None, None))
    rows.append(("multiply-adds, sparse / dense", multiply_adds(asked, held) / embedder.dimension, None, None))
    return [dict(zip(("figure", "value", "low", "high"), map(_or_none, row), strict=True)) for row in rows]


def _ratings(embedder: Embedder, sts: str | Path | None, pairs: int) -> dict:
    table = load_sts_pairs(sts) if sts else load_word_ratings("simlex999").head(pairs)
    members = None if sts else table[["word1", "word2"]]
    rho = rank_correlation(pair_similarities(embedder, table), table["rating"], members=members)
    name = "STS benchmark" if sts else f"SimLex-999, {len(table)} pairs"
    return {"of": name, "value": rho.estimate, "low": _or_none(rho.low), "high": _or_none(rho.high)}


def _or_none(value: object) -> object:
    """JSON has no NaN, our mark for a bound without an interval; null replaces it."""
    return None if isinstance(value, float) and np.isnan(value) else value


def _settings(
    spec: EmbedderSpec | Embedder, texts: list[str], raw: object, sts: object, documents: int, pairs: int
) -> dict[str, str | int]:
    """Return everything that a report depends on, without loading anything."""
    digest = hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    made = _named(spec) if isinstance(spec, Embedder) else _row(spec)
    before = _named(raw) if isinstance(raw, Embedder) else str(raw or "")
    return {
        "embedder": made,
        "raw": before,
        "texts": len(texts),
        "digest": digest,
        "documents": documents,
        "ratings": "STS benchmark" if sts else f"SimLex-999, {pairs}",
        "vectors": "of length 1" if spec.unit_length else "as pooled",
        "version": importlib.metadata.version("tokalign-helpers"),
    }


def _named(embedder: Embedder) -> str:
    try:
        return embedder.fingerprint
    except keys.NotKeyableError:
        return uuid.uuid4().hex  # no report of an earlier run is of it


def _row(spec: EmbedderSpec) -> str:
    try:
        digest = keys.digest(keys.describe([getattr(spec, name) for name in sorted(spec.__dataclass_fields__)]))
    except keys.NotKeyableError:
        digest = uuid.uuid4().hex
    return f"{spec.name} {digest[:16]}"


def _kept(file: Path | None, settings: dict) -> Report | None:
    """Read a report of the same settings; a damaged one is made again."""
    if file is None or not file.is_file():
        return None
    try:
        figures = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return Report(figures) if figures.get("settings") == settings else None
