"""The directives of the pages: ``picture``, an image drawn from the block's own body, and ``extractors``, a table."""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from docutils.parsers.rst.directives.images import Image
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from .listing import table


class Picture(Image):
    """``{picture} name.png`` with the options of an image; the body is code and is not shown."""

    has_content = True

    def run(self):
        self.arguments[0] = f"/_pictures/{self.arguments[0]}"
        return super().run()


class Extractors(SphinxDirective):
    """``{extractors}``: the table of `listing`."""

    def run(self) -> list[nodes.Node]:
        here = Path(self.env.doc2path(self.env.docname))
        text = StringList(table(here.parent).splitlines(), source=str(here))
        node = nodes.container()
        self.state.nested_parse(text, self.content_offset, node)
        return node.children


def setup(app) -> dict[str, bool]:
    app.add_directive("picture", Picture)
    app.add_directive("extractors", Extractors)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
