"""A modality tells which procedure it performs, and what it made (MPPS)."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import build_context
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from mammography.ledger.signals import signals_of
from mammography.ledger.tables import ProcedureStepRow
from node.completion import Completion
from node.negotiation import MODALITY_PERFORMED_PROCEDURE_STEP as MPPS
from node.procedure_steps import ProcedureSteps
from node.requestor import association
from node.wire.command_set import CommandField
from tests.reception.conftest import ListeningNode
from tests.reception.mammograms import FOR_PRESENTATION, uid

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STEP = "1.2.840.999.1"


@pytest.fixture
def finished() -> list[str]:
    return []


@pytest.fixture
def telling(node: ListeningNode, finished: list[str]) -> Iterator[Any]:
    """An association over which a modality tells."""
    with telling_of(node, ProcedureSteps(ledger=node.ledger, on_finished=finished.append)) as conversation:
        yield conversation


@contextmanager
def telling_of(node: ListeningNode, steps: ProcedureSteps) -> Iterator[Any]:
    node.acceptor.stop()
    node.listen(
        operations={
            (CommandField.N_CREATE, MPPS): lambda asked: steps.create(asked, now=NOW),
            (CommandField.N_SET, MPPS): lambda asked: steps.change(asked, now=NOW + timedelta(minutes=5)),
        }
    )
    with association(
        [build_context(MPPS, ExplicitVRLittleEndian)],
        calling_ae_title="MODALITY1",
        called_ae_title="MAMMOCALC",
        host="127.0.0.1",
        port=node.port,
        timeout=timedelta(seconds=10),
    ) as conversation:
        yield conversation


def begun(*studies: str, status: str = "IN PROGRESS") -> Dataset:
    step = Dataset()
    step.PerformedProcedureStepStatus = status
    step.Modality = "MG"
    step.ScheduledStepAttributesSequence = []
    for study in studies:
        item = Dataset()
        item.StudyInstanceUID = study
        step.ScheduledStepAttributesSequence.append(item)
    return step


def over(*instances: str, status: str = "COMPLETED") -> Dataset:
    step, series = Dataset(), Dataset()
    step.PerformedProcedureStepStatus = status
    series.SeriesInstanceUID = uid("a series")
    series.ReferencedImageSequence = []
    for instance in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = FOR_PRESENTATION, instance
        series.ReferencedImageSequence.append(item)
    step.PerformedSeriesSequence = [series]
    return step


def create(telling: Any, step: Dataset, instance: str | None = STEP) -> int:
    return int(telling.send_n_create(step, MPPS, instance)[0].Status)


def change(telling: Any, step: Dataset, instance: str = STEP) -> int:
    return int(telling.send_n_set(step, MPPS, instance)[0].Status)


def said(node: ListeningNode, study: str) -> list[tuple[bool, list[str]]]:
    with node.ledger.read() as session:
        return [(row.finished, row.instances) for row in signals_of(session, study)]


@pytest.mark.parametrize("status", ["COMPLETED", "DISCONTINUED"])
def test_a_step_begins_goes_on_and_is_over(
    node: ListeningNode, telling: Any, finished: list[str], status: str
):
    assert create(telling, begun("1.2.1", "1.2.2")) == 0x0000
    assert said(node, "1.2.1") == [(False, [])]
    assert change(telling, over("1.2.1.1", status="IN PROGRESS")) == 0x0000
    assert said(node, "1.2.1") == [(False, ["1.2.1.1"])]
    assert not finished
    assert change(telling, over("1.2.1.2", "1.2.1.1", status=status)) == 0x0000
    assert said(node, "1.2.1") == said(node, "1.2.2") == [(True, ["1.2.1.1", "1.2.1.2"])]
    assert finished == ["1.2.1", "1.2.2"]
    with node.ledger.read() as session:
        step = session.get_one(ProcedureStepRow, STEP)
        assert (step.status, step.calling_ae_title) == (status, "MODALITY1")
        assert (step.begun_at, step.changed_at) == (NOW, NOW + timedelta(minutes=5))


def test_a_step_that_is_over_keeps_the_list_that_it_had(node: ListeningNode, telling: Any):
    create(telling, begun("1.2.1"))
    change(telling, over("1.2.1.1", status="IN PROGRESS"))
    last = Dataset()
    last.PerformedProcedureStepStatus = "COMPLETED"
    assert change(telling, last) == 0x0000
    assert said(node, "1.2.1") == [(True, ["1.2.1.1"])]


def test_of_what_a_step_lists_only_lawful_uids_are_waited_for(node: ListeningNode, telling: Any):
    """Some send the whole buffer that a UID is in. PostgreSQL takes no NUL, and no image comes by an unlawful UID."""
    create(telling, begun("1.2.1"))
    with pytest.warns(UserWarning, match="Invalid value for VR UI"):
        step = over("1.2.1.1\0garbage", "1.2.1.x", "1.2.1.3")
    assert change(telling, step) == 0x0000
    assert said(node, "1.2.1") == [(True, ["1.2.1.1", "1.2.1.3"])]


def test_a_step_that_is_over_changes_no_more(node: ListeningNode, telling: Any):
    create(telling, begun("1.2.1"))
    change(telling, over("1.2.1.1"))
    status, _ = telling.send_n_set(over("1.2.1.2"), MPPS, STEP)
    assert (status.Status, status.ErrorComment) == (
        0x0110,
        "Performed Procedure Step Object may no longer be updated",
    )
    assert said(node, "1.2.1") == [(True, ["1.2.1.1"])]


def test_a_step_is_begun_once(telling: Any):
    assert create(telling, begun("1.2.1")) == 0x0000
    assert create(telling, begun("1.2.1")) == 0x0111


@pytest.mark.parametrize(
    ("step", "instance", "status"),
    [
        (begun("1.2.1"), None, 0x0117),
        (begun("1.2.1", status="COMPLETED"), STEP, 0x0106),
        (begun("1.2.1", status=""), STEP, 0x0120),
        (begun(), STEP, 0x0120),
        (begun("1.2.x"), STEP, 0x0120),
    ],
)
def test_what_is_no_step_is_refused_with_its_status(
    telling: Any, step: Dataset, instance: str | None, status: int
):
    assert create(telling, step, instance) == status
    assert create(telling, begun("1.2.1")) == 0x0000, "the node goes on"


def test_what_nobody_began_cannot_be_changed(telling: Any):
    assert change(telling, over("1.2.1.1")) == 0x0112
    create(telling, begun("1.2.1"))
    assert change(telling, over("1.2.1.1", status="ABANDONED")) == 0x0106


def test_while_the_ledger_is_away_the_modality_is_told_so(node: ListeningNode, telling: Any):
    def refuse(*_: object) -> None:
        raise OperationalError("BEGIN", {}, Exception("away"))

    event.listen(node.ledger._engine, "before_cursor_execute", refuse)
    assert create(telling, begun("1.2.1")) == 0x0110
    event.remove(node.ledger._engine, "before_cursor_execute", refuse)
    assert create(telling, begun("1.2.1")) == 0x0000


def test_a_ledger_that_goes_away_once_a_step_was_written_down_is_no_failure_of_the_step(node: ListeningNode):
    """The study is judged by the sweep then; the modality hears that its step is over, and tells it only once."""
    completion = Completion(
        ledger=node.ledger,
        quiet_period=timedelta(minutes=1),
        longest_wait=timedelta(minutes=15),
        ring=lambda _: True,
    )
    steps = ProcedureSteps(ledger=node.ledger, on_finished=lambda study: completion.listed(study, now=NOW))
    refused = []

    def refuse(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM study" in statement and not refused:
            refused.append(statement)
            raise OperationalError("SELECT", {}, Exception("server closed the connection unexpectedly"))

    with telling_of(node, steps) as conversation:
        assert create(conversation, begun("1.2.3")) == 0
        event.listen(node.ledger._engine, "before_cursor_execute", refuse)
        assert change(conversation, over("1.2.3.4")) == 0
        event.remove(node.ledger._engine, "before_cursor_execute", refuse)
    assert refused
    with node.ledger.read() as session:
        assert session.get(ProcedureStepRow, STEP).status == "COMPLETED"
