from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from numba import njit, types
from numba.core.errors import TypingError
from numpy.typing import NDArray

from rtvc.kernels import ring
from rtvc.kernels.atomics import fence_acquire, fence_release, load_acquire, store_release

X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
WORDS = types.Array(types.int64, 1, "C")
SAMPLES = types.Array(types.float32, 1, "C")


def assembly(function: Callable[..., Any], arguments: tuple[Any, ...], triple: str) -> list[str]:
    """Return the instructions of a function that Numba compiles, as LLVM makes them for another machine."""
    compiled = njit(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)
    compiled.compile(arguments)
    (signature,) = compiled.signatures
    ir = compiled.inspect_llvm(signature)
    ir = re.sub(r"^target (triple|datalayout) = .*$", "", ir, flags=re.MULTILINE)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(opt=3)
    module = llvm.parse_assembly(ir)
    module.triple, module.data_layout = triple, str(machine.target_data)
    text = machine.emit_assembly(module)
    name = re.escape(compiled.overloads[signature].fndesc.llvm_func_name)
    body = re.search(rf"^{name}:(.*?)^\.Lfunc_end", text, re.MULTILINE | re.DOTALL)
    assert body
    lines = (line.split("//")[0].strip() for line in body[1].splitlines())
    return [line for line in lines if line and not line.startswith(("#", "//", ".cfi")) and not line.endswith(":")]


def word(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines]


def take(words: NDArray[np.int64]) -> int:
    return load_acquire(words, 3)


def give(words: NDArray[np.int64], value: int) -> None:
    store_release(words, 3, value)


def publish(words: NDArray[np.int64], value: int) -> None:
    words[0] = value
    store_release(words, 1, 7)


def consume(words: NDArray[np.int64]) -> int:
    flag = load_acquire(words, 1)
    return flag + words[0]


def open_seqlock(words: NDArray[np.int64], value: int) -> None:
    store_release(words, 1, value)
    fence_release()
    words[0] = 5


def check_seqlock(words: NDArray[np.int64]) -> int:
    value = words[0]
    fence_acquire()
    return value + load_acquire(words, 1)


def poll_twice(words: NDArray[np.int64]) -> int:
    return load_acquire(words, 0) + load_acquire(words, 0)


def store_twice(words: NDArray[np.int64]) -> None:
    store_release(words, 0, 1)
    store_release(words, 0, 2)


def test_arm_loads_with_acquire_and_stores_with_release() -> None:
    assert {"ldar", "ldapr"} & set(word(assembly(take, (WORDS,), ARM)))
    assert "stlr" in word(assembly(give, (WORDS, types.int64), ARM))


def test_x86_uses_plain_moves_and_no_locked_instruction() -> None:
    moves = {"movq", "xorl", "retq"}
    assert set(word(assembly(take, (WORDS,), X86))) <= moves
    assert set(word(assembly(give, (WORDS, types.int64), X86))) <= moves
    # both fences only keep the compiler from reordering
    assert set(word(assembly(open_seqlock, (WORDS, types.int64), X86))) <= moves
    assert set(word(assembly(check_seqlock, (WORDS,), X86))) <= moves | {"addq"}


def test_this_machine_compiles_to_the_same_instructions() -> None:
    compiled = njit(publish)
    compiled.compile((WORDS, types.int64))
    ir = compiled.inspect_llvm(compiled.signatures[0])
    assert re.search(r"store atomic i64 7, ptr %\S+ release, align 8", ir)
    assert "lock" not in word(assembly(publish, (WORDS, types.int64), llvm.get_default_triple()))


def test_arm_fences_are_barriers() -> None:
    assert [line for line in assembly(open_seqlock, (WORDS, types.int64), ARM) if "dmb" in line] == ["dmb\tish"]
    assert [line for line in assembly(check_seqlock, (WORDS,), ARM) if "dmb" in line] == ["dmb\tishld"]


