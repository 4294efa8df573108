"""What templates and IOD require of a report's content items, told without any public validator (PS3.16 TID 4000).

The value sets are pydicom's, not those that we write from: two tables that agree are better than one.
"""

from collections.abc import Iterator, Mapping
from functools import cache

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code as StandardCode
from pydicom.tag import BaseTag

from mammography.results import codes
from mammography.results.written_report import (
    CODE_VALUE,
    CODING_SCHEME,
    TYPE,
    Place,
    WrittenReport,
    items_of,
    target_of,
    text_of,
)

_FINDING, _COMPOSITE = codes.SINGLE_IMAGE_FINDING.value, codes.COMPOSITE_FEATURE.value
_ALGORITHM = (codes.ALGORITHM_NAME, codes.ALGORITHM_VERSION)

VALUE_SETS: Mapping[str, int] = {
    codes.FINDINGS_SUMMARY.value: 6047,
    codes.SUMMARY_OF_DETECTIONS.value: 6042,
    codes.SUMMARY_OF_ANALYSES.value: 6042,
    codes.DETECTION_PERFORMED.value: 6014,
    codes.ANALYSIS_PERFORMED.value: 6043,
    _FINDING: 6014,
    _COMPOSITE: 6016,
    "111016": 6035,  # Composite type
    "111057": 6036,  # Scope of Feature
    "111039": 6040,  # Object type of a non-lesion
    codes.RENDERING_INTENT.value: 6034,
    codes.IMAGE_LATERALITY.value: 6022,
    codes.IMAGE_VIEW.value: 4014,
    codes.IMAGE_VIEW_MODIFIER.value: 4015,
    codes.CALCIFICATION_TYPE.value: 6010,
    codes.CALCIFICATION_DISTRIBUTION.value: 6012,
}
"""The context group (CID of PS3.16) from which a concept of a CAD report takes its value."""

_REQUIRED_BELOW: Mapping[str, tuple[codes.Code, ...]] = {
    codes.INDIVIDUAL_IMPRESSION.value: (codes.RENDERING_INTENT,),
    _FINDING: (codes.RENDERING_INTENT, *_ALGORITHM),
    _COMPOSITE: (codes.RENDERING_INTENT, *_ALGORITHM),
    codes.DETECTION_PERFORMED.value: _ALGORITHM,
    codes.ANALYSIS_PERFORMED.value: _ALGORITHM,
}
"""What TID 4003, 4004, 4006, 4017 and 4018 demand below a concept."""

_SECTIONS = (
    codes.LANGUAGE,
    codes.IMAGE_LIBRARY,
    codes.FINDINGS_SUMMARY,
    codes.SUMMARY_OF_DETECTIONS,
    codes.SUMMARY_OF_ANALYSES,
)

_WORDS = frozenset({"TEXT", "CODE", "NUM", "DATE", "TIME", "UIDREF"})
_RELATIONSHIPS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "CONTAINS": (
        frozenset({"CONTAINER"}),
        frozenset({"CODE", "NUM", "SCOORD", "IMAGE", "CONTAINER", "TEXT", "DATE"}),
    ),
    "HAS OBS CONTEXT": (
        frozenset({"TEXT", "CODE", "NUM", "CONTAINER"}),
        _WORDS | {"PNAME", "COMPOSITE"},
    ),
    "HAS ACQ CONTEXT": (frozenset({"IMAGE"}), _WORDS),
    "HAS CONCEPT MOD": (frozenset({"CONTAINER", "CODE", "NUM", "COMPOSITE"}), frozenset({"TEXT", "CODE"})),
    "HAS PROPERTIES": (
        frozenset({"TEXT", "CODE", "NUM"}),
        frozenset({"CONTAINER", "TEXT", "CODE", "NUM", "DATE", "IMAGE", "SCOORD", "UIDREF"}),
    ),
    "INFERRED FROM": (
        frozenset({"CODE", "NUM"}),
        frozenset({"CODE", "NUM", "SCOORD", "CONTAINER", "TEXT", "IMAGE"}),
    ),
    "SELECTED FROM": (frozenset({"SCOORD"}), frozenset({"IMAGE"})),
}
"""Which value types a relationship leads from and to (PS3.3 table A.35.5-2)."""
_BY_REFERENCE = frozenset({"SELECTED FROM", "HAS PROPERTIES", "INFERRED FROM"})

_HEADER: Mapping[str, frozenset[str] | None] = {
    "Modality": frozenset({"SR"}),
    "SeriesNumber": None,
    "InstanceNumber": None,
    "ContentDate": None,
    "ContentTime": None,
    "CompletionFlag": frozenset({"COMPLETE", "PARTIAL"}),
    "VerificationFlag": frozenset({"UNVERIFIED", "VERIFIED"}),
}
_EMPTY_AT_LEAST = ("ReferencedPerformedProcedureStepSequence", "PerformedProcedureCodeSequence")


_NAME, _VALUE, _MEASURED, _UNITS = (
    BaseTag(0x0040A043),
    BaseTag(0x0040A168),
    BaseTag(0x0040A300),
    BaseTag(0x004008EA),
)
_RELATIONSHIP, _NUMBER = BaseTag(0x0040A010), BaseTag(0x0040A30A)


