"""A mammogram goes in, marks come out: storescu as the modality, a real Orthanc as the PACS."""

import itertools
import os
import time

import psycopg
import pydicom
import pytest

from mammography.study import StudyState
from mammography.uid import UidRole, mint
from tests.journeys.answers import answer_in, easy_groups, outlines_in_cad_sr, outlines_in_gsps, share_inside
from tests.journeys.running_node import RunningNode
from tests.judges import dciodvfy, dcmpschk, dsrdump, pixelmed, run

pytestmark = [pytest.mark.orthanc, pytest.mark.slow, pytest.mark.timeout(420)]

ANSWERED = {StudyState.COMMITTED, StudyState.FAILED, StudyState.UNREADABLE}


def test_a_four_view_study_is_answered_once_and_every_easy_cluster_lies_inside_a_mark(
    node, orthanc, phantom, tmp_path
):
    sent = phantom.send(node.port)
    assert sent.returncode == 0, sent.stderr
    row = node.wait_for(phantom.study_instance_uid, ANSWERED)
    assert row.state is StudyState.COMMITTED, row.reason

    answer = answer_in(orthanc, phantom.study_instance_uid)
    assert len(answer.cad_sr) == 1
    assert len(answer.gsps) == 4

    groups = easy_groups(phantom.truth)
    assert groups, "the phantom has no cluster of the easy class"
    for outlines in (outlines_in_cad_sr(answer.cad_sr[0]), outlines_in_gsps(answer.gsps)):
        missed = [uid for uid, specks in groups if share_inside(specks, outlines.get(uid, [])) < 0.75]
        assert not missed

    report, *states = kept(orthanc, [*answer.cad_sr, *answer.gsps], tmp_path)
    assert dciodvfy(report) + dsrdump(report) == []
    for state in states:
        assert dciodvfy(state) + dcmpschk(state) == []
    _, said = run("dcentvfy", *phantom.files, report, *states)
    assert "Error" not in said, said
    assert pixelmed([report], tmp_path) == [[]]

    held = orthanc.instances()
    history = len(node.history(phantom.study_instance_uid))
    assert phantom.send(node.port).returncode == 0
    assert settled(node, phantom.study_instance_uid)
    assert orthanc.instances() == held
    assert len(node.history(phantom.study_instance_uid)) == history


def kept(orthanc, objects, folder):
    """Write objects as Orthanc holds them, and return the files."""
    files = []
    for thing in objects:
        files.append(folder / f"{thing.SOPInstanceUID}.dcm")
        files[-1].write_bytes(orthanc.file_of(thing.SOPInstanceUID))
    return files


def settled(node, uid):
    """Return whether the study stays where it is for longer than a quiet period."""
    before = node.study(uid)
    time.sleep(4)
    after = node.study(uid)
    return (before.state, before.revision) == (after.state, after.revision)


def test_a_full_set_is_queued_within_a_second_and_the_reason_says_so(node, phantom):
    phantom.send(node.port)
    node.wait_for(phantom.study_instance_uid, ANSWERED)
    history = node.history(phantom.study_instance_uid)
    queued = next(line for line in history if line.to_state is StudyState.QUEUED)
    last_stored = max(line.at for line in history if line.event == "instance-stored")
    assert (queued.at - last_stored).total_seconds() < 1.0
    assert "four views" in queued.reason
    walked = [state for state, _ in itertools.groupby(line.to_state for line in history)]
    assert walked == [
        StudyState.RECEIVING,
        StudyState.QUEUED,
        StudyState.READING,
        StudyState.READ,
        StudyState.REPORTED,
        StudyState.DELIVERED,
        StudyState.COMMITTED,
    ]


def test_an_image_that_comes_late_makes_a_second_report_that_names_the_first(node, orthanc, phantom):
    first_three, last = phantom.files[:3], phantom.files[3:]
    phantom.send(node.port, first_three)
    node.wait_for(phantom.study_instance_uid, ANSWERED)
    queued = next(
        line for line in node.history(phantom.study_instance_uid) if line.to_state is StudyState.QUEUED
    )
    assert queued.reason.startswith("Nothing arrived for 2 s; ")
    assert queued.reason.endswith("R MLO is missing.")
    phantom.send(node.port, last)
    end = time.monotonic() + 120
    while (row := node.study(phantom.study_instance_uid)).revision < 2 or row.state not in ANSWERED:
        assert time.monotonic() < end, row.state
        time.sleep(0.2)
    reports = sorted(
        answer_in(orthanc, phantom.study_instance_uid).cad_sr,
        key=lambda r: "PredecessorDocumentsSequence" in r,
    )
    assert len(reports) == 2
    first, second = reports
    named = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == first.SOPInstanceUID


def test_a_fifth_view_makes_revision_2_and_the_pacs_shows_which_answer_counts(
    node, orthanc, phantom, tmp_path
):
    """MAMMOCALC_LATE_SECONDS lets it come as long after the answer."""
    phantom.send(node.port)
    node.wait_for(phantom.study_instance_uid, ANSWERED)
    time.sleep(float(os.environ.get("MAMMOCALC_LATE_SECONDS", "0")))
    fifth = pydicom.dcmread(phantom.files[0])
    fifth.SOPInstanceUID = fifth.file_meta.MediaStorageSOPInstanceUID = mint(UidRole.PHANTOM, "fifth", "view")
    fifth.save_as(tmp_path / "fifth.dcm")
    phantom.send(node.port, [tmp_path / "fifth.dcm"])
    end = time.monotonic() + 120
    while (row := node.study(phantom.study_instance_uid)).revision < 2 or row.state not in ANSWERED:
        assert time.monotonic() < end, row.state
        time.sleep(0.2)
    assert row.state is StudyState.COMMITTED
    reports = {
        "PredecessorDocumentsSequence" in report: report
        for report in answer_in(orthanc, phantom.study_instance_uid).cad_sr
    }
    named = reports[True].PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == reports[False].SOPInstanceUID
    listed = {
        int(tags["SeriesNumber"]): tags["SeriesDescription"]
        for tags in (series["MainDicomTags"] for series in orthanc.get("/series?expand"))
        if tags["Modality"] in ("SR", "PR")
    }
    assert [("rev 2" in text) for _, text in sorted(listed.items())] == [False] * 3 + [True] * 3, listed


def test_the_same_way_on_postgresql_and_redis(tmp_path, orthanc, phantom, postgres_url, redis_url):
    database = f"{postgres_url}/journey"
    with psycopg.connect(f"{postgres_url.replace('+psycopg', '')}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE journey")
    node = RunningNode(tmp_path, pacs_port=orthanc.dicom_port, ledger_url=database, queue_url=redis_url)
    orthanc.modalities = {"MAMMOCALC": node.port}
    orthanc.start()
    node.start()
    try:
        assert "broker" not in node.pids()
        phantom.send(node.port)
        row = node.wait_for(phantom.study_instance_uid, ANSWERED)
        assert row.state is StudyState.COMMITTED, row.reason
        answer = answer_in(orthanc, phantom.study_instance_uid)
        assert (len(answer.cad_sr), len(answer.gsps)) == (1, 4)
    finally:
        node.stop()
