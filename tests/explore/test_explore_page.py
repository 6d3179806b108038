"""The explorer's page in a browser, opened from its file: mouse, touch and keys, and what it then shows."""

from __future__ import annotations

import json
import math
import statistics
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest
import torch
from explorer_tab import PAGE

import roikit

pytestmark = pytest.mark.xdist_group("explore")  # one browser

LIVE = {
    "pool": roikit.RoIPool(7),
    "floor": roikit.RoIPool(7, rounding="floor"),
    "align": roikit.RoIAlign(7),
    "unaligned": roikit.RoIAlign(7, aligned=False),
    "precise": roikit.PrRoIPool(7),
    "adaptive": roikit.AdaptiveRoIAlign(7),
    "deform": roikit.DeformRoIPool(1),
    "rotated": roikit.RotatedRoIAlign(7),
}
RECORDED = {"semantic", "learned"}


def test_every_method_is_tried(tab):
    assert set(tab.page.evaluate("roikit.methods.METHODS.map(m => m.key)")) == set(LIVE) | RECORDED


@pytest.mark.parametrize("key", LIVE)
def test_a_method_shows_what_roikit_computes(tab, key):
    tab.page.select_option("#method-a", key)
    tab.settle()
    side = tab.page.evaluate(
        "(({map, values}) => ({...map, values, map: [...map.values]}))(roikit.explorer.drawn.sides[0])"
    )
    features = torch.tensor(side["map"], dtype=torch.float64).reshape(1, 1, side["height"], side["width"])
    x1, y1, x2, y2 = tab.box()
    extras = {}
    if key == "rotated":
        angle = tab.state()["angle"] * math.pi / 180
        turned = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, angle]
        extras = {"rotated_boxes": [torch.tensor([turned], dtype=torch.float64)]}
    boxes = [torch.tensor([[x1, y1, x2, y2]], dtype=torch.float64)]
    expected = LIVE[key].double()(features, boxes, 1 / side["stride"][1], **extras).flatten()
    torch.testing.assert_close(torch.tensor(side["values"], dtype=torch.float64), expected, atol=1e-9, rtol=0)
    assert tab.shown("a") == [f"{value:.2f}" for value in side["values"]]


@pytest.mark.parametrize("key", sorted(RECORDED))
def test_a_recorded_method(tab, key):
    tab.page.select_option("#method-a", key)
    tab.page.wait_for_function("roikit.explorer.drawn.sides[0].values")
    tab.page.get_by_role("button", name="spider").click()
    tab.page.wait_for_function("roikit.explorer.drawn.sides[0].values")
    assert tab.page.inner_text("#off-a") == "recorded for this very box"
    sums = tab.page.evaluate("roikit.explorer.drawn.sides[0].from.entry.weights.map(w => w.reduce((a, b) => a + b))")
    assert len(sums) == 49 and max(abs(total - 1) for total in sums) < 0.01  # eight bits a weight
    assert all(0 <= float(value) <= 1 for value in tab.shown("a"))
    tab.drag("image", (180, 180), (190, 180))
    assert "nearest" in tab.page.inner_text("#off-a")


def test_the_box_is_dragged_and_resized(tab):
    for panel in ("image", "a", "b"):
        x1, y1, x2, y2 = tab.box()
        tab.drag(panel, (x1 + 60, y1 + 75), (x1 + 52, y1 + 80))
        assert tab.box() == pytest.approx([x1 - 8, y1 + 5, x2 - 8, y2 + 5], abs=0.51)
    x1, y1, x2, y2 = tab.box()
    tab.drag("image", (x2, y2), (x2 + 20, y2 - 30))
    assert tab.box() == pytest.approx([x1, y1, x2 + 20, y2 - 30], abs=0.51)
    tab.drag("image", (x1, (y1 + y2 - 30) / 2), (x1 + 15, y1 + 20))
    assert tab.box() == pytest.approx([x1 + 15, y1, x2 + 20, y2 - 30], abs=0.51)
    tab.drag("image", (20, 180), (120, 240))
    assert tab.box() == pytest.approx([20, 180, 120, 240], abs=0.51)
    assert float(tab.page.input_value("#x1")) == tab.box()[0]


def test_keys_move_the_box(tab):
    start = tab.box()
    tab.page.focus("#image")
    tab.page.keyboard.press("ArrowRight")
    tab.page.keyboard.press("ArrowDown")
    assert tab.box() == [v + 1 for v in start]
    for _ in range(3):
        tab.page.keyboard.press("Alt+ArrowLeft")
    assert tab.box()[0] == pytest.approx(start[0] + 1 - 3 * 16 / 1000)  # a thousandth of a cell of 16 pixels each
    tab.page.keyboard.press("Shift+ArrowRight")
    x1, _, x2, _ = tab.box()
    assert x2 - x1 == pytest.approx(start[2] - start[0] + 1)
    tab.page.wait_for_function("document.getElementById('said').textContent.startsWith('Box 206.95, 50 to')")


