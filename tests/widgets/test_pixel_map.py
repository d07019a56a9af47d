import gc
import io
import weakref
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image

import offseg_viz.widgets
from offseg_viz.analyze.similarity import cosine_similarity
from offseg_viz.errors import RecordError
from offseg_viz.plot import theme
from offseg_viz.widgets.pixel_map import PixelMap, cell_bytes


@pytest.fixture
def similarity(offset_record):
    return cosine_similarity(offset_record["feature"], offset_record["class_embedding"]).sel(cls="road")


def test_values_become_bytes_by_the_limits(similarity):
    holed = similarity.copy()
    holed[1, 2] = np.nan
    found = np.frombuffer(cell_bytes(holed, (-0.5, 0.5)), dtype=np.uint8).reshape(5, 7)
    for row in range(5):
        for col in range(7):
            value = float(holed[row, col])
            expected = 255 if np.isnan(value) else round(min(max((value + 0.5) * 254, 0), 254))
            assert abs(int(found[row, col]) - expected) <= (0 if expected == 255 else 1)
    back = -0.5 + found / 254
    inside = np.isfinite(holed.values) & (np.abs(holed.values) < 0.5)
    assert np.abs(back - holed.values)[inside].max() <= 0.5 / 254 + 1e-9


def test_a_float_map_brings_its_scale_and_colours(offset_record, similarity):
    widget = PixelMap(similarity, over=offset_record, title="road")
    assert widget.shape == [5, 7] and widget.size == [20, 28] and widget.extent == [0, 0, 20, 28]
    assert widget.limits[0] == -widget.limits[1] and widget.names == []
    table = np.frombuffer(widget.table, dtype=np.uint8).reshape(256, 4)
    np.testing.assert_array_equal(table[255], 0)
    np.testing.assert_allclose(table[[0, 127, 254], :3] / 255, theme.DIVERGING([0.0, 0.5, 1.0])[:, :3], atol=0.01)


def test_a_class_map_brings_names_and_class_colours(offset_record):
    widget = PixelMap(offset_record["label"], over=offset_record)
    assert widget.names == ["sky", "road", "tree"] and widget.limits == [] and widget.empty_name == "ignored"
    assert widget.cells == offset_record["label"].values.tobytes()
    table = np.frombuffer(widget.table, dtype=np.uint8).reshape(256, 4)
    assert table[:4].tolist() == [[0x44, 0x77, 0xAA, 255], [0xBB, 0xBB, 0xBB, 255], [0x22, 0x88, 0x33, 255], [0] * 4]


def test_a_photograph_alone_and_a_map_without_photograph(offset_record, similarity):
    alone = PixelMap(over=offset_record, title="photograph")
    assert alone.cells == b"" and alone.shape == [5, 7]
    picture = Image.open(io.BytesIO(alone.image))
    assert picture.size == (28, 20)
    bare = PixelMap(similarity, over=offset_record.drop_vars("image"))
    assert bare.image == b"" and bare.size == [20, 28]


def test_what_stays_is_not_sent_again(offset_record, similarity):
    widget = PixelMap(similarity, over=offset_record, title="a", limits=(-1, 1))
    sent = []
    widget.comm.send = lambda *args, **kwargs: sent.append(kwargs.get("data") or args[0])
    widget.show(similarity / 2, over=offset_record, title="a", limits=(-1, 1))
    [message] = sent
    assert set(message["state"]) | {path[0] for path in message["buffer_paths"]} == {"cells"}


def test_a_map_that_does_not_fit_is_refused(offset_record, make_record, similarity):
    with pytest.raises(RecordError, match="another grid"):
        PixelMap(similarity, over=make_record(size=(6, 8)))
    with pytest.raises(RecordError, match="needed"):
        PixelMap(similarity.T, over=offset_record)


def test_the_script_is_small_and_loads_nothing():
    script = (Path(offseg_viz.widgets.__file__).parent / "pixel_map.js").read_text(encoding="utf-8")
    assert len(script.encode()) < 30_000
    for word in ("http", "import ", "require(", "fetch(", "innerHTML", "eval("):
        assert word not in script


def test_a_cell_stores_widget_picture_and_summary(offset_record, similarity):
    widget = PixelMap(similarity, over=offset_record, title="cosine")
    widget.selected = [2, 3]
    bundle, _ = widget._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"}
    assert bundle["text/plain"].startswith("PixelMap: cosine; ") and "cell (2, 3) selected" in bundle["text/plain"]
    assert "min " in bundle["text/plain"] and "0x" not in bundle["text/plain"]
    bare = PixelMap(over=offset_record.drop_vars("image"), title="photograph")
    assert bare._repr_mimebundle_()[0]["text/plain"] == "PixelMap: photograph" and bare.still() is None


def test_colours_of_cells_and_pictures_without_a_grid(offset_record):
    colors = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    place = {dim: offset_record[dim] for dim in ("y", "x")}
    widget = PixelMap(xr.DataArray(colors, dims=("y", "x", "rgb"), coords=place), over=offset_record)
    assert widget.cells == colors.tobytes() and widget.limits == [] and widget.shape == [5, 7]
    widget.show_picture(np.zeros((30, 40, 3), np.uint8), title="plane")
    assert widget.shape == [0, 0] and widget.size == [30, 40] and widget.cells == b""
    assert Image.open(io.BytesIO(widget.image)).size == (40, 30)


def test_a_closed_map_lets_its_record_go(make_record):
    record = make_record()
    widget = PixelMap(over=record)
    gone = [weakref.ref(record), weakref.ref(widget)]
    widget.close()
    del record, widget
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
