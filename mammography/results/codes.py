"""Every code that our objects say, as constants, with the template (TID) or context group (CID) of PS3.16."""

from typing import NamedTuple

from mammography.finding import Distribution, Morphology, NonLesionKind
from mammography.results.options import Scheme
from mammography.view import VIEW_CODES, Laterality, ViewPosition


class Code(NamedTuple):
    """A coded concept (PS3.3 section 8): value of at most 16 characters, scheme, meaning of at most 64."""

    value: str
    scheme: str
    meaning: str


# Language, TID 1204
LANGUAGE = Code("121049", "DCM", "Language of Content Item and Descendants")
COUNTRY = Code("121046", "DCM", "Country of Language")
ENGLISH = Code("en", "RFC5646", "English")
UNITED_STATES = Code("US", "ISO3166_1", "United States")

# Document and its sections, TID 4000, 4001, 4003
CAD_REPORT = Code("111036", "DCM", "Mammography CAD Report")
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
FINDINGS_SUMMARY = Code("111017", "DCM", "CAD Processing and Findings Summary")
INDIVIDUAL_IMPRESSION = Code("111034", "DCM", "Individual Impression/Recommendation")
SUMMARY_OF_DETECTIONS = Code("111064", "DCM", "Summary of Detections")
SUMMARY_OF_ANALYSES = Code("111065", "DCM", "Summary of Analyses")
IMPRESSION_DESCRIPTION = Code("111033", "DCM", "Impression Description")

# Outcome, CID 6047
ALL_SUCCEEDED_WITHOUT_FINDINGS = Code("111241", "DCM", "All algorithms succeeded; without findings")
ALL_SUCCEEDED_WITH_FINDINGS = Code("111242", "DCM", "All algorithms succeeded; with findings")
SOME_SUCCEEDED_WITHOUT_FINDINGS = Code("111243", "DCM", "Not all algorithms succeeded; without findings")
SOME_SUCCEEDED_WITH_FINDINGS = Code("111244", "DCM", "Not all algorithms succeeded; with findings")
NONE_SUCCEEDED = Code("111245", "DCM", "No algorithms succeeded; without findings")

# Status of detections and analyses, CID 6042, TID 4015, 4017
SUCCEEDED = Code("111222", "DCM", "Succeeded")
PARTIALLY_SUCCEEDED = Code("111223", "DCM", "Partially Succeeded")
FAILED = Code("111224", "DCM", "Failed")
NOT_ATTEMPTED = Code("111225", "DCM", "Not Attempted")
SUCCESSFUL_DETECTIONS = Code("111063", "DCM", "Successful Detections")
FAILED_DETECTIONS = Code("111025", "DCM", "Failed Detections")
DETECTION_PERFORMED = Code("111022", "DCM", "Detection Performed")

SUCCESSFUL_ANALYSES = Code("111062", "DCM", "Successful Analyses")
FAILED_ANALYSES = Code("111024", "DCM", "Failed Analyses")
ANALYSIS_PERFORMED = Code("111004", "DCM", "Analysis Performed")
SPATIAL_COLLOCATION = Code("133884007", "SCT", "Spatial collocation analysis")

# CAD operating points, TID 4023
MAXIMUM_OPERATING_POINT = Code("111072", "DCM", "Maximum CAD Operating Point")
OPERATING_POINT = Code("111071", "DCM", "CAD Operating Point")

# Composite feature, TID 4004, 4005
COMPOSITE_FEATURE = Code("111015", "DCM", "Composite Feature")
COMPOSITE_TYPE = Code("111016", "DCM", "Composite Type")
RELATED_SPATIALLY = Code("111154", "DCM", "Target content items are related spatially")
SCOPE_OF_FEATURE = Code("111057", "DCM", "Scope of Feature")
ON_MULTIPLE_IMAGES = Code("111158", "DCM", "Feature detected on multiple images")
CERTAINTY_OF_FEATURE = Code("111011", "DCM", "Certainty of Feature")

# Non-lesion, TID 4012
NON_LESION = Code("111102", "DCM", "Non-lesion")
OBJECT_TYPE = Code("111039", "DCM", "Object type")

