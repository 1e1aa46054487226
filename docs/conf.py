"""Sphinx's configuration of the user guide: Markdown pages, built by `make docs` with every warning an error."""

from importlib import metadata

project = "maskmill"
release = version = metadata.version("maskmill")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"maskmill {release}"
html_copy_source = False
highlight_language = "none"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
exclude_patterns = ["_build"]
