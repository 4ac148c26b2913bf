"""The site: `pip install -e '.[docs]'`, then `sphinx-build -W docs build/site`. It loads nothing from other hosts."""

import re
from pathlib import Path

from skyshards.version import __version__

project = "skyshards"
copyright = "the skyshards authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

default_role = "code"  # docstrings write `names` as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc sections say it in the reader's words
napoleon_google_docstring = False
napoleon_use_param = False  # else words such as "path" become links to whatever is called that
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"skyshards {release}"
html_show_copyright = False
html_theme_options = {"top_of_page_buttons": []}
pygments_style = "friendly"
pygments_dark_style = "monokai"

PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Where files of the repository are in the site, besides the cards and what lies in `docs/`."""


def _in_the_site(link: re.Match) -> str:
    """A link of README.md as one between pages; the bare text where it leads to a file that has no page."""
    text, target, anchor = link.groups(default="")
    target = PAGES.get(target, target).removeprefix("docs/")
    target = re.sub(r"^(\w+)/README[.]md$", r"datasets/\1.md", target)
    return f"[{text}]({target}{anchor})" if (Path(__file__).parent / target).exists() else text


def _move_links(app, relative_path, parent, content) -> None:
    """Have links of files above `docs/` lead to pages."""
    if relative_path.parent == Path(".."):
        content[0] = re.sub(r"\[([^\]]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)", _in_the_site, content[0])


def setup(app) -> None:
    app.connect("include-read", _move_links)
