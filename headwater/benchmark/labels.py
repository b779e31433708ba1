"""Labels of points that lie on no other label and on no point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import cos, pi, sin

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Bbox, IdentityTransform

from headwater.benchmark.drawing import figure_of

__all__ = ["place_labels"]

GAP, STEP, FARTHEST = 4, 6, 300  # pixels: from a point, between rings around it, to the last ring
DIRECTIONS = 16


def place_labels(axes: Axes, labels: Sequence[Text], points: Sequence[Line2D]) -> None:
    """Move each label, in their order, to the nearest free place around its point; nothing is random.

    A label that is not beside its point gets a line to it. Where all places are taken it stays beside it.
    The figure must be complete: its layout is fixed here.

    Args:
        axes: of all of them.
        labels: texts.
        points: lines of one marker each, one for each label.
    """
    figure = figure_of(axes)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    taken = [point.get_window_extent().padded(1) for point in points]
    dots = [((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) for box in taken]
    for label, (x, y) in zip(labels, dots, strict=True):
        size = label.get_window_extent()
        places = list(_around(x, y, size.width + 2, size.height))
        inside = (box for box in places if _holds(axes.bbox, box))
        box = next((b for b in inside if not any(b.overlaps(t) for t in taken)), places[0])
        middle = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
        label.set_path_effects([withStroke(linewidth=3, foreground="white")])  # on lines below it
        label.set(position=middle, ha="center", va="center", transform=IdentityTransform())
        taken.append(box)
        end = min(max(x, box.x0), box.x1), min(max(y, box.y0), box.y1)
        if abs(end[0] - x) + abs(end[1] - y) > 4 * GAP:
            line = Line2D([x, end[0]], [y, end[1]], lw=0.6, color=label.get_color(), alpha=0.6)
            line.set_transform(IdentityTransform())
            axes.add_artist(line)


def _around(x: float, y: float, width: float, height: float) -> Iterator[Bbox]:
    """Yield places for a box around a point, ring by ring, each from its right side on."""
    for distance in range(GAP, FARTHEST, STEP):
        for k in range(DIRECTIONS):
            angle = 2 * pi * k / DIRECTIONS
            left = x + cos(angle) * (width / 2 + distance) - width / 2
            low = y + sin(angle) * (height / 2 + distance) - height / 2
            yield Bbox.from_bounds(left, low, width, height)


def _holds(outer: Bbox, inner: Bbox) -> bool:
    return bool(outer.contains(inner.x0, inner.y0) and outer.contains(inner.x1, inner.y1))