# Image Library entry, TID 4020
IMAGE_LATERALITY = Code("111027", "DCM", "Image Laterality")
IMAGE_VIEW = Code("111031", "DCM", "Image View")
IMAGE_VIEW_MODIFIER = Code("111032", "DCM", "Image View Modifier")
PATIENT_ORIENTATION_ROW = Code("111044", "DCM", "Patient Orientation Row")
PATIENT_ORIENTATION_COLUMN = Code("111043", "DCM", "Patient Orientation Column")
STUDY_DATE = Code("111060", "DCM", "Study Date")
STUDY_TIME = Code("111061", "DCM", "Study Time")
CONTENT_DATE = Code("111018", "DCM", "Content Date")
CONTENT_TIME = Code("111019", "DCM", "Content Time")
HORIZONTAL_PIXEL_SPACING = Code("111026", "DCM", "Horizontal Pixel Spacing")
VERTICAL_PIXEL_SPACING = Code("111066", "DCM", "Vertical Pixel Spacing")
PIXEL_DATA_ROWS = Code("110910", "DCM", "Pixel Data Rows")
PIXEL_DATA_COLUMNS = Code("110911", "DCM", "Pixel Data Columns")

# Single image finding, TID 4006, 4021, 4009, 4010, 4019, 4108, 1400
SINGLE_IMAGE_FINDING = Code("111059", "DCM", "Single Image Finding")
CALCIFICATION_CLUSTER = Code("129769006", "SCT", "Calcification Cluster")
INDIVIDUAL_CALCIFICATION = Code("129770007", "SCT", "Individual Calcification")
RENDERING_INTENT = Code("111056", "DCM", "Rendering Intent")
TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")
TRACKING_UID = Code("112040", "DCM", "Tracking Unique Identifier")
ALGORITHM_NAME = Code("111001", "DCM", "Algorithm Name")
ALGORITHM_VERSION = Code("111003", "DCM", "Algorithm Version")
ALGORITHM_PARAMETERS = Code("111002", "DCM", "Algorithm Parameters")
CERTAINTY_OF_FINDING = Code("111012", "DCM", "Certainty of Finding")
CENTER = Code("111010", "DCM", "Center")
OUTLINE = Code("111041", "DCM", "Outline")
CALCIFICATION_TYPE = Code("111009", "DCM", "Calcification Type")
CALCIFICATION_DISTRIBUTION = Code("111008", "DCM", "Calcification Distribution")
NUMBER_OF_CALCIFICATIONS = Code("111038", "DCM", "Number of calcifications")
DIAMETER = Code("81827009", "SCT", "Diameter")

# Intended use, CID 6034
PRESENTATION_REQUIRED = Code(
    "111150", "DCM", "Presentation Required: Rendering device is expected to present"
)
PRESENTATION_OPTIONAL = Code("111151", "DCM", "Presentation Optional: Rendering device may present")
NOT_FOR_PRESENTATION = Code("111152", "DCM", "Not for Presentation: Rendering device expected not to present")

# What we never say of a finding: claims that the reader does not make
PROBABILITY_OF_CANCER = Code("111047", "DCM", "Probability of cancer")
ASSESSMENT_CATEGORY = Code("111005", "DCM", "Assessment Category")

# Units, UCUM
PERCENT = Code("%", "UCUM", "Percent")
MILLIMETER = Code("mm", "UCUM", "millimeter")
NO_UNITS = Code("1", "UCUM", "no units")
PIXELS = Code("{pixels}", "UCUM", "pixels")
ARBITRARY_UNIT = Code("[arb'U]", "UCUM", "arbitrary unit")
FROM_ONE = Code("{1:n}", "UCUM", "range: 1:n")

MICROCALCIFICATIONS = Code("44771000", "SCT", "Microcalcifications of the breast")
"""CID 6010: the type of a calcification of which neither type nor size is stated."""

SIDES: dict[Laterality, Code] = {
    Laterality.RIGHT: Code("73056007", "SCT", "Right breast"),
    Laterality.LEFT: Code("80248007", "SCT", "Left breast"),
    Laterality.BOTH: Code("63762007", "SCT", "Both breasts"),
}
"""CID 6022."""

VIEWS: dict[ViewPosition, Code] = {
    position: Code(value, "SCT", meaning) for position, (value, _legacy, meaning) in VIEW_CODES.items()
}
"""CID 4014, as SNOMED CT: legacy codes of a header are translated, never mixed in."""

_VIEW_MODIFIERS: tuple[tuple[str, str, str], ...] = (
    ("399163009", "R-102D6", "Magnification"),
    ("399055006", "R-102D7", "Spot Compression"),
    ("399209000", "R-102D5", "Implant Displaced"),
    ("399161006", "R-102D2", "Cleavage"),
    ("399011000", "R-102D1", "Axillary Tail"),
    ("399197002", "R-102D3", "Rolled Lateral"),
    ("399226006", "R-102D4", "Rolled Medial"),
    ("414493004", "R-102CA", "Rolled Inferior"),
    ("415670009", "R-102C9", "Rolled Superior"),
    ("399110001", "R-102C2", "Tangential"),
    ("442581004", "R-40AB3", "Nipple in profile"),
    ("441752004", "P2-00161", "Anterior compression"),
    ("442593008", "R-40ABE", "Infra-mammary fold"),
    ("442580003", "R-40AB2", "Axillary tissue"),
)

