"""A receiving process that may be killed: python -m tests.reception.receiving_process DATA_DIR LEDGER_URL."""

import sys
import threading
from pathlib import Path

from mammography.ledger.engine import Ledger
from mammography.telemetry.logging import configure_logging
from node.association import Acceptor
from node.reception import Reception


def main() -> None:
    configure_logging("receive")
    reception = Reception(ledger=Ledger(sys.argv[2]), data_dir=Path(sys.argv[1]), minimum_free_bytes=0)
    reception.sweep_incoming()
    acceptor = Acceptor(
        ae_title="MAMMOCALC",
        host="127.0.0.1",
        port=0,
        reception=reception,
        on_study_touched=lambda _: None,
        operations={},
    )
    acceptor.start()
    print(f"port {acceptor.port}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
