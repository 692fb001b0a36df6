#!/usr/bin/env python3
"""Writes the dashboards and the rules that lie beside it: `python3 dashboards/generate.py`, or `... DIRECTORY` to look at them first, or
`... DIRECTORY RUNBOOKS` with the address of a README.md that alerts link to."""

import json
import pathlib
import sys

import alerts
import overview
import rules
import tool


def main(into=pathlib.Path(__file__).parent, runbooks=alerts.RUNBOOKS):
    into = pathlib.Path(into)
    for name, dashboard in (("overview", overview.build()), ("tool", tool.build())):
        (into / f"{name}.json").write_text(json.dumps(dashboard, indent=1) + "\n")
    (into / "rules.yml").write_text(rules.build())
    (into / "alerts.yml").write_text(alerts.build(runbooks))


if __name__ == "__main__":
    main(*sys.argv[1:])
