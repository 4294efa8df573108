"""kill -9 of the worker and of the whole node end with the same single answer."""

import pytest

from mammography.study import StudyState
from tests.journeys.answers import answer_in

pytestmark = [pytest.mark.orthanc, pytest.mark.slow, pytest.mark.timeout(300)]

ANSWERED = {StudyState.COMMITTED, StudyState.FAILED, StudyState.UNREADABLE}


@pytest.fixture(scope="module")
def undisturbed(phantom, tmp_path_factory):
    """The SOP Instance UIDs of the answer that an undisturbed reading gives."""
    from datetime import UTC, datetime

    from mammography.offline import read_files
    from mammography.reader.reader import Reader

    out = tmp_path_factory.mktemp("undisturbed")
    read_files(phantom.files, Reader.load(), out, datetime(2026, 1, 1, tzinfo=UTC))
    return {path.stem.rpartition("-")[2] for path in out.rglob("*.dcm")}


def single_answer(orthanc, phantom):
    answer = answer_in(orthanc, phantom.study_instance_uid)
    assert len(answer.cad_sr) == 1
    assert len(answer.gsps) == 4
    return {str(thing.SOPInstanceUID) for thing in [*answer.cad_sr, *answer.gsps]}


def test_a_worker_killed_in_the_middle_of_a_reading(node, orthanc, phantom, undisturbed):
    phantom.send(node.port)
    node.wait_for(phantom.study_instance_uid, {StudyState.READING})
    node.kill_role("work")
    row = node.wait_for(phantom.study_instance_uid, ANSWERED)
    assert row.state is StudyState.COMMITTED, row.reason
    assert single_answer(orthanc, phantom) == undisturbed
    assert any("ended in the middle" in line.reason for line in node.history(phantom.study_instance_uid))


def test_the_node_killed_after_the_last_image_was_acknowledged(node, orthanc, phantom, undisturbed):
    assert phantom.send(node.port).returncode == 0
    node.kill()
    assert not orthanc.instances()
    node.start()
    row = node.wait_for(phantom.study_instance_uid, ANSWERED)
    assert row.state is StudyState.COMMITTED, row.reason
    assert single_answer(orthanc, phantom) == undisturbed


def test_ctrl_c_stops_every_process_within_ten_seconds_and_the_next_start_goes_on(
    node, orthanc, phantom, undisturbed
):
    phantom.send(node.port)
    node.wait_for(phantom.study_instance_uid, {StudyState.READING})
    pids = node.pids()
    assert node.stop() < 10
    assert not any(alive(pid) for pid in pids.values())
    node.start()
    row = node.wait_for(phantom.study_instance_uid, ANSWERED)
    assert row.state is StudyState.COMMITTED, row.reason
    assert single_answer(orthanc, phantom) == undisturbed


def alive(pid):
    from pathlib import Path

    return Path(f"/proc/{pid}").exists()
