"""What loops in Python cannot say to LLVM: transposing a tile in registers, and half types. Imports Numba: only
``cpu.py`` modules and their like import this.

A half type's array is its bits: bfloat16 as uint16, float16 as int16 (Numba has neither on the CPU), so that the type
of an array says what its numbers are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic as _intrinsic


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Numba's decorator: the function gets types and returns (signature, code), what calls it is compiled."""
    return _intrinsic(function)


def intrinsic_of_constants(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, and a constant's type says its value."""
    return _intrinsic(prefer_literal=True)(function)


VECTORS = 4  # of channels that are summed at a time: their sums fill AVX2's registers
BYTES = 64  # of a vector: AVX-512's; where registers are narrower LLVM takes several


@intrinsic
def lanes(typingctx, array):
    """How many numbers of an array's dtype a vector has, as a constant of the compiled code."""

    def code(context, builder, signature, args):
        size = BYTES * 8 // array.dtype.bitwidth
        return context.get_constant(types.intp, size)

    return types.intp(array), code


@intrinsic
def turn(typingctx, target, t, t_pitch, source, s, s_pitch):
    """target[t + j · t_pitch + i] = source[s + i · s_pitch + j] for i, j < lanes(source), on flat arrays: log₂(lanes)
    rounds of exchanges between registers. Half types may be widened on the way."""
    size = BYTES * 8 // source.dtype.bitwidth

    def code(context, builder, signature, args):
        to_type, _, _, from_type, _, _ = signature.args
        to, t, t_pitch, of, s, s_pitch = args

        def line(start, pitch, i):
            return builder.add(start, builder.mul(pitch, ir.Constant(t.type, i)))

        rows = [_load(context, builder, from_type, of, line(s, s_pitch, i), size) for i in range(size)]
        step = 1
        while step < size:
            low = [k if not k & step else size + k - step for k in range(size)]
            high = [k + step if not k & step else size + k for k in range(size)]
            masks = [ir.Constant(ir.VectorType(ir.IntType(32), size), each) for each in (low, high)]
            for i in range(size):
                if not i & step:
                    a, b = rows[i], rows[i + step]
                    rows[i] = builder.shuffle_vector(a, b, masks[0])
                    rows[i + step] = builder.shuffle_vector(a, b, masks[1])
            step *= 2
        for i, row in enumerate(rows):
            if not _half(to_type.dtype):
                row = _widened(builder, row, from_type.dtype, size)
            _store(context, builder, to_type, to, line(t, t_pitch, i), size, row)
        return context.get_dummy_value()

    return types.void(target, types.uintp, types.uintp, source, types.uintp, types.uintp), code


@intrinsic
def move(typingctx, target, t, source, s):
    """target[t + i] = source[s + i] for i < lanes(source), rounded to what the target stores."""
    return _moving(target, source, past_caches=False)


@intrinsic
def stream(typingctx, target, t, source, s):
    """``move`` past the caches, to where a vector is aligned: a large output is not read before it is written."""
    return _moving(target, source, past_caches=True)


def _moving(target, source, past_caches):
    size = BYTES * 8 // source.dtype.bitwidth

    def code(context, builder, signature, args):
        to_type, _, from_type, _ = signature.args
        to, t, of, s = args
        row = _narrowed(builder, _load(context, builder, from_type, of, s, size), to_type.dtype, size)
        stored = _store(context, builder, to_type, to, t, size, row)
        if past_caches:
            _past_caches(builder, stored, size, to_type)
        return context.get_dummy_value()

    return types.void(target, types.uintp, source, types.uintp), code


@intrinsic
def fused(typingctx, a, b, c):
    """a · b + c, rounded once where the processor can."""

    def code(context, builder, signature, args):
        return _fused(builder, *args)

    return a(a, b, c), code


def _fused(builder, a, b, c):
    """LLVM's choice whether to fuse is the processor's alone; left to flags, it depends on the code around."""
    single = a.type.element if isinstance(a.type, ir.VectorType) else a.type
    name = f"v{a.type.count}" if isinstance(a.type, ir.VectorType) else ""
    name = f"llvm.fmuladd.{name}{'f64' if isinstance(single, ir.DoubleType) else 'f32'}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(a.type, [a.type] * 3), name)
    return builder.call(function, [a, b, c])


@intrinsic
def blend(typingctx, target, t, source, places, weights):
    """target[t + i] = Σ weights[k] · source[places[k] + i] for i < lanes; tuples say how many sums. One vector of sums,
    written without the checks for overlap that a loop would get: target and source are different arrays."""
    size = BYTES * 8 // weights.dtype.bitwidth

    def code(context, builder, signature, args):
        to_type, _, from_type, places_type, _ = signature.args
        to, t, of, places, weights = args
        total = None
        for k in range(len(places_type)):
            at, weight = builder.extract_value(places, k), builder.extract_value(weights, k)
            row = _widened(builder, _load(context, builder, from_type, of, at, size), from_type.dtype, size)
            weight = _splat(builder, weight, size)
            total = builder.fmul(weight, row) if total is None else _fused(builder, weight, row, total)
        _store(context, builder, to_type, to, t, size, _narrowed(builder, total, to_type.dtype, size))
        return context.get_dummy_value()

    return types.void(target, types.uintp, source, places, weights), code


@intrinsic_of_constants
def cross(typingctx, target, t, source, s, rows, row_weights, k, height, cols, col_weights, e, width, channels, past):
    """target[t + i] = Σ_j col_weights[e + j] · (Σ_l row_weights[k + l] · source[s + rows[k + l] + cols[e + j] + i]) for
    l < height, j < width and i < channels, both sums in registers and rounded as two ``blend``s would; there is at
    least one row and one column. ``past``, a constant: vectors are written past the caches, see ``stream``."""
    lanes_, streamed = BYTES * 8 // row_weights.dtype.bitwidth, past.literal_value

    def code(context, builder, signature, args):
        to_type, _, from_type, _, rows_type, weights_type, _, _, cols_type, *_ = signature.args
        to, t, of, s, rows, row_weights, k, height, cols, col_weights, e, width, channels, _ = args

        def weighed(array, at, size):
            return _splat(builder, _item(context, builder, weights_type, array, at), size)

        def summed(done, size, starts):
            """``starts`` says where each vector of ``size`` channels begins, from ``done`` on."""
            # A sum that begins with -0 is its first product, signs of zeros included.
            nothing = ir.Constant(ir.VectorType(context.get_value_type(weights_type.dtype), size), [-0.0] * size)
            totals, inner = ([cgutils.alloca_once(builder, nothing.type) for _ in starts] for _ in range(2))
            begin = builder.add(s, done)
            for total in totals:
                builder.store(nothing, total)
            with _counting(builder, e, width) as j:
                column = builder.add(begin, _item(context, builder, cols_type, cols, j))
                for one in inner:
                    builder.store(nothing, one)
                with _counting(builder, k, height) as i:
                    place = builder.add(column, _item(context, builder, rows_type, rows, i))
                    weight = weighed(row_weights, i, size)
                    for c, one in zip(starts, inner, strict=True):
                        row = _load(context, builder, from_type, of, builder.add(place, ir.Constant(t.type, c)), size)
                        row = _widened(builder, row, from_type.dtype, size)
                        builder.store(_fused(builder, weight, row, builder.load(one)), one)
                weight = weighed(col_weights, j, size)
                for one, total in zip(inner, totals, strict=True):
                    builder.store(_fused(builder, weight, builder.load(one), builder.load(total)), total)
            for c, total in zip(starts, totals, strict=True):
                row = _narrowed(builder, builder.load(total), to_type.dtype, size)
                place = builder.add(builder.add(t, done), ir.Constant(t.type, c))
                stored = _store(context, builder, to_type, to, place, size, row)
                if streamed:
                    _past_caches(builder, stored, size, to_type)

        done = ir.Constant(t.type, 0)
        for vectors, size in ((VECTORS, lanes_), (1, lanes_), (1, 1)):
            step = ir.Constant(t.type, vectors * size)
            pieces = builder.udiv(builder.sub(channels, done), step)
            with cgutils.for_range(builder, pieces) as loop:
                summed(builder.add(done, builder.mul(loop.index, step)), size, range(0, vectors * size, size))
            done = builder.add(done, builder.mul(pieces, step))
        return context.get_dummy_value()

    at = types.uintp
    arguments = (target, at, source, at, rows, row_weights, at, at, cols, col_weights, at, at, at, past)
    return types.void(*arguments), code


@contextlib.contextmanager
def _counting(builder, first, count):
    """A loop over count ≥ 1 numbers from ``first``, which LLVM does not unroll: it mostly counts to two or three."""
    before, body = builder.block, builder.append_basic_block("counting")
    builder.branch(body)
    builder.position_at_end(body)
    number = builder.phi(first.type)
    number.add_incoming(first, before)
    yield number
    following = builder.add(number, ir.Constant(first.type, 1))
    number.add_incoming(following, builder.block)
    after = builder.append_basic_block("counted")
    again = builder.icmp_unsigned("<", following, builder.add(first, count))
    branch = builder.cbranch(again, body, after)
    # How LLVM names a loop: metadata that begin with themselves.
    hints = [builder.module.add_metadata(["llvm.loop.unroll.disable"])]
    name = ir.MDValue(builder.module, hints, str(len(builder.module.metadata)))
    name.operands = (name, *hints)
    branch.set_metadata("llvm.loop", name)
    builder.position_at_end(after)


def _past_caches(builder, stored, size, kind):
    stored.align = size * kind.dtype.bitwidth // 8
    stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))


