"""The examination of an embedder: any kind of source, the same figures as by hand, resumable, one page."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch

import tokalign_helpers as ta
from tests.unit.conftest import CORPUS
from tests.unit.families import save_adapter, save_model
from tokalign_helpers import examination
from tokalign_helpers.__main__ import main
from tokalign_helpers.models.loading import adapters_dir, describe_embedder

TEXTS = [f"{sentence} {number}" for number in range(6) for sentence in CORPUS]
SMALL = {"documents": 30, "pairs": 20}


@pytest.fixture(scope="module")
def opt(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("own") / "opt", "facebook/opt-125m")


@pytest.fixture(scope="module")
def theirs(opt, tmp_path_factory):
    """As sentence-transformers saves a model."""
    folder = tmp_path_factory.mktemp("own") / "theirs"
    save_model(folder, "facebook/opt-125m", seed=1, bare=True)
    kinds = [("", "models.Transformer"), ("1_Pooling", "models.Pooling"), ("2_Normalize", "models.Normalize")]
    modules = [{"path": path, "type": f"sentence_transformers.{kind}"} for path, kind in kinds]
    (folder / "1_Pooling").mkdir()
    for name, content in {
        "modules.json": modules,
        "1_Pooling/config.json": {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True,
                                  "pooling_mode_cls_token": False, "include_prompt": True},
        "config_sentence_transformers.json": {"prompts": {"query": "ask: ", "document": "say: "}},
        "sentence_bert_config.json": {"max_seq_length": 40},
    }.items():  # fmt: skip
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def report(tiny):
    return ta.examine(tiny, TEXTS, raw=tiny, **SMALL)


def test_the_figures_are_those_of_the_package(tiny, report):
    assert report.name == "tiny"
    own = ta.alignment_rates({"tiny": tiny}, TEXTS).set_index("rate")["value"]
    for rate in ("Hit@K", "LAR", "GAR"):
        assert report.figure(f"{rate} (ids)") == pytest.approx(own[rate])
    assert report.figure("v_1") == 0  # nothing varies between an embedder and itself
    dense, sparse = report.figure("nDCG@10, dense"), report.figure("nDCG@10, sparse")
    assert report.figure("sparse / dense") == pytest.approx(sparse / dense)
    assert report.figure("nDCG@10, sparse minus dense") == pytest.approx(sparse - dense)
    intervals = report.table[report.table["figure"].str.startswith("nDCG")]
    assert (intervals["low"] <= intervals["value"]).all() and (intervals["value"] <= intervals["high"]).all()
    table = ta.load_word_ratings("simlex999").head(20)
    cosines = torch.cosine_similarity(*(tiny.embed(table[word].tolist()) for word in ("word1", "word2")))
    torch.testing.assert_close(ta.pair_similarities(tiny, table), cosines)
    rho = ta.rank_correlation(ta.pair_similarities(tiny, table), table["rating"])
    assert report.figure("Spearman") == pytest.approx(rho.estimate)


def test_a_figure_is_found_by_its_whole_name(report):
    with pytest.raises(ValueError, match="unknown figure 'GAR'; known: .*GAR \\(ids\\)"):
        report.figure("GAR")


def test_too_small_a_sample_has_no_interval_and_the_file_is_json(tiny, tmp_path):
    found = ta.examine(tiny, TEXTS, documents=10, pairs=10)
    rows = found.table.set_index("figure").loc[["nDCG@10, dense", "Spearman"]]
    assert rows["value"].notna().all() and rows[["low", "high"]].isna().all(axis=None)
    found.save(tmp_path / "report.json")
    assert "NaN" not in (tmp_path / "report.json").read_text(encoding="utf-8")
    assert "<td>NaN</td>" not in found.html()


def test_the_variation_is_against_what_it_was_before(opt, theirs):
    spec = describe_embedder(theirs, backbone=str(opt))
    raw = ta.EmbedderSpec("before", str(opt), ta.mean, spec.input_format)
    found = ta.examine(spec, TEXTS, raw=raw, **SMALL)
    half = len(TEXTS) // 2
    h, after = (replace(ta.load_embedder(s), unit_length=True).embed(TEXTS)[:half] for s in (raw, spec))
    expected = (after - h).mean(0) @ torch.linalg.svd(h, full_matrices=False).Vh[0]
    assert abs(found.figure("v_1")) == pytest.approx(abs(float(expected)), rel=1e-3)
    assert found.figures["sweep"]["reach"] == pytest.approx(found.figures["variation"]["v"][0])


def test_lengths_are_no_part_of_the_variation_where_the_makers_normalise(opt, theirs):
    spec = describe_embedder(theirs, backbone=str(opt))
    assert spec.unit_length
    raw = ta.EmbedderSpec("before", str(opt), ta.mean, spec.input_format)
    found = ta.examine(spec, TEXTS, raw=raw, **SMALL)
    assert found.figures["settings"]["vectors"] == "of length 1"
    assert max(map(abs, found.figures["variation"]["v"])) <= 2  # of vectors of length 1
    assert "vectors: of length 1" in found.html()


def test_a_sentence_transformers_folder_says_how_it_is_read(opt, theirs):
    spec = describe_embedder(theirs, backbone=str(opt))
    assert spec.name == theirs.name
    assert (spec.pooling, spec.template, spec.input_format.max_tokens) == (ta.mean, "say: {text}", 40)
    loaded = ta.load_embedder(spec)
    assert loaded.for_queries().template == "ask: {text}"


@pytest.mark.parametrize(
    ("kind", "said"), [("models.Dense", "has a Dense layer after its pooling"), ("", "does not say how it pools")]
)
def test_what_cannot_be_read_is_refused(kind, said, opt, theirs, tmp_path):
    folder = shutil.copytree(theirs, tmp_path / "copy")
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    (folder / "modules.json").write_text(json.dumps([*modules, {"path": "3", "type": kind}] if kind else []))
    if not kind:
        shutil.rmtree(folder / "1_Pooling")
    with pytest.raises(ValueError, match=said):
        describe_embedder(folder, backbone=str(opt))


def test_an_adapter_folder_names_its_backbone(opt, tmp_path):
    adapter = save_adapter(tmp_path / "adapter", opt, seed=1)
    spec = describe_embedder(adapter, backbone=str(opt), pooling="last")
    assert (spec.adapters, spec.weights, spec.backbone) == ((str(adapter),), "", str(opt))
    assert ta.load_embedder(spec).dimension == 16
    assert describe_embedder(adapter, pooling="last").backbone == "somewhere/else"
    own = describe_embedder(adapters_dir() / "smol-sim", pooling="last")
    assert own.packaged


@pytest.mark.parametrize("base", ["https://example.org/a/model", "/gone/model", "justaname", "", None, 7])
def test_an_adapter_whose_base_cannot_be_found_asks_for_the_backbone(base, opt, tmp_path):
    adapter = save_adapter(tmp_path / "adapter", opt, seed=1)
    file = adapter / "adapter_config.json"
    about = json.loads(file.read_text(encoding="utf-8")) | {"base_model_name_or_path": base}
    file.write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"names {re.escape(repr(base))} as its base, .*; give backbone"):
        describe_embedder(adapter, pooling="last")
    assert describe_embedder(adapter, pooling="last", backbone=str(opt)).backbone == str(opt)


def test_a_result_that_is_there_costs_nothing(opt, tmp_path, monkeypatch):
    tmp_path = tmp_path / "results"
    first = ta.examine(str(opt), TEXTS, pooling="mean", results=tmp_path, **SMALL)
    (file,) = tmp_path.iterdir()
    monkeypatch.setattr(examination, "load_embedder", None)
    assert ta.examine(str(opt), TEXTS, pooling="mean", results=tmp_path, **SMALL).figures == first.figures
    monkeypatch.undo()
    for changed in ({"texts": TEXTS[1:]}, {"pooling": "last"}, {"pairs": 10}):
        again = {"texts": TEXTS, "pooling": "mean", **SMALL} | changed
        assert ta.examine(str(opt), results=tmp_path, **again).figures["settings"] != first.figures["settings"]
    file.write_text('{"half', encoding="utf-8")
    assert ta.examine(str(opt), TEXTS, pooling="mean", results=tmp_path, **SMALL).figures == first.figures


def test_one_that_fails_does_not_cost_the_others(opt, tmp_path, monkeypatch):
    monkeypatch.setattr(
        examination, "describe_embedder", lambda name, **how: describe_embedder(name, pooling="mean", **how)
    )
    reports, failures = ta.examine_all([str(opt), "/no/such"], TEXTS, results=tmp_path, **SMALL)
    assert (list(reports), list(failures)) == ([str(opt)], ["/no/such"])
    assert "there is no folder /no/such" in failures["/no/such"]


def test_the_page_needs_nothing_else(report):
    page = report.html()
    assert re.findall(r"""(?:src|href|url)\s*[=(]\s*['"]?(\w+:?)""", page) == ["data:"]
    assert "<script" not in page
    assert page.count("data:image/png;base64,") == 1
    assert "Hit@K (ids)" in page
    assert page.rstrip().endswith("</html>")


def test_a_name_cannot_break_the_page(tiny):
    found = ta.examine(tiny.with_template("{text}", "<b>&"), TEXTS, **SMALL)
    assert "<b>&" not in found.html() and "&lt;b&gt;&amp;" in found.html()


def test_the_command_line_examines(opt, tmp_path, capsys):
    page = tmp_path / "report.html"
    assert main(["examine", str(opt), "--pooling", "wmean", "-n", "30", "--html", str(page)]) == 0
    assert "sparse / dense" in capsys.readouterr().out
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert main(["examine", str(opt)]) == 2
    assert re.fullmatch(r"error: [^\n]+does not say how it pools[^\n]+\n", capsys.readouterr().err)


def test_the_list_has_every_embedder(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert [name for name in ta.EMBEDDERS if not re.search(rf"^ *{re.escape(name)} ", out, re.M)] == []
    table = ta.embedder_table(free=6 * 10**9).set_index("embedder")["here"]
    assert (table["sgpt-125m-nli"], table["sgpt-nli"]) == ("yes, float32", "yes, bfloat16")
    assert table["gritlm"].startswith("no, needs 15.")


def test_what_is_suggested_fits():
    assert ta.suggest_embedders(hub=False) == ["smol-eol", "smol-sim", "smol-cse"]
    for free in (0, 15 * 10**9, 40 * 10**9):
        assert ta.suggest_embedders(hub=True, free=free)[-3:] == ta.suggest_embedders(hub=False)  # so that one loads
        for name in ta.suggest_embedders(hub=True, free=free):
            half = ta.plan_loading(name, "bfloat16", "cpu", free=max(free, 6 * 10**9))
            assert half.fits, name


def test_what_needs_terms_is_suggested_only_to_those_who_can_have_accepted_them(monkeypatch):
    for token, there in ((None, False), ("hf_made", True)):
        monkeypatch.setattr("huggingface_hub.get_token", lambda token=token: token)
        assert ("llm2vec" in ta.suggest_embedders(hub=True, free=40 * 10**9)) is there
        assert "gritlm" in ta.suggest_embedders(hub=True, free=40 * 10**9)


@pytest.mark.slow
def test_a_full_device_does_not_cost_the_others(tiny, tmp_path, monkeypatch):
    def full(name, **how):
        if name == "full":
            raise torch.OutOfMemoryError("CUDA out of memory.\nTry less.")
        return tiny

    monkeypatch.setattr(examination, "describe_embedder", full)
    reports, failures = ta.examine_all(["full", "tiny"], TEXTS, results=tmp_path, **SMALL)
    assert (list(reports), failures) == (["tiny"], {"full": "CUDA out of memory."})


def test_the_passages_that_answer_a_query_come_first(tiny, report):
    part = examination._part(30)
    assert len(part.documents) == len(part.queries) == 30 == report.figure("queries")
    assert {document for answers in part.relevant.values() for document in answers} == set(part.documents)
    more = examination._part(500)
    assert (len(more.documents), len(more.queries)) == (500, 400)
    assert more.documents | part.documents == more.documents
    with pytest.raises(ValueError, match="documents is 1; it must be a whole number, 2 or more"):
        ta.examine(tiny, TEXTS, documents=1, pairs=20)


def test_too_few_texts(tiny):
    with pytest.raises(ValueError, match="3 texts are too few"):
        ta.examine(tiny, TEXTS[:3])


def test_a_kept_report_is_not_of_an_embedder_whose_pooling_was_edited():
    from tokalign_helpers.examination import _row
    from tokalign_helpers.models.embedders import EmbedderSpec

    scaled = [EmbedderSpec("made", "made/whole", lambda h, m, k=k: h[:, 0] * k) for k in (1, 1, 2)]
    assert _row(scaled[0]) == _row(scaled[1]) != _row(scaled[2])
    draw = (k for k in range(9))
    drawn = EmbedderSpec("made", "made/whole", lambda h, m: h[:, 0] * next(draw))
    assert _row(drawn) != _row(drawn)