def test_parts_by_keys_and_pointer(tab):
    tab.page.focus("#pooled-a [data-part='16']")
    tab.page.keyboard.press("ArrowDown")
    tab.page.keyboard.press("ArrowLeft")
    assert tab.state()["part"] == 22
    assert tab.page.evaluate("document.activeElement.dataset.part") == "22"
    tab.page.mouse.move(*tab.at("b", 206 + 123 * 0.5 / 7, 49 + 122 * 6.5 / 7))
    tab.settle()
    assert tab.state()["part"] == 42
    assert tab.page.inner_text("#part-a") == "part 7, 1 of 7 × 7"


def test_a_bin_is_dragged_and_the_box_turned(tab):
    tab.page.select_option("#method-a", "deform")
    tab.page.select_option("#method-b", "rotated")
    tab.settle()
    x, y = 206 + 123 * 2.5 / 7, 49 + 122 * 2.5 / 7
    before = tab.page.evaluate("[...roikit.explorer.drawn.sides[0].values]")
    tab.drag("a", (x, y), (x + 24.6, y - 12.2))
    moved = tab.state()["offsets"]["16"]
    assert moved == pytest.approx([-1, 2], abs=0.1)  # δ: γ = 0.1 of the box's sides
    after = tab.page.evaluate("[...roikit.explorer.drawn.sides[0].values]")
    assert [k for k in range(49) if before[k] != after[k]] == [16]
    script = "roikit.scene.turnHandle(roikit.explorer.drawn.sides[1])"
    handle = tab.page.evaluate(script)
    tab.drag("b", tuple(handle), (206 + 61.5 - 40, 49 + 61))
    assert tab.state()["angle"] == pytest.approx(90, abs=1)


def test_a_finger_moves_the_box_and_scrolls_elsewhere(tabs):
    tab = tabs(360, 780, has_touch=True, is_mobile=True).open()
    touch = tab.page.context.new_cdp_session(tab.page)

    def swipe(start, end):
        tab.page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
        places = [tab.at("image", *place) for place in (start, end)]
        for step in range(9):
            x, y = (a + (b - a) * step / 8 for a, b in zip(*places, strict=True))
            kind = "touchStart" if step == 0 else "touchMove"
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        tab.settle()

    x1, y1, x2, y2 = tab.box()
    swipe((270, 100), (240, 130))
    assert tab.box() == pytest.approx([x1 - 30, y1 + 30, x2 - 30, y2 + 30], abs=2)
    assert tab.page.evaluate("scrollY") == 0
    kept = tab.box()
    swipe((60, 200), (60, 40))
    assert tab.box() == kept
    tab.page.wait_for_function("scrollY > 20")


def test_the_articles_example(tab):
    tab.page.get_by_role("button", name="The output").click()
    assert "0.85, 0.84; 0.97, 0.96." in tab.page.inner_text("#step-words")
    assert "Maximum of the third: 0.97" in tab.page.inner_text("#step-list")
    tab.page.get_by_role("button", name="Open it in the explorer").click()
    tab.settle()
    assert tab.shown("a") == ["0.85", "0.84", "0.97", "0.96"]
    assert tab.shown("b") == ["0.85", "0.96", "0.97", "0.91"]  # Caffe's rounding: tests/test_articles.py


def test_the_example_plays(tab):
    tab.page.get_by_role("button", name="Play", exact=True).click()
    tab.page.wait_for_function("document.querySelector('#step-list [aria-current]').textContent == 'Its sections'")
    tab.page.get_by_role("button", name="Pause", exact=True).click()
    tab.page.get_by_role("button", name="Step back").click()
    assert tab.page.inner_text("#step-list [aria-current]") == "The region"


def test_every_answer_sets_the_page(tab):
    buttons = tab.page.locator("[data-set]")
    assert buttons.count() >= 14
    for n in range(buttons.count()):
        wanted = json.loads(buttons.nth(n).get_attribute("data-set"))
        buttons.nth(n).evaluate("button => { button.closest('details')?.setAttribute('open', ''); button.click(); }")
        tab.settle()
        state = tab.state()
        assert {key: state[key] for key in wanted} == wanted
        assert all(math.isfinite(float(value)) for value in tab.shown("a"))
    # one cell, 7 × 7 parts
    tab.page.get_by_role("button", name="One cell, 7 × 7 parts").click()
    tab.settle()
    assert set(tab.shown("a")) == {"0.84"} and len(set(tab.shown("b"))) > 5


def test_roundings_in_image_pixels(tab):
    """By hand: x₁ = 206 → 12.875 → 13, 2 px to the right; x₂ = 329 → 20.56 → 21 + 1, 23 px."""
    assert "+2.0, −1.0, +23.0, +21.0 px" in tab.page.inner_text("#off-a")
    assert "0 px" in tab.page.inner_text("#off-b")
    tab.page.select_option("#method-b", "unaligned")
    tab.settle()
    assert "+8.0, +8.0, +8.0, +8.0 px" in tab.page.inner_text("#off-b")


