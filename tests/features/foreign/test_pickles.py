"""Pickles of others: what plain ones hold comes out, and nothing in any of them is ever run."""

import collections
import contextlib
import functools
import operator
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from abawkit.errors import AbawkitError
from abawkit.features.foreign.pickles import Refused, read_pickle

PATH = Path("00012.pkl")
FRAMES = np.arange(12, dtype=np.float32).reshape(3, 4)


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, np.ndarray):
        return isinstance(ours, np.ndarray) and ours.dtype.type == theirs.dtype.type and np.array_equal(ours, theirs)
    if isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(same(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return type(ours) is type(theirs) and bool(ours == theirs)


PLAIN = [
    *(FRAMES.astype(dtype) for dtype in ("f2", "f4", "f8", "i1", "i8", "u1", ">f4", ">i8")),
    *(np.asfortranarray(FRAMES), np.ones((2, 3, 4), np.float32).transpose(1, 0, 2), np.zeros((0, 5), np.float32)),
    *(FRAMES[::2, ::2], np.array(3.0), {"00001": FRAMES, "00002": FRAMES * 2}, collections.OrderedDict(a=1, b=FRAMES)),
    [1, 2.5, None, True, "text", b"bytes", (1, 2), 10**30, -7, {}],
    {5: [FRAMES, np.ones(3)], 12: [FRAMES, FRAMES]},
]


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_out_as_they_went_in(protocol: int) -> None:
    for value in PLAIN:
        assert same(read_pickle(pickle.dumps(value, protocol), PATH), value), value


def test_scalars_sets_and_names_of_both_numpys() -> None:
    assert read_pickle(pickle.dumps({np.int64(7): np.float32(1.5)}), PATH) == {7: 1.5}
    assert read_pickle(pickle.dumps([{3}, frozenset([4]), bytearray(b"x")], 2), PATH) == [[3], [4], b"x"]
    for protocol in (2, 4, 5):
        data = pickle.dumps(FRAMES, protocol)
        assert b"numpy._core" in data  # numpy 2 writes this …
        old = data.replace(b"numpy._core", b"numpy.core")  # … and numpy 1 that, one letter shorter
        old = old.replace(b"\x8c\x16numpy.core", b"\x8c\x15numpy.core").replace(
            b"\x8c\x13numpy.core", b"\x8c\x12numpy.core"
        )
        if protocol >= 4:
            old = old[:2] + b"\x95" + (len(old) - 11).to_bytes(8, "little") + old[11:]
        np.testing.assert_array_equal(np.asarray(pickle.loads(data)), FRAMES)
        np.testing.assert_array_equal(read_pickle(old, PATH), FRAMES)


def test_what_python_2_wrote() -> None:
    # pickle.dumps({"a": numpy.array([1, 2], "f4")}, 2) of Python 2.7 with numpy 1.16
    data = (
        b"\x80\x02}q\x00U\x01aq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85q\x04U\x01b"
        b"q\x05\x87q\x06Rq\x07(K\x01K\x02\x85q\x08cnumpy\ndtype\nq\tU\x02f4q\nK\x00K\x01\x87q\x0bRq\x0c(K\x03U\x01<q\rN"
        b"NNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0eb\x89U\x08\x00\x00\x80?\x00\x00\x00@q\x0ftq\x10bs."
    )
    assert same(read_pickle(data, PATH), {"a": np.array([1, 2], np.float32)})


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_tensors_come_as_arrays(protocol: int) -> None:
    frames = torch.from_numpy(FRAMES)
    for tensor, expected in [
        (frames, FRAMES),
        (frames.T, FRAMES.T),
        (frames[1:], FRAMES[1:]),
        (frames.half(), FRAMES.astype(np.float16)),
        (frames.bfloat16(), FRAMES),
        (torch.nn.Parameter(frames), FRAMES),
    ]:
        got = read_pickle(pickle.dumps({"a": [tensor, 1]}, protocol), PATH)
        np.testing.assert_array_equal(got["a"][0], expected)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (np.array(["a", "bc"]), "text"),
        (np.array([b"a"]), "text"),
        (np.ones(2, complex), "complex"),
        (np.zeros(2, "datetime64[s]"), "dates"),
        (np.zeros(2, [("a", "f4")]), "records"),
        (np.ones(2, bool), "true/false"),
        (np.ones(2, np.longdouble), "128 bits"),
        (np.array([[1, "x"], [2, 3]], dtype=object), "Python objects"),
        (torch.zeros(1).expand(10**12), "tensor of 1000000000000"),
        (torch.ones(2).to_sparse(), None),
        (torch.ones(2, dtype=torch.complex64), "complex"),
        (torch.ones(2, dtype=torch.bool), "true/false"),
    ],
)
def test_values_that_can_be_no_features(value: Any, what: str | None) -> None:
    data = pickle.dumps({"00001": value, "00002": FRAMES})
    if what is None:  # torch asks for a name that is not understood: the whole file
        with pytest.raises(AbawkitError, match="asks for more than data"):
            read_pickle(data, PATH)
        return
    got = read_pickle(data, PATH)
    assert isinstance(got["00001"], Refused) and what in got["00001"].what
    np.testing.assert_array_equal(got["00002"], FRAMES)  # its neighbours are as good as ever


