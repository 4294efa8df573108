"""A small C-STORE is seen in a buffer once its last byte is there, not before, however it was cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.wire.small_message import Content, content_of
from tests.reception.mammograms import FOR_PRESENTATION
from tests.reception.raw_callers import C_ECHO, RELEASE_RQ, c_store, command, fragments, pdus

LONGEST = 5000
ABORT = b"\7\0\0\0\0\4" + bytes(4)


def seen(stream: bytes, longest: int = LONGEST) -> Content:
    return content_of(memoryview(stream), longest)


@settings(deadline=None)
@given(
    data=st.binary(min_size=1, max_size=LONGEST),
    size=st.integers(400, LONGEST),
    together=st.integers(1, 3),
    share=st.floats(0, 1, exclude_max=True),
    more=st.sampled_from([b"", b"\4", C_ECHO, RELEASE_RQ]),
)
def test_it_is_seen_with_its_last_byte(data: bytes, size: int, together: int, share: float, more: bytes):
    whole = c_store("1.2.3", data, size=size, values_in_a_pdu=together)
    if together > 1 and len(whole) > LONGEST:
        return  # one PDU of all of it is longer than a small data set
    assert seen(whole[: int(share * len(whole))]) is Content.BEGUN
    assert seen(whole[:-1]) is Content.BEGUN
    assert seen(whole + more) is Content.SMALL


@pytest.mark.parametrize("size", [1000, LONGEST, 2 * LONGEST])
def test_a_longer_data_set_is_none_and_that_is_seen_early(size: int):
    whole = c_store("1.2.3", bytes(LONGEST + 1), size=size)
    assert seen(whole) is Content.OTHER
    assert seen(c_store("1.2.3", bytes(LONGEST), size=size)) is Content.SMALL
    if size > LONGEST:
        assert seen(whole[: len(c_store("1.2.3", b"")) + 1]) is Content.OTHER


def test_one_of_many_fragments_is_left_to_those_who_look_once():
    assert seen(c_store("1.2.3", bytes(62 * 60), size=150)) is Content.SMALL
    assert seen(c_store("1.2.3", bytes(200), size=3)) is Content.OTHER
    assert seen(c_store("1.2.3", bytes(200), size=2, values_in_a_pdu=1000)) is Content.OTHER
    empty = b"\4\0\0\0\0\0"
    assert seen(100 * empty) is Content.BEGUN
    assert seen(200 * empty) is Content.OTHER


def alone(field: int, *, data_set: bool) -> bytes:
    asked = command(field, FOR_PRESENTATION, "1.2.3", data_set=data_set)
    return b"".join(pdus(fragments(1, asked, is_command=True, size=1000)))


def test_a_command_that_is_there_alone_is_waited_with_if_a_data_set_follows():
    assert seen(alone(1, data_set=True)) is Content.BEGUN
    assert seen(alone(1, data_set=False)) is Content.OTHER
    assert seen(alone(0x140, data_set=True)) is Content.OTHER
    assert seen(C_ECHO) is Content.OTHER


@pytest.mark.parametrize("first", [C_ECHO, alone(1, data_set=False), alone(1, data_set=True)])
def test_a_second_command_is_not_taken_for_a_part_of_the_first(first: bytes):
    assert seen(first + alone(1, data_set=True)) is Content.OTHER
    assert seen(first + c_store("1.2.3", b"data")) is Content.OTHER


@pytest.mark.parametrize(
    "stream",
    [
        RELEASE_RQ,
        ABORT,
        alone(1, data_set=True) + ABORT,
        b"\4\0\0\0\0\5\0\0\0\1\1\3",  # a value without a control header
        b"\4\0\0\0\0\3abc",  # a PDU that ends within the header of a value
        b"\4\0\0\0\0\7\0\0\0\x09\1\3x",  # a value that is longer than its PDU
        alone(1, data_set=True) + b"\4\0\0\0\0\7\0\0\0\x09\1\2x",
        alone(1, data_set=True) + b"\4\0\0\0\0\6\0\0\0\1\1\2",
        b"".join(pdus([(1, 3, b"no command set")])),
    ],
)
def test_what_breaks_a_rule_is_seen_as_something_else(stream: bytes):
    assert seen(stream) is Content.OTHER


@given(st.binary(max_size=200), st.integers(0, 300))
def test_noise_is_looked_at_without_harm(noise: bytes, cut: int):
    seen(noise)
    seen(c_store("1.2.3", b"data")[:cut] + noise)
