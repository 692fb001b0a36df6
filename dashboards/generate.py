#!/usr/bin/env python3
"""Writes the dashboards and the rules that lie beside it: `python3 dashboards/generate.py`."""

import json
import pathlib

import alerts
import overview
import rules
import tool

HERE = pathlib.Path(__file__).parent

if __name__ == "__main__":
    for name, dashboard in (("overview", overview.build()), ("tool", tool.build())):
        (HERE / f"{name}.json").write_text(json.dumps(dashboard, indent=1) + "\n")
    (HERE / "rules.yml").write_text(rules.build())
    (HERE / "alerts.yml").write_text(alerts.build())
