"""What the report says of findings: lesions in one view or two, and what is no lesion (PS3.16 TID 4003 to 4012).

Rendering Intent (CID 6034): a suspicious finding is Presentation Required, a benign one Presentation Optional or, for
a receiver that wants none, Not for Presentation; the single calcifications of a finding are at most optional; what
is no lesion is not for presentation. CAD Operating Points (TID 4023, PS3.17 annex E): at 0 a display shows
suspicious findings, from 1 their calcifications too, from 2 what is called benign.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from mammography.coordinates import ImagePoint, inside
from mammography.finding import (
    Assessment,
    Correspondence,
    Finding,
    FindingAssessment,
    FindingKind,
    FindingPlace,
    NonLesion,
    ReaderIdentity,
    Speck,
)
from mammography.results import codes
from mammography.results.cad_sr_items import (
    algorithm,
    graphic_item,
    intent_item,
    matcher,
    percentage,
    property_item,
    tracking,
)
from mammography.results.codes import Code
from mammography.results.composed import InvalidResult
from mammography.results.content import Graphic, GraphicType, Item, Quantity, Relationship, Section
from mammography.results.marks import AnsweredImage, Mark, closed_outline
from mammography.results.parameters import Parameter, identity_lines, line
from mammography.uid import UidRole, mint

SPECKS_SHOWN, BENIGN_SHOWN = 1, 2
"""The CAD Operating Points from which the calcifications of suspicious findings, and benign findings, are shown."""

_STRENGTH = (codes.NOT_FOR_PRESENTATION, codes.PRESENTATION_OPTIONAL, codes.PRESENTATION_REQUIRED)


def impressions(
    images: Sequence[AnsweredImage], library: Sequence[Item], assessment: Assessment, *, benign: bool
) -> Iterator[Item]:
    """Yield one Individual Impression (TID 4003) for each lesion, those in two views first, and each non-lesion.

    `library` holds the entry of each image. Without `benign`, findings called benign are not for presentation.

    Raises:
        InvalidResult: if a correspondence names a finding that is not there.
    """
    reader = assessment.reader
    single = {
        FindingPlace(place, number): (mark, entry)
        for place, (image, entry) in enumerate(zip(images, library, strict=True))
        for number, mark in enumerate(image.marks)
    }
    for number, pair in enumerate(assessment.correspondences, start=1):
        yield _lesion_in_two_views(number, pair, single, reader, benign=benign)
    paired = {place for pair in assessment.correspondences for place in (pair.first, pair.second)}
    for place, (mark, entry) in single.items():
        if place not in paired:
            intent = intent_of(mark.finding.assessment, benign=benign)
            item = _marked_finding(mark, entry, reader, Relationship.CONTAINS, intent)
            yield _individual_impression(intent, item)
    for image, entry in zip(images, library, strict=True):
        for thing in image.reading.non_lesions:
            yield _individual_impression(codes.NOT_FOR_PRESENTATION, _non_lesion(thing, image, entry, reader))


def intent_of(assessment: FindingAssessment, *, benign: bool = True) -> Code:
    """Return the Rendering Intent (CID 6034) of a finding; `benign` is whether benign ones may be shown."""
    if assessment is FindingAssessment.SUSPICIOUS:
        return codes.PRESENTATION_REQUIRED
    return codes.PRESENTATION_OPTIONAL if benign else codes.NOT_FOR_PRESENTATION


def _individual_impression(intent: Code, item: Item) -> Item:
    """Return one lesion in its container, whose intent is as strong as the lesion's."""
    return Item(
        relationship=Relationship.INFERRED_FROM,
        concept=codes.INDIVIDUAL_IMPRESSION,
        value=Section(),
        children=(intent_item(intent), item),
    )


