"""The explorer: a page that shows which cells a method reads of a region, and a server that gives it a trained run.

``page/`` is the page, plain files that work without a server; `roikit explore` serves the same with a run's weights.
"""

from pathlib import Path

PAGE = Path(__file__).parent / "page"
"""The folder of the page's files."""