def test_arrays_of_objects_are_lists() -> None:
    value = np.empty(2, object)
    value[:] = [FRAMES, np.ones(3)]
    assert same(read_pickle(pickle.dumps(value), PATH), [FRAMES, np.ones(3)])
    assert same(read_pickle(pickle.dumps(np.array({"a": FRAMES}, dtype=object)), PATH), {"a": FRAMES})


class Calls:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.parts


class Quiet:
    """Runs code only in its ``__setstate__``, when the state is set."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __setstate__(self, state: dict[str, str]) -> None:
        os.system(state["command"])


class OwnArray(np.ndarray):
    pass


def attacks(canary: Path) -> dict[str, Any]:
    touch = f"touch {canary}"
    python = f"open({str(canary)!r}, 'w').close()"
    attribute = Calls(getattr, Calls(__import__, "os"), "system")
    objects = np.empty(1, object)
    objects[0] = Calls(os.system, touch)
    return {
        "os.system": Calls(os.system, touch),
        "eval": Calls(eval, python),
        "exec": Calls(exec, python),
        "getattr": Calls(operator.call, attribute, touch),
        "subprocess": Calls(subprocess.check_call, ["touch", str(canary)]),
        "partial": Calls(functools.partial(os.system, touch)),
        "map": Calls(list, Calls(map, os.system, [touch])),
        "setstate": Quiet(touch),
        "dictionary": {"00001": FRAMES, "00002": Calls(os.system, touch)},
        "array of objects": objects,
        "array in array": np.array({"a": objects}, dtype=object),
        "nested pickle": Calls(pickle.loads, pickle.dumps(Calls(os.system, touch))),
        "storage": Calls(torch.storage._load_from_bytes, pickle.dumps(Calls(os.system, touch))),
        "reduce with a state": Calls(collections.OrderedDict, state=Calls(os.system, touch)),
    }


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", list(attacks(Path("x"))))
def test_nothing_is_run(name: str, protocol: int, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    data = pickle.dumps(attacks(canary)[name], protocol)
    with pytest.raises(AbawkitError):
        read_pickle(data, PATH)
    assert not canary.exists()


@pytest.mark.parametrize("name", [n for n in attacks(Path("x")) if n != "storage"])
def test_the_attacks_are_real(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    data = pickle.dumps(attacks(canary)[name])
    with contextlib.suppress(TypeError, AttributeError, pickle.UnpicklingError):  # it has run by then
        pickle.loads(data)
    assert canary.exists()


def test_names_that_only_look_like_admitted_ones(tmp_path: Path) -> None:
    for name in (
        b"cnumpy\nndarray.__class__\n",
        b"cnumpy.core.multiarray\n_reconstruct.__globals__\n",
        b"cbuiltins\ngetattr\n",
        b"c__builtin__\neval\n",
        b"cnumpy\nload\n",
        b"ctorch\nload\n",
        b"ccollections\nOrderedDict.update\n",
        b"c\n\n",
        b"ios\nsystem\n",
    ):
        for data in (name + b".", b"\x80\x02" + name + b")R.", b"(S'touch x'\n" + name + b"."):
            with pytest.raises(AbawkitError):
                read_pickle(data, PATH)


def test_a_subclass_and_a_class_are_named_and_refused() -> None:
    with pytest.raises(AbawkitError, match=r"(?s)it was not run.*got: .*OwnArray"):
        read_pickle(pickle.dumps(FRAMES.view(OwnArray)), PATH)
    with pytest.raises(AbawkitError, match=r"(?s)got: .*Counter"):
        read_pickle(pickle.dumps(collections.Counter("aab")), PATH)


def test_pointers_are_not_followed() -> None:
    """numpy's own unpickling of this crashes: an array of objects whose dtype says that it holds none."""
    dtype = Calls(np.dtype, "O8", False, True, state=(3, "|", None, None, None, 8, 8, 0))
    array = Calls(np._core.multiarray._reconstruct, np.ndarray, (0,), b"b", state=(1, (2,), dtype, False, b"A" * 16))
    with pytest.raises(AbawkitError, match="without its objects"):
        read_pickle(pickle.dumps(array), PATH)
    code = f"import pickle; print(pickle.loads(bytes.fromhex({pickle.dumps(array).hex()!r}))[0])"
    code = code.replace("tests.features.test_pickles", "__main__")
    done = subprocess.run([sys.executable, "-c", "import numpy;" + code], capture_output=True)
    assert done.returncode != 0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a pickle"),
        (b"1,2,3\n", "not a pickle"),
        (b"N", "not a pickle"),
        (b".", "not a pickle"),
        (b"NN.", "not a pickle"),
        (b"K\x01r\xff\xff\xff\x7f.", None),  # the memo of pickle.loads would take 32 GiB
        (b"p4294967295\nN.", "not a pickle"),
        (b"\x8e" + (2**62).to_bytes(8, "little") + b"x.", "not a pickle"),  # bytes that are not there
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.", "not a pickle"),
        (b"I" + b"9" * 5000 + b"\n.", "not a pickle"),
        (b"\x8b\xff\xff\xff\x7f.", "not a pickle"),
        (b"]}\x93.", "more than data"),
        (b"}]K\x01s.", "keys"),
        (pickle.dumps(FRAMES) + b"N.", "more after"),
        (pickle.dumps({((((1,),),),): 1}), "keys"),
        (pickle.dumps(FRAMES, 5, buffer_callback=lambda _: False), "outside"),
    ],
    ids=range(16),
)
def test_broken_and_greedy_pickles(data: bytes, why: str | None) -> None:
    if why is None:
        assert read_pickle(data, PATH) == 1
    else:
        with pytest.raises(AbawkitError, match=why) as caught:
            read_pickle(data, PATH)
        assert caught.value.path == "00012.pkl"