def _lesion_in_two_views(
    number: int,
    pair: Correspondence,
    single: Mapping[FindingPlace, tuple[Mark, Item]],
    reader: ReaderIdentity,
    *,
    benign: bool,
) -> Item:
    """Return two findings as one Composite Feature (TID 4004, 4005), as strong as the stronger of them."""
    if pair.first not in single or pair.second not in single:
        raise InvalidResult([f"Correspondence {number} names a finding that is not there."])
    parts = [single[pair.first], single[pair.second]]
    intents = [intent_of(mark.finding.assessment, benign=benign) for mark, _ in parts]
    intent = max(intents, key=_STRENGTH.index)
    kinds = {_kind_of(mark.finding) for mark, _ in parts}
    uid = mint(UidRole.TRACKING, *(mark.tracking_uid for mark, _ in parts))
    feature = Item(
        relationship=Relationship.CONTAINS,
        concept=codes.COMPOSITE_FEATURE,
        value=codes.CALCIFICATION_CLUSTER if len(kinds) == 2 else kinds.pop(),
        children=(
            intent_item(intent),
            *tracking(f"Mammocalc lesion {number} in two views", uid),
            property_item(codes.COMPOSITE_TYPE, codes.RELATED_SPATIALLY),
            property_item(codes.SCOPE_OF_FEATURE, codes.ON_MULTIPLE_IMAGES),
            *algorithm(matcher(reader), reader, identity_lines(reader)),
            percentage(codes.CERTAINTY_OF_FEATURE, pair.score),
            *(
                _marked_finding(mark, entry, reader, Relationship.INFERRED_FROM, own)
                for (mark, entry), own in zip(parts, intents, strict=True)
            ),
        ),
    )
    return _individual_impression(intent, feature)


def _kind_of(finding: Finding) -> Code:
    """Return what a finding is (CID 6014): a cluster, or one calcification where it holds no more."""
    return codes.INDIVIDUAL_CALCIFICATION if len(finding.specks) == 1 else codes.CALCIFICATION_CLUSTER


def _marked_finding(
    mark: Mark, entry: Item, reader: ReaderIdentity, relationship: Relationship, intent: Code
) -> Item:
    """Return a finding on one image (TID 4006), with the calcifications that it is inferred from."""
    finding = mark.finding
    single = len(finding.specks) == 1
    inner = (
        codes.NOT_FOR_PRESENTATION if intent is codes.NOT_FOR_PRESENTATION else codes.PRESENTATION_OPTIONAL
    )
    point = SPECKS_SHOWN if intent is codes.PRESENTATION_REQUIRED else BENIGN_SHOWN
    return Item(
        relationship=relationship,
        concept=codes.SINGLE_IMAGE_FINDING,
        value=_kind_of(finding),
        children=(
            intent_item(intent, point),
            *tracking(mark.tracking_identifier, mark.tracking_uid),
            *algorithm(reader.name, reader, (*identity_lines(reader), *_statements(finding))),
            percentage(codes.CERTAINTY_OF_FINDING, finding.detection),
            graphic_item(codes.CENTER, Graphic(graphic_type=GraphicType.POINT, points=(mark.center,)), entry),
            graphic_item(
                codes.OUTLINE, Graphic(graphic_type=GraphicType.POLYLINE, points=mark.outline), entry
            ),
            *(_calcification_body(finding) if single else _cluster_body(finding)),
            *(
                _calcification(speck, entry, reader, intent_item(inner, point))
                for speck in finding.specks
                if not single
            ),
        ),
    )


def _statements(finding: Finding) -> Iterator[str]:
    """Yield what the reader says of a finding and TID 4006 has no row for."""
    yield line(
        Parameter.SUSPICION,
        f"{finding.suspicion:.4f} of 1, on a scale by the literature, no probability of cancer",
    )
    if finding.kind is not FindingKind.CLUSTER:
        yield line(Parameter.STRUCTURE, finding.kind)
    if len(finding.specks) == 1:
        (speck,) = finding.specks
        yield line(Parameter.SPECK_CERTAINTY, f"{100 * speck.score:.1f} percent")
        yield line(Parameter.SPECK_DIAMETER, f"{speck.diameter_mm:.6g} mm")
        if finding.distribution is not None:
            yield line(Parameter.DISTRIBUTION, finding.distribution)


