"""`python -m experiments.compare TABLE`: train a paper's table, and print its rows beside the paper's numbers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.tables.comparing import Result, as_json, as_markdown, plan, results, run
from experiments.tables.papertable import PaperTable
from roikit import cli
from roikit.train.checkpoint import write_atomically
from roikit.train.errors import RunError
from roikit.train.parse import Parser

DESCRIPTION = """Train every row of a paper's table, one after the other, and print ours beside the paper's. What is
done is not done again: stop it with Ctrl-C, call it again, and it goes on. What stands after -- is for every training:
python -m experiments.compare experiments/lrf/table4 --scale coco -- --data.path PATH"""


def make_parser() -> Parser:
    parser = Parser(prog="python -m experiments.compare", description=DESCRIPTION)
    parser.add_argument("table", type=str, help="Folder with table.yaml, such as experiments/lrf/table4.")
    parser.add_argument("--scale", type=str, default="shapes", help="shapes: minutes a row; coco: as the paper.")
    parser.add_argument("--out", type=str | None, default=None, help="Folder of the runs; runs/TABLE-SCALE.")
    parser.add_argument("--rows", type=str | None, default=None, help="Names of some rows, with commas between them.")
    parser.add_argument("--seeds", type=int, default=1, help="Runs a row, with seeds 0, 1, …")
    parser.add_argument(
        "--at_once", type=int, default=1, help="Trainings side by side, on one thread each if there are several."
    )
    parser.add_argument("--show", type=bool, default=False, help="Train nothing; print what has been trained.")
    return parser


def main(arguments: Sequence[str]) -> int:
    arguments = list(arguments)
    place = arguments.index("--") if "--" in arguments else len(arguments)
    arguments, further = arguments[:place], arguments[place + 1 :]
    arguments = ["--show=true" if argument == "--show" else argument for argument in arguments]
    options = make_parser().parse_args(arguments)
    for name in ("seeds", "at_once"):
        if getattr(options, name) < 1:
            raise RunError(f"--{name} must be at least 1, not {getattr(options, name)}")
    for flag in ("--out", "--seed", "--resume", "--config"):
        if any(word == flag or word.startswith(flag + "=") for word in further):
            raise RunError(f"{flag} cannot stand after --: every row has its own")
    table = PaperTable.read(options.table)
    folder = Path(options.table).resolve()
    out = Path(options.out) if options.out else Path("runs") / f"{folder.parent.name}-{folder.name}-{options.scale}"
    rows = options.rows.split(",") if options.rows else None
    jobs = plan(table, options.scale, out, rows=rows, seeds=options.seeds, further=further)
    if not options.show:
        try:
            threads = 1 if options.at_once > 1 else None
            run(jobs, lambda line: print(line, flush=True), at_once=options.at_once, threads=threads)
        except KeyboardInterrupt:
            print("stopped; the same command goes on", file=sys.stderr, flush=True)
            return 130
    found = list(results(table, jobs))
    if not found:
        raise RunError(f"{out}: no row has been trained yet")
    show(table, options.scale, found)
    if options.show:
        return 0
    files = (out / "table.json", out / "table.md")
    write_atomically(files[0], (json.dumps(as_json(table, options.scale, found), indent=1) + "\n").encode())
    write_atomically(files[1], as_markdown(table, options.scale, found).encode())
    print(f"wrote {files[0]}, {files[1]}")
    return 0


def show(table: PaperTable, scale: str, found: Sequence[Result]) -> None:
    from rich.table import Table

    from roikit.train.screen import wide

    console = wide()
    console.print(f"{table.title}: boxes in %, on {scale}; in parentheses the paper's, on COCO", highlight=False)
    grid = Table(caption=table.about or None)
    grid.add_column("row")
    for column in table.columns:
        grid.add_column(column, justify="right", no_wrap=True)
    several = any(result.interval for result in found)
    if several:
        grid.add_column(f"{table.columns[0]} less {found[0].row.label}, 95%", justify="right")
    grid.add_column("training", justify="right", no_wrap=True)
    for result in found:
        paper = result.row.paper
        cells = [result.cell(c) + (f" ({paper[c]:.1f})" if c in paper else "") for c in table.columns]
        cells += [result.apart()] if several else []
        grid.add_row(result.row.label, *cells, f"{sum(result.seconds) / len(result.seconds):.0f} s")
    console.print(grid)


if __name__ == "__main__":
    sys.exit(cli.run("python -m experiments.compare", lambda: main(sys.argv[1:])))