def document_faults(dataset: Dataset, template: str) -> Iterator[str]:
    """Yield what is wrong with a structured report's modules (PS3.3 C.17.1 to C.17.3), whatever its template is."""
    name = f"report {dataset.SOPInstanceUID}"
    for keyword, lawful in _HEADER.items():
        value = str(dataset.get(keyword) or "")
        if not value or (lawful is not None and value not in lawful):
            yield f"In the {name}, {keyword} is {value!r}."
    for keyword in _EMPTY_AT_LEAST:
        if keyword not in dataset:
            yield f"In the {name}, {keyword} is missing; it may be empty."
    stated = [str(item.get("TemplateIdentifier")) for item in dataset.get("ContentTemplateSequence") or []]
    if stated != [template]:
        yield f"The {name} does not name the template {template} that it follows."
    yield from _predecessor_faults(dataset, name)


def _predecessor_faults(dataset: Dataset, name: str) -> Iterator[str]:
    """What a report replaces is another report of the same class and study (PS3.3 C.17.2)."""
    for study in dataset.get("PredecessorDocumentsSequence") or []:
        if study.get("StudyInstanceUID") != dataset.StudyInstanceUID:
            yield f"The {name} replaces a report of another study."
        for series in study.get("ReferencedSeriesSequence") or []:
            for earlier in series.get("ReferencedSOPSequence") or []:
                if earlier.get("ReferencedSOPInstanceUID") == dataset.SOPInstanceUID:
                    yield f"The {name} replaces itself."
                if earlier.get("ReferencedSOPClassUID") != dataset.SOPClassUID:
                    yield f"The {name} replaces an object that is no such report."


def content_faults(report: WrittenReport) -> Iterator[str]:
    """Yield what TID 4000 and the table of relationships forbid in a CAD report."""
    names = {
        place: text_of(name, CODE_VALUE)
        for place, item in report.items.items()
        for name in items_of(item, _NAME)[:1]
    }
    types = {place: text_of(item, TYPE) for place, item in report.items.items()}
    for section in _SECTIONS:
        count = len(report.named(section))
        if count != 1:
            yield f"The report has {count} items {section.meaning}, not one."
    for place, item in report.items.items():
        yield from _relationship_faults(place, item, types)
        yield from _value_faults(place, item, names.get(place, ""), types[place])
        for concept in _REQUIRED_BELOW.get(names.get(place, ""), ()):
            if not report.named(concept, place):
                yield f"Item {at(place)} has no {concept.meaning}."


def at(place: Place) -> str:
    """Return a place as the standard writes it: 1.3.2 is the second child of the root's third (PS3.3 C.17.3.2.5)."""
    return ".".join(map(str, place))


def _relationship_faults(place: Place, item: Dataset, types: Mapping[Place, str]) -> Iterator[str]:
    """An item belongs to its parent in a way that the IOD allows, and is by reference only where it may be."""
    if len(place) == 1:
        return
    relationship = text_of(item, _RELATIONSHIP)
    sources, targets = _RELATIONSHIPS.get(relationship, (frozenset(), frozenset()))
    parent = types[place[:-1]]
    if target_of(item) is None:
        lawful = parent in sources and types[place] in targets
    else:
        lawful = parent in sources and relationship in _BY_REFERENCE and not types[place]
    if not lawful:
        yield (
            f"Item {at(place)} has the relationship {relationship!r} from {parent} to "
            f"{types[place] or 'a reference'}, which this report may not have."
        )


def _value_faults(place: Place, item: Dataset, name: str, value_type: str) -> Iterator[str]:
    """A code comes from its concept's context group, a number has one unit, and a percentage is one."""
    if value_type == "CODE":
        values = items_of(item, _VALUE)
        if len(values) != 1:
            yield f"Item {at(place)} is a code without exactly one value."
        elif name in VALUE_SETS and not _in_group(
            VALUE_SETS[name], text_of(values[0], CODE_VALUE), text_of(values[0], CODING_SCHEME)
        ):
            yield (
                f"Item {at(place)} has the value {values[0].get('CodeMeaning')!r}, "
                f"which is not in CID {VALUE_SETS[name]}."
            )
    elif value_type == "NUM":
        values = items_of(item, _MEASURED)
        units = [unit for value in values for unit in items_of(value, _UNITS)]
        if len(values) != 1 or len(units) != 1:
            yield f"Item {at(place)} is a number without exactly one value and unit."
        elif (
            text_of(units[0], CODE_VALUE) == codes.PERCENT.value
            and not 0 <= float(text_of(values[0], _NUMBER)) <= 100
        ):
            yield f"Item {at(place)} is {text_of(values[0], _NUMBER)} percent."


@cache
def _in_group(group: int, value: str, scheme: str) -> bool:
    """Return whether a context group holds a code, in SNOMED CT or as its legacy SNOMED-RT value."""
    members = getattr(standard, f"cid{group}")
    stated = StandardCode(value, scheme, "")
    return any(getattr(members, name) == stated for name in members.dir())