def test_deep_nesting_is_no_crash() -> None:
    for opening, closing in ((b"]" * 30_000, b"a" * 29_999), (b")" + b"\x85" * 30_000, b"")):
        read_pickle(opening + closing + b".", PATH)
    with pytest.raises(AbawkitError, match="keys"):
        read_pickle(b"})" + b"\x85" * 10**5 + b"Ns.", PATH)
    with pytest.raises(AbawkitError):
        read_pickle(b"(" * 10**5 + b".", PATH)


def test_a_claim_about_a_size_is_compared_with_the_bytes() -> None:
    data = pickle.dumps(np.zeros(3, np.float32), 4)
    assert data.count(b"K\x03\x85") == 1
    for shape in (b"\x8a\x08" + (10**15).to_bytes(8, "little"), b"K\x02", b"K\x04", b"J\xff\xff\xff\xff"):
        changed = data.replace(b"K\x03\x85", shape + b"\x85")
        changed = changed[:2] + changed[11:]  # without the frame, whose length is another now
        with pytest.raises(AbawkitError, match="damaged"):
            read_pickle(changed, PATH)


@pytest.mark.parametrize("protocol", range(6))
def test_cut_off_anywhere(protocol: int) -> None:
    data = pickle.dumps({"a": [FRAMES[0], np.float32(1)], "b": collections.OrderedDict(x=(1, None))}, protocol)
    for length in range(len(data)):
        with pytest.raises(AbawkitError):
            read_pickle(data[:length], PATH)


EVENTS = frozenset({"pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "exec", "open"})
watched: list[str] | None = None


def _watch(event: str, arguments: Any) -> None:
    if watched is not None and event in EVENTS:
        watched.append(event)


sys.addaudithook(_watch)


def read_watched(data: bytes) -> None:
    """Reads hostile bytes: an ``AbawkitError`` or plain values, and the interpreter was not asked for anything."""
    global watched
    watched = []
    try:
        value = read_pickle(data, PATH)
    except AbawkitError:
        pass
    else:
        assert type(value).__module__ in ("builtins", "numpy", "abawkit.features.foreign.pickles")
    finally:
        events, watched = watched, None
    assert events == []


def test_the_watch_sees() -> None:
    global watched
    watched = []
    pickle.loads(pickle.dumps(FRAMES))
    events, watched = watched, None
    assert "pickle.find_class" in events


SEEDS = [
    pickle.dumps(value, protocol) for value in (FRAMES[:1], {"a": [1, 2.5, ("x", None)]}) for protocol in (0, 2, 4, 5)
]

FRAGMENTS = [
    *(b"(", b"t", b"l", b"d", b"]", b"}", b")", b"\x8f", b"\x90", b"\x91", b"R", b"b", b"o", b"\x81", b"\x92", b"\x93"),
    *(b"\x94", b"q\x00", b"h\x00", b"h\x01", b"0", b"1", b"2", b"a", b"e", b"s", b"u", b"N", b"\x88", b"\x85", b"\x86"),
    *(b"K\x00", b"K\x02", b"\x8c\x02f4", b"\x8c\x01<", b"C\x04abcd", b"\x8c\x06latin1", b"\x8c\x05numpy", b"U\x01b"),
    *(b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"\x8c\x05dtype"),
    *(b"cnumpy.core.multiarray\nscalar\n", b"cnumpy._core.numeric\n_frombuffer\n", b"ccollections\nOrderedDict\n"),
    *(b"c_codecs\nencode\n", b"c__builtin__\nset\n", b"cos\nsystem\n", b"ios\nsystem\n", b"S'echo'\n", b"P1\n", b"Q"),
]


@given(
    st.binary(max_size=60) | st.lists(st.sampled_from(FRAGMENTS), max_size=25).map(lambda parts: b"".join(parts) + b".")
)
@settings(max_examples=150, deadline=None)
def test_any_bytes(data: bytes) -> None:
    read_watched(data)


@given(st.sampled_from(SEEDS), st.integers(0, 10**6), st.binary(min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_changed_bytes(seed: bytes, place: int, change: bytes) -> None:
    place %= len(seed)
    read_watched(seed[:place] + change + seed[place + len(change) :])