def test_the_plot_jumps_for_pooling_and_slopes_for_align(tab):
    lines = tab.page.evaluate("roikit.explorer.drawn.lines")
    pool, align = lines["values"]
    steps = [[abs(b - a) for a, b in pairwise(line)] for line in (pool, align)]
    assert sum(step > 0 for step in steps[0]) <= 3 and max(steps[0]) > 0.05  # constant, but for whole cells
    assert max(steps[1]) < 0.01 and sum(step > 0 for step in steps[1]) > 100


def test_an_address_brings_the_view_back(tab, tabs):
    tab.page.select_option("#method-a", "precise")
    tab.page.focus("#image")
    tab.page.keyboard.press("Alt+ArrowRight")
    other = tabs().open(tab.page.url)
    assert other.box() == pytest.approx(tab.box(), abs=1e-6) and other.box()[0] == pytest.approx(206.016)
    assert {**other.state(), "box": None} == {**tab.state(), "box": None}
    broken = tabs().open(hash="a=nothing&box=1,2,x,4&bins=1000&part=-3&level=7&source=constructor")
    assert broken.state()["a"] == "pool" and broken.state()["bins"] == 14


def test_the_view_is_saved(tab, tmp_path):
    with tab.page.expect_download() as saved:
        tab.page.click("#png")
    saved.value.save_as(tmp_path / "view.png")
    from PIL import Image

    width, height = Image.open(tmp_path / "view.png").size
    assert width == 1320 and height > 400
    with tab.page.expect_download() as saved:
        tab.page.click("#svg")
    saved.value.save_as(tmp_path / "view.svg")
    root = ElementTree.parse(tmp_path / "view.svg").getroot()
    text = " ".join(root.itertext())
    assert "RoI Pooling, Caffe's rounding" in text and "+23.0 px" in text
    assert len(root.findall(".//{*}image")) == 3 and len(root.findall(".//{*}path")) > 100


@pytest.mark.parametrize("width", [360, 768, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_width_and_both_schemes(tabs, width, scheme):
    tab = tabs(width, 800, color_scheme=scheme).open()
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    ink, paper = (tab.page.evaluate(f"roikit.scene.theme.{name}") for name in ("ink", "paper"))
    assert contrast(ink, paper) > 12
    for name in ("a", "b", "quiet"):  # text in the methods' colours
        assert contrast(tab.page.evaluate(f"roikit.scene.theme.{name}"), paper) >= 4.5, name


def contrast(one: str, other: str) -> float:
    """WCAG's contrast of two colours #rrggbb."""

    def luminance(colour: str) -> float:
        parts = (int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5))
        r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_everything_has_a_name(tab):
    """For screen readers: each control, each drawing."""
    nameless = """[...document.querySelectorAll('input, select, button, canvas')]
        .filter(e => !(e.labels?.length || e.textContent.trim()))
        .filter(e => !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby')))
        .map(e => e.outerHTML)"""
    assert tab.page.evaluate(nameless) == []
    assert tab.page.evaluate("document.documentElement.lang") == "en"
    levels = tab.page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1 and all(b <= a + 1 for a, b in pairwise(levels))


def test_small_and_quick(tab):
    """Under a megabyte, nothing fetched from elsewhere, painted within a second, under 8 ms of script a frame."""
    assert sum(file.stat().st_size for file in PAGE.iterdir()) < 1_000_000
    assert all(url.startswith(("file:", "data:", "blob:")) for url in tab.requests)
    painted = tab.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert painted < 1000
    meter = tab.page.context.new_cdp_session(tab.page)
    meter.send("Performance.enable", {"timeDomain": "threadTicks"})  # of the processor, whatever else it has to do

    def script() -> float:
        return {m["name"]: m["value"] for m in meter.send("Performance.getMetrics")["metrics"]}["ScriptDuration"] * 1000

    for pair in (("pool", "align"), ("deform", "rotated"), ("precise", "adaptive")):
        for side, key in zip("ab", pair, strict=True):
            tab.page.select_option(f"#method-{side}", key)
        tab.page.select_option("#map", "scene 0")  # the largest map
        tab.settle()
        tab.page.evaluate("roikit.explorer.drawn.timing.length = 0")
        before = script()
        tab.drag("image", (260, 110), (160, 140), steps=60)
        tab.drag("image", (160, 140), (260, 110), steps=60)
        spent, times = script() - before, tab.page.evaluate("roikit.explorer.drawn.timing")
        assert len(times) > 20
        print(f"{' and '.join(pair)}: {spent / len(times):.1f} ms of script in each of {len(times)} frames, "
              f"by the clock {statistics.median(times):.1f} ms")  # fmt: skip
        assert spent / len(times) < 8, pair
    print(f"first paint after {painted:.0f} ms")


def test_the_code_that_is_shown_is_the_packages(tab):
    source = "\n".join(file.read_text(encoding="utf-8") for file in (PAGE.parents[1]).rglob("*.py"))
    for key, lines in tab.page.evaluate("roikit.methods.METHODS.map(m => [m.key, m.code])"):
        for line in lines:
            assert line in source, f"{key}: {line!r} is nowhere in the package"
