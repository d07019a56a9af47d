"""How long it takes until something is to be seen: the import, and a saved record as a similarity map.

    python benchmarks/start.py            # prints
    python benchmarks/start.py --write    # and writes benchmarks/results/start.md

Every figure is the median of fresh processes, taken in turn. Goals: the package within 0.2 s of numpy and xarray; a
record loaded and drawn in under a second after the imports.
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

RESULTS = Path(__file__).parent / "results"
TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
DRAWN = """
import time
import numpy, xarray, zarr, matplotlib.figure
import offseg_viz as ov
ov.load_record, ov.cosine_similarity, ov.aligned_feature, ov.plot_map
start = time.perf_counter()
record = ov.load_record({path!r})
cosine = ov.cosine_similarity(ov.aligned_feature(record), ov.aligned_class_embedding(record))
ov.plot_map(cosine.isel(cls=0), over=record).png()
print(time.perf_counter() - start)
"""


def seconds(program: str) -> float:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main(
    repeats: Annotated[int, typer.Option(help="Processes for each figure.")] = 9,
    write: Annotated[bool, typer.Option("--write", help="Write benchmarks/results/start.md.")] = False,
) -> None:
    """Measure, print and write the table."""
    import offseg_viz as ov

    record = ov.extract(ov.load_model("nano-offset", weights="scenes"), ov.load_samples("scenes")[0])
    with tempfile.TemporaryDirectory() as folder:
        path = ov.save_record(record, Path(folder) / "record")
        programs = {
            "import numpy, xarray": TIMED.format("import numpy, xarray"),
            "import numpy, xarray, offseg_viz": TIMED.format("import numpy, xarray, offseg_viz"),
            "load a saved record and draw a similarity map, after the imports": DRAWN.format(path=str(path)),
        }
        found = {name: [] for name in programs}
        for _ in track(range(repeats)):
            for name, program in programs.items():
                found[name].append(seconds(program))
    rows = [f"| {name} | {statistics.median(values):.3f} |" for name, values in found.items()]
    table = "\n".join(["| | seconds |", "|---|---:|", *rows]) + "\n"
    if write:
        (RESULTS / "start.md").write_text(
            f"# Until something is to be seen\n\n`python benchmarks/start.py --write`\n\n{table}"
        )
    print(table)


if __name__ == "__main__":
    typer.run(main)
