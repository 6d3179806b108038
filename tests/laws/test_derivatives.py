"""Law 3: derivatives of first and second order, forward and reverse mode, against finite differences."""

from __future__ import annotations

import pytest
import torch
from listing import as_rois, away_from_kinks, every, smooth
from sums import sums_and_extractors
from torch.autograd import forward_ad, gradcheck, gradgradcheck

from roikit.boxes import Rois


@pytest.fixture
def scene(rng, variant):
    torch.manual_seed(int(torch.randint(2**31, (), generator=rng)))  # fast_mode draws its directions from it
    return variant.features(rng, batch=2, height=7, width=8), away_from_kinks()


def on(variant, given=True):
    """The extractor as a function of (features, coordinates [R, 4]) alone."""
    extractor = variant.make((2, 3), given=given).requires_grad_(False)
    batch = away_from_kinks()[:, 0].long()

    def run(x, coordinates):
        return extractor(x, Rois(coordinates, batch, torch.zeros_like(batch)), 0.5)

    return run


def numeric_jvp(run, point, direction, eps=1e-6):
    """Central difference of ``run`` along ``direction``."""
    ahead, behind = ([p + s * eps * d for p, d in zip(point, direction, strict=True)] for s in (1, -1))
    return (run(*ahead) - run(*behind)) / (2 * eps)


@sums_and_extractors
def test_law_3_gradients_of_features_and_boxes(variant, scene):
    """Together, which has the two apart in it: of the features alone where the method is not smooth in boxes."""
    x, boxes = scene
    run, coordinates = on(variant), boxes[:, 1:].clone()
    x.requires_grad_()
    if variant.smooth:
        inputs, function = (x, coordinates.requires_grad_()), run
    else:
        inputs, function = (x,), lambda x: run(x, coordinates)
    assert gradcheck(function, inputs, fast_mode=True)
    assert gradgradcheck(function, inputs, fast_mode=True)
    if not variant.smooth:  # linear in the features, so that its own second derivative is 0
        assert gradgradcheck(lambda x: function(x).square(), inputs, fast_mode=True)


@smooth
def test_law_3_gradients_of_the_boxes_entry_by_entry(variant, scene):
    x, boxes = scene
    coordinates = boxes[:, 1:].clone().requires_grad_()
    assert gradcheck(lambda b: on(variant)(x, b), (coordinates,), fast_mode=False)


@every
def test_law_3_methods_of_whole_cells_have_no_gradient_to_the_boxes(variant, scene):
    if variant.smooth:
        return
    x, boxes = scene
    coordinates = boxes[:, 1:].clone().requires_grad_()
    run = on(variant, given=False)
    assert not run(x, coordinates).requires_grad
    out = run(x.requires_grad_(), coordinates)
    (found,) = torch.autograd.grad(out.sum(), coordinates, allow_unused=True)
    assert found is None


@sums_and_extractors
def test_law_3_the_result_is_the_same_with_and_without_gradients(variant, scene):
    x, boxes = scene
    with torch.no_grad():
        plain = on(variant)(x, boxes[:, 1:])
    wanted = on(variant)(x.clone().requires_grad_(), boxes[:, 1:].clone().requires_grad_())
    torch.testing.assert_close(wanted.detach(), plain, rtol=0, atol=1e-14)


@every
def test_law_3_parameters(variant, scene):
    x, boxes = scene
    extractor = variant.make((2, 3))
    names = [name for name, _ in extractor.named_parameters()]
    values = tuple(p.detach().clone().requires_grad_() for p in extractor.parameters())
    if not values or not variant.parameter_gradients:
        return

    def run(*given):
        return torch.func.functional_call(extractor, dict(zip(names, given, strict=True)), (x, as_rois(boxes), 0.5))

    assert gradcheck(run, values, fast_mode=True) and gradgradcheck(run, values, fast_mode=True)


@sums_and_extractors
def test_law_3_forward_mode(variant, scene):
    x, boxes = scene
    run = on(variant)
    tangent = torch.randn_like(x)
    expected = numeric_jvp(run, (x, boxes[:, 1:]), (tangent, torch.zeros_like(boxes[:, 1:])))
    with forward_ad.dual_level():
        out = run(forward_ad.make_dual(x, tangent), boxes[:, 1:])
        primal, found = forward_ad.unpack_dual(out)
    assert found is not None, "the operator dropped the tangent"
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(primal, run(x, boxes[:, 1:]), rtol=0, atol=1e-13)
    _, found = torch.func.jvp(lambda x: run(x, boxes[:, 1:]), (x,), (tangent,))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


@smooth
def test_law_3_forward_mode_in_the_boxes(variant, scene):
    x, boxes = scene
    run, point = on(variant), (x, boxes[:, 1:].contiguous())
    tangents = tuple(torch.randn_like(p) for p in point)
    expected = numeric_jvp(run, point, tangents)
    _, found = torch.func.jvp(run, point, tangents)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    with forward_ad.dual_level():
        out = run(*(forward_ad.make_dual(p, t) for p, t in zip(point, tangents, strict=True)))
        torch.testing.assert_close(forward_ad.unpack_dual(out).tangent, expected, rtol=1e-6, atol=1e-7)


@sums_and_extractors
def test_law_3_function_transforms(variant, scene):
    x, boxes = scene
    run, coordinates = on(variant), boxes[:, 1:].contiguous()
    weight = torch.randn_like(run(x, coordinates))

    def loss(x):
        return (run(x, coordinates).square() * weight).sum()

    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(leaf), leaf)
    torch.testing.assert_close(torch.func.grad(loss)(x), expected, rtol=1e-12, atol=1e-13)
    # One vmapped call over several sets of maps is as many calls.
    many = torch.stack([x, x.flip(2), 2 * x - 1])
    together = torch.func.vmap(lambda x: run(x, coordinates))(many)
    torch.testing.assert_close(together, torch.stack([run(x, coordinates) for x in many]), rtol=0, atol=1e-13)
    each = torch.func.vmap(torch.func.grad(loss))(many)
    torch.testing.assert_close(each[0], expected, rtol=1e-12, atol=1e-13)
    # Hessian times vector: forward over reverse.
    direction = torch.randn_like(x)
    (first,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first, leaf, direction)
    _, found = torch.func.jvp(torch.func.grad(loss), (x,), (direction,))
    torch.testing.assert_close(found, second, rtol=1e-10, atol=1e-12)


@every
def test_law_3_vmap_over_boxes(variant, scene):
    x, boxes = scene
    run, many = on(variant), torch.stack([boxes[:, 1:], boxes[:, 1:] * 0.7 + 1])
    try:
        together = torch.func.vmap(lambda b: run(x, b))(many)
    except NotImplementedError as error:  # allowed, if it says what to do instead
        assert "give all boxes to one call" in str(error)
        return
    torch.testing.assert_close(together, torch.stack([run(x, b) for b in many]), rtol=0, atol=1e-13)


@smooth
def test_law_3_jacobian_in_the_boxes(variant, scene):
    x, boxes = scene
    run, coordinates = on(variant), boxes[:, 1:].contiguous()
    reverse = torch.func.jacrev(run, argnums=1)(x, coordinates)
    forward = torch.func.jacfwd(run, argnums=1)(x, coordinates)
    leaf = coordinates.clone().requires_grad_()
    expected = torch.autograd.functional.jacobian(lambda b: run(x, b), leaf)
    torch.testing.assert_close(reverse, expected, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(forward, expected, rtol=1e-11, atol=1e-13)
