"""The pages of the course, built from what the notebooks store, in a browser without a window."""

import re
import shutil
import subprocess
from html import unescape
from urllib.parse import unquote

import pytest

from tests.notebooks.browser import browser
from tokalign_helpers.course.claims import VERDICTS, read_ledger
from tools.notebooks import NOTEBOOKS, REPOSITORY, choose

PYTHON = REPOSITORY / ".venv-site" / "bin" / "python"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--enable-logging=stderr"]
NAMES = [path.stem for path in choose(NOTEBOOKS, [])]
pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-site; make site makes it")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [PYTHON, REPOSITORY / "docs/site/build.py", folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr
    return folder


def pages(site):
    found = {path.name: path.read_text(encoding="utf-8") for path in site.glob("*.html")}
    return {name: text for name, text in found.items() if name not in ("search.html", "genindex.html")}


def test_every_notebook_has_a_page_with_outputs_and_folded_solutions(site):
    for name in NAMES:
        text = (site / f"{name}.html").read_text(encoding="utf-8")
        assert 'class="cell_output' in text
        assert "<summary>A solution</summary>" in text
        assert "<summary>The answers</summary>" in text
        assert "NBVAL_" not in text
        assert len(re.findall(r"<h3>Exercise \d · [a-z ]+ \(\d+ minutes, (?:easy|medium|hard)\)<", text)) >= 3


def test_pages_for_a_class_hold_no_solution(tmp_path):
    program = (
        f"import sys; from pathlib import Path; sys.path.insert(0, {str(REPOSITORY / 'docs/site')!r}); import build; "
        f"build.write_sources(Path({str(tmp_path)!r}), solved=False)"
    )
    subprocess.run([PYTHON, "-c", program], check=True)
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.ipynb")}
    assert set(written) == {f"{name}.ipynb" for name in NAMES}
    assert not [name for name, text in written.items() if "A solution" in text or "The answers" in text]


def test_the_first_page_leads_to_the_live_page_where_it_could_be_made(site):
    link = 'href="live/index.html"' in (site / "index.html").read_text(encoding="utf-8")
    assert link == (site / "live" / "index.html").exists()


def test_pictures_and_links_inside_lead_somewhere(site):
    lost = []
    for name, text in pages(site).items():
        for link in re.findall(r'(?:href|src)="([^"]+)"', text):
            file, _, anchor = unquote(unescape(link)).partition("#")
            if re.match(r"(?:https?|data|mailto):", file):
                continue
            target = site / (file.partition("?")[0] or name)
            if not target.exists() or (
                anchor and target.suffix == ".html" and f'id="{anchor}"' not in target.read_text()
            ):
                lost.append(f"{name}: {link}")
    assert lost == []


def test_every_picture_has_a_text_for_those_who_do_not_see_it(site):
    for name, text in pages(site).items():
        images = re.findall(r"<img [^>]*>", text)
        bare = [image for image in images if not re.search(r'alt="(?!_images/)[^"]{8,}"', image)]
        assert bare == [], name
        figures = re.findall(r'<img [^>]*alt="(Figure[^"]*)"', text)
        assert len(figures) == len(set(figures)), name


def test_what_a_notebook_says_of_its_picture_is_the_text_of_the_page():
    program = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY / 'docs/site')!r}); import build; "
        "from nbformat.v4 import new_code_cell, new_notebook, new_output; "
        "output = new_output('display_data', {'image/png': ''}, metadata={'image/png': {'alt': 'GAR rises. Bars.'}}); "
        "cells = [new_code_cell('ax = plots.plot_rates(t, \"By its title\")', outputs=o) for o in ([output], [])]; "
        "page = build.page(new_notebook(cells=cells), '00'); "
        "print([cell.metadata.mystnb['image']['alt'] for cell in page.cells if cell.cell_type == 'code'])"
    )
    done = subprocess.run([PYTHON, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "['GAR rises. Bars.', 'Figure: By its title']"


def test_no_page_fetches_anything_from_a_server(site):
    for name, text in pages(site).items():
        fetched = re.findall(r'<(?:script|img|link)[^>]*(?:src|href)="https?://[^"]*"', text)
        assert fetched == [], name


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("page", ["index", NAMES[0], "claims", "slides", "glossary", "reference"])
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_it_without_an_error_or_a_page_that_scrolls_sideways(site, page, width, tmp_path):
    # Chromium's own window is at least 500 wide: a frame is as narrow as it is told.
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe id="f" width="{width}" height="900" src="file://{site}/{page}.html"></iframe>'
        "<script>f.onload = () => { const d = f.contentDocument; document.title ="
        " [d.documentElement.scrollWidth, [...d.images].filter(i => i.complete && !i.naturalWidth).length,"
        " d.querySelectorAll('article h1').length].join() }</script>"
    )
    options = ["--allow-file-access-from-files", "--virtual-time-budget=5000", "--window-size=1400,1000", "--dump-dom"]
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}/profile", *options, f"file://{frame}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    measured = re.search(r"<title>(\d+),(\d+),(\d+)</title>", done.stdout)
    assert measured, done.stderr[-2000:]
    assert int(measured[1]) <= width
    assert int(measured[2]) == 0
    assert int(measured[3]) >= 1
    assert "CONSOLE" not in done.stderr


