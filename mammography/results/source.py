"""What our objects take over from the images: identity, exactly as it stands, and what they add: who and when."""

import re
import struct
import unicodedata
from collections.abc import Sequence
from copy import deepcopy
from datetime import datetime, timedelta, timezone
from typing import Any, cast

from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

from mammography import __version__
from mammography.finding import ReaderIdentity
from mammography.results.composed import InvalidResult

MANUFACTURER = "Mammocalc"
MODEL_NAME = "Mammocalc calcification reader"

EXPECTED: tuple[str, ...] = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
)
"""Patient and General Study attributes of type 1 and 2 (PS3.3 C.7.1.1, C.7.2.1): empty where the image has none."""

TAKEN_OVER: tuple[str, ...] = (
    "SpecificCharacterSet",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "PatientBirthTime",
    "EthnicGroup",
    "PatientComments",
    "QualityControlSubject",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "IssuerOfAccessionNumberSequence",
    "StudyDescription",
    "ProcedureCodeSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
)
"""Other attributes of the patient, the study and the clinical trial: taken over where the image has them."""

_TEXT_VRS = frozenset({"AS", "CS", "DA", "DS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UT"})
_BROKEN = (
    AttributeError,
    IndexError,
    KeyError,
    NotImplementedError,
    OverflowError,
    TypeError,
    ValueError,
    struct.error,
)
_OFFSET = re.compile(r"[+-](\d{2})(\d{2})")
_PLAIN = str.maketrans(
    {
        "\u00d7": "x",
        "\u00df": "ss",
        "\u2013": "-",
        "\u2014": "-",
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
    }
)


def plain(text: str) -> str:
    """Return our own text in ASCII, which every Specific Character Set holds."""
    decomposed = unicodedata.normalize("NFKD", text.translate(_PLAIN))
    letters = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return letters.encode("ascii", "replace").decode("ascii")


def required(header: Dataset, keyword: str) -> str:
    """Return an attribute of an image without which no object can refer to it.

    Raises:
        InvalidResult: if the image lacks it.
    """
    value = str(header.get(keyword) or "")
    if not value:
        raise InvalidResult(
            [f"Image {header.get('SOPInstanceUID', '?')} lacks {keyword}: nothing can refer to it."]
        )
    return value


def identity_of(header: Dataset) -> Dataset:
    """Return a new data set about the same patient and study; text as the same bytes in the same character set.

    Whatever is added must have an unambiguous VR (see `_keep_text`): pixel data by `add_new`.
    """
    dataset = Dataset()
    for keyword in (*EXPECTED, *TAKEN_OVER):
        take_over(dataset, header, keyword)
        if keyword in EXPECTED and keyword not in dataset:
            setattr(dataset, keyword, "")
    if utc_offset(header) is not None:
        take_over(dataset, header, "TimezoneOffsetFromUTC")
    _keep_text(dataset)
    return dataset


def take_over(dataset: Dataset, header: Dataset, keyword: str) -> None:
    """Copy an attribute, if the header has it; text that pydicom has not decoded yet stays the bytes that it is."""
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in header:
        return
    element = cast(DataElement | RawDataElement, header.get_item(tag))
    vr = dictionary_VR(tag)
    if not isinstance(element, RawDataElement) or vr not in _TEXT_VRS:
        value = value_of(header, keyword)
        if value is not None:
            dataset.add(DataElement(tag, header[tag].VR, deepcopy(value)))
    elif not element.value:
        dataset.add(DataElement(tag, vr, ""))
    else:
        padding = b"\0" if vr == "UI" else b" "
        text = element.value + padding * (len(element.value) % 2)
        dataset[tag] = element._replace(VR=vr, value=text, length=len(text), is_implicit_VR=False)


def _keep_text(dataset: Dataset) -> None:
    """Let pydicom write the text that it has not decoded as the bytes that it is.

    It does so in a data set whose encoding it believes to be the original one; in any other it decodes and encodes
    anew, which says the same in other bytes, or, of a sequence's item, in the wrong character set. Call it once
    Specific Character Set is there; no element of the data set itself may have an ambiguous VR.
    """
    stated = dataset.get("SpecificCharacterSet")
    dataset.set_original_encoding(
        is_implicit_vr=False,
        is_little_endian=True,
        character_encoding=convert_encodings(stated) if stated else default_encoding,
    )


def value_of(header: Dataset, keyword: str) -> Any:
    """Return an attribute's value, or None where the header lacks it or holds bytes that are no such value.

    An image that could not be read may hold anything, and the report about it is written all the same.
    """
    try:
        return header.get(keyword)
    except _BROKEN:
        return None


def numbers_of(header: Dataset, keyword: str, count: int) -> tuple[float, ...]:
    """Return an attribute's numbers when it holds exactly `count` of them, all above zero; else nothing."""
    value = value_of(header, keyword)
    try:
        numbers = tuple(float(part) for part in (value if isinstance(value, Sequence) else [value]))
    except (TypeError, ValueError):
        return ()
    return numbers if len(numbers) == count and all(0 < number < 1e6 for number in numbers) else ()


