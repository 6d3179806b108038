"""`experiments.claims`: what a file of claims may say, verdicts of known numbers, and a training from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_run
import yaml

from experiments import claims as claims_program
from experiments.tables.claim_runs import Store
from experiments.tables.claims import Claims
from roikit import cli

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def program():
    return lambda arguments: cli.run("python -m experiments.claims", lambda: claims_program.main(arguments))


@pytest.fixture
def claims(tmp_path, coco):
    """A table of three rows, and a function that writes claims about them and returns the file."""
    rows = [{"label": run, "run": run, "paper": [paper]} for run, paper in (("a", 30.0), ("b", 28.5), ("c", 31.0))]
    table = tmp_path / "t" / "table.yaml"
    (tmp_path / "t" / "shapes").mkdir(parents=True)
    table.write_text(yaml.safe_dump({"title": "T", "columns": ["AP"], "rows": rows}))
    for run, extractor in (("a", "RoIAlign"), ("b", "CenterPool"), ("c", "RoIPool")):
        row = {"data": {"path": str(coco)}, "optim": {"steps": 1}, "resample": 5}
        row["extractor"] = {"class_path": f"roikit.{extractor}"}
        (tmp_path / "t" / "shapes" / f"{run}.yaml").write_text(yaml.safe_dump(row))

    def write(*several, **more):
        file = tmp_path / "claims.yaml"
        file.write_text(yaml.safe_dump({"title": "Claims", "about": "Words.", "claims": list(several)} | more))
        return file

    return write


def test_the_papers_claims_are_about_rows_that_exist():
    claims = Claims.read(EXPERIMENTS / "claims.yaml")
    assert len(claims.claims) >= 30 and len({claim.text for claim in claims.claims}) == len(claims.claims)
    for row in claims.rows():
        assert claims.config(row).is_file()
    printed = {claim.text: claim.paper for claim in claims.claims}
    assert printed["Aligned pooling is better than regular, on one map"] == pytest.approx(32.9 - 29.8)
    assert printed["Semantic RoI Align is better than RoI Align"] == pytest.approx(39.2 - 37.5)


def test_verdicts_and_the_page(claims, call, tmp_path):
    file = claims(
        {"claim": "first", "paper": "P, Table 1", "more": ["t/a", "t/b"]},
        {"claim": "second", "paper": "P, Table 2", "more": ["t/b", "t/c"]},
        {"claim": "third", "paper": "Q, Figure 3", "like": ["t/a", "t/c"], "within": 1.0},
        {"claim": "fourth", "paper": "Q", "more": ["t/a @ divergence/last/all/parts", 2.0], "printed": 0.5},
        {"claim": "fifth", "paper": "Q", "more": ["t/c", "t/a"]},
    )
    store = Store(tmp_path / "results" / "claims")
    for row, base in (("t/a", 0.40), ("t/b", 0.38), ("t/c", 0.40)):
        for seed in range(3):
            value = base + 0.03 * seed + 0.0005 * ((seed * 7 + ord(row[-1])) % 3)
            numbers = {"AP": value, "AP50": 0.7, "AP75": 0.3, "resampled_AP": [value] * 5, "train_seconds": 60.0}
            if row == "t/a":
                numbers["divergence/last/all/parts"] = 2.0 + (-1.0) ** seed
            store.add(row, seed, "data: {}\n", numbers)
    shown = call(file, "--show")
    assert shown.code == 0, shown.err
    lines = {line.split("|")[1].strip(): line for line in shown.out.splitlines() if line.startswith("| ")}
    assert "| Table 1 | +1.5 | +2.0 |" in lines["first"] and lines["first"].endswith("| 3 | **holds** |")
    assert lines["second"].endswith("| 3 | does not hold |") and "-2.0 |" in lines["second"]
    assert lines["third (within 1)"].endswith("| **holds** |")
    assert "| +0.50 | +0.33 |" in lines["fourth"] and lines["fourth"].endswith("cannot be told |")
    assert lines["fifth"].endswith("cannot be told |")
    assert (
        "5 claims: 2 hold, 1 do not, 2 cannot be told" in shown.out and "(9 runs, 0.1 hours of one core)" in shown.out
    )
    assert "| `t/c` | 43.1 | 40.0, 43.1, 46.1 | 70.0 | 30.0 | 1.0 min |" in shown.out
    page = tmp_path / "page.md"
    assert call(file, "--show", "--page", page).code == 0 and page.read_text() == shown.out


def test_wrong_claims(claims, fails, tmp_path):
    assert "does not exist" in fails(tmp_path / "none.yaml")
    good = {"claim": "x", "more": ["t/a", "t/b"]}
    assert "needs title, about" in fails(claims(good, other=1))
    assert "has the keys" in fails(claims({"more": ["t/a", "t/b"]}))
    assert "needs two rows" in fails(claims(good | {"more": ["t/a"]}))
    assert "either more" in fails(claims(good | {"like": ["t/a", "t/b"], "within": 1}))
    assert "needs within" in fails(claims({"claim": "x", "like": ["t/a", "t/b"]}))
    assert "names the row 't/d'" in fails(claims(good | {"more": ["t/a", "t/d"]}))
    assert "names 'speed'" in fails(claims(good | {"more": ["t/a @ speed", "t/b"]}))
    assert "must begin with a row" in fails(claims(good | {"more": [3, "t/b"]}))
    assert "no claim of" in fails(claims(good), "--rows=t/c")
    assert "at least 1" in fails(claims(good), "--seeds=0")
    store = tmp_path / "results" / "claims"
    store.mkdir(parents=True)
    (store / "t-a.json").write_text("{")
    assert "t-a.json: is no JSON" in fails(claims(good))
    content = {"config": "optim:\n  steps: 7\n", "seeds": {"0": {"AP": 0.1}}}
    (store / "t-a.json").write_text(json.dumps(content))
    assert "t-a.json: was measured with other settings (" in fails(claims(good))


@pytest.mark.slow  # trainings in processes of their own
def test_from_end_to_end(claims, call, tmp_path, monkeypatch):
    for key, value in tiny_run.ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    file = claims({"claim": "x", "more": ["t/a", "t/b"]}, {"claim": "y", "more": ["t/a @ diversity/below", 0.0]})
    for run in "ab":
        row = tmp_path / "t" / "shapes" / f"{run}.yaml"
        content = yaml.safe_load(row.read_text())
        for flag in tiny_run.FLAGS:
            name, _, value = flag.removeprefix("--").partition("=")
            *above, key = name.split(".")
            place = content
            for part in above:
                place = place.setdefault(part, {})
            place[key] = yaml.safe_load(value)
        content["model"]["options"] = {"box_score_thresh": 0.0}
        row.write_text(yaml.safe_dump(content))
    arguments = (
        file,
        "--seeds=2",
        "--at_once=2",
        "--out",
        tmp_path / "runs",
        "--page",
        tmp_path / "page.md",
    )
    done = call(*arguments)
    assert done.code == 0, done.err + "".join(path.read_text() for path in (tmp_path / "runs").glob("*.txt"))
    kept = json.loads((tmp_path / "results" / "claims" / "t-a.json").read_text())
    assert set(kept["seeds"]) == {"0", "1"} and len(kept["seeds"]["0"]["resampled_AP"]) == 5
    assert 0 <= kept["seeds"]["0"]["diversity/below"] <= 1 and not list((tmp_path / "runs").glob("*/"))
    page = (tmp_path / "page.md").read_text()
    assert "(4 runs" in page
    (tmp_path / "results" / "claims" / "t-b.json").unlink()
    again = call(*arguments)  # what is kept is not trained again, and one seed gives the same number again
    assert again.code == 0 and "t/a" not in again.out and again.out.count("starts") == 2
    line = "| `t/b` | "
    before, after = (text.split(line)[1].split("|")[:4] for text in (page, (tmp_path / "page.md").read_text()))
    assert before == after
