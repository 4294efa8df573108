"""What the report says was attempted on which image, and how it went (PS3.16 TID 4001, 4015 to 4018, 4023)."""

from collections.abc import Iterator, Sequence

from mammography.finding import Assessment, ReaderIdentity
from mammography.results import codes
from mammography.results.cad_sr_findings import BENIGN_SHOWN, SPECKS_SHOWN
from mammography.results.cad_sr_items import algorithm, matcher, property_item
from mammography.results.codes import Code
from mammography.results.content import Item, Quantity, Reference, Relationship, Section
from mammography.results.marks import AnsweredImage
from mammography.results.parameters import Parameter, identity_lines, line
from mammography.view import FROM_ABOVE, FROM_THE_SIDE, Laterality

Entries = Sequence[tuple[AnsweredImage, Item]]
"""Each image with its entry of the library."""


def outcome(*, succeeded: bool, failed: bool, findings: bool) -> Code:
    """Return the value of CAD Processing and Findings Summary (CID 6047).

    A finding counts whatever its rendering intent is: one that stands in the tree is a finding, a non-lesion too.
    """
    if not succeeded:
        return codes.NONE_SUCCEEDED
    if failed:
        return codes.SOME_SUCCEEDED_WITH_FINDINGS if findings else codes.SOME_SUCCEEDED_WITHOUT_FINDINGS
    return codes.ALL_SUCCEEDED_WITH_FINDINGS if findings else codes.ALL_SUCCEEDED_WITHOUT_FINDINGS


def status(*, succeeded: bool, failed: bool) -> Code:
    """Return how detections or analyses went as a whole (CID 6042)."""
    if failed:
        return codes.PARTIALLY_SUCCEEDED if succeeded else codes.FAILED
    return codes.SUCCEEDED if succeeded else codes.NOT_ATTEMPTED


def detections(entries: Entries, reader: ReaderIdentity, *, benign: bool) -> Item:
    """Return on which images the detection of calcifications succeeded, and on which it failed and why (TID 4015).

    Images are listed together where the same is to be said of them: the reason why they were not read, or remarks.
    """
    succeeded = [
        performed
        for images, remarks in _alike(
            (entry, image.reading.remarks) for image, entry in entries if image.read
        )
        for performed in _detections_performed(
            images, reader, [line(Parameter.REMARK, remark) for remark in remarks], _operating_points(benign)
        )
    ]
    failed = [
        performed
        for images, reasons in _alike(
            (entry, (image.reading.reason or "",)) for image, entry in entries if not image.read
        )
        for performed in _detections_performed(
            images, reader, [line(Parameter.REASON, reason) for reason in reasons], ()
        )
    ]
    return _summary(
        codes.SUMMARY_OF_DETECTIONS,
        (codes.SUCCESSFUL_DETECTIONS, succeeded),
        (codes.FAILED_DETECTIONS, failed),
    )


def analyses(entries: Entries, assessment: Assessment) -> Item:
    """Return for which two views of a breast findings were matched, and for which one was not read (TID 4016).

    A reader that gives no score of a breast did not match its views: nothing was attempted there. Where no two views
    could be matched at all, nothing was attempted in the whole study.
    """
    matched = {breast.laterality for breast in assessment.breasts} | {
        view.laterality
        for pair in assessment.correspondences
        if (view := assessment.images[pair.first.image].view)
    }
    succeeded: list[Item] = []
    failed: list[Item] = []
    for above, beside in _pairs_of_views(entries, matched):
        read = above[0].read, beside[0].read
        if any(read):
            performed = Item(
                relationship=Relationship.CONTAINS,
                concept=codes.ANALYSIS_PERFORMED,
                value=codes.SPATIAL_COLLOCATION,
                children=(
                    *algorithm(
                        matcher(assessment.reader), assessment.reader, identity_lines(assessment.reader)
                    ),
                    *_on([above[1], beside[1]]),
                ),
            )
            (succeeded if all(read) else failed).append(performed)
    return _summary(
        codes.SUMMARY_OF_ANALYSES,
        (codes.SUCCESSFUL_ANALYSES, succeeded),
        (codes.FAILED_ANALYSES, failed if succeeded else ()),
    )


def _pairs_of_views(
    entries: Entries, sides: set[Laterality]
) -> Iterator[tuple[tuple[AnsweredImage, Item], tuple[AnsweredImage, Item]]]:
    """Yield every view from above with every view from the side of the same breast."""
    for side in (Laterality.RIGHT, Laterality.LEFT):
        above, beside = (
            [
                (image, entry)
                for image, entry in entries
                if image.reading.view
                and image.reading.view.laterality is side
                and image.reading.view.position in positions
            ]
            for positions in (FROM_ABOVE, FROM_THE_SIDE)
        )
        if side in sides:
            yield from ((one, other) for one in above for other in beside)


def _alike(said: Iterator[tuple[Item, tuple[str, ...]]]) -> list[tuple[list[Item], tuple[str, ...]]]:
    """Return the entries of which the same is said, together, in the order of their first."""
    together: dict[tuple[str, ...], list[Item]] = {}
    for entry, words in said:
        together.setdefault(words, []).append(entry)
    return [(entries, words) for words, entries in together.items()]


def _operating_points(benign: bool) -> tuple[Item, ...]:
    """Return up to which operating point more is shown (TID 4023); we recommend none, that is the reader's choice."""
    highest = Quantity(number=BENIGN_SHOWN if benign else SPECKS_SHOWN, unit=codes.ARBITRARY_UNIT)
    return (property_item(codes.MAXIMUM_OPERATING_POINT, highest),)


def _detections_performed(
    images: Sequence[Item], reader: ReaderIdentity, said: Sequence[str], points: tuple[Item, ...]
) -> Iterator[Item]:
    """Yield the detection of single calcifications and of clusters on these images (TID 4017)."""
    for kind in (codes.INDIVIDUAL_CALCIFICATION, codes.CALCIFICATION_CLUSTER):
        yield Item(
            relationship=Relationship.CONTAINS,
            concept=codes.DETECTION_PERFORMED,
            value=kind,
            children=(
                *algorithm(reader.name, reader, (*identity_lines(reader), *said)),
                *_on(images),
                *points,
            ),
        )


def _on(images: Sequence[Item]) -> Iterator[Reference]:
    """Yield references to images of the library."""
    return (Reference(relationship=Relationship.HAS_PROPERTIES, target=entry) for entry in images)


def _summary(concept: Code, good: tuple[Code, Sequence[Item]], bad: tuple[Code, Sequence[Item]]) -> Item:
    """Return a summary with its container for what succeeded and its container for what failed, where there is any."""
    return Item(
        relationship=Relationship.CONTAINS,
        concept=concept,
        value=status(succeeded=bool(good[1]), failed=bool(bad[1])),
        children=tuple(
            Item(
                relationship=Relationship.INFERRED_FROM,
                concept=name,
                value=Section(),
                children=tuple(performed),
            )
            for name, performed in (good, bad)
            if performed
        ),
    )
