"""Sphinx configuration. The pictures of the pages are drawn by `draw.py` before the pages are read."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import roikit
from roikit.explore import PAGE

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "roikit"
author = "the roikit authors"
copyright = "the roikit authors, Apache-2.0"
release = version = roikit.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml", "pictures.directive"]
html_math_renderer = "mathml"
exclude_patterns = ["_build", "_pictures"]
nitpicky = False

html_theme = "furo"
html_title = f"roikit {release}"
html_static_path: list[str] = []

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures show them; shapes and units stand in the text
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False


def setup(app):
    from draw import draw_all

    app.connect("builder-inited", lambda app: draw_all(Path(app.srcdir) / "_pictures"))
    app.connect("build-finished", copy_the_explorer)


def copy_the_explorer(app, exception: Exception | None) -> None:
    """The explorer's page as a folder of the site: the package has its files, and `roikit explore` serves the same."""
    if exception is None and app.builder.format == "html":
        shutil.copytree(PAGE, Path(app.outdir) / "explore", dirs_exist_ok=True)
