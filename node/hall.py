"""Where associations are held that were let in: each in a thread of its own."""

import socket
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from structlog.contextvars import bound_contextvars

from node.conversation import Conversation, Services
from node.desk import Desk
from node.incoming import InstanceStore
from node.operations import Operations
from node.porter import Call
from node.quota import Quota


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What callers find in a hall."""

    store: InstanceStore[Any]
    operations: Operations
    storage_classes: frozenset[str] | None = None
    """SOP classes that are stored; None is every one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """Who was let in: a place of the quota, and a number that no other association of the node has."""

    number: int
    place: int
    call: Call


class Host(Protocol):
    """Is told what happens in a hall, from any thread."""

    def stored(self, number: int, study_instance_uid: str) -> None:
        """An association stored an instance of a study, and is about to say so."""

    def over(self, number: int) -> None:
        """An association has come to its end."""

    def left(self, number: int) -> None:
        """Its connection is closed too: its place is free."""


class Hall:
    """Holds associations; who may come in is decided elsewhere."""

    def __init__(self, offer: Offer, host: Host, *, quota: Quota, silence: timedelta) -> None:
        self._offer, self._host = offer, host
        self._quota, self._silence = quota, silence
        self._desk = Desk(offer.store)
        self._lock = threading.Lock()
        self._open: dict[int, Conversation[Any]] = {}

    def hold(self, connection: socket.socket, guest: Guest, request: bytes) -> bool:
        """Hold an association from its whole A-ASSOCIATE-RQ on; False where the system has no thread for it."""
        conversation = Conversation(
            connection,
            guest.call,
            services=Services(
                store=self._offer.store,
                desk=self._desk,
                on_stored=lambda study_instance_uid: self._host.stored(guest.number, study_instance_uid),
                operations=self._offer.operations,
                storage_classes=self._offer.storage_classes,
                take=lambda count: self._quota.take(guest.place, count),
                give_back=lambda count: self._quota.give_back(guest.place, count),
            ),
            silence=self._silence,
        )
        with self._lock:
            self._open[guest.number] = conversation
        thread = threading.Thread(
            target=self._converse,
            args=(guest, conversation, request),
            name=f"association-{guest.number}",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            self._forget(guest)
            return False
        return True

    def abort(self) -> None:
        """End every association at once."""
        with self._lock:
            conversations = list(self._open.values())
        for conversation in conversations:
            conversation.abort()

    def _converse(self, guest: Guest, conversation: Conversation[Any], request: bytes) -> None:
        call = guest.call
        with bound_contextvars(
            association=guest.number, calling_ae_title=call.calling_ae_title, calling_address=call.address
        ):
            try:
                conversation.hold(request)
            finally:
                self._host.over(guest.number)
                conversation.hang_up()
                self._forget(guest)
                self._host.left(guest.number)

    def _forget(self, guest: Guest) -> None:
        with self._lock:
            del self._open[guest.number]
