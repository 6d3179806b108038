"""`roikit explore`: a tiny run on the page, a server that only this machine reaches and that stops when told to."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tiny_run
import torch

from roikit.analysis import region_weights_of
from roikit.boxes import Rois
from roikit.cli import main
from roikit.data import read_image
from roikit.explore.viewer import Viewer, packed
from roikit.train.trained import load_trained

pytest.importorskip("starlette", reason="starlette, which serves the page, is not installed")
pytest.importorskip("uvicorn", reason="uvicorn, which serves the page, is not installed")
pytestmark = pytest.mark.xdist_group("explore")  # the run below is trained once

BOX = [8.0, 10.0, 47.5, 52.0]


@pytest.fixture(scope="session")
def coco(tmp_path_factory) -> Path:
    return tiny_run.make_coco(tmp_path_factory.mktemp("explored") / "coco")


@pytest.fixture(scope="session")
def runs(coco, tmp_path_factory) -> dict[str, Path]:
    """Finished runs, with boxes of any score, so that there are some."""
    folder, found = tmp_path_factory.mktemp("explored-runs"), {}
    for name in ("RoIAlign", "SemanticRoIAlign"):
        flags = ["--optim.steps=2", "--model.options={box_score_thresh: 0.0}", f"--extractor={name}"]
        found[name] = folder / name.lower()
        assert main(["train", f"--data.path={coco}", *tiny_run.FLAGS, *flags, f"--out={found[name]}"]) == 0
    return found


@pytest.fixture(scope="session")
def picture(coco) -> Path:
    return coco / "images" / "val" / "002.png"


class Served:
    """`roikit explore` in a process of its own, and its address."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "roikit", "explore", *map(str, arguments), "--cpu=true"]
        self.process = subprocess.Popen(command, env=tiny_run.ENVIRONMENT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[0]

    def get(self, path: str, **headers: str) -> bytes:
        request = urllib.request.Request(self.url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def status(self, url: str, **headers: str) -> int:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def stop(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        out, _ = self.process.communicate(timeout=30)
        return self.process.returncode, out


@pytest.fixture
def serve():
    """`serve(RUN, IMAGE)` -> `Served`; stopped at the end."""
    started: list[Served] = []

    def start(*arguments: object) -> Served:
        started.append(Served(*arguments))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.mark.parametrize("name", ["RoIAlign", "SemanticRoIAlign"])
def test_what_is_read_of_a_box(runs, picture, name):
    model, categories, _ = load_trained(runs[name])
    image = read_image(picture)
    viewer = Viewer(model, image, "a run", name, categories)
    reading = viewer.read(BOX)
    view = region_weights_of(model, image, torch.tensor(BOX))
    np.testing.assert_array_equal(reading.weights, view.mean.numpy())
    assert viewer.stride(reading.level) == view.stride
    # the values are those of the extractor itself, in units of the map that is shown
    key, shown = viewer.pool.featmap_names[reading.level], viewer.levels[reading.level]
    zero, features = torch.zeros(1, dtype=torch.int64), viewer.maps.maps[key]
    with torch.no_grad():
        pooled = viewer.extractors[reading.level](features, Rois(torch.tensor([BOX]), zero, zero), 1 / view.stride[0])
    values = (pooled[0, shown.channels].flatten(1).numpy() - shown.low[:, None]) / (shown.high - shown.low)[:, None]
    np.testing.assert_allclose(reading.values, values, atol=2e-4)
    # and what the page sums up itself, of the map in 256 steps, is the same: nothing of the map is cut off
    steps = [np.frombuffer(base64.b64decode(text), np.uint8) for text in shown.shown()["channels"]]
    own = np.stack(steps) / 255 @ reading.weights.reshape(len(reading.weights), -1).T
    np.testing.assert_allclose(own, values, atol=0.6 / 255)
    line = viewer.line(BOX, [-3.0, 0.0, 3.0])
    np.testing.assert_allclose(line[1], reading.values, atol=2e-4)
    assert not np.allclose(line[2], line[1], atol=1e-3)


def test_weights_are_packed_in_256_steps(runs, picture):
    model, categories, _ = load_trained(runs["RoIAlign"])
    reading = Viewer(model, read_image(picture), "a run", "RoIAlign", categories).read(BOX)
    sent = packed(reading)
    steps = np.frombuffer(base64.b64decode(sent["steps"]), np.uint8).reshape(-1, sent["height"], sent["width"])
    out = np.zeros_like(reading.weights)
    rows, cols = (slice(sent[key], sent[key] + sent[size]) for key, size in (("top", "height"), ("left", "width")))
    out[:, rows, cols] = steps / 255 * np.array(sent["scale"])[:, None, None]
    np.testing.assert_allclose(out, reading.weights, atol=reading.weights.max() / 500)


def test_the_served_page(runs, picture, serve, tabs, tmp_path):
    served = serve(runs["SemanticRoIAlign"], picture, "--beside", runs["RoIAlign"])
    tab = tabs()
    tab.page.goto(served.url)
    ready = "roikit.explorer.drawn.sides?.length == 2 && roikit.explorer.drawn.sides.every(side => side.values)"
    tab.page.wait_for_function(ready)
    assert tab.page.evaluate("roikit.page.state.a + roikit.page.state.b") == "run0run1"
    for key, value in zip(("x1", "y1", "x2", "y2"), BOX, strict=True):
        tab.page.fill(f"#{key}", str(value))
    tab.page.keyboard.press("Enter")
    current = "box => roikit.explorer.drawn.sides.every(s => Object.values(s.pixels).join() == box.join())"
    tab.page.wait_for_function(current, arg=BOX)
    query = "box=" + ",".join(map(str, BOX))
    for run, side in enumerate("ab"):
        answer = json.loads(served.get(f"weights.json?run={run}&{query}"))
        assert tab.shown(side) == [f"{value:.2f}" for value in answer["values"][0]]
    tab.page.wait_for_function("roikit.explorer.drawn.lines.values.every(line => line.length == 129)")
    tab.drag("image", (30, 30), (36, 26))
    tab.page.wait_for_function("roikit.explorer.drawn.sides.every(s => Math.abs(s.pixels.x1 - 14) < 0.6)")
    # a live method beside the run, on the run's own map
    tab.page.select_option("#method-b", "pool")
    tab.page.wait_for_function("roikit.explorer.drawn.sides[1].rule == 'RoIPool'")
    assert all(value for value in tab.shown("b"))
    # a box that was found
    tab.page.locator("#boxes button").first.click()
    found = json.loads(served.get("about.json"))["runs"][0]["detections"][0]["box"]
    assert tab.box() == pytest.approx(found)
    with tab.page.expect_download() as saved:
        tab.page.get_by_role("button", name="NPZ").click()
    saved.value.save_as(tmp_path / "weights.npz")
    kept = np.load(tmp_path / "weights.npz")
    model, _, _ = load_trained(runs["SemanticRoIAlign"])
    view = region_weights_of(model, read_image(picture), torch.tensor(found))
    np.testing.assert_allclose(kept["weights"], view.mean.numpy(), atol=1e-4)
    assert str(kept["run"]) == "semanticroialign" and kept["grid"].tolist() == [7, 7]
    # a server that has stopped is said, and the page goes on with what it has
    assert served.stop() == (0, "stopped\n")
    tab.page.focus("#image")
    tab.page.keyboard.press("ArrowRight")
    tab.page.wait_for_selector("#notice:not([hidden])")
    assert "does not answer: start roikit explore again" in tab.page.inner_text("#notice")
    assert tab.errors and all("ERR_CONNECTION_REFUSED" in error for error in tab.errors)
    tab.errors.clear()


def test_only_those_who_know_the_address(runs, picture, serve):
    served = serve(runs["RoIAlign"], picture)
    root = served.url.rsplit("/", 2)[0]
    assert served.status(served.url) == served.status(served.url + "about.json") == 200
    for url in (root, f"{root}/index.html", f"{root}/wrong/about.json"):
        assert served.status(url) == 404
    assert served.status(served.url, Host="example.org") == 400
    for query in (
        "run=1&box=1,2,3,4",
        "run=0&box=1,2,3",
        "run=0&box=3,2,1,4",
        "run=-1&box=1,2,3,4",
        "box=1,2,inf,4",
        "",
    ):
        assert served.status(f"{served.url}weights.json?{query}") == 400, query
    port = int(root.rsplit(":", 1)[1])
    assert bound_to(port) == {"0100007F"}  # 127.0.0.1
    assert served.stop()[0] == 0


def bound_to(port: int) -> set[str]:
    """The addresses that listen on a port, as Linux writes them."""
    table = Path("/proc/net/tcp")
    if not table.is_file():
        pytest.skip("only Linux says which address a port listens on")
    rows = [line.split() for line in table.read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}


def test_the_page_without_a_run(serve, tabs):
    served = serve()
    tab = tabs().open(served.url)
    assert tab.state()["source"] == "scene"
    assert served.status(served.url + "about.json") == 404


def fails(capsys, *arguments: object) -> str:
    """The one line of a command that ends with exit code 2."""
    capsys.readouterr()
    assert main(["explore", *map(str, arguments), "--cpu=true"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("roikit explore: error: "), lines
    return lines[0]


def test_bad_input(capsys, runs, coco, picture, tmp_path):
    text = tmp_path / "notes.png"
    text.write_text("no image")
    run = runs["RoIAlign"]
    assert "notes.png" in fails(capsys, run, text)
    assert "no such file, and no image of that name" in fails(capsys, run, "nothing.jpg")
    assert "has 6 images" in fails(capsys, run, "6")
    assert "nowhere" in fails(capsys, tmp_path / "nowhere", picture)
    assert "is given twice" in fails(capsys, run, picture, "--beside", run)
    assert "--beside needs a run" in fails(capsys, "--beside", run)
    assert "--port must be" in fails(capsys, run, picture, "--port", 70000)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"--port {port}: cannot be had" in fails(capsys, run, picture, "--port", port)


def test_a_run_of_another_architecture(capsys, runs, picture, tmp_path):
    other = Path(shutil.copytree(runs["RoIAlign"], tmp_path / "other"))
    shutil.copy(runs["SemanticRoIAlign"] / "model.safetensors", other / "model.safetensors")
    assert "model.safetensors" in fails(capsys, other, picture)


def test_an_extractor_whose_weights_cannot_be_shown(capsys, coco, picture, tmp_path):
    run = tmp_path / "rfcn"
    flags = ["--optim.steps=1", "--extractor=PSRoIAlign"]
    assert main(["train", f"--data.path={coco}", *tiny_run.FLAGS, *flags, f"--out={run}"]) == 0
    assert "its weights cannot be shown (it is position-sensitive" in fails(capsys, run, picture)


def test_without_the_extra(capsys, monkeypatch):
    import importlib.util

    plain = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else plain(name))
    assert "uvicorn is not installed: pip install 'roikit[explore]'" in fails(capsys)


def test_a_terminal_stops_it(runs, picture, serve):
    """SIGTERM, as from a service manager, ends it too, and the port is free again."""
    served = serve(runs["RoIAlign"], picture)
    port = int(served.url.split(":")[2].split("/")[0])
    os.kill(served.process.pid, signal.SIGTERM)
    served.process.wait(timeout=30)
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
