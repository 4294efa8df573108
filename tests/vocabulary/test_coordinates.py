"""Points survive the way to the reader's grid and back."""

from hypothesis import given
from hypothesis import strategies as st

from mammography.coordinates import Grid, ImagePoint, inside

pixels = st.floats(0, 5000, allow_nan=False)
grids = st.builds(
    Grid,
    column_offset=pixels,
    row_offset=pixels,
    columns=st.integers(1, 5000),
    mirrored=st.booleans(),
    scale=st.floats(0.3, 3.0),
)


@given(grids, pixels, pixels)
def test_a_point_survives_the_way_to_the_grid_and_back(grid, column, row):
    there = grid.from_image(ImagePoint(column, row))
    back = grid.to_image(*there)
    assert abs(back.column - column) < 1e-6
    assert abs(back.row - row) < 1e-6


def test_a_mirrored_crop_starts_at_its_right_edge():
    grid = Grid(column_offset=100.0, row_offset=20.0, columns=50, mirrored=True)
    assert grid.to_image(0.5, 0.5) == ImagePoint(149.5, 20.5)


def test_a_point_is_inside_its_polygon_and_not_outside():
    square = [ImagePoint(0, 0), ImagePoint(10, 0), ImagePoint(10, 10), ImagePoint(0, 10)]
    assert inside(ImagePoint(5, 5), square)
    assert not inside(ImagePoint(15, 5), square)
    assert not inside(ImagePoint(5, -1), square)
