"""Parameters and multiply-adds of every network beside the paper's: benchmarks/results/model-costs.md.

python benchmarks/model_costs.py
"""

from pathlib import Path

import pandas as pd

from offseg_viz.models.cost import HEADINGS, available_models, shown_figures

RESULTS = Path(__file__).parent / "results" / "model-costs.md"


def markdown(table: pd.DataFrame, notes: list[str]) -> str:
    """The table with its remarks as numbered notes."""
    lines = [f"| network | {' | '.join(HEADINGS.values())} | note |", "|---|" + "---:|" * (len(HEADINGS) + 1)]
    for name, row in table.iterrows():
        note = str(notes.index(row.remark) + 1) if row.remark else ""
        lines.append(f"| {name} | {' | '.join(shown_figures(row))} | {note} |")
    return "\n".join(lines)


def main() -> None:
    ade20k = available_models()
    cityscapes = available_models(19, size=(1024, 2048))
    notes = [remark for remark in dict.fromkeys(ade20k.remark) if remark]
    text = (
        "# What the networks cost\n\nMade by `python benchmarks/model_costs.py`; the same as `offseg-viz models`. "
        "Parameters in millions, multiply-adds in billions, counted by torch. *published* counts the 1x1 convolution "
        "that the release keeps unused beside offset learning, and the equations as they are written; *paper* is "
        "arXiv 2508.08811, tables 2 to 5.\n\n"
        f"## 150 classes at 512 x 512\n\n{markdown(ade20k, notes)}\n\n"
        f"## 19 classes at 2048 x 1024 (Cityscapes)\n\n{markdown(cityscapes, notes)}\n\n"
        + "\n".join(f"{number}. {note}" for number, note in enumerate(notes, start=1))
        + "\n"
    )
    RESULTS.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