def _item(context, builder, array_type, array, at):
    return builder.load(builder.gep(context.make_array(array_type)(context, builder, array).data, [at]))


@intrinsic
def contest(typingctx, best, which, t, source, places, cell):
    """For one vector at t: best becomes the largest of itself and source[places[k]:], and which, where it was beaten,
    the number cell + k of the one that won. A NaN beats nothing, equals do not beat each other."""
    size = BYTES * 8 // best.dtype.bitwidth

    def code(context, builder, signature, args):
        best_type, which_type, _, from_type, places_type, _ = signature.args
        to, at, t, of, places, cell = args
        top = _load(context, builder, best_type, to, t, size)
        place = _load(context, builder, which_type, at, t, size)
        for k in range(len(places_type)):
            row = _load(context, builder, from_type, of, builder.extract_value(places, k), size)
            row = _widened(builder, row, from_type.dtype, size)
            wins = builder.fcmp_ordered(">", row, top)
            top = builder.select(wins, row, top)
            number = builder.add(cell, ir.Constant(cell.type, k))
            place = builder.select(wins, _splat(builder, number, size), place)
        _store(context, builder, best_type, to, t, size, top)
        _store(context, builder, which_type, at, t, size, place)
        return context.get_dummy_value()

    return types.void(best, which, types.uintp, source, places, types.int32), code


