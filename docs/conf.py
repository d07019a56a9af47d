"""Settings of the site; `build_site.py` calls Sphinx with them."""

import inspect
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from docstrings import readable
from docutils.nodes import SkipNode

import offseg_viz
from offseg_viz.course.formulas import formula_html

project = "offseg_viz"
author = "the authors of offseg_viz"
copyright = "the authors of offseg_viz; the method is that of arXiv 2508.08811"
version = release = offseg_viz.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["files", "extra", "static"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
nitpicky = False

# Notebooks are shown as they are stored: nothing is run, and where a widget was, its picture stands.
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
nb_code_prompt_show = nb_code_prompt_hide = "a solution"
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

# `name` in a docstring is a name of this package, where there is one.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]
napoleon_preprocess_types = False
python_maximum_signature_line_length = 88
add_module_names = False
maximum_signature_line_length = 88

# No page may ask the network for anything: system fonts, formulas as letters, the search index beside the pages.
html_theme = "furo"
html_title = "offseg_viz"
html_math_renderer = "letters"
html_static_path = ["static"]
html_extra_path = ["extra"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_search_summary = False  # it would fetch pages, which a browser refuses for files on a disk
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f5f99", "color-brand-content": "#1f5f99"},
    "dark_css_variables": {"color-brand-primary": "#7fb8ea", "color-brand-content": "#7fb8ea"},
}
pygments_style = "friendly"
pygments_dark_style = "github-dark"


def _formula(tag):
    def visit(translator, node):
        translator.body.append(f'<{tag} class="formula">{formula_html(node.astext())}</{tag}>')
        raise SkipNode

    return visit, None


def _docstring(app, what, name, obj, options, lines):
    lines[:] = readable(lines)


def _signature(app, what, name, obj, options, signature, returned):
    """Widgets have a ``__new__`` that takes anything: show what ``__init__`` takes."""
    if what != "class" or "__init__" not in vars(obj) or issubclass(obj, Exception):
        return None
    found = inspect.signature(obj.__init__)
    plain = [each.replace(annotation=each.empty) for each in list(found.parameters.values())[1:]]
    return str(found.replace(parameters=plain, return_annotation=found.empty)), None


def setup(app):
    app.add_html_math_renderer("letters", inline_renderers=_formula("span"), block_renderers=_formula("div"))
    app.connect("autodoc-process-docstring", _docstring, priority=400)
    app.connect("autodoc-process-signature", _signature)
