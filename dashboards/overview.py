"""The overview: golden signals, a row for each layer, the attempts, the process."""

import layers
from grafana import annotation, dashboard, graph, heatmap, row, stat, variable
from promql import CLIENT, ENDED, PROCESS, SERVER, TARGET, Scope

S = Scope('upstream=~"$upstream"')
COUNT = f"{SERVER}_count"
LAG = "buttress_event_loop_lag_duration_seconds"

TO_THE_TOOL = {
    "title": "This tool in depth",
    "url": ("/d/buttress-tool?${datasource:queryparam}&${job:queryparam}&${instance:queryparam}"
            "&var-upstream=${__field.labels.upstream}&var-tool=${__field.labels.gen_ai_tool_name}&${__url_time_range}"),
}


def by_tool(*matchers):
    """Tools first: what else is called has no dashboard of its own."""
    return [(S.rate(COUNT, f'gen_ai_tool_name{is_tool}""', *matchers, by=TARGET), layers.NAME) for is_tool in ("!=", "=")]


def golden():
    return row(
        "Golden signals",
        stat("Calls a second", "All calls that arrive, refused ones included.", "reqps", S.rate(COUNT)),
        stat("Bad tool calls", "Of the tool calls that count, the share that did not end well: the error budget is spent by these.",
             "percentunit", S.bad_ratio(), (0.005, 0.05)),
        stat("95th percentile", "Of all calls that were neither refused nor cancelled, over all that they waited for.", "s",
             S.quantile(0.95, SERVER, ENDED), (2, 5)),
        stat("In flight", "Calls that have arrived and have no answer yet.", "short", S.gauge("buttress_requests_in_flight")),
        stat("Breakers open", "Tools, prompts and upstreams that are left alone at the moment, but for probes, in one process or in several.", "short",
             S.breakers_open(), (1, 3)),
        stat("Targets up", "Processes with a Buttress in them that Prometheus can scrape.", "short", PROCESS.gauge("up")),
        graph("Calls by tool", "Calls a second, refused and failed ones included.", "reqps",
              by_tool(), [TO_THE_TOOL]),
        graph("Failures by kind", "Calls a second that did not end well, by error_type.", "reqps",
              [(S.rate(COUNT, 'error_type!=""', by="upstream, error_type"), "{{upstream}} {{error_type}}")]),
        graph("Duration by tool", "Median and 95th percentile of calls that were neither refused nor cancelled, over all that they waited for: "
              "queues, backoffs, all attempts.", "s", S.quantiles(SERVER, ENDED, by=TARGET, legend=layers.NAME)),
        graph("In flight", "Calls that have arrived and have no answer yet, and open subscriptions.", "short",
              [(S.gauge("buttress_requests_in_flight", by="upstream"), "{{upstream}}"),
               (S.gauge("buttress_subscriptions", by="upstream"), "subscriptions {{upstream}}")]),
        heatmap("Durations", "How many calls took how long, refused and cancelled ones included.", "s", S.rate(f"{SERVER}_bucket", by="le")),
        graph("Refused and failed by tool", "Calls a second that did not end well.", "reqps",
              by_tool('error_type!=""'), [TO_THE_TOOL]),
    )


def attempts():
    return row(
        "Attempts, as the handler sees them",
        graph("Attempts per call", "1 when nothing is repeated, less where the stack refuses or answers itself.", "short",
              [(f"{S.rate(f'{CLIENT}_count', by='upstream')} / {S.rate(COUNT, by='upstream')}", "{{upstream}}")]),
        graph("Attempts by outcome", "Attempts a second, by error_type.", "reqps",
              S.outcomes(CLIENT, "upstream", "{{upstream}} ")),
        graph("Duration of attempts", "Median and 95th percentile of single attempts that were not cancelled.", "s",
              S.quantiles(CLIENT, ENDED, by=TARGET, legend=layers.NAME)),
        graph("Timeouts", "Attempts a second that were given up, by the clock that ran out.", "reqps",
              [(S.rate("buttress_timeouts_total", by="upstream, kind"), "{{upstream}} {{kind}}")]),
        graph("Panics", "Handlers a second that panicked.", "reqps", [(S.rate("buttress_panics_total", by=TARGET), layers.NAME)]),
        graph("Injected faults", "Attempts a second that were broken on purpose. Anything here is a game day, or a mistake.", "reqps",
              [(S.rate("buttress_faults_injected_total", by="upstream, fault"), "{{upstream}} {{fault}}")]),
    )


