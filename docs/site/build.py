"""Build the course as static pages: ``python docs/site/build.py OUTPUT``. Needs docs/site/requirements.txt only.

Nothing is executed: pages show what the notebooks store, and the reference is read from the docstrings. With
``--without-solutions`` the pages hold no answer to an exercise, for a class.
"""

import argparse
import ast
import base64
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import live
import nbformat
from claims_page import anchor, claims_page
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import NumpyDocstring

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CHECK = re.compile(r"^\w+\.q(\d+)\.check\(", re.MULTILINE)
QUIZ = re.compile(r"^\w+\.quiz\.check\(", re.MULTILINE)
EXERCISES = re.compile(r"from tokalign_helpers\.exercises import ex(\d\d)")
BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]")  # the picture is on a server, and pages fetch nothing
CLAIMS = re.compile(r"^\| the paper's claim \|.*?\n(?!\|)", re.DOTALL | re.MULTILINE)  # the README's table of them
SLIDE = re.compile(r"^\[([^\]]+)\]\(\.\./notebooks/([^#)]+)#([\w-]+)\)$", re.MULTILINE)  # stands for its figure
LIVE = '<p><a href="live/index.html">Type a sentence and see its tokens</a> in this browser; nothing leaves it.</p>'
# What is never linked from: code, formulas, links, tags with what a browser keeps together, headings, tables.
PROTECTED = re.compile(
    r"(```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$|!?\[[^\]]*\]\([^)]*\)|<details>.*?</details>|<[^>]+>|^#.*?$|^\|.*?$"
    r"|^\*[^*\n].*?\*$)",
    re.DOTALL | re.MULTILINE,
)


def of_questions(number: str, what: str) -> list[str]:
    """Read one thing of each of a notebook's questions, in order, without running the module.

    Parameters
    ----------
    number : str
        Two digits.
    what : str
        Its keyword, such as ``answer``.

    Returns
    -------
    list[str]
    """
    tree = ast.parse((ROOT / "tokalign_helpers" / "exercises" / f"ex{number}.py").read_text(encoding="utf-8"))
    found = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            given = {keyword.arg: keyword.value for keyword in statement.value.keywords}
            if "task" in given:
                found[statement.targets[0].id] = ast.literal_eval(given[what])
    return [found[name] for name in sorted(found, key=lambda name: int(name[1:]))]


