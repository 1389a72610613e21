"""The live page in a browser: what it shows against what Python computes, and what it says when it cannot run."""

import importlib.util
import itertools
import shutil
import threading
import urllib.parse

import pytest
import torch
from safetensors.torch import load_file

from tests.notebooks.browser import CHROMIUM, browser
from tokalign_helpers.basics.assets import data_dir, is_ready
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.reading.explain import token_contributions
from tokalign_helpers.reading.spectrum import PrincipalComponents
from tools.notebooks import REPOSITORY

TEXTS = [
    "What diseases are parrots prone to?",
    "The central bank raised interest rates to curb inflation.",
    "A violinist practised the concerto for six hours.",
    "How do I reset the password of my email account?",
    "The glacier has retreated by two kilometres since 1900.",
    "I like apples.",
    "I dislike apples.",
    "Photosynthesis turns sunlight into sugar.",
    "The défender, 27, was sent off\u00a0… ⚽ for it’s <|im_end|> sake",
    "Add the flour slowly.",
]
NEAR = 0.02  # of scores of unit vectors: llama.cpp multiplies in 8 bits, Python in 32
SHARE = 0.01  # the same on average
TURNS = itertools.count()
READ = (
    "[...document.querySelectorAll('#cards .tokens')]"
    ".map(list => [...list.children].map(line => [+line.dataset.id, +line.dataset.score]))"
)

spec = importlib.util.spec_from_file_location("live", REPOSITORY / "docs/site/live.py")
live = importlib.util.module_from_spec(spec)
spec.loader.exec_module(live)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium"),
    pytest.mark.skipif(not is_ready(), reason="the model is not in the cache; make lab fetches it"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("site") / "live"
    try:
        live.write_page(made)
    except live.FetchError as error:
        pytest.skip(f"no engine: {error}")
    live.write_model(made / "model")
    return made


@pytest.fixture(scope="module")
def address(folder):
    with live.server(folder, 0) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_address[1]}/"
        serving.shutdown()