def utc_offset(header: Dataset) -> timedelta | None:
    """Return Timezone Offset From UTC (0008,0201); None where it is not stated, or not as &ZZXX."""
    stated = str(value_of(header, "TimezoneOffsetFromUTC") or "").strip()
    found = _OFFSET.fullmatch(stated)
    if found is None or int(found[1]) > 14 or int(found[2]) > 59:
        return None
    offset = timedelta(hours=int(found[1]), minutes=int(found[2]))
    return -offset if stated.startswith("-") else offset


def local_date_and_time(moment: datetime, header: Dataset) -> tuple[str, str]:
    """Return DA and TM of an aware moment in the image's own offset; without one, in the offset that the moment has.

    The place and the season of the process that asks have no say in it.
    """
    offset = utc_offset(header)
    local = moment if offset is None else moment.astimezone(timezone(offset))
    return local.strftime("%Y%m%d"), local.strftime("%H%M%S")


def series_description(what: str, revision: int) -> str:
    """Return Series Description (0008,103E): what a series holds, and its revision where that is not the first.

    Thus a list of series tells which of them another one has replaced.
    """
    later = f" rev {revision}" if revision > 1 else ""
    return f"{what}{later} - not for diagnosis, research use only"[:64]


def add_equipment(dataset: Dataset, reader: ReaderIdentity) -> None:
    """Say who made the object (General Equipment, PS3.3 C.7.5.1): one serial number per set of weights."""
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = MODEL_NAME
    dataset.DeviceSerialNumber = plain(reader.weights_sha256)[:64]
    dataset.SoftwareVersions = [__version__, plain(f"{reader.name} {reader.version}").replace("\\", "/")[:64]]


def add_creation(dataset: Dataset, date: str, time: str) -> None:
    """Say when the object and its series were made."""
    dataset.InstanceCreationDate = dataset.SeriesDate = date
    dataset.InstanceCreationTime = dataset.SeriesTime = time


def reference_to(header: Dataset) -> Dataset:
    """Return the reference to one image by SOP class and instance (PS3.3 table 10-11)."""
    reference = Dataset()
    reference.ReferencedSOPClassUID = required(header, "SOPClassUID")
    reference.ReferencedSOPInstanceUID = required(header, "SOPInstanceUID")
    return reference


def evidence_of(headers: Sequence[Dataset], study_instance_uid: str) -> Dataset:
    """Return one study's item of the evidence sequence: its series, and the referenced images of each."""
    by_series: dict[str, list[Dataset]] = {}
    for header in headers:
        by_series.setdefault(required(header, "SeriesInstanceUID"), []).append(reference_to(header))
    study = Dataset()
    study.StudyInstanceUID = study_instance_uid
    study.ReferencedSeriesSequence = []
    for series_instance_uid, references in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID = series_instance_uid
        series.ReferencedSOPSequence = references
        study.ReferencedSeriesSequence.append(series)
    return study


def requests_of(headers: Sequence[Dataset], study_instance_uid: str) -> list[Dataset]:
    """Return the items of the Referenced Request Sequence (0040,A370), one per request that the images state."""
    requests: dict[tuple[str, str], Dataset] = {}
    for header in headers:
        for attributes in value_of(header, "RequestAttributesSequence") or []:
            request = _request(attributes, header, study_instance_uid)
            key = _verbatim(request, "AccessionNumber"), _verbatim(request, "RequestedProcedureID")
            requests.setdefault(key, request)
    return list(requests.values())


def _request(attributes: Dataset, header: Dataset, study_instance_uid: str) -> Dataset:
    """Return one request; what the images do not state is empty (all of type 2 in PS3.3 C.17.2)."""
    request = Dataset()
    request.StudyInstanceUID = study_instance_uid
    request.ReferencedStudySequence = deepcopy(attributes.get("ReferencedStudySequence") or [])
    for keyword in (
        "AccessionNumber",
        "PlacerOrderNumberImagingServiceRequest",
        "FillerOrderNumberImagingServiceRequest",
        "RequestedProcedureID",
        "RequestedProcedureDescription",
    ):
        take_over(request, attributes if _verbatim(attributes, keyword) else header, keyword)
        if keyword not in request:
            setattr(request, keyword, "")
    _keep_text(request)
    request.RequestedProcedureCodeSequence = deepcopy(attributes.get("RequestedProcedureCodeSequence") or [])
    return request


def _verbatim(dataset: Dataset, keyword: str) -> str:
    """Return a text as it stands, undecoded where pydicom has not decoded it; empty where there is none."""
    tag = tag_for_keyword(keyword)
    element = None if tag is None or tag not in dataset else dataset.get_item(tag)
    value = "" if element is None else element.value
    return (value.decode("latin-1") if isinstance(value, bytes) else str(value or "")).strip()
