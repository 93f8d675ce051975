"""Sphinx's settings for the site: no page asks another host for anything, and no notebook is executed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

from colbert_zero_lib import __version__
from colbert_zero_lib.stamps import address

root = Path(__file__).resolve().parents[1]
project = "ColBERT-Zero, in notebooks"
author = "the notebook suite's contributors"
release = __version__
extensions = ["myst_nb", "sphinx_design", "autoapi.extension"]
exclude_patterns = ["figures/tables/*.md"]
html_extra_path = [str(root / "build/book/extra")]
html_static_path = [str(root / "book/static")]
html_css_files = ["book.css"]
html_copy_source = False
html_use_index = False  # there is a search
html_domain_indices = False
html_theme = "sphinx_book_theme"
html_title = project
html_theme_options: dict[str, Any] = {
    "use_download_button": False,
    "show_toc_level": 2,
    "navigation_with_keys": False,
}
html_theme_options |= {
    f"navbar_{place}": [] for place in ("start", "center", "end", "persistent")
}  # one search is enough
if address():
    github = address().startswith("https://github.com/")
    html_theme_options |= {"repository_url": address(), "use_repository_button": True}
    html_theme_options |= (
        {"launch_buttons": {"colab_url": "https://colab.research.google.com"}} if github else {}
    )

nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js: dict[str, Any] = {}  # they come from elsewhere: a still picture stands beside each widget
myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_inline"]
myst_heading_anchors = 4

# Read from the sources: the site's environment needs neither torch nor PyLate.
autoapi_dirs = [str(root / "colbert_zero_lib")]
autoapi_root = "api"
autoapi_add_toctree_entry = False
autoapi_keep_files = False
autoapi_options = ["members", "show-module-summary"]
autoapi_member_order = "bysource"
default_role = "py:obj"
suppress_warnings = ["ref.python", "autoapi.python_import_resolution", "misc.highlighting_failure"]


def mathml(display: bool) -> tuple[Callable[..., None], None]:
    """What writes a formula as MathML, which browsers set by themselves, without scripts or fonts."""

    def visit(translator: Any, node: Any) -> None:
        formula = convert(node.astext(), display="block" if display else "inline")
        translator.body.append(f'<div class="formula">{formula}</div>' if display else formula)
        raise SkipNode

    return visit, None


def setup(app: Any) -> None:
    """Register MathML as the way to show mathematics."""
    app.add_html_math_renderer("mathml", mathml(False), mathml(True))


html_math_renderer = "mathml"
