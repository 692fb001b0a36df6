#!/usr/bin/env python3
"""Writes overview.json, a Grafana dashboard in the classic model: `python3 dashboards/overview.py`."""

import json
import pathlib

SELECTOR = 'job=~"$job",instance=~"$instance",upstream=~"$upstream"'
SERVER = "mcp_server_operation_duration_seconds"
CLIENT = "mcp_client_operation_duration_seconds"


def rate(series, matchers="", by=""):
    """The rate per second of a counter, or of a histogram's count, summed by some labels."""
    extra = f",{matchers}" if matchers else ""
    return f"sum{f' by ({by})' if by else ''} (rate({series}{{{SELECTOR}{extra}}}[$__rate_interval]))"


def quantile(q, histogram, by):
    buckets = f"sum by (le, {by}) (rate({histogram}_bucket{{{SELECTOR}}}[$__rate_interval]))"
    return f"histogram_quantile({q}, {buckets})"


def gauge(series, by, matchers=""):
    extra = f",{matchers}" if matchers else ""
    return f"sum by ({by}) ({series}{{{SELECTOR}{extra}}})"


TOOL = "gen_ai_tool_name"
ROWS = [
    (
        "Calls, as their callers see them",
        [
            ("Calls by tool", "Calls a second, refused and failed ones included.", "reqps",
             [(rate(f"{SERVER}_count", by=f"mcp_method_name, {TOOL}"), "{{mcp_method_name}} {{gen_ai_tool_name}}")]),
            ("Failures by kind", "Calls a second that did not end well, by error_type.", "reqps",
             [(rate(f"{SERVER}_count", 'error_type!=""', "error_type"), "{{error_type}}")]),
            ("Duration, median and 95th percentile", "Over all that a call waited for: queues, backoffs, all attempts.", "s",
             [(quantile(0.5, SERVER, TOOL), "p50 {{gen_ai_tool_name}}"), (quantile(0.95, SERVER, TOOL), "p95 {{gen_ai_tool_name}}")]),
            ("In flight", "Calls that have arrived and have no answer yet.", "short",
             [(gauge("buttress_requests_in_flight", "upstream"), "{{upstream}}"),
              (gauge("buttress_subscriptions", "upstream"), "subscriptions {{upstream}}")]),
            ("Audit records", "Calls a second that the audit trail is about, by how they ended.", "reqps",
             [(rate("buttress_audit_events_total", by="outcome"), "{{outcome}}")]),
            ("Audit records lost", "Records a second that are not in the trail, by the reason. Anything here is a gap.", "reqps",
             [(rate("buttress_audit_dropped_total", by="reason"), "{{reason}}")]),
            ("Calls without a label of their own", "Calls a second that are recorded under _OTHER, by the label.", "reqps",
             [(rate("buttress_metric_label_overflow_total", by="label"), "{{label}}")]),
        ],
    ),
    (
        "Layers, in the order of the stack",
        [
            ("Refusals", "Calls a second that a layer refused, by layer and reason.", "reqps",
             [(rate("buttress_rejections_total", by="layer, reason"), "{{layer}}: {{reason}}")]),
            ("Would-be refusals", "Calls a second that a layer in observe-only mode would have refused.", "reqps",
             [(rate("buttress_observed_rejections_total", by="layer, reason"), "{{layer}}: {{reason}}")]),
            ("Agents in circles", "Calls a second that were blocked because their agents kept making them in vain.", "ops",
             [(rate("buttress_loops_total", by=f"{TOOL}, kind"), "{{gen_ai_tool_name}} {{kind}}")]),
            ("Idempotency keys seen before", "Calls a second under a key that could not simply be made, by what was known of the key.", "reqps",
             [(rate("buttress_idempotency_hits_total", by="state"), "{{state}}")]),
            ("Quota line", "Calls that wait for their turn under a quota.", "short",
             [(gauge("buttress_quota_waiting", TOOL), "{{gen_ai_tool_name}}")]),
            ("Cache", "Calls a second whose answer may be kept, by what was found; and those that were given an old answer for an error.",
             "reqps", [(rate("buttress_cache_lookups_total", by="outcome"), "{{outcome}}"),
                       (rate("buttress_cache_stale_if_error_total"), "for an error")]),
            ("Cache size", "About how many bytes the kept answers take.", "bytes",
             [(gauge("buttress_cache_bytes", "upstream"), "{{upstream}}")]),
            ("Answers kept", "How many answers the cache holds.", "short",
             [(gauge("buttress_cache_entries", "upstream"), "{{upstream}}")]),
            ("Shared calls", "Calls a second that joined one that asked the same.", "reqps",
             [(rate("buttress_coalesced_calls_total", by=f"mcp_method_name, {TOOL}"), "{{mcp_method_name}} {{gen_ai_tool_name}}")]),
            ("Hedges", "Second attempts a second at calls that took long, by how they ended.", "reqps",
             [(rate("buttress_hedges_total", by="outcome"), "{{outcome}}")]),
            ("Retries", "Repeated attempts a second, by how they ended.", "reqps",
             [(rate("buttress_retries_total", by="outcome"), "{{outcome}}")]),
            ("Retries not made", "Failed attempts a second that were not repeated, by the reason.", "reqps",
             [(rate("buttress_retries_skipped_total", by="reason"), "{{reason}}")]),
            ("Retry budget", "Tokens left. Near 0, nothing is repeated any more.", "short",
             [(gauge("buttress_retry_budget_tokens", "upstream"), "{{upstream}}")]),
            ("Breakers that are not closed", "1 for each circuit breaker that is open or half open; without a method, the upstream's own.", "short",
             [(gauge("buttress_circuit_breaker_state", f"upstream, mcp_method_name, {TOOL}, state", 'state!="closed"'),
               "{{upstream}} {{mcp_method_name}} {{gen_ai_tool_name}} {{state}}")]),
            ("Breaker transitions", "Changes of state a second.", "ops",
             [(rate("buttress_circuit_breaker_transitions_total", by=f"upstream, mcp_method_name, {TOOL}, from, to"),
               "{{upstream}} {{mcp_method_name}} {{gen_ai_tool_name}} {{from}} to {{to}}")]),
            ("Slots", "Slots held, beside the limit; kept are those of work that goes on after its attempt.", "short",
             [(gauge("buttress_concurrency_in_flight", TOOL), "{{gen_ai_tool_name}}"),
              (gauge("buttress_concurrency_limit", TOOL), "limit {{gen_ai_tool_name}}"),
              (gauge("buttress_concurrency_kept", TOOL), "kept {{gen_ai_tool_name}}")]),
            ("Queue", "Attempts that wait for a slot.", "short",
             [(gauge("buttress_queue_length", TOOL), "{{gen_ai_tool_name}}")]),
            ("Time in the queue, median and 95th percentile", "Of the attempts that had to wait and got a slot.", "s",
             [(quantile(0.5, "buttress_queue_duration_seconds", TOOL), "p50 {{gen_ai_tool_name}}"),
              (quantile(0.95, "buttress_queue_duration_seconds", TOOL), "p95 {{gen_ai_tool_name}}")]),
        ],
    ),
    (
        "Attempts, as the handler sees them",
        [
            ("Attempts per call", "1 when nothing is repeated; the retries' amplification.", "short",
             [(f"{rate(f'{CLIENT}_count')} / {rate(f'{SERVER}_count')}", "attempts per call")]),
            ("Attempts by outcome", "Attempts a second, by error_type; empty is success.", "reqps",
             [(rate(f"{CLIENT}_count", by="error_type"), "{{error_type}}")]),
            ("Timeouts", "Attempts a second that were given up, by the clock that ran out.", "reqps",
             [(rate("buttress_timeouts_total", by="kind"), "{{kind}}")]),
            ("Panics", "Handlers a second that panicked.", "reqps",
             [(rate("buttress_panics_total", by=TOOL), "{{gen_ai_tool_name}}")]),
            ("Injected faults", "Attempts a second that were broken or slowed down on purpose. Anything here is a game day, or a mistake.", "reqps",
             [(rate("buttress_faults_injected_total", by=f"{TOOL}, fault"), "{{gen_ai_tool_name}} {{fault}}")]),
        ],
    ),
]