VIEW_MODIFIERS: dict[str, Code] = {
    stated: Code(value, "SCT", meaning)
    for value, legacy, meaning in _VIEW_MODIFIERS
    for stated in (value, legacy)
}
"""CID 4015, by the SNOMED CT or the legacy SNOMED-RT value that a header states."""

TYPES: dict[Morphology, Code] = {
    Morphology.PUNCTATE: Code("129755006", "SCT", "Punctate calcification"),
    Morphology.ROUND: Code("129756007", "SCT", "Round shaped calcification"),
    Morphology.AMORPHOUS: Code("129760005", "SCT", "Amorphous calcification"),
    Morphology.COARSE_HETEROGENEOUS: Code("129763007", "SCT", "Heterogeneous calcification"),
    Morphology.FINE_PLEOMORPHIC: Code("111344", "DCM", "Fine pleomorphic calcification"),
    Morphology.FINE_LINEAR: Code("129762002", "SCT", "Fine linear, branching (casting) calcification"),
    Morphology.VASCULAR: Code("129759000", "SCT", "Vascular calcification"),
    Morphology.COARSE: Code("129749001", "SCT", "Coarse (popcorn-like) calcification"),
    Morphology.ROD_LIKE: Code("129752009", "SCT", "Large rod-like calcification"),
    Morphology.RIM: Code("129751002", "SCT", "Eggshell calcification"),
    Morphology.DYSTROPHIC: Code("129750001", "SCT", "Dystrophic calcification"),
    Morphology.MILK_OF_CALCIUM: Code("129753004", "SCT", "Milk of calcium calcification"),
    Morphology.SUTURE: Code("129758008", "SCT", "Calcified suture material"),
    Morphology.SKIN: Code("129757003", "SCT", "Calcified skin of breast"),
}
"""CID 6010, calcification types, by BI-RADS morphology."""

DISTRIBUTIONS: dict[Distribution, Code] = {
    Distribution.DIFFUSE: Code("129764001", "SCT", "Diffuse calcification distribution"),
    Distribution.REGIONAL: Code("129767008", "SCT", "Regional calcification distribution"),
    Distribution.GROUPED: Code("129766004", "SCT", "Grouped calcification distribution"),
    Distribution.LINEAR: Code("129765000", "SCT", "Linear calcification distribution"),
    Distribution.SEGMENTAL: Code("129768003", "SCT", "Segmental calcification distribution"),
}
"""CID 6012, calcification distributions."""

OBJECT_TYPES: dict[NonLesionKind, Code] = {NonLesionKind.METAL: Code("111176", "DCM", "Unspecified")}
"""CID 6040, what a non-lesion is: the reader tells metal, and not whether it is a clip, a ball or a marker."""

_LEGACY: dict[str, str] = {
    "129769006": "F-01775",
    "129770007": "F-01776",
    "81827009": "M-02550",
    "44771000": "D7-90435",
    "133884007": "P5-B3402",
    "73056007": "T-04020",
    "80248007": "T-04030",
    "63762007": "T-04080",
    "129749001": "F-01761",
    "129750001": "F-01762",
    "129751002": "F-01763",
    "129752009": "F-01764",
    "129753004": "F-01765",
    "129755006": "F-01767",
    "129756007": "F-01768",
    "129757003": "F-01769",
    "129758008": "F-0176A",
    "129759000": "F-0176B",
    "129760005": "F-0176C",
    "129762002": "F-0176E",
    "129763007": "F-0176F",
    "129764001": "F-01770",
    "129765000": "F-01771",
    "129766004": "F-01772",
    "129767008": "F-01773",
    "129768003": "F-01774",
    **{value: legacy for value, legacy, _meaning in VIEW_CODES.values()},
    **{value: legacy for value, legacy, _meaning in _VIEW_MODIFIERS},
}
"""The retired SNOMED-RT style value of each SNOMED CT value that we write (PS3.16 annex on their mapping)."""
_CURRENT: dict[str, str] = {legacy: value for value, legacy in _LEGACY.items()}


def in_scheme(code: Code, scheme: Scheme) -> Code:
    """Return a code of ours as a receiver wants it: SNOMED CT, or its SNOMED-RT style value with designator SRT."""
    if scheme == "SRT" and code.scheme == "SCT":
        return Code(_LEGACY[code.value], "SRT", code.meaning)
    return code


def current(value: str, scheme: str) -> tuple[str, str]:
    """Return value and scheme of a code as it stands in a report, in SNOMED CT where it is a legacy value that we know."""
    if scheme in {"SRT", "SNM3"} and value in _CURRENT:
        return _CURRENT[value], "SCT"
    return value, scheme
