"""How long a caller waits for the answer to its C-ECHO while others send as fast as they can."""

import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pydicom.uid import UID
from pynetdicom.dimse_messages import C_ECHO_RQ
from pynetdicom.dimse_primitives import C_ECHO
from pynetdicom.pdu import P_DATA_TF

from lab.bench.receivers import Receiver
from lab.bench.receiving import Load
from lab.bench.sender import RELEASE_RQ, associate, next_pdu

_VERIFICATION = "1.2.840.10008.1.1"
_PAUSE_SECONDS = 0.02
_WARM_UP_SECONDS = 0.5
_DATA_TF = 4
_FEWEST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """How long each echo took, from the connection to the answer."""

    seconds: tuple[float, ...]
    """Of those that were answered."""
    unanswered: int
    """That were rejected, aborted or hung up on."""

    def figures(self) -> tuple[float, float, float] | None:
        """Return the median, the 99th percentile and the longest in seconds; None from too few to have them."""
        if len(self.seconds) < _FEWEST:
            return None
        p99 = statistics.quantiles(self.seconds, n=100, method="inclusive")[98]
        return statistics.median(self.seconds), p99, max(self.seconds)


def echo_under_load(receiver: Receiver, load: Load, number: int) -> Waited:
    """Return how long echoes take while a load is sent to a receiver; `number` names instances that it has not seen.

    Raises:
        ReceiverFailed: if it refuses an instance.
    """
    words = [receiver.port, receiver.ae_title, load.associations, load.instances, load.size, number]
    with subprocess.Popen(
        [sys.executable, "-m", "lab.bench.sender", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as sender:
        time.sleep(_WARM_UP_SECONDS)
        waited, unanswered = [], 0
        while sender.poll() is None:
            try:
                waited.append(_echo(receiver))
            except OSError:
                unanswered += 1
            time.sleep(_PAUSE_SECONDS)
        failed = sender.communicate()[1].decode()
    if failed:
        raise receiver.failed(failed)
    return Waited(seconds=tuple(waited), unanswered=unanswered)


def echo_table(waited: Mapping[str, Mapping[Load, Waited]]) -> str:
    """Return the figures as Markdown; a receiver that answered fewer than ten echoes has none."""
    lines = [
        "| load | receiver | echoes | unanswered | median ms | p99 ms | longest ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, of_receiver in waited.items():
        for load, one in of_receiver.items():
            figures = one.figures()
            cells = [f"{each * 1e3:.0f}" for each in figures] if figures else ["-"] * 3
            counts = f"{len(one.seconds)} | {one.unanswered}"
            lines.append(f"| {load.name} | {name} | {counts} | {' | '.join(cells)} |")
    return "\n".join(lines)


def measure_echoes(receivers: Sequence[Receiver], loads: Sequence[Load]) -> dict[str, dict[Load, Waited]]:
    """Return how long echoes take at each receiver under each load."""
    numbers = iter(range(900_000, 999_999))
    found: dict[str, dict[Load, Waited]] = {}
    for receiver in receivers:
        for load in loads:
            waited = receiver.all_taken(partial(echo_under_load, receiver, load), numbers)
            found.setdefault(receiver.name, {})[load] = waited
            receiver.forget()
    return found


def _echo(receiver: Receiver) -> float:
    """Associate, verify and release; return the seconds to the answer.

    Raises:
        OSError: if there is none.
    """
    began = time.perf_counter()
    with associate(
        receiver.port, receiver.ae_title, calling="CONSOLE", sop_class=_VERIFICATION
    ) as connection:
        connection.sendall(_MESSAGE)
        kind, _ = next_pdu(connection)
        seconds = time.perf_counter() - began
        if kind != _DATA_TF:
            raise ConnectionError(f"{receiver.name} answered an echo with a PDU of type {kind}")
        connection.sendall(RELEASE_RQ)
        next_pdu(connection)
    return seconds


def _message() -> bytes:
    request = C_ECHO()
    request.MessageID, request.AffectedSOPClassUID = 1, UID(_VERIFICATION)
    message = C_ECHO_RQ()
    message.primitive_to_message(request)
    pdus = []
    for primitive in message.encode_msg(1, 16382):
        pdu = P_DATA_TF()
        pdu.from_primitive(primitive)
        pdus.append(bytes(pdu.encode()))
    return b"".join(pdus)


_MESSAGE = _message()
