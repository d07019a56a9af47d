"""CARAFE: every output position is a weighted sum of an input window, with weights of its own (arXiv 1905.02188).

Written as it stands, the sum needs either all windows at once (k^2 times the input, upsampled) or k^2 passes over the
output. Here the output is cut into tiles. All positions of a tile read from one slightly larger window, so that a tile
is one matrix product of that window with a banded matrix holding its kernels: nothing larger than the output is
made, and the work lies in matrix products, forwards and backwards.
"""

from torch import Tensor
from torch.nn import functional as F

from offseg_viz.errors import ModelError

TILE = 4
"""Side of a tile in input positions: of 2, 4 and 8 the fastest at the sizes of OffSeg-T, forwards and backwards."""


def carafe(x: Tensor, kernel: Tensor, size: int, scale: int = 1) -> Tensor:
    """Reassemble a map (B, C, h, w) into (B, C, scale h, scale w) by kernels that differ from position to position.

    The output at (y, x) is the sum over the `size` x `size` window of the input around (y // scale, x // scale), zero
    outside, weighted by the kernel at (y, x).

    Parameters
    ----------
    x : (B, C, h, w).
    kernel : (B, G size^2, scale h, scale w), window positions row by row; the G groups of channels, C / G each, have
        kernels of their own (G = 1: one kernel for all channels).
    size : odd side of the window, in input positions.
    scale : output positions per input position.

    Returns
    -------
    (B, C, scale h, scale w), channels last in memory where G = 1.

    Raises
    ------
    ModelError
        If the kernels do not fit the map.
    """
    batch, channels, height, width = x.shape
    groups, rest = divmod(kernel.shape[1], size * size)
    grid = (height * scale, width * scale)
    if size % 2 == 0 or rest or groups == 0 or channels % groups or tuple(kernel.shape[2:]) != grid:
        needed = f"kernels (B, G {size}^2, {grid[0]}, {grid[1]}) with an odd size and G dividing {channels} channels"
        raise ModelError(f"carafe of a map {tuple(x.shape)} needs {needed}, found {tuple(kernel.shape)}")
    x = x.reshape(batch * groups, channels // groups, height, width)  # (BG, C/G, h, w)
    kernel = kernel.reshape(batch * groups, size * size, *grid)  # (BG, k^2, H, W)
    windows = _tile_windows(x, size)  # (BG, T, (t+k-1)^2, C/G), T tiles
    out = _tile_kernels(kernel, size, scale) @ windows  # (BG, T, (st)^2, C/G)
    side, rows, columns = TILE * scale, (height + TILE - 1) // TILE, (width + TILE - 1) // TILE
    out = out.unflatten(2, (side, side)).unflatten(1, (rows, columns))  # (BG, Ty, Tx, st, st, C/G)
    out = out.transpose(2, 3).reshape(batch * groups, rows * side, columns * side, -1)  # (BG, st Ty, st Tx, C/G)
    out = out[:, : grid[0], : grid[1]].permute(0, 3, 1, 2)  # (BG, C/G, H, W)
    return out.reshape(batch, channels, *grid)  # (B, C, H, W)


def _tile_windows(x: Tensor, size: int) -> Tensor:
    """What the T tiles read of a map (B, C, h, w): (B, T, (t+k-1)^2, C) for tile side t and kernel size k."""
    before, side = size // 2, TILE + size - 1
    after = before + TILE - 1  # enough for a last tile that is not full; windows that do not fit are not taken
    padded = F.pad(x, (before, after, before, after))  # (B, C, h + k + t - 2, w + k + t - 2)
    windows = padded.unfold(2, side, TILE).unfold(3, side, TILE)  # (B, C, Ty, Tx, t+k-1, t+k-1)
    return windows.permute(0, 2, 3, 4, 5, 1).flatten(3, 4).flatten(1, 2)  # (B, T, (t+k-1)^2, C)


def _tile_kernels(kernel: Tensor, size: int, scale: int) -> Tensor:
    """Kernels (B, k^2, s h, s w) as one matrix a tile: (B, T, (s t)^2 outputs, (t+k-1)^2 window positions)."""
    side = TILE * scale
    rows, columns = ((length + side - 1) // side for length in kernel.shape[2:])
    kernel = F.pad(kernel, (0, side - scale, 0, side - scale))[:, :, : rows * side, : columns * side]
    kernel = kernel.unflatten(3, (columns, TILE, scale)).unflatten(2, (rows, TILE, scale)).unflatten(1, (size, size))
    kernel = kernel.permute(0, 3, 6, 5, 8, 1, 4, 7, 2)  # (B, Ty, Tx, sy, sx, ky, ty, tx, kx)
    kernel = _skew(kernel)  # (B, Ty, Tx, sy, sx, ky, ty, tx, t+k-1)
    kernel = kernel.permute(0, 1, 2, 3, 4, 7, 8, 6, 5)  # (B, Ty, Tx, sy, sx, tx, t+k-1, ty, ky)
    kernel = _skew(kernel)  # (B, Ty, Tx, sy, sx, tx, t+k-1, ty, t+k-1)
    kernel = kernel.permute(0, 1, 2, 7, 3, 5, 4, 8, 6)  # (B, Ty, Tx, ty, sy, tx, sx, t+k-1, t+k-1)
    return kernel.flatten(7, 8).flatten(3, 6).flatten(1, 2)  # (B, T, (s t)^2, (t+k-1)^2)


def _skew(taps: Tensor) -> Tensor:
    """Shift row i of (..., t, k) right by i in rows of t+k-1, zeros beside: tap j of position i reads place i + j.

    A row padded to t+k entries is one too long for rows of t+k-1, so that cutting the entries anew moves each row one
    place further than the row before.
    """
    positions, size = taps.shape[-2:]
    flat = F.pad(taps, (0, positions)).flatten(-2)  # (..., t (t+k))
    return flat[..., : positions * (positions + size - 1)].unflatten(-1, (positions, positions + size - 1))
