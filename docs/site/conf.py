"""Sphinx settings: nothing is executed, and nothing is fetched from elsewhere when a page is opened."""

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

project = "What is inside a text embedding?"
author = "the tokalign authors"
html_show_copyright = False
extensions = ["myst_nb"]
html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["course.css"]
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_mime_priority_overrides = [("html", "text/html", 5), ("html", "image/png", 10)]
myst_enable_extensions = ["dollarmath", "deflist", "attrs_inline"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header", "misc.highlighting_failure"]
html_theme_options = {"navigation_with_keys": True}


def _inline(translator: nodes.NodeVisitor, node: nodes.math) -> None:
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(translator: nodes.NodeVisitor, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Write formulas as MathML, which browsers draw by themselves: MathJax would be fetched from a server."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