def test_first_uses_of_terms_lead_to_the_glossary(site):
    terms = set(re.findall(r'<dt id="(term-[^"]+)"', (site / "glossary.html").read_text(encoding="utf-8")))
    assert {"term-GAR", "term-key-tokens", "term-tight-frame", "term-jackknife"} <= terms
    for name in NAMES:
        text = (site / f"{name}.html").read_text(encoding="utf-8")
        linked = re.findall(r'href="glossary.html#(term-[^"]+)"', text)
        assert len(linked) >= 5 and set(linked) <= terms, name
        assert len(linked) == len(set(linked)), name  # the first use only
        assert "{term}" not in text, name


def rows_of_claims(site):
    text = (site / "claims.html").read_text(encoding="utf-8")
    return text, dict(re.findall(r'<tr role="row" id="claim-([^"]+)">(.*?)</tr>', text, re.DOTALL))


def test_claims_lead_to_the_cells_that_print_their_figures(site):
    _, rows = rows_of_claims(site)
    ledger = read_ledger(REPOSITORY / "data" / "paper_claims.csv")
    assert set(rows) == {row["id"] for row in ledger}
    for row in ledger:
        links = re.findall(r'href="([^"#]+)#(nb[^"]+)"', rows[row["id"]])
        assert bool(links) == bool(row["notebook"]), row["id"]
        if row["file"] or not links:
            continue  # such a cell draws the file
        printed = ""
        for file, anchor in links:
            _, _, cell = (site / file).read_text(encoding="utf-8").partition(f'id="{anchor}"')
            assert cell, anchor
            printed += unescape(re.sub(r"<[^>]+>", "", re.split(r'<div class="cell |id="nb', cell)[0]))
        groups = [float(n) for n in re.findall(r"-?\d+\.\d+", row["ours"])]
        constant = [float(n) for n in re.findall(r"-?\d+\.\d+", row["form"])]
        shown = [float(n) for n in re.findall(r"-?\d+\.\d+", printed)]
        assert [n for n in groups if n not in constant and n not in shown] == [], row["id"]


def test_verdicts_are_defined_where_they_are_given(site):
    text, rows = rows_of_claims(site)
    defined = re.findall(r'<dt id="verdict-[^"]+">(.*?) <span', text)
    assert sorted(defined) == sorted(VERDICTS)
    given = [re.search(r'href="#(verdict-[^"]+)"', row)[1] for row in rows.values()]
    assert all(f'id="{place}"' in text for place in given)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_claims_are_cards_on_a_phone_and_a_table_on_a_desk(site, tmp_path):
    cells = (
        "[...document.querySelectorAll('.claims tbody td')].filter(c => c.offsetWidth).map(c =>"
        " [c.offsetLeft, c.scrollWidth - c.clientWidth, getComputedStyle(c, '::before').content])"
    )
    with browser(tmp_path / "profile", "--allow-file-access-from-files") as page:
        seen = {}
        for width in (390, 1400):
            page.shape(width)
            page.open(f"file://{site}/claims.html")
            seen[width] = page.run(cells)
    assert [cell for cell in seen[390] + seen[1400] if cell[1] > 0] == []  # nothing is cut
    assert len({left for left, _, _ in seen[390]}) == 1 and len({left for left, _, _ in seen[1400]}) == 5
    names = {name.strip('"') for _, _, name in seen[390]}
    assert {"rule", "what we found", "verdict", "scale"} <= names
    assert {name for _, _, name in seen[1400]} == {"none"}


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_the_first_picture_is_drawn_for_the_width_of_the_window(site, tmp_path):
    shown = (
        "(i => [i.currentSrc.split('/').pop(), i.clientWidth / i.naturalWidth])(document.querySelector('picture img'))"
    )
    with browser(tmp_path / "profile", "--allow-file-access-from-files") as page:
        for width, file, scale in ((390, "one_sentence_phone.png", 0.45), (1400, "one_sentence.png", 0.5)):
            page.shape(width)
            page.open(f"file://{site}/index.html")
            found, share = page.run(shown)
            assert found == file
            assert share >= scale  # of 24 and 15 pixels high letters that is 11 and 8


def test_the_first_page_says_what_was_found_and_leaves_the_table_to_its_page(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    assert text.index("What was found") < text.index("What you need") < text.index("The course")
    assert 'href="claims.html"' in text and "In the paper" not in text and ">verdict</th>" not in text
    assert 'src="_images/live_page.png"' in text
    assert (REPOSITORY / "docs" / "live_page.png").stat().st_size < 150_000


def test_slides_show_the_figures_they_name(site):
    text = (site / "slides.html").read_text(encoding="utf-8")
    named = (REPOSITORY / "docs" / "slides.md").read_text(encoding="utf-8").count("(../notebooks/")
    assert text.count('src="_images/slide-') == named == len(re.findall(r'href="[^"]+#nb', text))
    assert "../notebooks" not in text
