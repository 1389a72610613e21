# ruff: noqa: F811
"""The paper's figures by one command, end to end on tiny models from the stand-in hub."""

import json
import re

import pandas as pd
import pytest
import torch

import tokalign_helpers as ta
from tests.unit.conftest import CORPUS
from tests.unit.families import as_published, save_model
from tests.unit.test_hub import stand_in  # noqa: F401
from tokalign_helpers import reproduction
from tokalign_helpers.__main__ import main
from tokalign_helpers.models.embedders import EMBEDDERS
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.reproduction import authors_rates, paper_texts, reproduce

SENTENCES = [f"{sentence} {number}" for number in range(8) for sentence in CORPUS]


@pytest.fixture
def paper(tmp_path):
    """The folder of the paper's texts, small."""
    folder = tmp_path / "paper"
    sts, beir = folder / "sts" / "STS12-en-test", folder / "beir" / "scifact"
    for made in (sts, folder / "msmarco", folder / "wiki", beir / "qrels"):
        made.mkdir(parents=True)
    pairs = ["A parrot .\tThe parrot .", "A garden ?\tA bird", "The beak .\tA beak ."]
    (sts / "STS.input.surprise.SMTnews.txt").write_text("\n".join(pairs))
    (sts / "STS.gs.surprise.SMTnews.txt").write_text("4.5\n4.0\n4.25\n")
    (folder / "msmarco" / "sampled500.txt").write_text("what do parrots eat\tParrots eat seeds.\nquiet\tA garden\n")
    (folder / "wiki" / "wiki1m_for_simcse.txt").write_text("\n".join(SENTENCES))
    documents = [{"_id": str(i), "title": "", "text": text} for i, text in enumerate(CORPUS)]
    (beir / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (beir / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "prone to diseases"}))
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1\n")
    return folder


@pytest.fixture
def hub(stand_in, tmp_path, monkeypatch):
    monkeypatch.setattr("tokalign_helpers.models.embedders._free_bytes", lambda device: 10**12)
    for number, name in enumerate(("sgpt-nli", "gritlm")):
        spec = EMBEDDERS[name]
        raw = EMBEDDERS[spec.raw].backbone
        stand_in.models[raw] = save_model(tmp_path / f"raw{number}", raw)
        own = save_model(tmp_path / f"own{number}", spec.backbone, seed=1, bare=bool(spec.weights))
        stand_in.models[spec.weights or spec.backbone] = as_published(own, spec.pickles)
    return stand_in


@pytest.mark.slow
def test_the_command_measures_all_that_loads_and_goes_on_where_it_stopped(hub, paper, tmp_path, capsys):
    results = tmp_path / "results"
    command = ["reproduce", "--results", str(results), "--data", str(paper), "-n", "40"]
    command += ["--only", "sgpt-nli", "gritlm", "opt-eol"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "texts: 40 of wiki, 4 of sts, 4 of msmarco" in said
    assert re.search(r"opt-eol: there is no model 'facebook/opt-1.3b'", said)
    files = ["gritlm.json", "gritlm.png", "ledger.csv", "sgpt-nli.json", "sgpt-nli.png", "table.csv"]
    assert sorted(file.name for file in results.iterdir()) == files
    table = pd.read_csv(results / "table.csv").set_index(["embedder", "figure"])
    assert table.loc[("gritlm", "nDCG@10, dense, SciFact"), "paper"] == 0.792
    assert table.loc[("gritlm", "nDCG@10, sparse, SciFact"), "paper"] == 0.703

    nli, raw = load_embedder("sgpt-nli"), load_embedder("gpt-neo-1.3b")
    h, after = raw.embed(SENTENCES), nli.embed(SENTENCES)
    v = ta.PrincipalComponents.fit(h).variation(h, after)
    assert table.loc[("sgpt-nli", "v_1, 40 sentences"), "value"] == pytest.approx(float(v[0]), rel=1e-4)
    texts = ["A parrot", "The beak", "The parrot", "A beak"]  # above 4, without the spaced marks
    defined = ta.alignment_rates({"sgpt-nli": nli}, texts).set_index("rate")["value"]
    assert table.loc[("sgpt-nli", "LAR, sts"), "value"] == pytest.approx(defined["LAR"])
    ledger = pd.read_csv(results / "ledger.csv").set_index("id")
    assert "(sgpt-nli)" in ledger.loc["v1", "ours"] and "gritlm" in ledger.loc["gar", "model"]

    hub.models.clear()
    before = {file.name: file.read_bytes() for file in results.iterdir()}
    assert main(command) == 0
    assert "sgpt-nli: read from" in capsys.readouterr().out
    assert {file.name: file.read_bytes() for file in results.iterdir()} == before
    (results / "gritlm.json").write_text('{"half')
    assert main([*command[:-3], "gritlm", "-n", "30"]) == 0  # of other texts: computed again, from the cache of the hub
    assert "gritlm: kept in" in capsys.readouterr().out


def test_texts_are_read_under_the_authors_instruction_but_passages(hub, paper, monkeypatch):
    seen = []
    monkeypatch.setattr(ta.Embedder, "embed", lambda self, texts, **_: seen.append((self.template, len(texts)))
                        or torch.ones(len(texts), self.dimension))  # fmt: skip
    reproduction._rates(load_embedder("gritlm"), paper_texts(paper, 40), "gritlm")
    asked = "<|user|>\nGiven a scientific paper title, retrieve the paper's abstract\n<|embed|>\n{text}"
    assert seen == [(asked, 40), (asked, 4), (asked, 2), ("<|embed|>\n{text}", 2)]


def test_the_authors_code_counts_otherwise(tiny):
    texts = ["The parrot the parrot the parrot in the garden", "No"]
    h = tiny.embed(texts)
    found = authors_rates(tiny, h, texts)
    best = tiny.decoder.top_tokens(h, 10)[0].tolist()
    ids = [tiny.tokenizer(text).input_ids for text in texts]
    shares = [len(set(row[: len(own)]) & set(own)) / len(set(own)) for row, own in zip(best, ids, strict=True)]
    assert found["LAR"] == pytest.approx(sum(shares) / 2)
    assert found["Hit@K"] == sum(bool(set(r) & set(own)) for r, own in zip(best, ids, strict=True)) / 2


def test_without_the_papers_texts_there_are_the_courses_own():
    assert {key: len(queries) for key, (queries, _) in paper_texts(None, 30).items()} == {"wiki": 30}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"names": ["nobody"]}, "unknown embedder 'nobody'"), ({"n": 3}, "n is 3"),
        ({"data": "/no/such"}, "there is no folder /no/such"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(change, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        reproduce(tmp_path, **change)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("msmarco/sampled500.txt", "no tab\n", "sampled500.txt, line 1: expected two texts with a tab"),
        ("sts/STS12-en-test/STS.gs.surprise.SMTnews.txt", "4.5\n", "has 3 pairs, but there are 1 ratings"),
    ],
)
def test_damaged_texts_are_refused(file, text, said, paper):
    (paper / file).write_text(text)
    with pytest.raises(ValueError, match=said):
        paper_texts(paper, 40)
