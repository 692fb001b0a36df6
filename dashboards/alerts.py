"""The alerts. What each means, and what to do, stands in README.md under its name."""

from promql import CALLS, LEFT, SERVER, TARGET

# What may go wrong of the tool calls that count: not ended well, and slower than the rules' bound.
AVAILABILITY = 0.005
LATENCY = 0.05
# What the budgets are to last for, in days.
PERIOD = 30
# Where runbook links lead: whoever reads an alert is on another host, so give the address of a copy that your people
# can open, this file's name with it.
RUNBOOKS = "dashboards/README.md"
# Fewer calls than this in the long window say nothing.
ENOUGH = 50
# Fewer waits than this in 5 minutes have no one in twenty.
WAITS = 20
# How long ago a call may be for whoever is called still.
LATELY = "10m"

# Severity, how long, long and short window, factor of the budget's even pace.
BURNS = [
    ("critical", "2m", "1h", "5m", 14.4),
    ("critical", "15m", "6h", "30m", 6),
    ("warning", "1h", "1d", "2h", 3),
    ("warning", "3h", "3d", "6h", 1),
]
SECONDS = {"1h": 3600, "6h": 21600, "1d": 86400, "3d": 259200}

TARGET_OF = ("upstream {{ $labels.upstream }}, {{ $labels.mcp_method_name }} "
        "{{ $labels.gen_ai_tool_name }}{{ $labels.gen_ai_prompt_name }}{{ $labels.resource_template }}")
UPSTREAM = "upstream {{ $labels.upstream }}"
PROCESS = "{{ $labels.instance }}, " + TARGET_OF
PERCENT = "{{ $value | humanizePercentage }}"
BY_TARGET = f"job, {TARGET}"
# Breakers, limits and queues are each process's own, so one process that is in trouble counts, however well the others are.
BY_PROCESS = f"job, instance, {TARGET}"


def burn(name, kind, budget, budget_of, what):
    for severity, wait, long, short, factor in BURNS:
        ratio = f"job_upstream:mcp_tool_calls_{kind}:ratio_rate"
        limit = f"{factor} * {budget}"
        enough = f"job_upstream:mcp_tool_calls:rate{long} * {SECONDS[long]} > {ENOUGH}"
        expression = f"{ratio}{long} > {limit} and {ratio}{short} > {limit} and {enough}"
        description = f"{UPSTREAM}: {PERCENT} of the tool calls of the last {long} {what}; the budget is {budget:.1%}."
        yield name, expression, wait, severity, f"At this pace, the {budget_of} budget of {PERIOD} days lasts {PERIOD / factor:.0f} at most.", description, long


