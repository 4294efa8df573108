"""mammocalc study: what a person sees, and can do, where a ledger is."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from mammography.command_line import command_line
from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from mammography.ledger.studies import ArrivedInstance, advance, record_instance, record_refusal, study
from mammography.study import StudyEvent, StudyState

NOW = datetime.now(UTC) - timedelta(hours=3, minutes=5)
CT = "1.2.840.10008.5.1.4.1.1.2"
MG = "1.2.840.10008.5.1.4.1.1.1.2"


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/ledger.db"
    monkeypatch.setenv("MAMMOCALC_LEDGER_URL", url)
    upgrade(url)
    opened = Ledger(url)
    yield opened
    opened.close()


def arrive(session, study_uid, sop_uid, sop_class=MG, **facts):
    record_instance(
        session,
        ArrivedInstance(
            sop_instance_uid=sop_uid,
            study_instance_uid=study_uid,
            series_instance_uid="1.2.3.9",
            sop_class_uid=sop_class,
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            path=f"studies/{study_uid}/images/{sop_uid}.dcm",
            bytes=1,
            digest="0" * 32,
            calling_ae_title="MODALITY1",
            received_at=NOW,
            **facts,
        ),
    )


def mammocalc(*words):
    return CliRunner().invoke(command_line(), ["study", *words])


def fail(session, uid):
    advance(
        session, uid, seen=StudyState.RECEIVING, event=StudyEvent.JUDGED_COMPLETE, now=NOW, reason="Here."
    )
    advance(
        session, uid, seen=StudyState.QUEUED, event=StudyEvent.GAVE_UP, now=NOW, reason="A file is missing."
    )


def test_a_study_is_found_by_its_last_digits_and_what_is_not_read_says_so(ledger):
    with ledger.begin() as session:
        arrive(session, "1.2.3.4711", "1.2.3.1", modality="MG", laterality="R", view_position="CC")
        arrive(session, "1.2.3.4711", "1.2.3.2", CT, modality="CT")
    shown = mammocalc("show", "4711")
    assert shown.exit_code == 0, shown.output
    assert "1.2.3.4711" in shown.output
    mg, ct = (line for line in shown.output.splitlines() if "images/1.2.3." in line)
    assert "R CC" in mg
    assert "not read" not in mg
    assert "stored, not read" in ct
    facts = json.loads(mammocalc("show", "4711", "--json").output)
    assert [entry["modality"] for entry in facts["instances"]] == ["MG", "CT"]


def test_digits_that_fit_no_study_or_several_are_a_sentence(ledger):
    with ledger.begin() as session:
        arrive(session, "1.2.3.11", "1.2.3.1")
        arrive(session, "1.2.4.11", "1.2.3.2")
    for digits, told in (("99", "No studies end with 99"), ("11", "2 studies end with 11")):
        shown = mammocalc("show", digits)
        assert shown.exit_code == 2
        assert told in shown.output


def test_the_list_has_the_state_asked_for_and_what_was_refused(ledger):
    with ledger.begin() as session:
        arrive(session, "1.2.3.5", "1.2.3.1")
        arrive(session, "1.2.3.6", "1.2.3.2")
        fail(session, "1.2.3.6")
        record_refusal(
            session, at=NOW, calling_ae_title="STRANGER", sop_instance_uid="", reason="It is no data set."
        )
    listed = json.loads(mammocalc("list", "--state", "failed", "--json").output)
    assert [(row["study_instance_uid"], row["reason"]) for row in listed] == [
        ("1.2.3.6", "A file is missing.")
    ]
    shown = mammocalc("list").output
    assert "from STRANGER: It is no data set." in shown
    assert "3 h" in shown


def test_a_failed_study_is_retried_and_another_is_not(ledger):
    with ledger.begin() as session:
        arrive(session, "1.2.3.6", "1.2.3.2")
        fail(session, "1.2.3.6")
    done = mammocalc("retry", "1.2.3.6")
    assert done.exit_code == 0, done.output
    with ledger.read() as session:
        assert study(session, "1.2.3.6").state is StudyState.RECEIVING
    again = mammocalc("retry", "1.2.3.6")
    assert again.exit_code == 2
    assert "only a failed or unreadable one" in again.output
    history = mammocalc("history", "1.2.3.6").output
    assert "A file is missing." in history
    assert "retried it" in history
