"""A receiving process that may be killed: python -m tests.reception.receiving_process DATA_DIR LEDGER_URL [SURVIVES]."""

import os
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

from mammography.ledger.engine import Ledger
from mammography.telemetry.logging import configure_logging
from node.annex import Annex
from node.association import Acceptor, Limits
from node.commitment import PUSH_MODEL, Commitment, takes_reports
from node.commitment_provider import CommitmentProvider
from node.hall import Offer
from node.negotiation import MODALITY_PERFORMED_PROCEDURE_STEP as MPPS
from node.procedure_steps import ProcedureSteps
from node.reception import Reception
from node.survival import Survives
from node.wire.command_set import CommandField

LOST = 78
"""Its exit status once its annex ended by itself."""
TOUCHED = "touched"
"""A file beside the data folder: a line for each study that was touched."""


def end_loudly(unforeseen: threading.ExceptHookArgs) -> None:
    """Let no thread die in silence: whoever runs this asks whether the process lives."""
    threading.__excepthook__(unforeseen)
    os._exit(77)


def offer(ledger_url: str, data_dir: Path, survives: Survives) -> Offer:
    """What is offered in one process, with a store and a ledger of its own."""
    ledger = Ledger(ledger_url)
    commitment = Commitment(ledger=ledger, calling_ae_title="MAMMOCALC", destinations=[])
    provider = CommitmentProvider(
        ledger=ledger, data_dir=data_dir, ae_title="MAMMOCALC", report_to=lambda *_: None
    )
    steps = ProcedureSteps(ledger=ledger)
    return Offer(
        store=Reception(ledger=ledger, data_dir=data_dir, minimum_free_bytes=0, survives=survives),
        operations={
            (CommandField.N_EVENT_REPORT, PUSH_MODEL): takes_reports(
                lambda report: commitment.record(report, now=datetime.now(UTC))
            ),
            (CommandField.N_ACTION, PUSH_MODEL): lambda asked: provider.request(asked, now=datetime.now(UTC)),
            (CommandField.N_CREATE, MPPS): lambda asked: steps.create(asked, now=datetime.now(UTC)),
            (CommandField.N_SET, MPPS): lambda asked: steps.change(asked, now=datetime.now(UTC)),
        },
    )


def main() -> None:
    configure_logging("receive")
    threading.excepthook = end_loudly
    data_dir, ledger_url = Path(sys.argv[1]), sys.argv[2]
    survives = Survives(sys.argv[3]) if len(sys.argv) > 3 else Survives.POWER_CUT
    limits = Limits()
    quota = limits.quota()
    annex = Annex(lambda: offer(ledger_url, data_dir, survives), quota=quota, silence=limits.silence)
    here = offer(ledger_url, data_dir, survives)
    here.store.replay_journals()
    here.store.sweep_incoming()
    touched = (data_dir.parent / TOUCHED).open(
        "a", buffering=1
    )  # not a pipe: that fills up where nobody reads
    acceptor = Acceptor(
        ae_title="MAMMOCALC",
        host="127.0.0.1",
        port=0,
        offer=here,
        on_study_touched=lambda study_instance_uid: print(study_instance_uid, file=touched),
        limits=limits,
        quota=quota,
        annexes=[annex],
        when_lost=lambda: os._exit(LOST),
    )
    acceptor.start()
    print(f"port {acceptor.port}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