@pytest.fixture(scope="module")
def page(address, tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.open(address)
        opened.wait("document.body.dataset.state === 'read'", 300)
        yield opened


def read(page, **choices):
    """Follow a link within the page, and return what it shows of each text: token ids and scores."""
    link = urllib.parse.urlencode(choices | {"turn": next(TURNS)})  # the browser follows no link to where it is
    page.run(f"document.body.dataset.state = 'waiting'; location.hash = {link!r}")
    page.wait("document.body.dataset.state === 'read'", 300)
    return [([i for i, _ in card], torch.tensor([s for _, s in card])) for card in page.run(READ)]


def python_scores(h, decoder):
    """Scores at unit length, on which a tolerance means the same for every embedder."""
    return decoder.scores(h) / h.norm(dim=1, keepdim=True)


def check(found, h, plain, decoder):
    """Compare what is shown with Python's scores; h is decoded, `plain` is the embedding before any shift."""
    length = plain.norm(dim=1).item()
    expected = decoder.scores(h)[0] / length
    ids, scores = found
    apart = (scores / length - expected[ids]).abs()
    assert apart.mean() < SHARE
    assert apart.max() < NEAR
    fifth = expected.topk(5).values[-1]
    assert (expected[ids[:5]] > fifth - NEAR).all()  # the five best, but for those that tie within the tolerance
    certain = (expected > expected.topk(6).values[-1] + NEAR).nonzero().flatten().tolist()
    assert set(certain) <= set(ids[:5])


def test_adjusted_scores_and_best_tokens_are_those_of_python_on_ten_texts(page):
    embedder = load_embedder("smol-eol")
    stored = load_file(data_dir() / "embeddings" / "sentences-smol-eol.safetensors")["embeddings"]
    u = PrincipalComponents.fit(stored, 1).direction(1)
    amount = -(stored @ u).mean()
    for text in TEXTS:
        h = embedder.embed([text], cache=False)
        check(read(page, text=text, way="adjusted")[0], h + amount * u, h, embedder.decoder)
        check(read(page, text=text, way="raw")[0], h, h, embedder.decoder)
        check(read(page, text=text, way="adjusted", along="mean")[0], h - stored.mean(dim=0), h, embedder.decoder)


def test_the_trained_embedder_is_the_one_in_data_adapters(page):
    embedder = load_embedder("smol-sim")
    pair = TEXTS[5], TEXTS[6]
    h = embedder.embed(list(pair), cache=False)
    for found, row in zip(read(page, text=pair[0], other=pair[1], way="trained"), h, strict=True):
        check(found, row[None], row[None], embedder.decoder)
    table = token_contributions(embedder.decoder, *h)
    assert page.run("+document.querySelector('[data-cosine]').dataset.cosine") == pytest.approx(
        table["contribution"].sum(), abs=0.02
    )
    shown = page.run("[...document.querySelectorAll('.closer li')].map(i => [+i.dataset.id, +i.dataset.part])")
    parts = table.set_index("id")["contribution"]
    assert all(part == pytest.approx(parts[i], abs=5e-4) for i, part in shown)


def test_tokens_are_cut_and_written_as_python_does(page):
    embedder = load_embedder("smol-eol")
    texts = [*TEXTS, "  two  spaces\n\nand 12345 lines\t", "naïve 日本語 مرحبا 🏳️‍🌈", "they'll WE'RE I'd"]
    make = "fetchManifest().then(m => fetchFile(m, 'backbone', () => {})).then(b => b.slice(0, 4000000).arrayBuffer())"
    page.run(
        "Promise.all(['store', 'gguf', 'tokenizer'].map(n => import(new URL(n + '.js', location.href))))"
        f".then(async ([{{fetchManifest, fetchFile}}, {{parseHead}}, {{Tokenizer}}]) => {{ const head = await {make};"
        " window.tokenizer = new Tokenizer(parseHead(head).settings) })"
    )
    for text in texts:
        expected = embedder.tokenizer(text, add_special_tokens=False).input_ids
        assert page.run(f"tokenizer.encode({text!r}).map(t => t.id)") == expected, text
    every = page.run("tokenizer.tokens.map((_, id) => tokenizer.readable(id))")
    expected = [embedder.decoder.token(i) for i in range(embedder.decoder.vocabulary_size)]
    wrong = [(a, b) for a, b in zip(every, expected, strict=True) if a != b]
    assert wrong == []


def test_nothing_is_fetched_from_elsewhere_and_nothing_is_wrong(page, address):
    assert page.problems == []
    elsewhere = [url for url in page.requested if not url.startswith((address, "blob:", "about:", "data:"))]
    assert elsewhere == []


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("dark", [False, True])
def test_no_page_scrolls_sideways(page, width, dark):
    read(page, text=TEXTS[5], other=TEXTS[6], way="adjusted")
    page.shape(width, dark=dark)
    assert page.run("document.documentElement.scrollWidth") <= width


def test_a_copied_link_carries_the_choices(page):
    read(page, text="I like apples.", way="adjusted", along="mean", amount="0.5")
    page.run("document.getElementById('share').click()")
    page.wait("document.getElementById('state').textContent.includes('link')")
    carried = urllib.parse.parse_qs(page.run("location.hash.slice(1)"))
    assert carried == {"text": ["I like apples."], "way": ["adjusted"], "along": ["mean"], "amount": ["0.5"]}


def test_a_missing_model_and_a_missing_engine_are_said(folder, tmp_path):
    for source in folder.glob("*.*"):
        shutil.copy(source, tmp_path)
    shutil.copytree(folder / "engine", tmp_path / "engine")
    with live.server(tmp_path, 0) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{serving.server_address[1]}/"
        with browser(tmp_path / "profile") as opened:
            for before, said in (("", "model is missing"), ("delete globalThis.WebAssembly", "has no WebAssembly")):
                opened.send("Page.addScriptToEvaluateOnNewDocument", source=before)
                opened.open(address)
                opened.wait("document.body.dataset.state === 'trouble'", 60)
                assert said in opened.run("document.getElementById('trouble').textContent")
        serving.shutdown()


def test_another_package_than_the_pinned_one_is_refused():
    with pytest.raises(live.FetchError, match="not the pinned"):
        live.check_integrity(b"something else", live.INTEGRITY)
