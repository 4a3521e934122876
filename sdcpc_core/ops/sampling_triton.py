"""Device functions for bilinear sampling of token maps, shared by the kernels in Triton.

A kernel works on a tile of rows times channels: a row is a pixel, or a group of its channels, with points of its own.
"""

import triton
import triton.language as tl

TILE_ELEMENTS = 512
"""Rows times channels of a program: four numbers per thread, of float32 a load of 16 bytes."""
NUM_WARPS = 4


def tile(channels: int) -> tuple[int, int]:
    """Rows and channels of a tile that holds whole rows; both are powers of two."""
    tile_channels = triton.next_power_of_2(channels)
    return max(1, TILE_ELEMENTS // tile_channels), tile_channels


@triton.jit
def tile_places(num_rows, channels, tile_rows: tl.constexpr, tile_channels: tl.constexpr):
    """Where this program's tile lies.

    Returns:
        Its rows and its channels, which of the rows there are, the places of the tile in a table of
        ``num_rows`` x ``channels``, and which of these there are.
    """
    # 64 bits: a batch of large maps has more than 2^31 numbers.
    rows = tl.program_id(0).to(tl.int64) * tile_rows + tl.arange(0, tile_rows)
    channel = tl.arange(0, tile_channels)
    there_rows = rows < num_rows
    return rows, channel, there_rows, rows[:, None] * channels + channel, there_rows[:, None] & (channel < channels)


@triton.jit
def load_point(points, place, there):
    """Read x and y of every row's point, two numbers at ``place`` of a list of points."""
    x = tl.load(points + place * 2, mask=there, other=0.0).to(tl.float32)
    y = tl.load(points + place * 2 + 1, mask=there, other=0.0).to(tl.float32)
    return x, y


@triton.jit
def store_point(points, place, x, y, there):
    """Write what ``load_point`` reads."""
    tl.store(points + place * 2, x, mask=there)
    tl.store(points + place * 2 + 1, y, mask=there)


@triton.jit
def neighbour(x, y, corner: tl.constexpr, height, width):
    """One of the four tokens around each point, corner 0 to 3 as in ``bilinear_corners``.

    Returns:
        Its index on the map, whether it is on the map at all, its bilinear weight, and the slopes of the weight along
        x and along y; off the map, as around a point that is no finite number, all but the second are zero.
    """
    left, top = tl.floor(x), tl.floor(y)
    across, down = x - left, y - top
    if corner % 2 == 0:
        across, slope_x = 1 - across, -1.0
    else:
        left, slope_x = left + 1, 1.0
    if corner // 2 == 0:
        down, slope_y = 1 - down, -1.0
    else:
        top, slope_y = top + 1, 1.0
    on_map = (left >= 0) & (left < width) & (top >= 0) & (top < height)
    # Chosen before they become integers, because what lies outside may be infinite.
    index = tl.where(on_map, top, 0.0).to(tl.int64) * width + tl.where(on_map, left, 0.0).to(tl.int64)
    weight = tl.where(on_map, across * down, 0.0)
    return index, on_map, weight, tl.where(on_map, slope_x * down, 0.0), tl.where(on_map, slope_y * across, 0.0)


@triton.jit
def load_tile(table, places, there):
    """Read a tile in float32, zero where there is nothing."""
    return tl.load(table + places, mask=there, other=0.0).to(tl.float32)