def variable(name, label, query):
    return {
        "name": name, "label": label, "type": "query", "query": query, "definition": query, "refresh": 2, "sort": 1,
        "multi": True, "includeAll": True, "allValue": ".+", "current": {"text": "All", "value": "$__all"},
        "datasource": {"type": "prometheus", "uid": "$datasource"},
    }


def panel(number, title, description, unit, targets, x, y):
    return {
        "id": number, "type": "timeseries", "title": title, "description": description,
        "datasource": {"type": "prometheus", "uid": "$datasource"},
        "gridPos": {"h": 7, "w": 6, "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"tooltip": {"mode": "multi", "sort": "desc"}, "legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": [
            {"refId": chr(ord("A") + n), "expr": expr, "legendFormat": legend, "datasource": {"type": "prometheus", "uid": "$datasource"}}
            for n, (expr, legend) in enumerate(targets)
        ],
    }


def dashboard():
    panels, y, number = [], 0, 1
    for title, row in ROWS:
        panels.append({"id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}})
        number, y = number + 1, y + 1
        for place, (name, description, unit, targets) in enumerate(row):
            panels.append(panel(number, name, description, unit, targets, 6 * (place % 4), y + 7 * (place // 4)))
            number += 1
        y += 7 * -(-len(row) // 4)
    up = "mcp_server_operation_duration_seconds_count"
    return {
        "uid": "buttress-overview", "title": "Buttress: overview", "tags": ["buttress", "mcp"], "editable": False,
        "schemaVersion": 39, "graphTooltip": 1, "refresh": "10s", "time": {"from": "now-30m", "to": "now"}, "timezone": "utc",
        "templating": {"list": [
            {"name": "datasource", "label": "Data Source", "type": "datasource", "query": "prometheus"},
            variable("job", "job", f"label_values({up}, job)"),
            variable("instance", "instance", f'label_values({up}{{job=~"$job"}}, instance)'),
            variable("upstream", "upstream", f'label_values({up}{{job=~"$job"}}, upstream)'),
        ]},
        "panels": panels,
    }


if __name__ == "__main__":
    path = pathlib.Path(__file__).with_name("overview.json")
    path.write_text(json.dumps(dashboard(), indent=1) + "\n")
