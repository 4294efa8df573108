"""What the node delivers of the shown study is what its truth says, so that a viewer that shows it shows the truth."""

import pytest

from mammography.coordinates import ImagePoint
from tests.journeys.answers import share_inside

pytestmark = [pytest.mark.orthanc, pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_specks_of_each_drawn_group_lie_inside_a_delivered_outline(shown_study, delivered):
    groups = [
        (str(image.view), [speck.center for speck in finding.specks])
        for image in shown_study.assessment.images
        for finding in image.findings
    ]
    assert len(groups) == 3
    for view, specks in groups:
        outlines = [[ImagePoint(*point) for point in outline] for outline in delivered.outlines[view]]
        assert share_inside(specks, outlines) >= 0.75
