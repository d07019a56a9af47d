"""The picture of the README, drawn by the package from the bundled weights: ``python benchmarks/picture.py``."""

from pathlib import Path
from typing import Annotated

import typer

import offseg_viz as ov


def main(
    scene: Annotated[str, typer.Option(help="Bundled scene to draw.")] = "scene-000007",
    cls: Annotated[str, typer.Option(help="Class whose similarity is shown.")] = "brick",
    out: Annotated[Path, typer.Option(help="PNG file.")] = Path(__file__).parent / "results" / "picture.png",
) -> None:
    """Draw one scene: photograph, label, prediction; similarity before and after, and the offset magnitude."""
    record = ov.extract(ov.load_model("nano-offset", weights="scenes"), ov.load_samples("scenes")[scene])
    before = ov.cosine_similarity(record.feature, record.class_embedding).sel(cls=cls)
    after = ov.cosine_similarity(ov.aligned_feature(record), ov.aligned_class_embedding(record)).sel(cls=cls)
    panels = {
        "photograph": record.image,
        "label": record.label,
        "prediction": ov.prediction(record),
        f"similarity to {cls}: initial": before,
        f"similarity to {cls}: aligned": after,
        "feature offset, relative": ov.offset_magnitude(record, "feature", relative=True),
    }
    shared = [title for title in panels if title.startswith("similarity")]
    out.parent.mkdir(exist_ok=True)
    out.write_bytes(ov.plot_panels(panels, over=record, shared=shared).png(dpi=110))


if __name__ == "__main__":
    typer.run(main)
