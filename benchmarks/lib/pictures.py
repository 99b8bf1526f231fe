"""Pictures of results, drawn without a screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.lib.report import RESULTS


@contextmanager
def picture(name: str, columns: int = 1, rows: int = 1, width: float = 5) -> Iterator[Any]:
    """Give axes to draw on, one or an array, each so many inches wide, and keep `results/<name>.png`."""
    # Imported here: a benchmark without a picture does not need it.
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(rows, columns, figsize=(width * columns, 3.6 * rows), layout="constrained")
    yield axes
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / f"{name}.png", dpi=110)
    pyplot.close(figure)


def lines(axes: Any, x: Sequence[float], curves: Mapping[str, Sequence[float]], title: str, x_label: str) -> None:
    """Draw curves over the same points."""
    for label, y in curves.items():
        axes.plot(x, y, marker="o", label=label)
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        axes.legend()
