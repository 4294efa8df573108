"""The same thing always has the same UID, and different things different ones."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from mammography.uid import UidRole, lawful, mint

roles = st.sampled_from(UidRole)
parts = st.lists(st.text(), min_size=1, max_size=4)


@given(roles, parts)
def test_a_minted_uid_is_lawful_and_a_uuid(role, identity):
    uid = mint(role, *identity)
    assert lawful(uid)
    assert len(uid) <= 64
    number = uuid.UUID(int=int(uid.removeprefix("2.25.")))
    assert number.version == 8
    assert number.variant == uuid.RFC_4122


@given(roles, parts)
def test_the_same_thing_has_the_same_uid(role, identity):
    assert mint(role, *identity) == mint(role, *identity)


@given(roles, parts, roles, parts)
def test_different_things_have_different_uids(role, identity, other_role, other):
    if (role, identity) != (other_role, other):
        assert mint(role, *identity) != mint(other_role, *other)


def test_identity_parts_do_not_run_together():
    assert mint(UidRole.GSPS, "ab", "c") != mint(UidRole.GSPS, "a", "bc")


def test_what_is_no_uid_is_told_apart():
    assert lawful("1.2.840.10008.1.1")
    for wrong in ("", "1..2", ".1", "1.2.", "1.2/3", "../1", "1." * 33 + "1", "1.2.a"):
        assert not lawful(wrong)
