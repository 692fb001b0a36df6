"""A row for each layer, in the order of the stack."""

from grafana import graph, row, timeline
from promql import PROCESS, TARGET

NAME = "{{upstream}} {{mcp_method_name}} {{gen_ai_tool_name}}{{gen_ai_prompt_name}}{{resource_template}}"
STATES = [(0, "closed", "green"), (1, "half open", "orange"), (2, "open", "red")]


def edge(s):
    return row(
        "Edge: who is refused, and what is on record",
        graph("Refusals", "Calls a second that a layer refused, by layer and reason.", "reqps",
              [(s.rate("buttress_rejections_total", by="upstream, layer, reason"), "{{upstream}} {{layer}}: {{reason}}")]),
        graph("Would-be refusals", "Calls a second that a layer in observe-only mode would have refused.", "reqps",
              [(s.rate("buttress_observed_rejections_total", by="upstream, layer, reason"), "{{upstream}} {{layer}}: {{reason}}")]),
        *audit(s),
        graph("Spans lost", "Spans a second that never reached the collector, by the reason. Of the whole process: they say no upstream.",
              "ops", [(PROCESS.rate("buttress_spans_lost_total", by="reason"), "{{reason}}")]),
        graph("Without a label of their own", "Calls a second that are recorded under _OTHER, by the label: names that nobody listed, or "
              "that are not fit for a label, and codes of errors that have none.", "reqps",
              [(s.rate("buttress_metric_label_overflow_total", by="upstream, label"), "{{upstream}} {{label}}")]),
    )


def audit(s):
    # By upstream only: the trail has no series for each tool. Each process has a queue of its own.
    yield graph("Audit records", "Calls a second that the audit trail is about, by how they ended.", "reqps",
                [(s.rate("buttress_audit_events_total", by="upstream, outcome"), "{{upstream}} {{outcome}}")])
    yield graph("Audit records that wait", "Records that are not written yet. Where they never are none, the disk is slow, or hangs.", "short",
                [(s.gauge("buttress_audit_backlog", by="upstream, instance"), "{{upstream}} {{instance}}")])
    yield graph("Audit records lost", "Records a second that are not in the trail, by the reason. Anything here is a gap.", "reqps",
                [(s.rate("buttress_audit_dropped_total", by="upstream, instance, reason"), "{{upstream}} {{instance}} {{reason}}")])


def limits_of_callers(s):
    return row(
        "Loop guard, quota, idempotency: what callers may do",
        graph("Agents in circles", "Calls a second that were blocked because their agents kept making them in vain.", "ops",
              [(s.rate("buttress_loops_total", by=f"{TARGET}, kind"), NAME + " {{kind}}")]),
        graph("Quota line", "Calls that wait for their turn under a quota.", "short",
              [(s.gauge("buttress_quota_waiting", by=TARGET), NAME)]),
        graph("Idempotency keys seen before", "Calls a second under a key that could not simply be made, by what was known of it.",
              "reqps", [(s.rate("buttress_idempotency_hits_total", by="upstream, state"), "{{upstream}} {{state}}")]),
        graph("Idempotency keys held", "Keys that are known, in the process that knows the most. When its store is full, it refuses calls under new "
              "keys.", "short", [(s.most("buttress_idempotency_keys", by="upstream"), "{{upstream}}")]),
    )


def cache(s):
    sizes = [
        graph("Cache size", "About how many bytes the kept answers take.", "bytes",
              [(s.gauge("buttress_cache_bytes", by="upstream"), "{{upstream}}")]),
        graph("Answers kept", "How many answers the cache holds.", "short",
              [(s.gauge("buttress_cache_entries", by="upstream"), "{{upstream}}")]),
    ]
    return row("Cache: answers that are given again", lookups(s), *sizes)


def lookups(s):
    return graph("Cache", "Calls a second whose answer may be kept, by what was found; and those given an old answer for an error.",
                 "reqps", [(s.rate("buttress_cache_lookups_total", by="upstream, outcome"), "{{upstream}} {{outcome}}"),
                           (s.rate("buttress_cache_stale_if_error_total", by="upstream"), "{{upstream}} for an error")])


def fewer_and_more(s):
    return row(
        "Coalesce, hedge: fewer calls, and second ones",
        graph("Shared calls", "Calls a second that joined one that asked the same.", "reqps",
              [(s.rate("buttress_coalesced_calls_total", by=TARGET), NAME)]),
        graph("Hedges", "Second attempts a second at calls that took long, by how they ended.", "reqps",
              [(s.rate("buttress_hedges_total", by="upstream, outcome"), "{{upstream}} {{outcome}}")]),
    )


def retry(s, budget=True):
    panels = [
        graph("Retries", "Repeated attempts a second, by how they ended.", "reqps",
              [(s.rate("buttress_retries_total", by="upstream, outcome"), "{{upstream}} {{outcome}}")]),
        graph("Retries not made", "Failed attempts a second that were not repeated, by the reason.", "reqps",
              [(s.rate("buttress_retries_skipped_total", by="upstream, reason"), "{{upstream}} {{reason}}")]),
    ]
    if budget:
        panels.append(graph("Retry budget", "Tokens left, in the process that has the fewest. Near 0, it repeats nothing any more.", "short",
                            [(s.least("buttress_retry_budget_tokens", by="upstream"), "{{upstream}}")]))
    return row("Retry: what is repeated, and what is not", *panels)


def breaker(s):
    return row(
        "Circuit breakers: whom the stack leaves alone",
        timeline("Breakers", "The state of each breaker as of its last call, in the process that has it worst. One that only observes is closed. "
                 "Without a method: the upstream's own.",
                 s.breaker_states(), NAME, STATES),
        graph("Breaker transitions", "Changes of state a second.", "ops",
              [(s.rate("buttress_circuit_breaker_transitions_total", by=f"{TARGET}, from, to"), NAME + " {{from}} to {{to}}")]),
    )


def concurrency(s):
    return row(
        "Concurrency: slots and the queue behind them",
        graph("Slots", "Slots held; kept are those of work that goes on after its attempt.", "short",
              [(s.gauge("buttress_concurrency_in_flight", by=TARGET), NAME),
               (s.gauge("buttress_concurrency_kept", by=TARGET), "kept " + NAME)]),
        graph("Slots of the limit", "The share of the slots that are held, in the process that has the fewest left. At 100 %, the next waits.", "percentunit",
              [(s.slots(), NAME)]),
        graph("Queue", "Attempts that wait for a slot.", "short", [(s.gauge("buttress_queue_length", by=TARGET), NAME)]),
        graph("Time in the queue", "Median and 95th percentile, of the attempts that had to wait and got a slot.", "s",
              s.quantiles("buttress_queue_duration_seconds", by=TARGET, legend=NAME)),
    )
