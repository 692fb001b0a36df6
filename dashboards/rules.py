"""Recording rules: for each window of the burn rates, the shares of tool calls that spend an error budget."""

from promql import ANSWERED, ANSWERED_OR_LEFT, BAD, CALLS, LEFT, JUDGED, NOT_CALLERS, NOT_POLICY, SERVER

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
# A call that takes longer is slow: the bound of a bucket.
# Prometheus 3 writes it with a fraction.
SLOW = r"5(\\.0)?"
BY = "sum by (job, upstream)"
# A repeat that a layer further in refused never reached the handler.
SENT = 'outcome!="refused"'
NO_STREAMS = 'mcp_method_name!="subscriptions/listen"'


def _window(w):
    refused = f"rate(buttress_rejections_total{{{CALLS},{NOT_POLICY}}}[{w}])"
    counts = f"{SERVER}_count{{{CALLS}"
    yield f"job_upstream:mcp_tool_calls:rate{w}", f"{BY} (rate({counts},{JUDGED}}}[{w}]) or {refused})"
    # Where nothing ever failed there is no series to sum: the share is 0 then, and not absent.
    bad = f"{BY} (rate({counts},{BAD}}}[{w}]) or {refused})"
    calls = f"job_upstream:mcp_tool_calls:rate{w}"
    yield f"job_upstream:mcp_tool_calls_bad:ratio_rate{w}", f"({bad} or 0 * {calls}) / {calls}"
    within = lambda ends: f'{BY} (rate({SERVER}_bucket{{{CALLS},{ends},le=~"{SLOW}"}}[{w}]))'
    waited = f"{BY} (rate({counts},{ANSWERED_OR_LEFT}}}[{w}]))"
    # Who leaves before that says nothing of how long it takes.
    left = within(f'error_type=~"{LEFT}"')
    yield f"job_upstream:mcp_tool_calls_slow:ratio_rate{w}", f"1 - {within(ANSWERED)} / ({waited} - ({left} or 0 * {waited}))"


def _single():
    client = f"{BY} (rate({SERVER.replace('server', 'client')}_count[5m]))"
    # Beside first attempts, not beside calls: those that the stack answers itself would hide what it repeats.
    repeated = f"{BY} (rate(buttress_retries_total{{{SENT}}}[5m]) or rate(buttress_hedges_total{{{SENT}}}[5m]))"
    yield "job_upstream:mcp_attempts_per_first_attempt:ratio_rate5m", f"{client} / ({client} - ({repeated} or 0 * {client}))"
    # A subscription that is refused is one over its cap, and the others are no calls that are beside it.
    shed = f'{BY} (rate(buttress_rejections_total{{reason=~"shed|queue_full|no_slot|deadline",{NOT_CALLERS},{NO_STREAMS}}}[5m]))'
    calls = f"{BY} (rate({SERVER}_count{{{NO_STREAMS}}}[5m]))"
    yield "job_upstream:buttress_shed:ratio_rate5m", f"({shed} or 0 * {calls}) / {calls}"


def _group(name, pairs):
    lines = [f"- name: {name}", "  rules:"]
    for record, expression in pairs:
        lines += [f"  - record: {record}", f"    expr: {expression}"]
    return lines


def build():
    lines = ["# Written by generate.py.", "groups:"]
    for w in WINDOWS:
        lines += _group(f"buttress-slo-{w}", _window(w))
    return "\n".join(lines + _group("buttress", _single())) + "\n"