def _address(context, builder, array_type, array, at, size):
    data = context.make_array(array_type)(context, builder, array).data
    number = context.get_value_type(array_type.dtype)
    return builder.bitcast(builder.gep(data, [at]), ir.VectorType(number, size).as_pointer())


def _load(context, builder, array_type, array, at, size):
    align = array_type.dtype.bitwidth // 8
    return builder.load(_address(context, builder, array_type, array, at, size), align=align)


def _store(context, builder, array_type, array, at, size, value):
    align = array_type.dtype.bitwidth // 8
    return builder.store(value, _address(context, builder, array_type, array, at, size), align=align)


def _splat(builder, value, size):
    vector = ir.VectorType(value.type, size)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), size), [0] * size)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def _half(kind):
    """Whether numbers of this type are the bits of a half type."""
    return kind in (types.int16, types.uint16)


def _of(kind, size):
    """A type of LLVM as it is, or as a vector."""
    return ir.VectorType(kind, size) if size else kind


def _number(kind, size, value):
    return ir.Constant(_of(kind, size), [value] * size if size else value)


def _widened(builder, bits, kind, size=0):
    """A number, or a vector of ``size``, as it is summed: the bits of a half type as float32, a float as it is."""
    if not _half(kind):
        return bits
    if kind.signed:
        return builder.fpext(builder.bitcast(bits, _of(ir.HalfType(), size)), _of(ir.FloatType(), size))
    word = ir.IntType(32)
    moved = builder.shl(builder.zext(bits, _of(word, size)), _number(word, size, 16))
    return builder.bitcast(moved, _of(ir.FloatType(), size))


def _narrowed(builder, number, kind, size=0):
    """The reverse, rounded to nearest, ties to even."""
    if not _half(kind):
        return number
    half, word = ir.IntType(16), ir.IntType(32)
    if kind.signed:
        return builder.bitcast(builder.fptrunc(number, _of(ir.HalfType(), size)), _of(half, size))
    bits = builder.bitcast(number, _of(word, size))
    odd = builder.and_(builder.lshr(bits, _number(word, size, 16)), _number(word, size, 1))
    rounded = builder.add(bits, builder.add(odd, _number(word, size, 0x7FFF)))
    nan = builder.fcmp_unordered("uno", number, number)
    kept = builder.or_(bits, _number(word, size, 0x400000))  # rounding could make a NaN an infinity
    chosen = builder.select(nan, kept, rounded)
    return builder.trunc(builder.lshr(chosen, _number(word, size, 16)), _of(half, size))


@intrinsic
def widen(typingctx, value):
    """A number as it is summed: the bits of a half type as float32, a float as it is."""
    result = types.float32 if _half(value) else value
    return result(value), lambda context, builder, signature, args: _widened(builder, args[0], value)


@intrinsic
def narrow(typingctx, value, like):
    """A sum as the numbers of the array ``like`` are stored, rounded to nearest, ties to even."""
    kind = like.dtype

    def code(context, builder, signature, args):
        return _narrowed(builder, args[0], kind) if _half(kind) else context.cast(builder, args[0], value, kind)

    return kind(value, like), code
