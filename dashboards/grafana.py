"""Panels, rows and variables of a Grafana dashboard in the classic model."""

DATASOURCE = {"type": "prometheus", "uid": "$datasource"}
WIDTH = 24


def _panel(kind, title, description, unit, targets, height=7, **more):
    # Of nothing, there are no calls; but how long they took, or what share of them failed, nobody can say.
    nothing = "no data" if unit in ("s", "percentunit") else "0"
    defaults = {"unit": unit, "min": 0, "noValue": nothing} | more.pop("defaults", {})
    return {
        "type": kind, "title": title, "description": description, "datasource": DATASOURCE,
        "gridPos": {"h": height},
        "fieldConfig": {"defaults": defaults, "overrides": more.pop("overrides", [])},
        "options": more.pop("options", {}),
        "targets": [
            {"refId": chr(ord("A") + n), "expr": expression, "legendFormat": legend, "datasource": DATASOURCE}
            | more.get("target", {})
            for n, (expression, legend) in enumerate(targets)
        ],
    }


def graph(title, description, unit, targets, links=(), empty=None):
    """Lines over time. `links` are where those of the first target lead. `empty` is what stands there where there are none, if that means
    more than usual."""
    options = {"tooltip": {"mode": "multi", "sort": "desc"}, "legend": {"displayMode": "list", "placement": "bottom"}}
    overrides = [{"matcher": {"id": "byFrameRefID", "options": "A"}, "properties": [{"id": "links", "value": list(links)}]}] if links else []
    defaults = {"noValue": empty} if empty else {}
    return _panel("timeseries", title, description, unit, targets, options=options, defaults=defaults, overrides=overrides)


def stat(title, description, unit, expression, steps=()):
    """One number. `steps` are the values from which on it is orange, and red."""
    orders = [("green", None)] + list(zip(("orange", "red"), steps))
    colours = {"mode": "absolute", "steps": [{"color": colour, "value": value} for colour, value in orders]}
    options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    return _panel("stat", title, description, unit, [(expression, "")], 4, options=options, defaults={"thresholds": colours})


def heatmap(title, description, unit, expression):
    options = {"calculate": False, "yAxis": {"unit": unit}, "color": {"scheme": "Oranges", "mode": "scheme"}, "cellGap": 1}
    return _panel("heatmap", title, description, unit, [(expression, "{{le}}")], options=options, target={"format": "heatmap"})


def timeline(title, description, expression, legend, states):
    """The states of several things over time: `states` are their values, names and colours."""
    mapped = {str(value): {"text": name, "color": colour, "index": value} for value, name, colour in states}
    options = {"showValue": "never", "mergeValues": True, "rowHeight": 0.9}
    mappings = {"mappings": [{"type": "value", "options": mapped}]}
    return _panel("state-timeline", title, description, "short", [(expression, legend)], options=options, defaults=mappings)


def row(title, *panels, collapsed=False):
    return {"title": title, "collapsed": collapsed, "panels": panels}


def variable(name, query, many=True):
    chosen = {"multi": True, "includeAll": True, "allValue": ".+", "current": {"text": "All", "value": "$__all"}}
    return {
        "name": name, "label": name, "type": "query", "query": query, "definition": query, "refresh": 2, "sort": 1,
        "datasource": DATASOURCE,
    } | (chosen if many else {"multi": False, "includeAll": False})


def annotation(name, colour, expression, title):
    return {
        "name": name, "enable": True, "iconColor": colour, "datasource": DATASOURCE, "expr": expression, "titleFormat": title,
        "step": "10s",
    }


def _lines(panels):
    """The stats in one line, the others in lines of at most four, as even as can be."""
    stats = [panel for panel in panels if panel["type"] == "stat"]
    others = [panel for panel in panels if panel["type"] != "stat"]
    lines = -(-len(others) // 4)
    longest = -(-len(others) // lines)
    return ([stats] if stats else []) + [others[at:at + longest] for at in range(0, len(others), longest)]


def _place(rows):
    """Gives every panel its number and its place."""
    placed, y, number = [], 0, 0
    for each in rows:
        number += 1
        header = {"id": number, "type": "row", "title": each["title"], "collapsed": each["collapsed"], "panels": [],
                  "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y}}
        placed.append(header)
        y += 1
        for line in _lines(each["panels"]):
            width = WIDTH // len(line)
            for place, panel in enumerate(line):
                number += 1
                panel["id"] = number
                panel["gridPos"] |= {"w": width, "x": place * width, "y": y}
                (header["panels"] if each["collapsed"] else placed).append(panel)
            y += max(panel["gridPos"]["h"] for panel in line)
    return placed


def dashboard(uid, title, description, variables, annotations, rows):
    others = {"title": "Buttress", "type": "dashboards", "tags": ["buttress"], "asDropdown": True, "includeVars": True,
              "keepTime": True, "icon": "external link"}
    first = {"name": "datasource", "label": "Data Source", "type": "datasource", "query": "prometheus"}
    return {
        "uid": uid, "title": title, "description": description, "tags": ["buttress", "mcp"], "editable": False,
        "schemaVersion": 39, "graphTooltip": 1, "refresh": "10s", "time": {"from": "now-30m", "to": "now"}, "timezone": "utc",
        "links": [others], "annotations": {"list": annotations}, "templating": {"list": [first, *variables]},
        "panels": _place(rows),
    }
