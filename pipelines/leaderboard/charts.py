"""Charts of a setting, in Vega-Lite: LDS against cost, and against the damping.

Colours are left to the page, which has two themes: those of families are the range "category",
those of marks come by the style that each mark names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from headwater.benchmark.drawing import COLOURS

__all__ = ["cost_chart", "damping_chart"]

LEAST = 0.1  # seconds: what they are rounded to, since a logarithmic axis has no zero
SHAPES = {"loss": "circle", "margin": "diamond"}
FAMILY = alt.Color("family:N", title="family", scale=alt.Scale(domain=list(COLOURS)), legend=None)
FUNCTION = alt.Shape(
    "function:N",
    scale=alt.Scale(domain=list(SHAPES), range=list(SHAPES.values())),
    legend=None,
)


def cost_chart(methods: Sequence[Mapping[str, Any]], ceilings: Mapping[str, Any]) -> dict[str, Any]:
    """Return LDS with its interval against seconds, the line of those worth their cost, and ceilings.

    Args:
        methods: as of `Results.methods`.
        ceilings: function -> the noise ceiling of its LDS.
    """
    points = [
        {
            "method": found["name"],
            **{key: found[key] for key in ("family", "function")},
            "models": found["checkpoints"],
            "seconds": max(found["seconds"], LEAST),
            "lds": found["lds"]["value"],
            "low": found["lds"]["low"],
            "high": found["lds"]["high"],
        }
        for found in methods
        if "lds" in found
    ]
    by_name = {point["method"]: point for point in points}
    worth = [by_name[found["name"]] for found in methods if found["worth"]]
    seconds = alt.X(
        "seconds:Q", scale=alt.Scale(type="log", nice=False, padding=30),
        title="seconds from trained models to scores",
        axis=alt.Axis(format="~g", tickCount=5, grid=False),
    )  # fmt: skip
    lds = alt.Y("lds:Q", title="LDS")
    base = alt.Chart(alt.Data(values=points)).encode(x=seconds)
    front = alt.Chart(alt.Data(values=worth)).encode(x=seconds, y=lds)
    tips = [
        alt.Tooltip("method:N"),
        alt.Tooltip("family:N"),
        alt.Tooltip("function:N", title="explains"),
        alt.Tooltip("models:Q"),
        alt.Tooltip("lds:Q", title="LDS", format=".3f"),
        alt.Tooltip("low:Q", title="from", format=".3f"),
        alt.Tooltip("high:Q", title="to", format=".3f"),
        alt.Tooltip("seconds:Q", format=".1f"),
    ]
    chart = alt.layer(
        *_ceilings(ceilings),
        front.mark_line(style="front", interpolate="step-after"),
        base.mark_rule(style="interval", strokeWidth=1.5, opacity=0.4).encode(
            y=alt.Y("low:Q", title="LDS"), y2="high:Q", color=FAMILY
        ),
        base.mark_point(style="method", filled=True, size=70, opacity=1, cursor="pointer").encode(
            y=lds, color=FAMILY, shape=FUNCTION, tooltip=tips
        ),
        front.mark_text(style="label", align="right", dx=-7, dy=-7, fontWeight="bold").encode(
            text="method:N", color=FAMILY
        ),
    ).properties(width="container", height=420)
    return chart.to_dict()


def _ceilings(ceilings: Mapping[str, Any]) -> list[alt.Chart]:
    """Return a band, a line and a name for each noise ceiling."""
    values = [{"name": f"noise ceiling ({name})", **found} for name, found in ceilings.items()]
    data = alt.Chart(alt.Data(values=values))
    line = alt.Y("value:Q", title="LDS")
    return [
        data.mark_rect(style="ceiling-band").encode(y=alt.Y("low:Q", title="LDS"), y2="high:Q"),
        data.mark_rule(style="ceiling", strokeDash=[4, 3]).encode(
            y=line, tooltip=[alt.Tooltip("name:N"), alt.Tooltip("value:Q", format=".3f")]
        ),
    ]


def damping_chart(
    methods: Sequence[Mapping[str, Any]], curves: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Return LDS on tuning samples against the damping, a panel a method; None: none has a choice.

    Args:
        methods: as of `Results.methods`: the order of the panels.
        curves: as of `Results.curves`.
    """
    families = {found["name"]: found["family"] for found in methods}
    best = {point["method"]: 0.0 for point in curves}
    for point in curves:
        best[point["method"]] = max(best[point["method"]], point["lds"])
    points = [
        {
            **point,
            "family": families[point["method"]],
            "chosen": point["lds"] == best[point["method"]],
        }
        for point in curves
    ]
    if not points:
        return None
    order = [found["name"] for found in methods if found["name"] in best]
    base = alt.Chart().encode(
        x=alt.X("damping:Q", scale=alt.Scale(type="log", nice=False, padding=8), title=None,
                axis=alt.Axis(format="~g", tickCount=3, grid=False)),
        y=alt.Y("lds:Q", title=None, axis=alt.Axis(tickCount=4)),
        color=FAMILY,
        tooltip=[
            alt.Tooltip("method:N"),
            alt.Tooltip("damping:Q", format="~g"),
            alt.Tooltip("lds:Q", title="LDS (tuning)", format=".3f"),
        ],
    )  # fmt: skip
    panels = alt.layer(
        base.mark_line(style="method", strokeWidth=2),
        base.mark_point(style="method", filled=True, opacity=1).encode(
            size=alt.Size(
                "chosen:N", scale=alt.Scale(domain=[False, True], range=[25, 110]), legend=None
            )
        ),
        data=alt.Data(values=points),
    ).properties(width=150, height=90)
    header = alt.Header(title=None, labelFontWeight="bold", labelLimit=150, labelPadding=2)
    facets = panels.facet(
        alt.Facet("method:N", sort=order, header=header), columns=1, spacing=14
    ).resolve_scale(x="independent")
    return facets.to_dict()
