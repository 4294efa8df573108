"""What comes together is synced and committed together, and each hears of its own outcome."""

import errno
import os
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import event

from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from node.dimse_status import StorageExhausted
from node.group_commit import Abandoned, GroupCommit
from node.reception import Reception
from node.survival import Survives
from tests.reception.mammograms import FOR_PRESENTATION, encoded, mammogram, uid


def submitted(group: GroupCommit[int, int], items: Sequence[int]) -> dict[int, int | Exception]:
    """What each of these threads was given, all started at once."""
    outcomes: dict[int, int | Exception] = {}

    def submit(item: int) -> None:
        try:
            outcomes[item] = group.submit(item)
        except (ValueError, Abandoned, ZeroDivisionError) as failure:
            outcomes[item] = failure

    threads = [threading.Thread(target=submit, args=(item,)) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    return outcomes


def test_those_who_come_while_others_are_worked_for_are_one_group():
    groups: list[int] = []

    def work(items: Sequence[int]) -> list[int]:
        groups.append(len(items))
        time.sleep(0.2)
        return [item * item for item in items]

    assert submitted(GroupCommit(work), range(20)) == {item: item * item for item in range(20)}
    assert len(groups) <= 4
    assert sum(groups) == 20


def test_an_outcome_that_is_an_exception_is_raised_for_its_own_alone():
    def work(items: Sequence[int]) -> list[int | Exception]:
        time.sleep(0.05)
        return [ValueError(item) if item % 2 else item for item in items]

    outcomes = submitted(GroupCommit(work), range(10))
    assert [isinstance(outcomes[item], ValueError) for item in range(10)] == [False, True] * 5


def test_work_that_fails_leaves_nobody_waiting():
    def work(items: Sequence[int]) -> list[int]:
        time.sleep(0.05)
        return [1 // item for item in items]

    group = GroupCommit(work)
    outcomes = submitted(group, [0, 0, 0, 0])
    assert isinstance(outcomes[0], Abandoned | ZeroDivisionError)
    assert submitted(group, [1]) == {1: 1}


def store(reception: Reception, study: str, number: int) -> None:
    image = mammogram(study, SOPInstanceUID=uid(study, str(number)))
    reception.store(
        sop_class_uid=FOR_PRESENTATION,
        sop_instance_uid=image.SOPInstanceUID,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        calling_ae_title="MODALITY1",
        data_set=encoded(image),
        now=datetime.now(UTC),
    )


def test_many_associations_need_fewer_commits_than_instances(ledger: Ledger, tmp_path: Path):
    reception = Reception(ledger=ledger, data_dir=tmp_path / "data", minimum_free_bytes=0)
    commits: list[object] = []
    event.listen(ledger._engine, "commit", commits.append)
    threads = [
        threading.Thread(target=lambda study=f"group-{n}": [store(reception, study, i) for i in range(8)])
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list((tmp_path / "data").rglob("*.dcm"))) == 96
    assert len(commits) < 60


@pytest.mark.parametrize("survives", ["power-cut", "kill"])
def test_the_one_setting_decides_whether_anything_is_synced(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survives: str
):
    synced: list[str] = []

    def note(name: str, real: Callable[[int], None], descriptor: int) -> None:
        if (
            not Path(f"/proc/self/fd/{descriptor}").readlink().name.endswith("-wal")
        ):  # the ledger's own affair
            synced.append(name)
        real(descriptor)

    for name in ("fdatasync", "fsync"):
        monkeypatch.setattr(os, name, partial(note, name, getattr(os, name)))
    reception = Reception(
        ledger=ledger, data_dir=tmp_path / "data", minimum_free_bytes=0, survives=Survives(survives)
    )
    store(reception, "sync", 1)
    store(reception, "sync", 2)
    if survives == "kill":
        assert not synced
    else:
        assert synced.count("fdatasync") == 2, "each file"
        assert synced.count("fsync") >= 5, "studies, study and images once; images for each group"


def test_a_ledger_that_the_disk_does_not_take_is_said_and_the_retry_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    url = f"sqlite:///{tmp_path}/ledger.db"
    upgrade(url)
    reception = Reception(ledger=Ledger(url), data_dir=tmp_path / "data", minimum_free_bytes=0)
    real = os.fdatasync

    def fdatasync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name.endswith("-wal"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", fdatasync)
        with pytest.raises(StorageExhausted, match="ledger cannot be written now"):
            store(reception, "broken", 1)
    store(reception, "broken", 1)
    (kept,) = (tmp_path / "data" / "studies").rglob("*.dcm")
    assert kept.stem == uid("broken", "1")
