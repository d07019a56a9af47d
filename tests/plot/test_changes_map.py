"""Integer maps that bring their own names and colours, as those of changes do."""

import numpy as np
import pytest

from offseg_viz.analyze.align import prediction
from offseg_viz.analyze.changes import CHANGES, change_map
from offseg_viz.errors import DataError, RecordError
from offseg_viz.plot import plot_map, plot_panels
from offseg_viz.plot.grid import own_classes


def rgb(color):
    return [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def labels_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_changes_are_drawn_in_their_colours_with_their_legend(offset_record):
    changed = change_map(offset_record)
    figure = plot_map(changed, over=offset_record)
    drawn = figure.axes[0].images[1]
    colors = drawn.cmap(drawn.norm(changed.values))
    for number, color in enumerate(CHANGES.values()):
        here = colors[changed.values == number]
        np.testing.assert_allclose(here[:, :3], np.tile(rgb(color), (len(here), 1)))
    present = {changed.attrs["names"][k] for k in np.unique(changed) if k != 255}
    assert set(labels_of(figure)) == present | {"ignored"}
    assert figure.legends[0].get_title().get_text() == ""
    first = labels_of(figure)[0]
    share = 100 * (changed.values == changed.attrs["names"].index(first)).sum() / (changed.values != 255).sum()
    assert f"{first} {share:.1f}%" in figure.summary and "2 ignored" in figure.summary


def test_a_record_of_two_classes_has_room_for_five_changes(offset_record):
    changed = change_map(offset_record)
    assert changed.where(changed < 255).max() > 1
    few = offset_record.isel(cls=[0, 1])
    plot_map(changed, over=few)
    with pytest.raises(RecordError, match="needs 0 to 1"):
        plot_map(changed.drop_attrs(), over=few)


def test_panels_keep_the_maps_apart(offset_record):
    changed, predicted = change_map(offset_record), prediction(offset_record)
    panels = {"label": offset_record["label"], "prediction": predicted, "change": changed, "again": changed}
    figure = plot_panels(panels, over=offset_record)
    legend = labels_of(figure)
    assert len(legend) == len(set(legend)), "each name once"
    names = [changed.attrs["names"][k] for k in np.unique(changed) if k != 255]
    assert set(legend) == {"sky", "road", "tree", "ignored", *names}
    by_title = {axes.get_title(loc="left"): axes for axes in figure.axes}
    sky = by_title["label"].images[1]
    np.testing.assert_allclose(sky.cmap(sky.norm(0))[:3], rgb("#4477aa"))
    right = by_title["change"].images[1]
    np.testing.assert_allclose(right.cmap(right.norm(0))[:3], rgb(CHANGES["unchanged_right"]))
    lines = dict(line.split(": ", 1) for line in figure.summary.splitlines())
    assert "sky" in lines["label"] and names[0] not in lines["label"]
    assert any(name in lines["change"] for name in names) and "sky" not in lines["change"]


def test_without_a_record(offset_record):
    changed = change_map(offset_record)
    assert "mended" in plot_map(changed).summary or "unchanged" in plot_map(changed).summary
    legend = labels_of(plot_panels({"label": offset_record["label"], "change": changed}))
    assert {"class 0", "class 1", "class 2"} < set(legend) and "class 3" not in legend


def test_numbers_without_a_name_are_refused(offset_record):
    changed = change_map(offset_record)
    wrong = changed.copy(data=np.full((5, 7), 5, np.uint8))
    for over in (None, offset_record):
        with pytest.raises(RecordError, match=r"holds \[5\].*0 to 4 or 255"):
            plot_map(wrong, over=over)
    with pytest.raises(DataError, match="3 colours"):
        plot_map(changed.assign_attrs(colors=changed.attrs["colors"][:3]), over=offset_record)


def test_only_integer_maps_bring_classes(offset_record):
    changed = change_map(offset_record)
    assert own_classes(changed).names == tuple(changed.attrs["names"])
    assert own_classes(changed.astype(float)) is None and own_classes(offset_record["image"]) is None
    assert own_classes(offset_record["label"]) is None