def process():
    return row(
        "Process and runtime",
        graph("Scrapes", "How long each takes. A slow one is a process without time, or with too many series.", "s",
              [(PROCESS.gauge("scrape_duration_seconds", by="instance"), "{{instance}}")]),
        graph("Series", "How many each process exports.", "short",
              [(PROCESS.gauge("scrape_samples_post_metric_relabeling", by="instance"), "{{instance}}")]),
        graph("Up", "1 where Prometheus can scrape the process.", "short", [(PROCESS.gauge("up", by="instance"), "{{instance}}")]),
        graph("Processor", "Seconds of processor time a second.", "short",
              [(PROCESS.rate("process_cpu_seconds_total", by="instance"), "{{instance}}")]),
        graph("Memory", "What the system counts as resident, which what has been freed may stay in; and what the program holds of it, where it says.", "bytes",
              [(PROCESS.gauge("process_resident_memory_bytes", by="instance"), "resident {{instance}}"),
               (PROCESS.gauge("buttress_allocated_bytes", by="instance"), "held {{instance}}")]),
        graph("Open files", "Sockets included.", "short", [(PROCESS.gauge("process_open_fds", by="instance"), "{{instance}}"),
                                                           (PROCESS.gauge("process_max_fds", by="instance"), "limit {{instance}}")]),
        graph("Lag of the event loop", "How much later than asked for a task is woken: the first sign of too much work, or of work "
              "that blocks.", "s", [(PROCESS.quantile(q, LAG, by="instance"), f"p{round(q * 100)} {{{{instance}}}}") for q in (0.5, 0.99)]),
        graph("Workers", "The share of the time in which each worker of the runtime is busy.", "percentunit",
              [(PROCESS.gauge("tokio_runtime_worker_busy_ratio", by="instance, worker"), "{{instance}} {{worker}}")]),
        graph("Tasks", "Tasks that have not ended, those of them that wait in the global queue, and the workers that there are.", "short",
              [(PROCESS.gauge("tokio_runtime_alive_tasks", by="instance"), "alive {{instance}}"),
               (PROCESS.gauge("tokio_runtime_global_queue_depth", by="instance"), "queued {{instance}}"),
               (PROCESS.gauge("tokio_runtime_workers", by="instance"), "workers {{instance}}")]),
        graph("Versions", "How many processes run which.", "short",
              [(PROCESS.gauge("buttress_build_info", by="version"), "{{version}}")]),
        collapsed=True,
    )


ROWS = [
    golden(), layers.edge(S), layers.limits_of_callers(S), layers.cache(S), layers.fewer_and_more(S), layers.retry(S),
    layers.breaker(S), layers.concurrency(S), attempts(), process(),
]


def annotations(scope):
    opened = scope.select("buttress_circuit_breaker_transitions_total", 'from="closed",to="open"')
    by = f"sum by ({TARGET})"
    # Where there are many tools, a counter comes with its first event, which is no increase of it.
    first = f"({by} ({opened}) unless {by} ({opened} offset $__rate_interval)) > 0"
    builds = PROCESS.select("buttress_build_info")
    began = PROCESS.began_anew()
    deployed = f"sum by (version) ({builds}) unless sum by (version) ({builds} offset $__rate_interval)"
    return [
        annotation("Breaker opened", "red", f"{by} (increase({opened}[$__rate_interval])) > 0 or {first}",
                   f"{layers.NAME} opened"),
        annotation("Restarted", "blue", f"max by (instance) (resets({PROCESS.select(COUNT)}[$__rate_interval])) > 0 or {began}",
                   "{{instance}} restarted"),
        annotation("Deployed", "purple", deployed, "version {{version}}"),
    ]


def build():
    variables = [
        variable("job", f"label_values({COUNT}, job)"),
        variable("instance", f'label_values({COUNT}{{job=~"$job"}}, instance)'),
        variable("upstream", f'label_values({COUNT}{{job=~"$job"}}, upstream)'),
    ]
    words = "Which tool of which server is in trouble, which layer is acting, and why."
    return dashboard("buttress-overview", "Buttress: overview", words, variables, annotations(S), ROWS)
