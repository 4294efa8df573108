"""When a study has arrived: a pure function of what is here and how long nothing came."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammography.completeness import ArrivedView, SenderList, Verdict, all_listed, judge
from mammography.view import SCREENING_SET, Laterality, View, ViewModifier, ViewPosition

FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"
CAD_SR = "1.2.840.10008.5.1.4.1.1.88.50"

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
QUIET, LONGEST = timedelta(seconds=60), timedelta(minutes=15)
ALL_FOUR = ("R CC", "L CC", "R MLO", "L MLO")


def image(name: str, *modifiers: ViewModifier, sop_class_uid: str = FOR_PRESENTATION) -> ArrivedView:
    side, position = name.split()
    view = View(laterality=Laterality(side), position=ViewPosition(position), modifiers=frozenset(modifiers))
    return ArrivedView(sop_class_uid=sop_class_uid, modality="MG", view=view)


def other(sop_class_uid: str, modality: str) -> ArrivedView:
    return ArrivedView(sop_class_uid=sop_class_uid, modality=modality, view=None)


def verdict(
    *images: ArrivedView,
    since_first: timedelta = timedelta(seconds=5),
    since_last: timedelta = timedelta(seconds=1),
    association_ended: bool = True,
) -> Verdict:
    return judge(
        images,
        first_at=NOW - since_first,
        last_at=NOW - since_last,
        association_ended=association_ended,
        now=NOW,
        quiet_period=QUIET,
        longest_wait=LONGEST,
    )


def test_a_full_screening_set_is_complete_when_its_association_ended():
    assert verdict(*map(image, ALL_FOUR)) == Verdict(
        complete=True, readable=True, reason="all four views of the screening set are here"
    )


def test_a_full_screening_set_waits_while_somebody_still_sends():
    assert not verdict(*map(image, ALL_FOUR), association_ended=False).complete


def test_each_view_counts_in_either_presentation_intent():
    mixed = [image(name, sop_class_uid=FOR_PROCESSING) for name in ALL_FOUR[:2]]
    assert verdict(*mixed, *map(image, ALL_FOUR[2:])).complete


@pytest.mark.parametrize("modifier", [ViewModifier.MAGNIFICATION, ViewModifier.SPOT_COMPRESSION])
def test_a_detail_does_not_stand_in_for_its_view(modifier: ViewModifier):
    assert not verdict(*map(image, ALL_FOUR[:3]), image("L MLO", modifier)).complete
    assert verdict(*map(image, ALL_FOUR), image("L MLO", modifier)).complete


def test_an_implant_displaced_view_is_a_view():
    assert verdict(*map(image, ALL_FOUR[:3]), image("L MLO", ViewModifier.IMPLANT_DISPLACED)).complete


def test_a_tomosynthesis_of_a_view_is_not_its_mammogram():
    tomosynthesis = image("L MLO", sop_class_uid=TOMOSYNTHESIS)
    assert not verdict(*map(image, ALL_FOUR[:3]), tomosynthesis).complete


def test_the_quiet_period_completes_what_will_stay_incomplete_and_says_what_is_missing():
    quiet = verdict(image("R MLO"), image("R CC"), since_first=QUIET * 2, since_last=QUIET)
    assert quiet == Verdict(
        complete=True,
        readable=True,
        reason="nothing arrived for 60 s; R CC, R MLO are here, L CC, L MLO are missing",
    )


def test_a_moment_before_the_quiet_period_ends_it_goes_on():
    almost = QUIET - timedelta(microseconds=1)
    assert not verdict(image("R CC"), since_first=QUIET, since_last=almost).complete


def test_the_longest_wait_ends_whatever_still_arrives():
    ended = verdict(
        image("R CC"), since_first=LONGEST, since_last=timedelta(seconds=1), association_ended=False
    )
    assert ended.complete
    assert ended.reason.startswith("images have been arriving for 900 s, the longest wait; R CC is here")


def test_an_image_of_no_stated_view_is_counted_in_the_reason():
    unstated = ArrivedView(sop_class_uid=FOR_PRESENTATION, modality="MG", view=None)
    reason = verdict(unstated, unstated, image("L CC"), since_last=QUIET).reason
    assert "L CC, 2 images of no stated view are here, R CC, R MLO, L MLO are missing" in reason


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ([other(CT, "CT")], "holds 1 CT image and no mammogram"),
        (
            [other(CT, "CT"), other(CT, "CT"), other(CAD_SR, "SR")],
            "holds 2 CT images, 1 SR object and no mammogram",
        ),
        ([other(TOMOSYNTHESIS, "MG")], "holds 1 tomosynthesis image and no mammogram"),
        ([other("1.3.46.1", "")], "holds 1 object and no mammogram"),
    ],
)
def test_a_study_without_a_mammogram_is_not_readable_and_says_what_it_holds(images, reason):
    assert not verdict(*images, association_ended=True).complete
    assert verdict(*images, since_last=QUIET) == Verdict(complete=True, readable=False, reason=reason)


views = st.builds(
    View,
    laterality=st.sampled_from(Laterality),
    position=st.sampled_from(ViewPosition),
    modifiers=st.frozensets(st.sampled_from(ViewModifier), max_size=2),
)
arrived = st.builds(
    ArrivedView,
    sop_class_uid=st.sampled_from([FOR_PRESENTATION, FOR_PROCESSING, CT, TOMOSYNTHESIS, CAD_SR]),
    modality=st.sampled_from(["MG", "CT", "SR", ""]),
    view=st.none() | views | st.sampled_from(sorted(SCREENING_SET, key=str)),
)
durations = st.timedeltas(min_value=timedelta(0), max_value=timedelta(hours=1))


@given(
    images=st.lists(arrived, min_size=1, max_size=12),
    between=durations,
    waiting=durations,
    more=durations,
    ended=st.booleans(),
)
def test_more_time_never_makes_a_complete_study_incomplete(images, between, waiting, more, ended):
    def judged(since_last: timedelta) -> Verdict:
        return verdict(
            *images, since_first=between + since_last, since_last=since_last, association_ended=ended
        )

    assert judged(waiting + more).complete >= judged(waiting).complete
    assert judged(waiting + more).readable == judged(waiting).readable


@given(
    images=st.lists(arrived, min_size=1, max_size=12),
    waiting=durations,
    ended=st.booleans(),
    random=st.randoms(use_true_random=False),
)
def test_the_order_of_arrival_changes_nothing(images, waiting, ended, random):
    shuffled = random.sample(images, k=len(images))
    assert verdict(*images, since_last=waiting, association_ended=ended) == verdict(
        *shuffled, since_last=waiting, association_ended=ended
    )


@given(images=st.lists(arrived, min_size=1, max_size=12), extra=arrived, ended=st.booleans())
def test_another_image_never_takes_completeness_away(images, extra, ended):
    assert (
        verdict(*images, extra, association_ended=ended).complete
        >= verdict(*images, association_ended=ended).complete
    )


@given(images=st.lists(arrived, max_size=12))
def test_the_end_of_an_association_completes_full_sets_and_nothing_else(images):
    shown = {
        View(laterality=one.view.laterality, position=one.view.position)
        for one in images
        if one.view is not None
        and one.sop_class_uid in (FOR_PRESENTATION, FOR_PROCESSING)
        and ViewModifier.MAGNIFICATION not in one.view.modifiers
        and ViewModifier.SPOT_COMPRESSION not in one.view.modifiers
    }
    assert verdict(*images).complete == (shown >= SCREENING_SET)


@given(images=st.lists(arrived, min_size=1, max_size=12))
def test_no_study_waits_for_ever(images):
    assert verdict(*images, since_first=LONGEST, association_ended=False).complete


def commitment(*instances: str) -> SenderList:
    return SenderList(is_commitment=True, finished=True, instances=frozenset(instances))


def step(*instances: str, finished: bool = True) -> SenderList:
    return SenderList(is_commitment=False, finished=finished, instances=frozenset(instances))


HERE = {"1": image("R CC"), "2": image("R MLO")}


@pytest.mark.parametrize(
    ("lists", "elsewhere", "by"),
    [
        ([step("1", "2")], (), "procedure step"),
        ([step("1"), step("2")], (), "procedure step"),
        ([step("1", "2", "3")], ("3",), "procedure step"),
        ([commitment("1", "2")], (), "Storage Commitment"),
        ([commitment("1"), commitment("1", "2")], (), "Storage Commitment"),
        ([step("1"), commitment("1", "2")], (), "Storage Commitment"),
        ([], (), ""),
        ([step("1", "2", "3")], (), ""),
        ([step("1")], (), ""),
        ([step("1", "2"), step(finished=False)], (), ""),
        ([commitment("1", "2"), step(finished=False)], (), ""),
        ([commitment("1"), commitment("2")], (), ""),
        ([commitment("1", "2", "3")], (), ""),
    ],
)
def test_a_sender_that_lists_all_that_is_here_need_not_be_waited_for(lists, elsewhere, by: str):
    said = all_listed(HERE, lists, elsewhere)
    assert by in said if by else not said


def test_commitment_to_a_single_mammogram_says_nothing_of_its_study():
    assert not all_listed({"1": image("R CC")}, [commitment("1")])
    assert all_listed({"1": image("R CC")}, [step("1")])
    assert not all_listed({}, [step()])


def test_a_list_ends_the_wait_and_is_the_reason():
    said = judge(
        HERE.values(),
        first_at=NOW,
        last_at=NOW,
        association_ended=False,
        now=NOW,
        quiet_period=QUIET,
        longest_wait=LONGEST,
        listed="the sender says so",
    )
    assert said == Verdict(
        complete=True,
        readable=True,
        reason="the sender says so; R CC, R MLO are here, L CC, L MLO are missing",
    )
