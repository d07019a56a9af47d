"""The controls of `AlignmentExplorer`, by the trait that each sets."""

from collections.abc import Sequence

import ipywidgets

from offseg_viz.plot import theme
from offseg_viz.widgets.alignment_views import STAGE_CHOICES

NO_OTHER = ""
_WIDE = {"style": {"description_width": "initial"}, "layout": {"width": "auto", "min_width": "200px"}}
_ONE_MODEL = "one model here; a mapping of names compares two"


def explorer_inputs(
    images: Sequence[str], classes: Sequence[str], models: Sequence[str]
) -> dict[str, ipywidgets.Widget]:
    """Pickers of image, class, stage and models, and how maps look; those of the models greyed where there is one."""
    inputs = {
        "image": ipywidgets.Dropdown(options=images, description="Image", **_WIDE),
        "cls": ipywidgets.Dropdown(options=classes, description="Class", **_WIDE),
        "stage": ipywidgets.ToggleButtons(
            options=STAGE_CHOICES,
            description="Stage",
            style={"description_width": "initial", "button_width": "10.5em"},
            layout={"display": "flex"},  # or the label lies above the buttons
        ),
        "model": ipywidgets.Dropdown(options=models, description="Model", **_WIDE),
        "other": ipywidgets.Dropdown(
            options=[("none", NO_OTHER), *((name, name) for name in models)],
            value=NO_OTHER,
            description="Beside it",
            **_WIDE,
        ),
        "opacity": ipywidgets.FloatSlider(
            min=0, max=1, step=0.05, description="Opacity", readout=False, layout={"width": "210px"}
        ),
        "smooth": ipywidgets.Checkbox(description="Smooth", indent=False, layout={"width": "auto"}),
        "contours": ipywidgets.Checkbox(description="Contours", indent=False, layout={"width": "auto"}),
    }
    inputs["model"].disabled = inputs["other"].disabled = len(models) == 1
    return inputs


def control_rows(inputs: dict[str, ipywidgets.Widget], *, alone: bool) -> list[ipywidgets.Widget]:
    """The inputs in two rows that wrap; where there is one model, why nothing can be compared."""
    first = [inputs[name] for name in ("image", "cls", "stage")]
    second = [part for name, part in inputs.items() if part not in first]
    if alone:
        second.append(ipywidgets.HTML(f'<span style="color:{theme.QUIET};font-size:12px">{_ONE_MODEL}</span>'))
    layout = {"flex_flow": "row wrap", "grid_gap": "4px 18px", "align_items": "center"}
    return [ipywidgets.HBox(row, layout=layout) for row in (first, second)]