def _types(finding: Finding) -> tuple[Item, ...]:
    """Return the Calcification Type, where the reader states a morphology."""
    if finding.morphology is None:
        return ()
    return (property_item(codes.CALCIFICATION_TYPE, codes.TYPES[finding.morphology]),)


def _distributions(finding: Finding) -> tuple[Item, ...]:
    """Return the Calcification Distribution, where the reader states it."""
    if finding.distribution is None:
        return ()
    return (property_item(codes.CALCIFICATION_DISTRIBUTION, codes.DISTRIBUTIONS[finding.distribution]),)


def _cluster_body(finding: Finding) -> tuple[Item, ...]:
    """Return type and distribution where they are stated, and the number of calcifications (TID 4010)."""
    number = Quantity(number=len(finding.specks), unit=codes.NO_UNITS)
    return (
        *_types(finding),
        *_distributions(finding),
        property_item(codes.NUMBER_OF_CALCIFICATIONS, number),
    )


def _calcification_body(finding: Finding) -> tuple[Item, ...]:
    """Return the type of a finding that is one calcification, or else its size (TID 4009)."""
    return _types(finding) or (_size(finding.specks[0]),)


def _calcification(speck: Speck, entry: Item, reader: ReaderIdentity, intent: Item) -> Item:
    """Return one calcification of a cluster (TID 4006 with TID 4009): its centre and size."""
    center = Graphic(graphic_type=GraphicType.POINT, points=(speck.center,))
    return Item(
        relationship=Relationship.INFERRED_FROM,
        concept=codes.SINGLE_IMAGE_FINDING,
        value=codes.INDIVIDUAL_CALCIFICATION,
        children=(
            intent,
            *algorithm(reader.name, reader),
            percentage(codes.CERTAINTY_OF_FINDING, speck.score),
            graphic_item(codes.CENTER, center, entry),
            _size(speck),
        ),
    )


def _size(speck: Speck) -> Item:
    """Return the diameter at the detector plane (TID 1400), or the bare type where it was not measured."""
    if speck.diameter_mm > 0:
        return property_item(codes.DIAMETER, Quantity(number=speck.diameter_mm, unit=codes.MILLIMETER))
    return property_item(codes.CALCIFICATION_TYPE, codes.MICROCALCIFICATIONS)


def _non_lesion(thing: NonLesion, image: AnsweredImage, entry: Item, reader: ReaderIdentity) -> Item:
    """Return what is bright and no lesion, so that nobody looks for it (TID 4006 with TID 4012)."""
    outline = closed_outline(thing.outline, columns=int(image.header.Columns), rows=int(image.header.Rows))
    center = Graphic(graphic_type=GraphicType.POINT, points=(point_within(outline),))
    return Item(
        relationship=Relationship.CONTAINS,
        concept=codes.SINGLE_IMAGE_FINDING,
        value=codes.NON_LESION,
        children=(
            intent_item(codes.NOT_FOR_PRESENTATION),
            *algorithm(reader.name, reader, identity_lines(reader)),
            graphic_item(codes.CENTER, center, entry),
            graphic_item(codes.OUTLINE, Graphic(graphic_type=GraphicType.POLYLINE, points=outline), entry),
            property_item(codes.OBJECT_TYPE, codes.OBJECT_TYPES[thing.kind]),
        ),
    )


def point_within(outline: Sequence[ImagePoint]) -> ImagePoint:
    """Return a point inside a closed outline: the mean of its corners, or the middle of its widest part at that height."""
    corners = outline[:-1] or outline
    mean = ImagePoint(
        sum(corner.column for corner in corners) / len(corners),
        sum(corner.row for corner in corners) / len(corners),
    )
    if inside(mean, outline):
        return mean
    crossings = sorted(
        a.column + (mean.row - a.row) / (b.row - a.row) * (b.column - a.column)
        for a, b in pairwise(outline)
        if (a.row > mean.row) != (b.row > mean.row)
    )
    across = max(
        zip(crossings[::2], crossings[1::2], strict=True), key=lambda ends: ends[1] - ends[0], default=None
    )
    return mean if across is None else ImagePoint((across[0] + across[1]) / 2, mean.row)
