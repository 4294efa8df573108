"""The role that takes associations in, in as many processes as the settings want."""

import threading
from datetime import timedelta

import structlog

from mammography.ledger.engine import Ledger
from node.annex import Annex
from node.association import Acceptor, Limits
from node.composition import callers_of, make_completion, now, operations_of, tls_door_of
from node.hall import Offer
from node.reception import Reception
from node.settings import NodeSettings
from node.strangers import Strangers

_log = structlog.get_logger()


def receive(settings: NodeSettings, ledger: Ledger, stop: threading.Event, *, last_words: timedelta) -> None:
    """Take associations in until told to stop; open ones may then go on for `last_words`.

    No thread may run and nothing of the ledger be open yet: processes are forked.

    Raises:
        SystemExit: if one of these processes ended by itself: the role is to be started anew.
    """
    limits, lost = Limits(), threading.Event()
    quota = limits.quota()
    annexes = [
        Annex(lambda: _furnished(settings), quota=quota, silence=limits.silence)
        for _ in range(settings.node.receiving_processes - 1)
    ]
    reception = _reception(settings, ledger)
    reception.replay_journals()
    reception.sweep_incoming()
    completion = make_completion(settings, ledger)
    strangers, callers = Strangers(ledger), callers_of(settings)

    def lose() -> None:
        lost.set()
        stop.set()

    acceptor = Acceptor(
        ae_title=settings.node.ae_title,
        host=settings.node.host,
        port=settings.node.port,
        offer=_offer(settings, ledger, reception),
        on_study_touched=lambda uid: completion.association_ended(uid, now=now()),
        callers=callers,
        on_stranger=strangers.turned_away,
        tls=tls_door_of(settings),
        limits=limits,
        quota=quota,
        annexes=annexes,
        when_lost=lose,
    )
    strangers.start()
    callers.start()
    acceptor.start()
    _log.info("listening", ae_title=settings.node.ae_title, host=settings.node.host, port=settings.node.port)
    stop.wait()
    acceptor.stop(last_words)
    callers.stop()
    strangers.stop()
    reception.close()
    reception.replay_journals()  # of the other processes, which are gone
    if lost.is_set():
        raise SystemExit(1)


def _furnished(settings: NodeSettings) -> Offer:
    """Return what is offered in another process, with a ledger and a store of its own."""
    ledger = Ledger(settings.ledger.url)
    return _offer(settings, ledger, _reception(settings, ledger))


def _reception(settings: NodeSettings, ledger: Ledger) -> Reception:
    return Reception(ledger=ledger, data_dir=settings.node.data_dir, survives=settings.node.survives)


def _offer(settings: NodeSettings, ledger: Ledger, reception: Reception) -> Offer:
    classes = settings.node.storage_classes
    return Offer(
        store=reception,
        operations=operations_of(settings, ledger, make_completion(settings, ledger)),
        storage_classes=None if classes is None else frozenset(classes),
    )
