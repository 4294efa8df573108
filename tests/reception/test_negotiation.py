"""What an association is agreed to be for: each presentation context by itself (PS3.8 9.3.3.2)."""

import pytest
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
)
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)

from node.negotiation import (
    MODALITY_PERFORMED_PROCEDURE_STEP,
    STORAGE_COMMITMENT_PUSH_MODEL,
    VERIFICATION,
    Agreement,
    negotiate,
)
from tests.reception.mammograms import FOR_PRESENTATION, uid

NOT_YET_KNOWN = "1.2.840.10008.1.2.4.999"
EXPLICIT, IMPLICIT = ExplicitVRLittleEndian, ImplicitVRLittleEndian


def agreed(*proposed: tuple[str, list[str]]) -> dict[int, str]:
    """The transfer syntax of each accepted context, by its ID: 1, 3, 5 and so on in the order of the proposal."""
    return {number: context.transfer_syntax for number, context in agreement(*proposed).contexts.items()}


def agreement(*proposed: tuple[str, list[str]], roles: tuple[str, ...] = ()) -> Agreement:
    """What is agreed to; of `roles` the sender is the SCP."""
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = "MODALITY1", "MAMMOCALC"
    contexts = [build_context(*each) for each in proposed]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    request.presentation_context_definition_list = contexts
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16384
    implementation.implementation_class_uid = uid("a caller")
    request.user_information = [length, implementation]
    for sop_class in roles:
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid, role.scu_role, role.scp_role = sop_class, False, True
        request.user_information.append(role)
    return negotiate(bytes(A_ASSOCIATE_RQ(request).encode()))


@pytest.mark.parametrize(
    ("proposals", "taken"),
    [
        ([[EXPLICIT, IMPLICIT], [JPEGLosslessSV1, EXPLICIT, IMPLICIT]], [EXPLICIT, JPEGLosslessSV1]),
        ([[JPEG2000Lossless], [IMPLICIT, JPEG2000Lossless]], [JPEG2000Lossless, IMPLICIT]),
        ([[IMPLICIT], [EXPLICIT], [ExplicitVRBigEndian]], [IMPLICIT, EXPLICIT, ExplicitVRBigEndian]),
        ([[NOT_YET_KNOWN, EXPLICIT], [NOT_YET_KNOWN]], [EXPLICIT, NOT_YET_KNOWN]),
    ],
)
def test_of_each_context_the_first_transfer_syntax_is_taken_whatever_others_propose(
    proposals: list[list[str]], taken: list[str]
):
    """An archive proposes its compressed images once with a way out and once plain: both have to be sent."""
    of_contexts = agreed(*((FOR_PRESENTATION, proposal) for proposal in proposals))
    assert of_contexts == {2 * number + 1: syntax for number, syntax in enumerate(taken)}


@pytest.mark.parametrize(
    "retired",
    [
        "1.2.840.10008.5.1.4.1.1.3",  # Ultrasound Multi-frame Image Storage
        "1.2.840.10008.5.1.4.1.1.5",  # Nuclear Medicine Image Storage
        "1.2.840.10008.5.1.4.1.1.6",  # Ultrasound Image Storage
        "1.2.840.10008.5.1.4.1.1.88.3",  # Detail SR Storage - Trial
        "1.2.840.10008.5.1.4.34.1",  # RT Beams Delivery Instruction Storage - Trial
    ],
)
def test_a_retired_storage_class_is_stored(retired: str):
    assert UID(retired).is_retired
    assert agreed((retired, [EXPLICIT])) == {1: EXPLICIT}


@pytest.mark.parametrize(
    "other",
    [
        "1.2.840.10008.1.20.2",  # Storage Commitment Pull Model
        "1.2.840.10008.5.1.1.27",  # Stored Print Storage
        "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol Storage: of no patient
        "1.2.840.10008.5.1.4.1.2.2.1",  # Study Root Query/Retrieve - FIND
        "1.2.840.10008.5.1.4.1.2.3.1",  # Patient/Study Only Query/Retrieve - FIND, retired
    ],
)
def test_what_is_no_storage_class_is_not(other: str):
    assert agreed((other, [EXPLICIT])) == {}


@pytest.mark.parametrize(
    "operation", [VERIFICATION, STORAGE_COMMITMENT_PUSH_MODEL, MODALITY_PERFORMED_PROCEDURE_STEP]
)
def test_what_comes_with_an_operation_is_not_deflated(operation: str):
    """Some kilobytes of it may hold gigabytes; an image is inflated as far as its header goes."""
    deflated = DeflatedExplicitVRLittleEndian
    assert agreed((operation, [deflated, EXPLICIT]), (operation, [deflated])) == {1: EXPLICIT}
    assert agreed((FOR_PRESENTATION, [deflated])) == {1: deflated}


def test_a_destination_that_reports_its_commitment_may_be_the_provider():
    """PS3.4 J.3.3: it proposes itself as SCP, and sends N-EVENT-REPORT."""
    answer = A_ASSOCIATE_AC()
    answer.decode(
        agreement(
            (VERIFICATION, [EXPLICIT]),
            (STORAGE_COMMITMENT_PUSH_MODEL, [EXPLICIT]),
            (STORAGE_COMMITMENT_PUSH_MODEL, [IMPLICIT]),
            roles=(STORAGE_COMMITMENT_PUSH_MODEL,),
        ).answer
    )
    (role,) = [
        each
        for each in answer.to_primitive().user_information
        if isinstance(each, SCP_SCU_RoleSelectionNegotiation)
    ]
    assert (role.sop_class_uid, role.scu_role, role.scp_role) == (STORAGE_COMMITMENT_PUSH_MODEL, False, True)