@pytest.mark.parametrize("triple", [X86, ARM])
def test_the_compiler_keeps_the_order_that_the_program_gives(triple: str) -> None:
    # the result goes out by a store of its own, after both
    to_memory = r"^(str|stlr|stp|mov\w*\s+(%|\$)\w+,\s*\S*\()"
    stores = [line for line in assembly(publish, (WORDS, types.int64), triple) if re.match(to_memory, line)]
    flag = next(i for i, line in enumerate(stores) if "stlr" in line or "$7" in line)
    assert flag > 0 and len(stores) >= 2
    loads = [line for line in assembly(consume, (WORDS,), triple) if re.match(r"^(ld\w+|(mov|add)\w*\s+\d*\(%)", line)]
    words = [line for line in loads if "rsp" not in line and "[sp" not in line]
    assert len(words) == 2
    assert re.search(r"ldap?r|\b8\(", words[0])


@pytest.mark.parametrize("triple", [X86, ARM])
def test_no_access_is_merged_with_its_neighbour_or_left_out(triple: str) -> None:
    polls = [line for line in assembly(poll_twice, (WORDS,), triple) if re.match(r"^(ldap?r|(mov|add)q\s+\(%r)", line)]
    assert len(polls) == 2
    stores = [line for line in assembly(store_twice, (WORDS,), triple) if re.search(r"stlr|\$[12],", line)]
    assert len(stores) == 2


@pytest.mark.parametrize("end", [ring.ring_push, ring.ring_pop])
def test_the_ring_on_arm_moves_samples_between_an_acquire_and_a_release(end: Any) -> None:
    lines = word(assembly(end.py_func, (WORDS, SAMPLES, SAMPLES), ARM))
    acquires = [i for i, name in enumerate(lines) if name in ("ldar", "ldapr")]
    releases = [i for i, name in enumerate(lines) if name == "stlr"]
    assert len(acquires) == 1 and len(releases) == 1
    moves = [i for i, name in enumerate(lines) if name in ("ldr", "ldp", "str", "stp", "ld1", "st1", "ldur", "stur")]
    samples = [i for i in moves if acquires[0] < i < releases[0]]
    assert len(samples) >= 4  # both loops, each a load and a store


def test_only_vectors_of_int64_are_taken() -> None:
    for array in (np.zeros(4, np.int32), np.zeros(4, np.float64), np.zeros((2, 2), np.int64)):
        with pytest.raises(TypingError):
            njit(take)(array)
        with pytest.raises(TypingError):
            njit(give)(array, 1)


def test_a_value_comes_back_from_the_place_it_was_stored_in() -> None:
    words = np.zeros(8, np.int64)
    every_other = words[::2]
    njit(give)(words, -(2**62))
    assert njit(take)(words) == -(2**62)
    assert np.flatnonzero(words).tolist() == [3]
    njit(give)(every_other, 9)
    assert words[6] == 9
    assert njit(take)(every_other) == 9


@njit(nogil=True)
def _send(words: NDArray[np.int64], state: NDArray[np.int64], rounds: int) -> bool:
    for _ in range(1000):
        if load_acquire(words, 8) == state[0]:  # the last message was taken
            if state[0] == rounds:
                return True
            state[0] += 1
            for i in range(16, 24):
                words[i] = state[0]
            store_release(words, 0, state[0])
    return False


@njit(nogil=True)
def _receive(words: NDArray[np.int64], state: NDArray[np.int64], rounds: int) -> bool:
    for _ in range(1000):
        number = load_acquire(words, 0)
        if number != state[0]:
            state[0] = number
            for i in range(16, 24):
                state[1] += words[i] != number
            store_release(words, 8, number)
        if number == rounds:
            return True
    return False


def test_a_message_is_whole_when_its_flag_is_seen() -> None:
    words, rounds = np.zeros(32, np.int64), 20_000
    sent, received = np.zeros(2, np.int64), np.zeros(2, np.int64)
    _send(np.zeros(32, np.int64), np.zeros(2, np.int64), 1)
    _receive(np.zeros(32, np.int64), np.zeros(2, np.int64), 1)

    def send() -> None:
        while not _send(words, sent, rounds):
            time.sleep(1e-6)  # leave the core to the other side if there is but one

    sender = threading.Thread(target=send)
    sender.start()
    while not _receive(words, received, rounds):
        time.sleep(1e-6)
    sender.join()
    assert received.tolist() == [rounds, 0]