def quiz_answers(number: str) -> str:
    """Write the answers of a notebook's quiz, each option explained, without running the module.

    Parameters
    ----------
    number : str
        Two digits.

    Returns
    -------
    str
        Markdown.
    """
    tree = ast.parse((ROOT / "tokalign_helpers" / "exercises" / f"ex{number}.py").read_text(encoding="utf-8"))
    calls = [s.value for s in tree.body if isinstance(s, ast.Assign) and isinstance(s.value, ast.Call)]
    quiz = next(call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Quiz")
    lines = []
    for place, (_, right, options) in enumerate(map(ast.literal_eval, quiz.args), start=1):
        said = [f"    * ({letter}) {text}: {why}" for letter, (text, why) in options.items()]
        lines += [f"{place}. **({right})**", *said]
    return "\n".join(lines)


def glossary_entries() -> dict[tuple[str, ...], str]:
    """Read the glossary: all names of each term → what it means.

    Returns
    -------
    dict[tuple[str, ...], str]
    """
    text = (HERE / "glossary.md").read_text(encoding="utf-8")
    found = re.findall(r"^(\S.*)\n: ((?:.+\n?)+)", text, re.MULTILINE)
    return {tuple(names.split(", ")): meaning.strip() for names, meaning in found}


def glossary() -> str:
    """Write the glossary so that each term has an anchor for :func:`link_terms`.

    Returns
    -------
    str
    """
    entries = (
        "\n".join([*names, *(f"  {line.strip()}" for line in meaning.splitlines())])
        for names, meaning in glossary_entries().items()
    )
    return "\n\n".join(
        ["# Glossary", "The paper's terms, as the course uses them.", "```{glossary}", *entries, "```", ""]
    )


def link_terms(notebook: NotebookNode, terms: Iterable[str]) -> None:
    """Link the first use of each term in a notebook's prose to the glossary.

    Parameters
    ----------
    notebook : NotebookNode
        Changed in place.
    terms : Iterable[str]
        Longer ones win over shorter ones that they hold.
    """
    left = sorted((term for term in terms if len(term) > 2), key=len, reverse=True)
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            continue
        pieces = PROTECTED.split(cell.source)  # prose at even places, what stays as it is between
        for term in list(left):
            pattern = re.compile(rf"(?<![\w-]){re.escape(term)}s?(?![\w-])", re.IGNORECASE)
            for place in range(0, len(pieces), 2):
                found = pattern.search(pieces[place])
                if found:
                    before, after = pieces[place][: found.start()], pieces[place][found.end() :]
                    pieces[place : place + 1] = [before, f"{{term}}`{found[0]} <{term}>`", after]
                    left.remove(term)
                    break
        cell.source = "".join(pieces)


def page(notebook: NotebookNode, place: str, *, solved: bool = True) -> NotebookNode:
    """Make a notebook a page: set-up and solutions folded, anchors at cells, pictures with alternative text.

    Parameters
    ----------
    notebook : NotebookNode
    place : str
        Its number, two digits.
    solved : bool
        Whether solutions are on the page.

    Returns
    -------
    NotebookNode
        Changed in place.
    """
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    number = EXERCISES.search(code)
    answers = of_questions(number[1], "answer") if number and solved else []
    cells, heading = [], "the course"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cells.append(new_markdown_cell(f"({anchor(place, cell)})="))
        cells.append(cell)
        if cell.cell_type == "markdown":
            cell.source = BADGE.sub("[Open in Colab]", cell.source)
            heading = (re.findall(r"^#+ (.*)$", cell.source, re.MULTILINE) or [heading])[-1]
            continue
        if cell.cell_type != "code":
            continue
        cell.metadata["mystnb"] = {"image": {"alt": stored_alt_text(cell) or alt_text(cell.source, heading)}}
        if cell.source.startswith("# @title"):
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
        for check in CHECK.findall(cell.source) if answers else ():
            folded = (
                f"<details><summary>A solution</summary>\n\n```python\n{answers[int(check) - 1]}\n```\n\n</details>"
            )
            cells.append(new_markdown_cell(folded))
        if number and solved and QUIZ.search(cell.source):
            said = quiz_answers(number[1])
            cells.append(new_markdown_cell(f"<details><summary>The answers</summary>\n\n{said}\n\n</details>"))
    notebook.cells = cells
    link_terms(notebook, (name for names in glossary_entries() for name in names))
    return notebook


def stored_alt_text(cell: NotebookNode) -> str:
    """Return what a cell's figures show as the notebook stored it beside them; empty if it did not.

    Parameters
    ----------
    cell : NotebookNode

    Returns
    -------
    str
    """
    found = [output.get("metadata", {}).get("image/png", {}).get("alt", "") for output in cell.outputs]
    return " ".join(filter(None, found))


def alt_text(source: str, heading: str) -> str:
    """Return what a cell's figure shows: its title, or else the heading above it.

    Parameters
    ----------
    source : str
    heading : str

    Returns
    -------
    str
    """
    titles = [
        argument.value
        for node in ast.walk(ast.parse(re.sub(r"^\s*[%!].*$", "", source, flags=re.MULTILINE)))
        if isinstance(node, ast.Call) and re.match("plot_|set_title$", getattr(node.func, "attr", ""))
        for argument in [*node.args, *(keyword.value for keyword in node.keywords)]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and " " in argument.value
    ]
    return f"Figure: {max(titles, key=len)}" if titles else f"Figure of the section: {heading.replace('`', '')}"


def reference() -> str:
    """Write the reference of the public names, as reStructuredText, from signatures and docstrings.

    Returns
    -------
    str
        Room by room: what ``ta.`` holds, then the modules that it holds by their short names.
    """
    package = ROOT / "tokalign_helpers"
    tree = ast.parse((package / "__init__.py").read_text(encoding="utf-8"))
    short = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_SHORT"
    )
    named = {
        statement.module.removeprefix("tokalign_helpers."): {alias.name for alias in statement.names}
        for statement in ast.walk(tree)
        if isinstance(statement, ast.ImportFrom) and statement.module.startswith("tokalign_helpers.")
    }
    lines = ["Reference", "=========", "", "Everything below is imported as ``import tokalign_helpers as ta``.", ""]
    for module, names in named.items():
        if (package / module.replace(".", "/")).is_dir():
            continue  # of a room only modules are taken, which come under their short names
        lines += section(package, module, module, lambda name, names=names: name in names)
    for name, module in short.items():
        lines += section(package, module, f"ta.{name}", lambda name: not name.startswith("_"))
    return "\n".join(lines)


