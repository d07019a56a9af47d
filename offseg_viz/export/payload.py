"""What travels in an exported page: one image as a dictionary of texts and numbers that JSON can hold."""

import base64
import zlib
from io import BytesIO

import numpy as np
import xarray as xr
from PIL import Image

from offseg_viz.analyze.align import prediction
from offseg_viz.analyze.changes import CHANGES
from offseg_viz.analyze.compressed_features import TOLERANCE, compressed_features
from offseg_viz.plot import grid, theme
from offseg_viz.record import class_list, has_offsets

_LONGEST_EDGE, _THUMBNAIL_EDGE = 768, 112
_PAIRS = 20_000


def page_payload(record: xr.Dataset) -> dict:
    """What all images of a model have in common, taken from one record of them."""
    classes = class_list(record)
    return {
        "names": list(classes.names),
        "colors": list(classes.colors),
        "offsets": has_offsets(record),
        "model": str(record.attrs["model"]),
        "changes": {name.replace("_", ", "): color for name, color in CHANGES.items()},
        "stages": theme.STAGE_COLORS,
        "diverging": packed(theme.lookup_table(theme.DIVERGING)),
    }


def image_payload(record: xr.Dataset) -> dict:
    """One image: photograph, maps, compressed features, and how exact they are in words.

    Arrays are deflated bytes in base64, little-endian. Codes lie channel by channel, those of the aligned stage as
    differences to the initial ones; where one byte does not hold a code, a second array has the high bytes.
    """
    made = compressed_features(record)
    size = grid.picture_size(record["feature"].isel(channel=0), record)
    predictions = [prediction(record, str(stage)).values for stage in made["stage"].values]
    wide = made["feature_code"].dtype.itemsize > 1
    low, high = code_planes(made["feature_code"].values, wide=wide)
    return {
        "rows": record.sizes["y"],
        "cols": record.sizes["x"],
        "y": record["y"].values.astype(float).tolist(),
        "x": record["x"].values.astype(float).tolist(),
        "size": [float(edge) for edge in size],
        "extent": list(grid.extent(record["feature"].isel(channel=0), record)),
        "photograph": photograph(record, _LONGEST_EDGE),
        "label": packed(record["label"].transpose("y", "x").values) if "label" in record else None,
        "predictions": [packed(values) for values in predictions],
        "components": made.sizes["component"],
        "codes": [packed(low), packed(high) if wide else None],
        "metric": packed(made["metric"].values[np.triu_indices(made.sizes["component"])].astype("<f4")),
        "lengths": packed(made["feature_length"].values.astype("<u2")),
        "length_scale": _numbers(made["length_scale"]),
        "class_codes": packed(made["class_code"].values.astype("<i2")),
        "class_scale": _numbers(made["class_scale"]),
        "class_length": _numbers(made["class_length"]),
        "gain": _numbers(record["logit_gain"]) if "logit_gain" in record else None,
        "bias": _numbers(record["logit_bias"]) if "logit_bias" in record else None,
        "eps": float(record.attrs.get("logit_norm_eps", 0)),
        "difference_limit": difference_limit(made),
        "accuracy": accuracy_text(made),
    }


def thumbnail(record: xr.Dataset) -> str:
    """A small picture as a data address: the photograph, or the prediction in class colours where there is none."""
    if "image" in record:
        return photograph(record, _THUMBNAIL_EDGE)
    colors = class_list(record).palette[prediction(record).values]
    return _address(colors, "PNG")


def photograph(record: xr.Dataset, longest: int) -> str:
    """The photograph as the data address of a JPEG file, no edge longer than `longest`; empty without one."""
    if "image" not in record:
        return ""
    values = record["image"].values
    shrink = min(1.0, longest / max(values.shape[:2]))
    edges = [max(1, round(edge * shrink)) for edge in values.shape[1::-1]]
    return _address(np.asarray(Image.fromarray(values).resize(edges, Image.Resampling.LANCZOS)), "JPEG")


def code_planes(codes: np.ndarray, *, wide: bool) -> tuple[np.ndarray, np.ndarray]:
    """Low and high bytes (stage * component, P) of codes (stage, y, x, component), the second stage as differences."""
    flat = codes.reshape(len(codes), -1, codes.shape[-1]).astype(np.int16)
    parts = [flat[0].T, *(flat[number].T - flat[0].T for number in range(1, len(flat)))]
    planes = np.concatenate(parts)
    low = planes.astype(np.int8)  # wraps round, and so does the sum in the browser
    return low, ((planes - low) >> 8).astype(np.int8) if wide else low[:0]


def difference_limit(made: xr.Dataset, *, seed: int = 0) -> float:
    """End of the colour scale of cosine differences: what 99.5 percent of sampled pairs stay below, in twentieths."""
    if made.sizes["stage"] == 1:
        return 1.0
    codes = made["feature_code"].values.reshape(2, -1, made.sizes["component"])
    pairs = np.random.default_rng(seed).integers(0, codes.shape[1], (2, _PAIRS))
    first, second = (codes[:, chosen].astype(np.float32) for chosen in pairs)
    initial, aligned = np.vecdot(first @ made["metric"].values, second)
    return float(max(np.ceil(np.quantile(np.abs(aligned - initial), 0.995) * 20), 1) / 20)


def accuracy_text(made: xr.Dataset) -> str:
    """How far the numbers of the page are from those of the record, measured on that record."""
    pixel, classes = (made[name].max("stage").values for name in ("pixel_error", "class_error"))
    shares = " and ".join(
        f"{100 * float(share):.1f}\N{NO-BREAK SPACE}% ({'no offsets' if stage == 'initial' else 'full offsets'})"
        for stage, share in zip(made["stage"].values, made["agreement"].values)
    )
    kept, channels = made.sizes["component"], made.attrs["channels"]
    return (
        f"Features of this image travel in {kept} of {channels} channels, rounded to whole numbers of "
        f"{made.attrs['bits']} bits. Compared with the record, cosines between pixels are off by {pixel[0]:.4f} on "
        f"average and {pixel[1]:.3f} at most, those to classes by {classes[0]:.4f} and {classes[1]:.3f} (seeded "
        f"samples; the aim is {TOLERANCE}), and the predicted class is the record's at {shares} of the grid cells."
    )


def packed(values: np.ndarray) -> str:
    """Bytes of an array, deflated, as base64."""
    # codes are noise around zero in which strings hardly recur: the filtered strategy is smaller, and level 6 is ten
    # times as fast as 9 for one percent more
    deflate = zlib.compressobj(6, memLevel=9, strategy=zlib.Z_FILTERED)
    data = deflate.compress(np.ascontiguousarray(values).tobytes()) + deflate.flush()
    return base64.b64encode(data).decode("ascii")


def _numbers(values: xr.DataArray) -> str:
    return packed(values.values.astype("<f4"))


def _address(picture: np.ndarray, format: str) -> str:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, format=format, quality=82)
    return f"data:image/{format.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
