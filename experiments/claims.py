"""`python -m experiments.claims FILE`: papers' claims, tried in paired runs, as a page with intervals and verdicts."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from experiments.tables.claim_runs import Store, train_claims
from experiments.tables.claims import AP, FAILS, HOLDS, OPEN, Claim, Claims
from experiments.tables.paired import Difference
from roikit import cli
from roikit.train.checkpoint import write_atomically
from roikit.train.errors import RunError
from roikit.train.parse import Parser

DESCRIPTION = """Train, in pairs with the same seeds, every row that a file of claims compares, and write what came out
as a page: differences with 95% intervals, and whether each claim holds. What is done is not done again: stop it with
Ctrl-C, call it again, and it goes on; results are small JSON files."""


def make_parser() -> Parser:
    parser = Parser(prog="python -m experiments.claims", description=DESCRIPTION)
    parser.add_argument("file", type=str, help="File of claims, such as experiments/claims.yaml.")
    parser.add_argument("--seeds", type=int, default=3, help="Runs a row, with seeds 0, 1, …")
    parser.add_argument("--rows", type=str | None, default=None, help="Some rows, with commas: lrf/table4/aligned,…")
    parser.add_argument("--at_once", type=int | None, default=None, help="Trainings side by side; one a core.")
    parser.add_argument("--out", type=str, default="runs/claims", help="Folder of the run folders.")
    parser.add_argument("--keep", type=bool, default=False, help="Keep the run folders of rows that are done.")
    parser.add_argument(
        "--results", type=str | None, default=None, help="Folder of the results; results/FILE beside FILE."
    )
    parser.add_argument("--page", type=str | None, default=None, help="Markdown file to write; nothing prints it.")
    parser.add_argument("--show", type=bool, default=False, help="Train nothing; the page of what is there.")
    return parser


def main(arguments: Sequence[str]) -> int:
    flags = ("--show", "--keep")
    options = make_parser().parse_args([f"{word}=true" if word in flags else word for word in arguments])
    if options.seeds < 1 or (options.at_once is not None and options.at_once < 1):
        raise RunError("--seeds and --at_once must be at least 1")
    claims = Claims.read(options.file)
    store = Store(Path(options.results or claims.file.parent / "results" / claims.file.stem))
    if not options.show:
        try:
            train_claims(
                claims,
                store,
                Path(options.out),
                seeds=options.seeds,
                rows=options.rows.split(",") if options.rows else None,
                at_once=options.at_once or os.cpu_count() or 1,
                keep=options.keep,
                say=lambda line: print(line, flush=True),
            )
        except KeyboardInterrupt:
            print("stopped; the same command goes on", file=sys.stderr, flush=True)
            return 130
    text = page(claims, store, options.file)
    if options.page is None:
        print(text, end="")
    else:
        write_atomically(Path(options.page), text.encode())
        print(f"wrote {options.page}")
    return 0


def page(claims: Claims, store: Store, file: str) -> str:
    """The page, in Markdown."""
    results = store.results(claims.rows())
    differences = {c.text: d for c in claims.claims if (d := c.difference(results)) is not None}
    found = {c.text: _judge(claims, c, differences) for c in claims.claims}
    counts = [sum(verdict == one for verdict, _ in found.values()) for one in (HOLDS, FAILS, OPEN)]
    seconds = sum(n["train_seconds"] for seeds in results.values() for n in seeds.values())
    runs = sum(len(seeds) for seeds in results.values())
    lines = [
        f"# {claims.title}",
        "",
        claims.about,
        "",
        f"{len(claims.claims)} claims: {counts[0]} hold, {counts[1]} do not, {counts[2]} cannot be told at this budget "
        f"({runs} runs, {seconds / 3600:.1f} hours of one core).",
        "",
        "```bash",
        f"python -m experiments.claims {file} --page docs/claims.md",
        "```",
        "",
    ]
    for source in dict.fromkeys(c.source.partition(",")[0] for c in claims.claims):
        lines += [f"## {source}", "", "| claim | where | paper | ours | 95% | seeds | verdict |", "|---" * 7 + "|"]
        for claim in claims.claims:
            if claim.source.partition(",")[0] == source:
                lines.append(_line(claim, differences.get(claim.text), *found[claim.text]))
        lines.append("")
    lines += ["## The rows", "", "Percent, mean over seeds.", "", "| row | AP | each seed | AP50 | AP75 | core time |"]
    lines.append("|---" * 6 + "|")
    lines += [_row(row, seeds) for row, seeds in results.items() if seeds]
    return "\n".join(lines) + "\n"


def _judge(
    claims: Claims, claim: Claim, differences: Mapping[str, Difference]
) -> tuple[str, tuple[float, float] | None]:
    if claim.text not in differences:
        return OPEN, None
    interval = differences[claim.text].interval(claims.spread(claim, differences))
    return claim.verdict(interval), interval


def _line(claim: Claim, ours: Difference | None, verdict: str, interval: tuple[float, float] | None) -> str:
    digits = 1 if claim.first.value == AP else 2
    paper = "–" if claim.paper is None else f"{claim.paper:+.{digits}f}"
    where = claim.source.partition(",")[2].strip()
    wanted = "" if claim.within is None else f" (within {claim.within:g})"
    if ours is None:
        return f"| {claim.text}{wanted} | {where} | {paper} | – | – | 0 | {verdict} |"
    each = "–" if interval is None else f"{interval[0]:+.{digits}f} … {interval[1]:+.{digits}f}"
    word = f"**{verdict}**" if verdict == HOLDS else verdict
    cells = [f"{claim.text}{wanted}", where, paper, f"{ours.mean:+.{digits}f}", each, str(len(ours.seeds)), word]
    return f"| {' | '.join(cells)} |"


def _row(row: str, seeds: Mapping[int, Mapping[str, Any]]) -> str:
    def average(name: str) -> str:
        return f"{100 * mean(n[name] for n in seeds.values()):.1f}"

    each = ", ".join(f"{100 * n['AP']:.1f}" for _, n in sorted(seeds.items()))
    minutes = mean(n["train_seconds"] for n in seeds.values()) / 60
    return f"| `{row}` | {average('AP')} | {each} | {average('AP50')} | {average('AP75')} | {minutes:.1f} min |"


if __name__ == "__main__":
    sys.exit(cli.run("python -m experiments.claims", lambda: main(sys.argv[1:])))
