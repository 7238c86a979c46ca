"""Atomic 64-bit loads and stores for memory shared between threads and processes, inside njit code.

Numba has no CPU atomics, so these intrinsics emit LLVM's atomic instructions directly: `load atomic acquire`
and `store atomic release`. LLVM lowers them to plain moves on x86-64 (whose total store order already gives
acquire/release; the instruction keeps the *compiler* from reordering) and to LDAR/STLR on AArch64, which
order the memory system as well. `tests/kernels/test_atomics.py` compiles both and reads the assembly.

Source: LLVM Language Reference, "Atomic Memory Ordering Constraints"; Arm ARM B2.3 (Load-Acquire/Store-Release).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _element_pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    view = context.make_array(array_type)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, array_type, view, [index], wraparound=False)


def _is_int64_vector(array: Any) -> bool:
    return isinstance(array, types.Array) and array.ndim == 1 and array.dtype == types.int64


@intrinsic
def load_acquire(typingctx: Any, array: Any, index: Any) -> Any:
    """Return array[index] of a 1-D int64 array; later reads and writes cannot move before it."""
    if not _is_int64_vector(array):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1])
        return builder.load_atomic(pointer, ordering="acquire", align=8, typ=ir.IntType(64))

    return types.int64(array, types.intp), codegen


@intrinsic
def store_release(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Store value into array[index] of a 1-D int64 array; earlier reads and writes cannot move after it."""
    if not _is_int64_vector(array):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1])
        builder.store_atomic(args[2], pointer, ordering="release", align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), codegen


@intrinsic
def fence_acquire(typingctx: Any) -> Any:
    """Keep reads that come after from moving before reads that came earlier (the seqlock's second check)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("acquire")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def fence_release(typingctx: Any) -> Any:
    """Keep writes that come after from moving before writes that came earlier (the seqlock's opening)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("release")
        return context.get_dummy_value()

    return types.void(), codegen
