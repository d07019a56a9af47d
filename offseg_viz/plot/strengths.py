"""mIoU of an image against the strength of its offsets, as a small picture in SVG that follows sliders."""

import math

import pandas as pd

from offseg_viz.plot import theme

LINES = {
    "both": ("both", theme.QUIET, "5 4"),
    "class_offsets": ("class offsets", theme.STAGE_COLORS["ideal"], ""),
    "feature_offsets": ("feature offsets", theme.STAGE_COLORS["aligned"], ""),
}
"""Words, colour and dashes of the columns of `strength_lines`, in the order in which they are drawn."""
_WIDTH, _HEIGHT = 310, 196
_LEFT, _TOP, _RIGHT, _BOTTOM = 34, 38, 300, 160


def strength_svg(lines: pd.DataFrame, *, class_strength: float, feature_strength: float, miou: float) -> str:
    """The lines of `strength_lines` as SVG, with a mark where the sliders stand: text of one element, to be embedded.

    Lines pass through the present point exactly, as `miou`, which lies on both (between the strengths of the table they
    are interpolated). Empty where no figure is finite.

    Parameters
    ----------
    lines : DataFrame
        Index `strength`, columns ``class_offsets``, ``feature_offsets`` and ``both``, fractions from 0 to 1.
    class_strength, feature_strength : float
        Where the sliders stand.
    miou : float
        The mIoU there, from 0 to 1.
    """
    values = [value for value in [*lines.to_numpy().ravel(), miou] if math.isfinite(value)]
    if not values or not math.isfinite(miou):
        return ""
    low, high, step = _axis(min(values), max(values))
    first, last = float(lines.index[0]), float(lines.index[-1])

    def x(strength: float) -> float:
        return _LEFT + (strength - first) / (last - first) * (_RIGHT - _LEFT)

    def y(value: float) -> float:
        return _BOTTOM - (value - low) / (high - low) * (_BOTTOM - _TOP)

    parts = []
    for number in range(round((high - low) / step) + 1):
        value = low + number * step
        digits = max(0, -math.floor(math.log10(step * 100) + 1e-9))
        parts.append(f'<path d="M{_LEFT} {y(value):.1f}H{_RIGHT}" stroke="currentColor" opacity=".14"/>')
        parts.append(_text(_LEFT - 6, y(value) + 3.5, f"{100 * value:.{digits}f}", anchor="end"))
    for strength in (first, (first + last) / 2, last):
        parts.append(f'<path d="M{x(strength):.1f} {_BOTTOM}v4" stroke="currentColor" opacity=".4"/>')
        parts.append(_text(x(strength), _BOTTOM + 16, f"{strength:g}"))
    parts.append(_text((_LEFT + _RIGHT) / 2, _HEIGHT - 3, "strength"))
    parts.append(_text(2, 11, "mIoU in percent as one slider moves", anchor="start", weight=700))
    present = {"class_offsets": class_strength, "feature_offsets": feature_strength}
    legend = _LEFT
    for name, (words, color, dashes) in LINES.items():
        points = [(float(strength), float(value)) for strength, value in lines[name].items() if math.isfinite(value)]
        if name in present:
            points = sorted({**dict(points), present[name]: miou}.items())
        path = "M" + "L".join(f"{x(strength):.1f} {y(value):.1f}" for strength, value in points)
        style = f'fill="none" stroke="{color}" stroke-width="1.8" stroke-dasharray="{dashes}"'
        parts.append(f'<path d="{path}" {style}/>')
        parts.append(f'<path d="M{legend} 25h16" {style}/>')
        parts.append(_text(legend + 20, 28.5, words, anchor="start"))
        legend += 34 + 5.4 * len(words)
    for name, strength in present.items():
        mark = f'cx="{x(strength):.1f}" cy="{y(miou):.1f}" r="5.5" fill="{LINES[name][1]}"'
        parts.append(f'<circle class="offseg-present" {mark} stroke="#ffffff" stroke-width="2"/>')
    told = f"mIoU {100 * miou:.1f} percent at class offsets {class_strength:g}, feature offsets {feature_strength:g}"
    look = f"width:100%;max-width:{1.25 * _WIDTH:g}px;display:block;font:11px system-ui,sans-serif"
    return f'<svg role="img" aria-label="{told}" viewBox="0 0 {_WIDTH} {_HEIGHT}" style="{look}">{"".join(parts)}</svg>'


def _axis(low: float, high: float) -> tuple[float, float, float]:
    """Round ends that hold `low` and `high` (fractions), and the step of three to five lines between them."""
    spread = max(high - low, 0.01)
    size = 10 ** math.floor(math.log10(spread))
    step = next(size * factor for factor in (0.2, 0.5, 1, 2.5, 5) if spread / (size * factor) <= 4)
    return math.floor(low / step + 1e-9) * step, math.ceil(max(high, low + step) / step - 1e-9) * step, step


def _text(x: float, y: float, text: str, *, anchor: str = "middle", weight: int = 400) -> str:
    look = f'text-anchor="{anchor}" font-weight="{weight}" fill="currentColor"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{text}</text>'
