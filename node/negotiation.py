"""Which presentation contexts we accept: everything that is stored, as its sender encodes it (PS3.8 7.1.1.13)."""

from collections.abc import Iterable
from typing import cast

from pydicom.uid import UID, UID_dictionary
from pynetdicom import AllStoragePresentationContexts, build_context, evt
from pynetdicom.pdu_primitives import SOPClassCommonExtendedNegotiation
from pynetdicom.presentation import PresentationContext

STORAGE_CLASSES = frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
"""The SOP classes of the Storage Service that the library knows."""
_STORAGE_SERVICE = UID("1.2.840.10008.4.2")


def is_storage(abstract_syntax: UID) -> bool:
    """Whether a proposed SOP class is stored: a known or retired storage class, a private or an unknown one."""
    if str(abstract_syntax) in STORAGE_CLASSES or abstract_syntax.is_private:
        return True
    if abstract_syntax not in UID_dictionary:
        return True
    return abstract_syntax.name.endswith("Storage (Retired)")


def storage_contexts(proposed: Iterable[PresentationContext]) -> list[PresentationContext]:
    """Return what we support of a proposal: each storage class once, with every transfer syntax proposed for it.

    Where one context proposes several, the sender's first that the standard knows is taken.
    """
    syntaxes: dict[UID, dict[UID, None]] = {}
    for context in proposed:
        abstract_syntax = cast(UID, context.abstract_syntax)
        if is_storage(abstract_syntax):
            syntaxes.setdefault(abstract_syntax, {}).update(dict.fromkeys(context.transfer_syntax))
    return [
        build_context(abstract_syntax, sorted(proposals, key=lambda uid: uid not in UID_dictionary))
        for abstract_syntax, proposals in syntaxes.items()
    ]


def services_of_unknown_classes(event: evt.Event) -> dict[UID, SOPClassCommonExtendedNegotiation]:
    """Tell the library that the classes it does not know belong to the Storage Service (PS3.7 D.3.3.6)."""
    items = {}
    for context in event.assoc.acceptor.supported_contexts:
        sop_class_uid = cast(UID, context.abstract_syntax)
        if is_storage(sop_class_uid) and str(sop_class_uid) not in STORAGE_CLASSES:
            item = SOPClassCommonExtendedNegotiation()
            item.sop_class_uid, item.service_class_uid = sop_class_uid, _STORAGE_SERVICE
            items[sop_class_uid] = item
    return items
