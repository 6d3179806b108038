"""The directives of the pages: ``picture``, an image drawn from the block's own body, and ``extractors``, a table."""

from __future__ import annotations

from docutils.parsers.rst.directives.images import Image

from .listing import Extractors


class Picture(Image):
    """``{picture} name.png`` with the options of an image; the body is code and is not shown."""

    has_content = True

    def run(self):
        self.arguments[0] = f"/_pictures/{self.arguments[0]}"
        return super().run()


def setup(app) -> dict[str, bool]:
    app.add_directive("picture", Picture)
    app.add_directive("extractors", Extractors)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