def section(package: Path, module: str, title: str, wanted: Callable[[str], bool]) -> list[str]:
    """Write one module's wanted functions and classes.

    Parameters
    ----------
    package : Path
    module : str
        Such as ``reading.alignment``.
    title : str
    wanted : Callable
        Says of a name whether it belongs to the reference.

    Returns
    -------
    list[str], lines of reStructuredText
    """
    tree = ast.parse((package / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    lines = [title, "-" * len(title), "", first_line(tree), ""]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and wanted(node.name):
            lines += entry(node)
    return lines


def first_line(node: ast.AST) -> str:
    """Return the first line of a docstring."""
    return (ast.get_docstring(node) or "").partition("\n")[0]


def entry(node: ast.FunctionDef | ast.ClassDef, indent: str = "") -> list[str]:
    """Write one function, or one class with its public methods.

    Parameters
    ----------
    node : FunctionDef or ClassDef
    indent : str

    Returns
    -------
    list[str]
    """
    is_class = isinstance(node, ast.ClassDef)
    kind = "class" if is_class else "method" if indent else "function"
    signature = "" if is_class else f"({ast.unparse(node.args)})"
    if not is_class and node.returns is not None:
        signature += f" -> {ast.unparse(node.returns)}"
    doc = str(NumpyDocstring(ast.get_docstring(node) or "", Config(napoleon_use_rtype=False)))
    lines = [f"{indent}.. py:{kind}:: {node.name}{signature}", ""]
    doc = doc.replace("|", "\\|")  # |T_s| is no substitution of reStructuredText
    lines += [f"{indent}   {line}".rstrip() for line in doc.splitlines()] + [""]
    for inner in node.body if is_class else ():
        if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
            lines += entry(inner, indent + "   ")
    return lines


def home(pages: list[str], *, live_page: bool = False) -> str:
    """Write the first page from the README's words, and the list of pages.

    Parameters
    ----------
    pages : list[str]
        The documents, in order.
    live_page : bool
        Whether the live page lies beside them.

    Returns
    -------
    str
    """
    readme = re.sub(r"^<!--.*-->\n", "", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    readme = readme.replace("(#the-papers-claims)", "(claims.md)")
    text = re.sub(r'(\]\(|")(?:docs/site|docs|notebooks)/', r"\1", readme.partition("\n## Licence")[0])
    text = re.sub(r'(src|srcset)="(?=\w+\.png)', r'\1="_static/', text)
    text = CLAIMS.sub("The table is [a page of its own](claims.md), with the rule of each verdict.\n", text)
    text = re.sub(r"\[([^\]]+)\]\(\.\./\.\./tree/[^)]*\)", r"\1", text)  # pages of the repository, not of the site
    if live_page:
        title, _, rest = text.partition("\n\n")
        text = f"{title}\n\n{LIVE}\n\n{rest}"
    tree = "\n".join(["```{toctree}", ":hidden:", ":maxdepth: 1", *pages, "```"])
    return f"{text}\n\n{tree}\n"


def slides(folder: Path) -> str:
    """Write the outline of the slides with its figures, taken out of the notebooks' stored outputs.

    Parameters
    ----------
    folder : Path
        Where the pages of the notebooks are, and where the pictures go.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If a slide names a cell that is not there or has no figure.
    """

    def shown(link: re.Match) -> str:
        caption, name, place = link.groups()
        cells = nbformat.read(folder / name, as_version=4).cells
        cell = next((cell for cell in cells if cell.cell_type == "code" and cell.id == place), None)
        data = [output.get("data", {}).get("image/png") for output in cell.outputs] if cell else []
        if not any(data):
            raise ValueError(f"docs/slides.md: the cell {place!r} of {name} has no figure")
        number = name[:2]
        picture = f"slide-{number}-{place}.png"
        (folder / picture).write_bytes(base64.b64decode(next(filter(None, data))))
        alt = cell.metadata["mystnb"]["image"]["alt"].replace("[", "(").replace("]", ")")
        return f"![{alt}]({picture})\n\n[{caption}, in notebook {number}](#{anchor(number, cell)})"

    return SLIDE.sub(shown, (ROOT / "docs" / "slides.md").read_text(encoding="utf-8"))


def write_sources(folder: Path, *, solved: bool = True, live_page: bool = False) -> None:
    """Put all that Sphinx reads into a folder.

    Parameters
    ----------
    folder : Path
    solved : bool
        Whether solutions are on the pages.
    live_page : bool
        Whether the live page lies beside them, for a link to it.
    """
    shutil.copy(HERE / "conf.py", folder)
    shutil.copytree(HERE / "_static", folder / "_static")
    (folder / "glossary.md").write_text(glossary(), encoding="utf-8")
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    for path in paths:
        nbformat.write(page(nbformat.read(path, as_version=4), path.name[:2], solved=solved), folder / path.name)
    pages = [path.stem for path in paths]
    table = ROOT / "data" / "paper_claims.csv"
    if table.exists():
        (folder / "claims.md").write_text(claims_page(table, ROOT / "notebooks"), encoding="utf-8")
        pages.append("claims")
    (folder / "reference.rst").write_text(reference(), encoding="utf-8")
    pages += ["glossary", "reference"]
    shutil.copy(ROOT / "docs" / "instructors.md", folder)
    (folder / "slides.md").write_text(slides(folder), encoding="utf-8")
    pages += ["instructors", "slides"]
    for picture in (ROOT / "docs").glob("*.png"):
        shutil.copy(picture, folder / "_static")  # the first page names them in HTML, where Sphinx does not look
        shutil.copy(picture, folder)
    (folder / "index.md").write_text(home(pages, live_page=live_page), encoding="utf-8")


def main() -> int:
    """Build into the folder that the command line names; returns Sphinx's exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="the folder of the pages; made if it is missing")
    parser.add_argument("--without-solutions", action="store_true", help="no answers to exercises, for a class")
    given = parser.parse_args()
    output = given.output.resolve()
    there = write_live(output / "live")
    with tempfile.TemporaryDirectory() as sources:
        write_sources(Path(sources), solved=not given.without_solutions, live_page=there)
        command = [sys.executable, "-m", "sphinx", "-q", "-E", "-b", "html", sources, str(output)]
        status = subprocess.run(command).returncode
    print(f"the pages are in {output / 'index.html'}")
    return status


def write_live(folder: Path) -> bool:
    """Write the live page without the model; say whether it is there."""
    try:
        live.write_page(folder, beside_the_course=True)
    except live.FetchError as error:
        print(f"without the live page: {error}", file=sys.stderr)
        return False
    print("the live page is beside the others, without the model; make live adds it")
    return True


if __name__ == "__main__":
    sys.exit(main())
