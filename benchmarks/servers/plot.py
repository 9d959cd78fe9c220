"""The picture of the serving benchmark."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from benchmarks.servers.figures import Figure

COLOURS = ("#1f5fa8", "#7fa8d6", "#8a6fb0", "#c28e3a", "#7a9a5a", "#9aa0a6")
BAR_WIDTH = 0.13


def plot_serving(figures: Sequence[Figure], path: Path) -> None:
    """Draw answers per second and the slowest percent by server and number of clients, medians of the rounds."""
    picture = Picture(figsize=(10, 4.2), layout="constrained")
    left, right = picture.subplots(1, 2)
    _draw(left, figures, lambda figure: figure.load.per_second, "texts per second")
    _draw(right, figures, lambda figure: figure.load.p99_ms, "99th percentile, ms")
    right.set_yscale("log")
    picture.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, dpi=120)


def _draw(axes: Axes, figures: Sequence[Figure], read: Callable[[Figure], float], label: str) -> None:
    servers = list(dict.fromkeys(figure.server for figure in figures))
    counts = sorted({figure.clients for figure in figures if figure.texts == 1})
    for place, server in enumerate(servers):
        heights = [
            statistics.median(
                read(figure)
                for figure in figures
                if (figure.server, figure.clients, figure.texts) == (server, count, 1)
            )
            for count in counts
        ]
        offset = (place - (len(servers) - 1) / 2) * BAR_WIDTH
        axes.bar([x + offset for x in range(len(counts))], heights, BAR_WIDTH, label=server, color=COLOURS[place])
    axes.set_xticks(range(len(counts)), [f"{count} client{'s' if count > 1 else ''}" for count in counts])
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
