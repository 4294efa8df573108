"""How the console says ages, days and sizes."""

from datetime import UTC, datetime, timedelta

import pytest

from mammography.ledger.tables import DeliveryState
from mammography.study import StudyState
from node.console import wording


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (timedelta(seconds=-5), "0 s"),
        (timedelta(seconds=59.9), "59 s"),
        (timedelta(minutes=3, seconds=59), "3 min"),
        (timedelta(minutes=89), "89 min"),
        (timedelta(minutes=90), "1 h"),
        (timedelta(hours=35), "35 h"),
        (timedelta(hours=36), "1 day"),
        (timedelta(days=12), "12 days"),
    ],
)
def test_an_age_is_said_in_its_largest_useful_unit(span, said):
    assert wording.age(span) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (912, "912 bytes"),
        (18_200, "18 KB"),
        (17_039_360, "17.0 MB"),
        (1 << 30, "1.1 GB"),
        (4_000_000_000_000, "4.0 TB"),
    ],
)
def test_a_size_is_said_as_people_say_it(count, said):
    assert wording.size(count) == said


@pytest.mark.parametrize(
    ("date", "said"), [("20261122", "2026-11-22"), ("", ""), ("1122", "1122"), ("<b>ad!!>", "<b>ad!!>")]
)
def test_a_dicom_date_is_said_with_dashes_and_anything_else_as_it_is(date, said):
    assert wording.day(date) == said


def test_today_is_said_by_its_time_alone():
    now = datetime.now(UTC)
    assert wording.local(now, now) == now.astimezone().strftime("%H:%M:%S")
    earlier = now - timedelta(days=2)
    assert wording.local(earlier, now) == earlier.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def test_every_state_of_a_study_and_of_a_delivery_has_a_meaning():
    assert set(wording.MEANING) == set(StudyState)
    assert set(wording.DELIVERY_MEANING) == set(DeliveryState)
