"""From stored pixels to what the network sees: the breast alone, chest wall left, grey values made comparable.

Vendors' grey scales differ by a factor of six and their noise by more, so the network never sees grey values
as they are: one channel holds them between two in-breast quantiles, the other a high-pass divided by the noise
around it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mammography.coordinates import Grid
from mammography.header import number_of, stated
from mammography.mammogram import FOR_PROCESSING, Mammogram, UnreadableMammogram, padding_of
from mammography.reader.breast import BEYOND, Blocks, breast_of, implant_area, unreadable_areas
from mammography.reader.breast import MASK_STEP as MASK_STEP  # noqa: PLC0414 - lessons take it from here
from mammography.reader.masks import shrunk
from mammography.reader.network import STRIDE
from mammography.reader.plan import ReaderPlan

SKIN_MM = 1.0
IMPLANT_REMARK = "What looks like an implant was left out; breast that lies over or under it was not read."
_LOW_PASS, _NOISE = 8, 32
"""Windows of the high-pass and of the noise around, in reader pixels: 0.6 and 2.2 mm at 0.07 mm."""
_MULTIPLE = max(STRIDE, _NOISE)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """What the network sees, and where it lies on the image.

    `image`: [1, 2, height, width], float32, sides multiples of STRIDE, chest wall on the left; channel 0 is the
    value between in-breast quantiles (-1 to 1), channel 1 the noise-equalised high-pass. `breast`: [height,
    width], true well inside the skin, where specks are looked for. `grid` leads from reader pixels to stored ones; `spacing_mm` is that of the
    reader pixels. `remarks`: sentences on what could not be searched. `unread`: share of the breast in which
    nothing can be seen, 0 to 1.
    """

    image: Tensor
    breast: NDArray[np.bool_]
    grid: Grid
    spacing_mm: float
    remarks: tuple[str, ...] = ()
    unread: float = 0.0


def density_values(mammogram: Mammogram) -> NDArray[np.float32]:
    """Return values that grow with what X-rays met on their way: [rows, columns], float32.

    For Presentation values do so once MONOCHROME1 is turned. For Processing values are the detector's signal:
    their logarithm is taken, and its sense is Pixel Intensity Relationship Sign (PS3.3 C.8.11.3.1.2). Padding
    (PS3.3 C.7.5.1.1.2) is no image, and becomes as dark as the darkest of it.

    Raises:
        UnreadableMammogram: if the image is nothing but padding.
    """
    values = mammogram.pixels.astype(np.float32)
    if mammogram.sop_class_uid != FOR_PROCESSING:
        turned = mammogram.inverted
    else:
        if (stated(mammogram.header, "PixelIntensityRelationship") or "LIN") == "LIN":
            values = np.log(np.maximum(values, 1.0))
        sign = number_of(mammogram.header, "PixelIntensityRelationshipSign")
        sign = sign or (-1 if mammogram.inverted else 1)
        turned = sign > 0
    if turned:
        np.negative(values, out=values)
    padding = padding_of(mammogram)
    if padding is not None and padding.any():
        if padding.all():
            raise UnreadableMammogram("The image holds nothing but padding.")
        values[padding] = values[~padding].min()
    return values


def prepare(
    values: NDArray[np.floating[Any]],
    *,
    spacing_mm: float,
    plan: ReaderPlan,
    mask: NDArray[np.bool_] | None = None,
) -> Prepared:
    """Return what the network sees of an image whose values grow with density, [rows, columns].

    The breast is cut out, turned so that the chest wall is left, and resampled only where its pitch is far
    from the plan's. `mask` is the breast where that is known, as `breast_mask` returns it.

    Raises:
        UnreadableMammogram: if no breast is found, or nothing can be seen in it.
    """
    values, blocks, breast, mirrored = _turned(values, spacing_mm, mask)
    hidden, implant = _hidden(blocks, breast, spacing_mm)
    top, bottom, left, right = _box(breast, values.shape)
    scale = plan.scale_of(spacing_mm)
    grid = Grid(
        column_offset=float(values.shape[1] - right if mirrored else left),
        row_offset=float(top),
        columns=right - left,
        mirrored=mirrored,
        scale=scale,
    )
    shown = (
        slice(top // MASK_STEP, -(-bottom // MASK_STEP)),
        slice(left // MASK_STEP, -(-right // MASK_STEP)),
    )
    picture = torch.from_numpy(np.ascontiguousarray(values[top:bottom, left:right], dtype=np.float32))
    picture = _scaled(picture[None, None], scale)
    inside, deeper = _under_the_skin(breast, ~hidden, spacing_mm)
    weight = _enlarged(inside[shown].astype(np.float32), picture)
    searched = _enlarged(deeper[shown], picture)
    if not inside[shown].any():
        raise UnreadableMammogram("The whole breast is saturated, so nothing can be seen in it.")
    picture = _padded(picture)
    return Prepared(
        image=_channels(picture, weight, plan),
        breast=searched[0, 0].numpy(),
        grid=grid,
        spacing_mm=spacing_mm / scale,
        remarks=(IMPLANT_REMARK,) if implant else (),
        unread=float((hidden & breast).sum() / breast.sum()),
    )


def _hidden(blocks: Blocks, breast: NDArray[np.bool_], spacing_mm: float) -> tuple[NDArray[np.bool_], bool]:
    """Return where within the breast nothing can be seen, and whether an implant is part of that."""
    rows, columns = (np.flatnonzero(breast.any(axis)) for axis in (1, 0))
    near = tuple(slice(max(side[0] - BEYOND, 0), side[-1] + 1 + BEYOND) for side in (rows, columns))
    part = blocks.part(near)
    implant = implant_area(part, breast[near], spacing_mm)
    unreadable = unreadable_areas(part, breast[near], spacing_mm)
    hidden = np.zeros_like(breast)
    hidden[near] = unreadable if implant is None else unreadable | implant
    return hidden, implant is not None


def _turned(
    values: NDArray[np.floating[Any]], spacing_mm: float, mask: NDArray[np.bool_] | None
) -> tuple[NDArray[np.floating[Any]], Blocks, NDArray[np.bool_], bool]:
    """Return an image with its chest wall on the left, its blocks, its breast, and whether it was mirrored."""
    blocks = Blocks.of(values)
    breast = breast_of(blocks, spacing_mm) if mask is None else mask
    half = breast.shape[1] // 2
    if breast[:, :half].sum() >= breast[:, -half:].sum():
        return values, blocks, breast, False
    values = values[:, ::-1]
    if values.shape[1] % MASK_STEP == 0:
        return values, blocks.mirrored(), breast[:, ::-1], True
    blocks = Blocks.of(values)  # other columns share a block now
    return values, blocks, breast_of(blocks, spacing_mm) if mask is None else mask[:, ::-1], True


def _box(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return (top, bottom, left, right) of the breast on the image, in stored pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (
        int(rows[0]) * MASK_STEP,
        min(int(rows[-1] + 1) * MASK_STEP, shape[0]),
        int(columns[0]) * MASK_STEP,
        min(int(columns[-1] + 1) * MASK_STEP, shape[1]),
    )


def _under_the_skin(
    breast: NDArray[np.bool_], seen: NDArray[np.bool_], spacing_mm: float
) -> Iterator[NDArray[np.bool_]]:
    """Yield what is seen of the breast within the skin, and one mask element deeper."""
    skin = max(1, round(SKIN_MM / (spacing_mm * MASK_STEP)))
    for depth in (skin, skin + 1):
        yield shrunk(breast, depth, beyond=True) & seen


def _scaled(picture: Tensor, scale: float) -> Tensor:
    """Resample to `scale` times as many pixels; the outer corner stays where it is."""
    if scale == 1.0:
        return picture
    return functional.interpolate(
        picture, scale_factor=scale, mode="bilinear", antialias=True, recompute_scale_factor=False
    )


def _padded(picture: Tensor) -> Tensor:
    """Repeat the last row and column until both sides are multiples of the windows."""
    height, width = picture.shape[-2:]
    return functional.pad(picture, (0, -width % _MULTIPLE, 0, -height % _MULTIPLE), mode="replicate")


def _enlarged(mask: NDArray[Any], picture: Tensor) -> Tensor:
    """Return a mask of MASK_STEP at the size of a picture, padded as that will be: the last row and column go on."""
    down, across = (
        np.minimum(np.arange(side + -side % _MULTIPLE) * count // side, count - 1)
        for side, count in zip(picture.shape[-2:], mask.shape, strict=True)
    )
    return torch.from_numpy(mask[down][:, across])[None, None]


def _channels(picture: Tensor, weight: Tensor, plan: ReaderPlan) -> Tensor:
    """Return the two channels of a picture: [1, 2, height, width]; `weight`: 1 inside the breast, 0 elsewhere."""
    sample = picture[..., ::4, ::4][weight[..., ::4, ::4] > 0].numpy()
    low, high = (float(value) for value in np.quantile(sample, plan.value_quantiles))
    channels = picture.new_empty((1, 2, *picture.shape[-2:]))
    value, high_pass = channels[:, :1], channels[:, 1:]
    torch.sub(picture, low, out=value).div_(max(high - low, 1e-6))
    share = functional.avg_pool2d(weight, _LOW_PASS)
    low_pass = _local_mean(value * weight, share, _LOW_PASS)
    torch.sub(value, low_pass, out=high_pass).mul_(weight)
    magnitude = torch.abs(high_pass, out=low_pass)
    # torch's sums depend on how many threads share them
    total = float(magnitude[..., ::4, ::4].numpy().sum(dtype=np.float64))
    deviation = total / max(float(weight[..., ::4, ::4].numpy().sum(dtype=np.float64)), 1.0)
    share = functional.avg_pool2d(share, _NOISE // _LOW_PASS)
    around = _local_mean(magnitude.clamp_(max=plan.noise_ceiling * deviation), share, _NOISE)
    floor = max(plan.noise_floor * deviation, 1e-4)
    high_pass.div_(around.mul_(plan.noise_gain).add_(floor)).clamp_(*plan.high_pass_range).div_(3)
    value.clamp_(-0.2, 1.3).mul_(2).sub_(1)
    return channels


def _local_mean(inside: Tensor, share: Tensor, window: int) -> Tensor:
    """Return the mean of the inside around every pixel, over some two windows, at the picture's size.

    `inside`: the picture, 0 outside; `share`: of each window that is inside, 0 to 1.
    """
    total = functional.avg_pool2d(inside, window)
    for _ in range(2):
        total, share = (
            functional.avg_pool2d(functional.pad(map_, (1, 1, 1, 1), mode="replicate"), 3, 1)
            for map_ in (total, share)
        )
    mean = total / share.clamp(min=1e-3)
    return functional.interpolate(mean, size=inside.shape[-2:], mode="bilinear", align_corners=False)
