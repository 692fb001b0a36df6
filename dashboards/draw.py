#!/usr/bin/env python3
"""Draws the dashboards as pictures, from a Prometheus that has data: `draw.py http://127.0.0.1:9090 SECONDS [upstream tool]`.

For README.md; needs matplotlib. No Grafana is asked: what a panel would look like there, this only resembles.
"""

import json
import pathlib
import re
import sys
import time
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image

HERE = pathlib.Path(__file__).parent
PAPER, PANEL, INK, FAINT = "#111217", "#181b1f", "#d0d0d8", "#2c3036"
UNIT = 0.36  # inches for one row of the grid
STEPS = 150
LEGEND = 6


def ask(prometheus, expression, start, end):
    query = {"query": expression, "start": start, "end": end, "step": (end - start) / STEPS}
    with urllib.request.urlopen(f"{prometheus}/api/v1/query_range?{urllib.parse.urlencode(query)}", timeout=60) as answer:
        return json.load(answer)["data"]["result"]


def expand(expression, chosen):
    for name, value in ({"job": ".+", "instance": ".+", "upstream": ".+"} | chosen).items():
        expression = expression.replace(f"${{{name}:regex}}", re.escape(value)).replace(f"${name}", value)
    return expression.replace("$__rate_interval", "15s")


def name(legend, labels):
    for label in ("upstream", "mcp_method_name", "gen_ai_tool_name", "gen_ai_prompt_name", "resource_template", *labels):
        legend = legend.replace("{{" + label + "}}", labels.get(label, ""))
    return " ".join(legend.split()) or "success"


def written(value, unit):
    if unit == "percentunit":
        return f"{value:.1%}"
    if unit == "s":
        return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"
    if unit == "bytes":
        return f"{value / 1024:.0f} KiB"
    return f"{value:.3g}" + ("/s" if unit in ("reqps", "ops") else "")


def colour(panel, value):
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c"}[reached[-1] if reached else "green"]


def stat(axes, panel, series):
    defaults = panel["fieldConfig"]["defaults"]
    value = float(series[0][1][-1][1]) if series else 0
    axes.axis("off")
    shown = written(value, defaults["unit"]) if series else defaults["noValue"]
    axes.text(0.5, 0.4, shown, ha="center", va="center", fontsize=22, color=colour(panel, value), transform=axes.transAxes)


def timeline(axes, panel, series):
    options = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    colours = {"green": "#3f6b3f", "orange": "#ff9830", "red": "#f2495c"}
    series = sorted(series, key=lambda each: each[0])
    for n, (_, points) in enumerate(series):
        width = points[1][0] - points[0][0] if len(points) > 1 else 1
        for at, value in points:
            axes.barh(n, width * 1.05, left=at, height=0.8, color=colours[options[value]["color"]], linewidth=0)
    axes.set_yticks(range(len(series)), [legend for legend, _ in series])


def heatmap(axes, series):
    bounds = sorted(((float(legend.replace("+Inf", "inf")), points) for legend, points in series), key=lambda each: each[0])
    if not bounds:
        return
    times = sorted({at for _, points in bounds for at, _ in points})
    below, cells = [0.0] * len(times), []
    for _, points in bounds:
        values = dict(points)
        level = [float(values.get(at, 0)) for at in times]
        cells.append([max(0.0, now - before) for now, before in zip(level, below)])
        below = level
    axes.pcolormesh(times, range(len(bounds)), cells, cmap="inferno", shading="nearest")
    axes.set_yticks(range(len(bounds)), [written(bound, "s") if bound < 1e9 else "more" for bound, _ in bounds])


def graph(axes, panel, series):
    unit = panel["fieldConfig"]["defaults"]["unit"]
    by_height = sorted(series, key=lambda each: -max(float(value) for _, value in each[1]))
    for n, (legend, points) in enumerate(by_height):
        axes.plot([at for at, _ in points], [float(value) for _, value in points], lw=0.9, label=legend if n < LEGEND else None)
    axes.set_ylim(0, None if series else 1)
    axes.yaxis.set_major_formatter(lambda value, _: written(value, unit))
    axes.yaxis.set_major_locator(plt.MaxNLocator(4))
    if not series:
        axes.text(0.5, 0.5, panel["fieldConfig"]["defaults"]["noValue"], ha="center", fontsize=14, color=INK, transform=axes.transAxes)
    else:
        axes.legend(fontsize=5.5, ncols=3, loc="upper left", bbox_to_anchor=(-0.02, -0.12), frameon=False, labelcolor=INK,
                    handlelength=1, columnspacing=0.8)


def draw(board, prometheus, start, end, chosen):
    panels = [panel for panel in board["panels"]]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = plt.figure(figsize=(15, height * UNIT), facecolor=PAPER)
    for panel in panels:
        place = panel["gridPos"]
        top = 1 - place["y"] / height
        if panel["type"] == "row":
            mark = "\u25b8" if panel["collapsed"] else "\u25be"
            title = expand(panel["title"], chosen)
            figure.text(0.006, top - 0.75 / height, f"{mark} {title}", fontsize=10, color=INK, weight="bold")
            continue
        left, width = place["x"] / 24, place["w"] / 24
        card = (left + 0.002, top - (place["h"] - 0.1) / height, width - 0.004, (place["h"] - 0.2) / height)
        figure.add_artist(plt.Rectangle(card[:2], *card[2:], color=PANEL, zorder=-1))
        figure.text(left + 0.006, top - 0.8 / height, panel["title"], fontsize=8, color=INK)
        slim = panel["type"] in ("state-timeline", "heatmap")
        margin = 0.115 if panel["type"] == "state-timeline" else 0.038
        foot = 1.0 if slim else 2.3 if place["h"] > 4 else 0.4
        axes = figure.add_axes((left + margin, top - (place["h"] - foot) / height, width - margin - 0.01, (place["h"] - foot - 1.2) / height))
        axes.set_facecolor(PANEL)
        series = [
            (name(target["legendFormat"], found["metric"]), found["values"])
            for target in panel["targets"]
            for found in ask(prometheus, expand(target["expr"], chosen), start, end)
        ]
        if panel["type"] == "stat":
            stat(axes, panel, series)
            continue
        {"state-timeline": lambda: timeline(axes, panel, series), "heatmap": lambda: heatmap(axes, series)}.get(
            panel["type"], lambda: graph(axes, panel, series))()
        axes.set_xlim(start, end)
        axes.xaxis.set_major_formatter(lambda at, _: time.strftime("%H:%M:%S", time.gmtime(at)))
        axes.xaxis.set_major_locator(plt.MaxNLocator(4))
        axes.tick_params(labelsize=5.5, colors=INK, length=0)
        if not slim:
            axes.grid(color=FAINT, lw=0.5)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure


def main(prometheus, seconds, upstream="weather", tool="get_radar"):
    end = time.time()
    for board, chosen in (("overview", {}), ("tool", {"upstream": upstream, "tool": tool})):
        figure = draw(json.loads((HERE / f"{board}.json").read_text()), prometheus, end - float(seconds), end, chosen)
        path = HERE / f"{board}.png"
        figure.savefig(path, dpi=88, facecolor=PAPER)
        # A palette is enough for lines, and a third of the bytes.
        Image.open(path).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
