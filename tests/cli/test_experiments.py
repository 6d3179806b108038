"""Every file below `experiments`, and `experiments.compare` on a table of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_run
import yaml

from experiments import compare
from experiments.tables.papertable import PaperTable
from roikit import cli
from roikit.train.bases import merge, read_config
from roikit.train.parse import check_file, parse

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
TABLES = sorted(path.parent for path in EXPERIMENTS.rglob("table.yaml"))
NOT_RUNS = ("table.yaml", "claims.yaml")
FILES = sorted(path for path in EXPERIMENTS.rglob("*.yaml") if path.name not in NOT_RUNS)


@pytest.fixture
def program():
    """`experiments.compare`; and `roikit train`, whose configurations the rows are."""

    def run(arguments: list[str]) -> int:
        if arguments[0] == "train":
            return cli.main(arguments)
        return cli.run("python -m experiments.compare", lambda: compare.main(arguments))

    return run


def name(path: Path) -> str:
    return "-".join(path.relative_to(EXPERIMENTS).parts) or "experiments"


@pytest.mark.parametrize(
    "folder",
    [  # every row of a table is at two scales; test_tables holds them together
        pytest.param(
            path, id=name(path), marks=[pytest.mark.slow] if path.name == "coco" or "mask" in path.parent.name else []
        )
        for path in sorted({path.parent for path in FILES})
    ],
)
def test_experiments_are_configurations(folder):
    for path in sorted(folder.glob("*.yaml")):
        if path.name not in NOT_RUNS:
            parse([f"--config={path}"])


@pytest.mark.parametrize("folder", TABLES, ids=name)
def test_tables(folder):
    table = PaperTable.read(folder)
    assert table.scales() in (["coco", "shapes"], ["coco"], ["shapes"])
    for scale in table.scales():
        for row in table.rows:
            table.config(row, scale)
        rows = {row.run for row in table.rows}
        assert {path.stem for path in (folder / scale).glob("*.yaml")} == rows  # none that no row names
    # the same extractor at both scales, but for its widths
    for row in table.rows if len(table.scales()) == 2 else ():
        coco, shapes = (read_config(table.config(row, scale))["extractor"] for scale in ("coco", "shapes"))
        assert coco["class_path"] == shapes["class_path"]
        widths = {"embed_dim", "geometry_dim", "hidden"}
        assert {k: v for k, v in shapes.get("init_args", {}).items() if k not in widths} == coco.get("init_args", {})


# ---- files that build on others


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_bases(tmp_path):
    write(tmp_path / "below" / "first.yaml", {"seed": 1, "optim": {"steps": 7, "lr": 0.5}})
    second = {"seed": 2, "extractor": {"class_path": "roikit.RoIPool", "init_args": {"mode": "average"}}}
    write(tmp_path / "second.yaml", second)
    both = {"base": ["below/first.yaml", "second.yaml"], "optim": {"lr": 0.25}}
    config, _ = parse([f"--config={write(tmp_path / 'both.yaml', both)}", "--optim.steps=9"])
    assert (config.seed, config.optim.lr, config.optim.steps) == (2, 0.25, 9)
    assert config.extractor().mode == "average"
    other = {"base": "both.yaml", "extractor": {"class_path": "roikit.RoIAlign"}}
    config, _ = parse(["--config", str(write(tmp_path / "other.yaml", other))])
    assert type(config.extractor()).__name__ == "RoIAlign" and config.optim.steps == 7


def test_merge_keeps_arguments_of_the_same_class_alone():
    below = {"extractor": {"class_path": "A", "init_args": {"a": 1, "b": 2}}}
    same = merge(below, {"extractor": {"class_path": "A", "init_args": {"a": 3}}})
    assert same == {"extractor": {"class_path": "A", "init_args": {"a": 3, "b": 2}}}
    assert merge(below, {"extractor": {"class_path": "B"}}) == {"extractor": {"class_path": "B"}}
    assert below == {"extractor": {"class_path": "A", "init_args": {"a": 1, "b": 2}}}


def test_wrong_bases(tmp_path, fails):
    loop = write(tmp_path / "loop.yaml", {"base": "again.yaml"})
    write(tmp_path / "again.yaml", {"base": "loop.yaml"})
    assert "builds on this file itself" in fails("train", "--config", loop)
    assert "base nowhere.yaml does not exist" in fails(
        "train", "--config", write(tmp_path / "a.yaml", "base: nowhere.yaml")
    )
    assert "base must name" in fails("train", "--config", write(tmp_path / "b.yaml", "base: 3"))
    write(tmp_path / "wrong.yaml", {"optim": {"lrr": 1}})
    line = fails("train", "--config", write(tmp_path / "c.yaml", "base: wrong.yaml"))
    assert "c.yaml" in line and "lrr" in line
    with pytest.raises(ValueError, match="lrr"):
        check_file(tmp_path / "c.yaml")


# ---- experiments.compare


@pytest.fixture
def table(tmp_path, coco) -> Path:
    rows = [{"label": "Mean", "run": "mean", "paper": [30.0, 50.0]}, {"label": "Centre", "run": "centre"}]
    write(tmp_path / "t" / "table.yaml", {"title": "A table", "columns": ["AP", "AP50"], "rows": rows})
    recipe = {"data": {"path": str(coco)}, "optim": {"steps": 1}}
    write(tmp_path / "recipe.yaml", recipe)
    for run, extractor in (("mean", "RoIAlign"), ("centre", "CenterPool")):
        row = {"base": "../../recipe.yaml", "extractor": {"class_path": f"roikit.{extractor}"}}
        write(tmp_path / "t" / "shapes" / f"{run}.yaml", row)
    return tmp_path / "t"


@pytest.mark.slow  # three runs in processes of their own
def test_compare(call, fails, table, tmp_path, monkeypatch):
    for key, value in tiny_run.ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    out = tmp_path / "out"
    flags = ["--", *tiny_run.FLAGS, "--model.options={box_score_thresh: 0.0}"]
    first = call(table, "--out", out, "--rows", "mean", *flags)
    assert first.code == 0, first.err
    assert "[1/1] Mean: starts" in first.out and "(30.0)" in first.out and "Centre" not in first.out
    before = (out / "mean" / "metrics.json").stat().st_mtime_ns

    # a stopped run goes on, one that is done stays
    monkeypatch.setenv("ROIKIT_TEST", "1")
    assert call("train", "--config", table / "shapes" / "centre.yaml", *flags[1:], "--out", out / "centre").code == 0
    (out / "centre" / "metrics.json").unlink()
    second = call(table, "--out", out, *flags)
    assert second.code == 0, second.err
    assert "[1/2] Mean: done" in second.out and "[2/2] Centre: goes on" in second.out
    assert (out / "mean" / "metrics.json").stat().st_mtime_ns == before
    kept = json.loads((out / "table.json").read_text())
    assert [row["label"] for row in kept["rows"]] == ["Mean", "Centre"]
    measured = json.loads((out / "mean" / "metrics.json").read_text())
    assert kept["rows"][0]["ours"] == {c: [100 * measured["bbox"][c]] for c in ("AP", "AP50")}
    assert kept["rows"][0]["paper"] == {"AP": 30.0, "AP50": 50.0} and kept["rows"][1]["paper"] == {}
    page = (out / "table.md").read_text()
    assert "| Mean |" in page and "| 30.0 |" in page and "| – |" in page
    shown = call(table, "--out", out, "--show", *flags)
    assert shown.code == 0 and "Centre" in shown.out and "starts" not in shown.out

    # other settings are not mixed in
    line = fails(table, "--out", out, *flags, "--optim.lr=0.5")
    assert "mean" in line and "optim.lr was 0.001, is 0.5" in line


def test_mean_and_spread_of_seeds():
    from experiments.tables.comparing import Result
    from experiments.tables.papertable import Row

    result = Result(Row("a", "a", {}), {"AP": [40.0, 42.0, 44.0], "AP50": [60.0], "AP75": []}, [1.0])
    assert [result.cell(c) for c in ("AP", "AP50", "AP75")] == ["42.0 ± 2.0", "60.0", "-"]


def test_rows_of_several_seeds_say_how_far_they_are_apart(tmp_path):
    from experiments.tables.comparing import Job, as_markdown, results
    from roikit.train.runfolder import RunFolder

    rows = [{"label": label, "run": label, "paper": [1.0]} for label in ("a", "b")]
    write(tmp_path / "table.yaml", {"title": "A", "columns": ["AP"], "rows": rows})
    table = PaperTable.read(tmp_path)
    jobs = []
    for row, values in zip(table.rows, ((0.20, 0.25, 0.30), (0.22, 0.28, 0.31)), strict=True):
        for seed, value in enumerate(values):
            metrics = {"bbox": {"AP": value}, "train_seconds": 1.0}
            write(tmp_path / f"{row.run}{seed}" / "metrics.json", json.dumps(metrics))
            jobs.append(Job(row, seed, RunFolder(tmp_path / f"{row.run}{seed}"), ()))
    first, second = results(table, jobs)
    assert first.apart() == "" and second.apart() == "+2.0 (-0.5 … +4.5)"  # 2, 3, 1: 4.303 · 1 / √3
    assert "| AP | AP less a, 95% |" in as_markdown(table, "shapes", [first, second])
    first, second = results(table, [job for job in jobs if job.seed == 1])
    assert second.apart() == "" and "less" not in as_markdown(table, "shapes", [first, second])


def test_columns_of_masks(tmp_path):
    from experiments.tables.comparing import Job, results
    from roikit.train.runfolder import RunFolder

    rows = [{"label": "a", "run": "a", "paper": [1.0, 2.0]}]
    write(tmp_path / "table.yaml", {"title": "A", "columns": ["AP", "mask_AP"], "rows": rows})
    table = PaperTable.read(tmp_path)
    write(tmp_path / "out" / "metrics.json", json.dumps(BOTH))
    (only,) = results(table, [Job(table.rows[0], 0, RunFolder(tmp_path / "out"), ())])
    assert [only.cell(column) for column in table.columns] == ["25.0", "50.0"]
    write(tmp_path / "out" / "metrics.json", json.dumps({**BOTH, "segm": {"AP": None}}))
    (only,) = results(table, [Job(table.rows[0], 0, RunFolder(tmp_path / "out"), ())])
    assert [only.cell(column) for column in table.columns] == ["25.0", "-"]


BOTH = {"bbox": {"AP": 0.25}, "segm": {"AP": 0.5}, "train_seconds": 1.0}


def test_wrong_comparisons(fails, table, tmp_path):
    assert "has no table.yaml" in fails(tmp_path / "nothing")
    assert f"tables below it: {table}" in fails(tmp_path)
    assert "no scale 'coco'; it has shapes" in fails(table, "--scale", "coco")
    assert "rows are mean, centre" in fails(table, "--rows", "mean,other")
    assert "--seeds" in fails(table, "--seeds", "0")
    assert "every row has its own" in fails(table, "--", "--out=x")
    assert "no row has been trained yet" in fails(table, "--out", tmp_path / "none", "--show")
    assert "lrr" in fails(table, "--out", tmp_path / "none", "--", "--optim.lrr=1")
    (table / "shapes" / "mean.yaml").unlink()
    assert "mean.yaml: does not exist" in fails(table)
    write(
        table / "table.yaml", {"title": "A", "columns": ["AP"], "rows": [{"label": "a", "run": "b", "paper": [1, 2]}]}
    )
    assert "needs 1 numbers" in fails(table)
    write(table / "table.yaml", {"title": "A", "columns": ["mAP"], "rows": [{"label": "a", "run": "b"}]})
    assert "unknown column 'mAP'" in fails(table)
    write(table / "table.yaml", {"title": "A", "columns": ["AP"], "rows": [{"label": "a"}]})
    assert "a row has a label" in fails(table)
