"""What an association is for: the library negotiates, we say what we support (PS3.8 7.1.1.13, PS3.7 annex D)."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    UID_dictionary,
)
from pynetdicom import AllStoragePresentationContexts, build_context
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

from mammography.results.composed import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.instance_header import MALFORMED
from node.wire.association_request import answering, what_we_use
from node.wire.pdu import ProtocolViolation

MAXIMUM_PDU_BYTES = 128 << 10
"""What we let a sender put into one PDU: more gains nothing, 16 KB costs a third (PS3.8 annex D.1)."""

_LONGEST_REASON = 120

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT_PUSH_MODEL = "1.2.840.10008.1.20.1"
MODALITY_PERFORMED_PROCEDURE_STEP = "1.2.840.10008.3.1.2.3.3"

_OF_OPERATIONS: list[str | UID] = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
"""Transfer syntaxes of what is not stored. A deflated data set may grow a thousand times as it is read."""

_STORED = "1.2.840.10008.5.1.4."
"""Where the UIDs of storage classes begin."""
STORAGE_CLASSES = frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
"""The SOP classes of the Storage Service that the library knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedContext:
    """One presentation context as both sides know it."""

    abstract_syntax: str
    transfer_syntax: str
    is_storage: bool
    """Whether its objects are stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What an association was negotiated to be."""

    contexts: Mapping[int, AcceptedContext]
    """By presentation context ID; only those that were accepted."""
    longest_pdu: int
    """What the other side wants in one PDU of ours at most, in bytes; 0 is any length."""
    answer: bytes
    """A-ASSOCIATE-AC."""


def negotiate(
    request: bytes, *, storage_classes: Collection[str] | None = None, longest_pdu: int = MAXIMUM_PDU_BYTES
) -> Agreement:
    """Return what we agree to of an A-ASSOCIATE-RQ, a whole PDU.

    `storage_classes` are the SOP classes that are stored; None is every one, private and unknown ones too.
    What we do not use of it is passed over, known or not. Asynchronous operations are answered with the default, one at a time,
    by not being answered (PS3.7 D.3.3.3).

    Raises:
        ProtocolViolation: if it cannot be understood.
    """
    try:
        pdu = A_ASSOCIATE_RQ()
        pdu.decode(what_we_use(request))
        asked = pdu.to_primitive()
        proposed = list(asked.presentation_context_definition_list)
        results, roles = _negotiated(proposed, storage_classes, _roles(asked.user_information))
        answer = A_ASSOCIATE_AC(_acceptance(asked, results, roles, longest_pdu)).encode()
    except MALFORMED as failure:
        why = " ".join(str(failure).split())[:_LONGEST_REASON]
        raise ProtocolViolation(f"The request for an association cannot be understood ({why}).") from failure
    return Agreement(
        contexts={
            cast(int, context.context_id): AcceptedContext(
                abstract_syntax=str(context.abstract_syntax),
                transfer_syntax=str(context.transfer_syntax[0]),
                is_storage=is_storage(cast(UID, context.abstract_syntax)),
            )
            for context in results
            if context.result == 0
        },
        longest_pdu=_longest_pdu(asked.user_information),
        answer=answering(bytes(answer), request),
    )


def is_storage(abstract_syntax: UID) -> bool:
    """Whether a proposed SOP class is stored: a known or retired storage class, a private or an unknown one."""
    if str(abstract_syntax) in STORAGE_CLASSES or abstract_syntax.is_private:
        return True
    return abstract_syntax not in UID_dictionary or _is_retired_storage(abstract_syntax)


def _is_retired_storage(abstract_syntax: UID) -> bool:
    """Whether a SOP class of the dictionary (PS3.6 annex A) was one of the Storage Service; those of printing are others."""
    return (
        abstract_syntax.is_retired
        and abstract_syntax.startswith(_STORED)
        and "Storage" in abstract_syntax.name
    )


def _negotiated(
    proposed: Iterable[PresentationContext], storage_classes: Collection[str] | None, roles: Any
) -> tuple[list[PresentationContext], list[Any]]:
    """Return the result of each context by itself, since each has transfer syntaxes of its own, and the roles that are answered."""
    results: dict[int, PresentationContext] = {}
    answered: dict[str, Any] = {}
    for context in proposed:
        (result,), of_context = negotiate_as_acceptor([context], _supported(context, storage_classes), roles)
        results[cast(int, context.context_id)] = result
        answered |= {str(role.sop_class_uid): role for role in of_context}
    return list(results.values()), list(answered.values())


def _supported(
    proposed: PresentationContext, storage_classes: Collection[str] | None
) -> list[PresentationContext]:
    """Return what we support of a proposed context: a storage class with every transfer syntax, or what else we offer.

    The sender's first transfer syntax that the standard knows is taken. Commitment in both roles: a modality asks us, and a
    destination that reports proposes itself as SCP (PS3.4 J.3.3, PS3.7 D.3.3.4).
    """
    abstract_syntax = cast(UID, proposed.abstract_syntax)
    if is_storage(abstract_syntax) and (storage_classes is None or abstract_syntax in storage_classes):
        known_first: list[str | UID] = sorted(
            proposed.transfer_syntax, key=lambda uid: uid not in UID_dictionary
        )
        return [build_context(abstract_syntax, known_first)]
    commitment = build_context(STORAGE_COMMITMENT_PUSH_MODEL, _OF_OPERATIONS)
    commitment.scu_role, commitment.scp_role = True, True
    return [
        build_context(VERIFICATION, _OF_OPERATIONS),
        commitment,
        build_context(MODALITY_PERFORMED_PROCEDURE_STEP, _OF_OPERATIONS),
    ]


def _roles(items: Iterable[Any]) -> Any:
    return {
        item.sop_class_uid: (item.scu_role, item.scp_role)
        for item in items
        if isinstance(item, SCP_SCU_RoleSelectionNegotiation)
    }


def _longest_pdu(items: Iterable[Any]) -> int:
    lengths = [item.maximum_length_received for item in items if isinstance(item, MaximumLengthNotification)]
    return int(lengths[0] or 0) if lengths else 0


def _acceptance(
    asked: A_ASSOCIATE, results: list[PresentationContext], roles: list[Any], longest_pdu: int
) -> A_ASSOCIATE:
    answer = A_ASSOCIATE()
    answer.application_context_name = asked.application_context_name
    answer.calling_ae_title, answer.called_ae_title = asked.calling_ae_title, asked.called_ae_title
    answer.result, answer.result_source = 0, 1
    answer.presentation_context_definition_results_list = results
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    version = ImplementationVersionNameNotification()
    length.maximum_length_received = longest_pdu
    implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    answer.user_information = [length, implementation, version, *roles]
    return answer
