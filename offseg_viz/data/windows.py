"""Where the windows of a sliding window lie on an image, for prediction and for extraction."""

from offseg_viz.errors import ModelError


def window_places(side: int, window: int, stride: int) -> list[int]:
    """Where windows start along one axis, in pixels; a last one that would stick out is moved back to end with it.

    A side that is not longer than the window has one window, at 0, which is as short as the side.

    Raises
    ------
    ModelError
        If the stride is larger than the window, which would leave gaps, or a value is below 1.
    """
    if min(side, window, stride) < 1:
        raise ModelError(f"side {side}, window {window} and stride {stride}; needed 1 pixel or more of each")
    check_stride(window, stride)
    room = max(side - window, 0)
    return [min(start * stride, room) for start in range(-(-room // stride) + 1)]


def check_stride(window: int, stride: int) -> None:
    """Raise `ModelError` for a stride that leaves gaps."""
    if stride > window:
        raise ModelError(f"a stride of {stride} leaves gaps between windows of {window} pixels; needed 1 to {window}")


def windows_of(height: int, width: int, window: tuple[int, int], stride: tuple[int, int]) -> list[tuple[int, ...]]:
    """The windows of an image, each (top, left, height, width) in pixels, row by row from the top left.

    Parameters
    ----------
    height, width : of the image.
    window, stride : (height, width) in pixels; see `window_places`.

    Raises
    ------
    ModelError
        If `window` or `stride` is no pair of whole numbers of 1 or more, or the stride leaves gaps.
    """
    for name, size in (("window", window), ("stride", stride)):
        if not (isinstance(size, tuple | list) and len(size) == 2 and all(isinstance(side, int) for side in size)):
            raise ModelError(f"{name} is {size!r}; needed (height, width) in whole pixels, such as (512, 512)")
    tops, lefts = (window_places(*numbers) for numbers in zip((height, width), window, stride, strict=True))
    sides = min(window[0], height), min(window[1], width)
    return [(top, left, *sides) for top in tops for left in lefts]
