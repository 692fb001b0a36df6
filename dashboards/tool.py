"""One tool in depth."""

import layers
from grafana import dashboard, graph, heatmap, row, stat, variable
from overview import annotations
from promql import CLIENT, ENDED, SERVER, Scope

# Made fit for an expression, which is within backquotes so that it need not be made fit for a string: a name's dot is a dot.
UPSTREAM = "upstream=~`${upstream:regex}`"


class Tool(Scope):
    """What its upstream's own breaker shuts is shut for the tool too."""

    def _breakers(self, state):
        above = Scope(UPSTREAM, 'mcp_method_name=""')
        return f"({super()._breakers(state)} or {above._breakers(state)})"


S = Tool(UPSTREAM, "gen_ai_tool_name=~`${tool:regex}`")
COUNT = f"{SERVER}_count"


# What stands where a server with many tools leaves a panel without data.
NOT_TOLD = ("Attempts of this tool are not told apart from those of others: its upstream has more names than the scrape budget pays for. "
            "Name the tool (Catalogue::tool), or give Catalogue::scrape_budget 24,000 bytes for each name.")


def golden():
    return row(
        "$tool on $upstream",
        stat("Calls a second", "All calls of the tool, refused ones included.", "reqps", S.rate(COUNT)),
        stat("Bad calls", "Of its calls that count, the share that did not end well.", "percentunit", S.bad_ratio(), (0.005, 0.05)),
        stat("Median", "Of its calls that were neither refused nor cancelled, over all that they waited for.", "s", S.quantile(0.5, SERVER, ENDED)),
        stat("95th percentile", "Of its calls that were neither refused nor cancelled, over all that they waited for.", "s",
             S.quantile(0.95, SERVER, ENDED), (2, 5)),
        stat("Breakers open", "Its own and its upstream's: those that leave it alone at the moment, but for probes, in one process or in several.", "short",
             S.breakers_open(), (1, 2)),
        stat("Slots of the limit", "The share of the slots that are held, in the process that has the fewest left. At 100 %, the next waits.",
             "percentunit", f"max({S.slots()})", (0.8, 0.95)),
        graph("Calls by outcome", "Calls a second, by error_type.", "reqps",
              S.outcomes(SERVER)),
        graph("Duration", "Of calls that were neither refused nor cancelled, and, where the upstream has few names, of single attempts: "
              "between them lie queues, backoffs and repeats.", "s", S.quantiles(SERVER, ENDED, legend="call") + S.quantiles(CLIENT, ENDED, legend="attempt")),
        heatmap("Durations", "How many calls took how long, refused and cancelled ones included.", "s", S.rate(f"{SERVER}_bucket", by="le")),
    )


def stack():
    return row(
        "What the stack made of its calls",
        graph("Refusals", "Calls a second that a layer refused, by layer and reason.", "reqps",
              [(S.rate("buttress_rejections_total", by="layer, reason"), "{{layer}}: {{reason}}")]),
        graph("Would-be refusals", "Calls a second that a layer in observe-only mode would have refused.", "reqps",
              [(S.rate("buttress_observed_rejections_total", by="layer, reason"), "{{layer}}: {{reason}}")]),
        graph("Blocked, and under a known key", "Calls a second of agents in circles, and under an idempotency key seen before.", "reqps",
              [(S.rate("buttress_loops_total", by="kind"), "loop: {{kind}}"),
               (S.rate("buttress_idempotency_hits_total", by="state"), "key: {{state}}")]),
        layers.lookups(S),
        graph("Shared calls and hedges", "Calls a second that joined another, and second attempts at slow ones.", "reqps",
              [(S.rate("buttress_coalesced_calls_total"), "shared"), (S.rate("buttress_hedges_total", by="outcome"), "hedge {{outcome}}")]),
    )


def attempts():
    return row(
        "Attempts, as the handler sees them",
        graph("Attempts by outcome", "Attempts a second, by error_type. Empty where the upstream has too many names to tell attempts apart.", "reqps",
              S.outcomes(CLIENT), empty=NOT_TOLD),
        graph("Timeouts and panics", "Attempts a second that were given up, by the clock that ran out, and that panicked.", "reqps",
              [(S.rate("buttress_timeouts_total", by="kind"), "{{kind}}"), (S.rate("buttress_panics_total"), "panic")]),
        graph("Injected faults", "Attempts a second that were broken on purpose. Anything here is a game day, or a mistake.", "reqps",
              [(S.rate("buttress_faults_injected_total", by="fault"), "{{fault}}")]),
    )


ROWS = [golden(), stack(), layers.retry(S, budget=False), layers.breaker(S), layers.concurrency(S), attempts()]


def build():
    called = f'{COUNT}{{job=~"$job",{UPSTREAM},gen_ai_tool_name!=""}}'
    variables = [
        variable("job", f"label_values({COUNT}, job)"),
        variable("instance", f'label_values({COUNT}{{job=~"$job"}}, instance)'),
        variable("upstream", f'label_values({COUNT}{{job=~"$job"}}, upstream)', many=False),
        variable("tool", f"label_values({called}, gen_ai_tool_name)", many=False),
    ]
    words = "One tool: how its calls end, what each layer does about it, what the handler sees."
    return dashboard("buttress-tool", "Buttress: one tool", words, variables, annotations(S), ROWS)