def others():
    # A tool that hangs is half open for as long as each probe of it does. No time closes a breaker that nobody calls: it
    # is not in anybody's way.
    called = f"increase({SERVER}_count[{LATELY}]) > 0"
    # Where an upstream has many names, what is refused has no duration under its own: the counter of refusals knows it.
    refused = f'increase(buttress_rejections_total{{layer="breaker"}}[{LATELY}]) > 0'
    own = f'buttress_circuit_breaker_state{{state!="closed"}} and on ({BY_PROCESS}) ({called} or {refused})'
    upstreams = f'buttress_circuit_breaker_state{{state!="closed",mcp_method_name=""}} and on (job, instance, upstream) {called}'
    yield ("ButtressBreakerOpen", f"max by ({BY_PROCESS}) ({own} or {upstreams}) >= 1", "2m", "warning",
           "A circuit breaker that calls come to has not been closed for minutes.",
           f"{PROCESS}: calls are refused, but for probes. Without a method it is the upstream's own breaker.")
    # From half open back to open is a plain outage: no probe was ever passed.
    yield ("ButtressBreakerFlapping",
           f'max by ({BY_PROCESS}) (increase(buttress_circuit_breaker_transitions_total{{from="closed",to="open"}}[15m])) > 5', "0m", "warning",
           "A circuit breaker closes and opens again and again.",
           f"{PROCESS}: closed and opened again {{{{ $value | humanize }}}} times in 15 minutes.")
    # By what it does not pay for: a tenant has half of the budget at most, so the tokens need not be near 0.
    yield ("ButtressRetryBudgetEmpty",
           'sum by (job, upstream) (increase(buttress_retries_skipped_total{reason="no_budget"}[5m])) > 30', "5m", "warning",
           "The retry budget does not pay for repeats any more.", f"{UPSTREAM}: {{{{ $value | humanize }}}} failed attempts were not repeated in 5 minutes for want of tokens.")
    yield ("ButtressRetryAmplificationHigh", "job_upstream:mcp_attempts_per_first_attempt:ratio_rate5m > 1.3 and " + _busy(), "10m", "warning",
           "Repeats add much to the load.", f"{UPSTREAM}: {{{{ $value | humanize }}}} attempts for each first attempt.")
    yield ("ButtressShedHigh", "job_upstream:buttress_shed:ratio_rate5m > 0.05 and " + _busy(), "5m", "warning",
           "Calls are refused for want of room.", f"{UPSTREAM}: {PERCENT} of the calls of the last 5 minutes.")
    yield ("ButtressQueueWaitHigh",
           f"max by ({BY_PROCESS}) (histogram_quantile(0.95, rate(buttress_queue_duration_seconds_bucket[5m])) "
           f"and increase(buttress_queue_duration_seconds_count[5m]) > {WAITS}) > 1", "10m",
           "warning", "Attempts wait long for a slot.", f"{PROCESS}: one in twenty of those that wait does for {{{{ $value | humanizeDuration }}}} or longer.")
    yield ("ButtressConcurrencySaturated",
           f"max by ({BY_PROCESS}) (buttress_concurrency_in_flight / buttress_concurrency_limit) > 0.9", "10m",
           "warning", "Nearly all slots are taken, all the time.", f"{PROCESS}: {PERCENT} of the slots are held.")
    # Whom nobody waits for says nothing of how long it takes, so that no budget is spent.
    left = f'sum by ({BY_TARGET}) (increase({SERVER}_count{{{CALLS},error_type=~"{LEFT}"}}[{LATELY}]))'
    calls = f"sum by ({BY_TARGET}) (increase({SERVER}_count{{{CALLS}}}[{LATELY}]))"
    yield ("ButtressCallersLeave", f"{left} / ({calls} > {ENOUGH}) > 0.5", "5m", "warning",
           "Most callers of a tool do not wait for its answer.",
           f"{TARGET_OF}: {PERCENT} of the calls of the last 10 minutes were left by their callers.")
    # One record is enough, also one that was lost before the first scrape, or while nobody scraped: neither is an increase. What a
    # process that began anew counts may be less than before, and is new all the same.
    dropped = "buttress_audit_dropped_total"
    before = f"last_over_time({dropped}[1d] offset {LATELY})"
    lost = f"increase({dropped}[{LATELY}]) > 0 or {dropped} - {before} > 0 or ({dropped} < {before}) or ({dropped} unless {before})"
    yield ("ButtressAuditDropped", f"sum by (job, instance, upstream, reason) ({lost}) > 0", "0m",
           "critical", "Calls are not in the audit trail.",
           f"{{{{ $labels.instance }}}}, {UPSTREAM}: {{{{ $value | humanize }}}} records were lost in 10 minutes ({{{{ $labels.reason }}}}).")
    # A thread that writes is done between two scrapes, now and then at least.
    yield ("ButtressAuditBacklog", "max by (job, instance, upstream) (min_over_time(buttress_audit_backlog[5m])) > 0", "5m", "warning",
           "Audit records are not written, or too slowly.",
           f"{{{{ $labels.instance }}}}, {UPSTREAM}: {{{{ $value | humanize }}}} records or more have been waiting for 5 minutes.")
    # Longer than a collector takes to start anew.
    yield ("ButtressSpansLost", "sum by (job, reason) (increase(buttress_spans_lost_total[5m])) > 0", "10m", "warning",
           "Spans are lost on their way to the collector.",
           "{{ $value | humanize }} spans were lost in 5 minutes ({{ $labels.reason }}).")
    yield ("ButtressLabelOverflow", "sum by (job, upstream, label) (rate(buttress_metric_label_overflow_total{label!=\"rpc_response_status_code\"}[15m])) > 1", "30m", "warning",
           "Many calls are recorded under no name of their own.",
           f"{UPSTREAM}: {{{{ $value | humanize }}}} calls a second have _OTHER as their {{{{ $labels.label }}}}.")
    # The last ones know no upstream: a process that is gone says nothing of any.
    yield ("ButtressTargetDown", 'up{job="buttress"} == 0', "1m", "critical", "A process cannot be scraped.",
           "{{ $labels.instance }} does not answer Prometheus.")
    yield ("ButtressTargetAbsent", 'absent(up{job="buttress"})', "5m", "critical", "Prometheus knows no process of this job.",
           "There is no target of the job {{ $labels.job }}.")
    # One that is hardly called may count no less than before, and one that comes back late has no other start in the last minutes.
    start = 'process_start_time_seconds{job="buttress"}'
    anew = f"changes({start}[{LATELY}]) > 0 or {start} != last_over_time({start}[1d] offset {LATELY})"
    yield ("ButtressRestarted", f"max by (job, instance) (resets({SERVER}_count[{LATELY}]) > 0 or {anew})", "0m", "info",
           "A process has started anew.", "{{ $labels.instance }} began to count anew.")


def _busy():
    return f"sum by (job, upstream) (increase({SERVER}_count[5m])) > {ENOUGH}"


def _rule(runbooks, name, expression, wait, severity, summary, description, window=None):
    lines = [f"  - alert: {name}", f"    expr: {expression}", f"    for: {wait}", "    labels:", f"      severity: {severity}"]
    if window:
        lines.append(f"      window: {window}")
    notes = [("summary", summary), ("description", description), ("runbook_url", f"{runbooks}#{name.lower()}")]
    return lines + ["    annotations:"] + [f"      {key}: '{text.replace(chr(39), chr(39) * 2)}'" for key, text in notes]


def build(runbooks=RUNBOOKS):
    rules = [
        *burn("ButtressErrorBudgetBurn", "bad", AVAILABILITY, "error", "did not end well"),
        *burn("ButtressLatencyBudgetBurn", "slow", LATENCY, "latency", "were slow"),
        *others(),
    ]
    lines = ["# Written by generate.py.", "groups:", "- name: buttress-alerts", "  rules:"]
    return "\n".join(lines + [line for rule in rules for line in _rule(runbooks, *rule)]) + "\n"
