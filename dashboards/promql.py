"""Expressions over the crate's metrics, with the variables of one dashboard in every selector."""

SERVER = "mcp_server_operation_duration_seconds"
CLIENT = "mcp_client_operation_duration_seconds"
# Whose series they are: two servers may each have a tool of one name.
TARGET = "upstream, mcp_method_name, gen_ai_tool_name, gen_ai_prompt_name, resource_template"

# What counts against the server, as dashboards/README.md says. The empty error_type is a success.
CALLS = 'mcp_method_name="tools/call"'
# -32042 asks the caller to visit a URL first, and -32020 to -32022 say that its request does not fit the server.
GOOD = "|tool_error|application_error|-32042"
CALLERS = "cancelled|hurried|denied|client_fault|-32020|-32021|-32022"
# Who gives up after a while says that it took too long.
LEFT = "cancelled|hurried"
# Refusals take no time, and who cancels says only when he had waited enough: neither is how long a call takes.
ENDED = 'error_type!~"rejected|cancelled"'
# What a layer refused is counted by its reason.
BAD = f'error_type!~"{GOOD}|{CALLERS}|rejected"'
JUDGED = f'error_type!~"{CALLERS}|rejected"'
ANSWERED = f'error_type=~"{GOOD}"'
ANSWERED_OR_LEFT = f'error_type=~"{GOOD}|{LEFT}"'
# The deadline layer refuses what its caller left no time for.
NOT_CALLERS = 'layer!="deadline"'
NOT_POLICY = f'reason!~"quota|loop|key_reused|in_progress",{NOT_CALLERS}'


class Scope:
    """What one dashboard looks at."""

    def __init__(self, *matchers):
        self.matchers = ('job=~"$job"', 'instance=~"$instance"', *matchers)

    def select(self, series, *matchers):
        return f"{series}{{{','.join(self.matchers + matchers)}}}"

    def each(self, series, *matchers):
        """The rate per second of every series of a counter, or of a histogram's count."""
        return f"rate({self.select(series, *matchers)}[$__rate_interval])"

    def rate(self, series, *matchers, by=""):
        return _sum(self.each(series, *matchers), by)

    def gauge(self, series, *matchers, by=""):
        return _sum(self.select(series, *matchers), by)

    def least(self, series, by):
        """Of what each process has its own of: in the one that has the least."""
        return f"min by ({by}) ({self.select(series)})"

    def most(self, series, by):
        return f"max by ({by}) ({self.select(series)})"

    def quantile(self, q, histogram, *matchers, by=""):
        labels = ", ".join(filter(None, ["le", by]))
        # Of nothing there is no quantile, only a NaN: the comparison leaves it out.
        return f"histogram_quantile({q}, {self.rate(f'{histogram}_bucket', *matchers, by=labels)}) >= 0"

    def quantiles(self, histogram, *matchers, by="", legend):
        return [(self.quantile(q, histogram, *matchers, by=by), f"p{round(q * 100)} {legend}") for q in (0.5, 0.95)]

    def outcomes(self, histogram, by="", whose=""):
        """By error_type, which is empty where a call succeeded: an empty legend would tell nobody."""
        count, kind = f"{histogram}_count", ", ".join(filter(None, [by, "error_type"]))
        return [(self.rate(count, 'error_type=""', by=by), f"{whose}success"),
                (self.rate(count, 'error_type!=""', by=kind), f"{whose}{{{{error_type}}}}")]

    def slots(self):
        """Of each target, in the process that has the fewest left: limits are each process's own."""
        held, limit = (self.select(f"buttress_concurrency_{name}") for name in ("in_flight", "limit"))
        return f"max by ({TARGET}) ({held} / {limit})"

    def bad_ratio(self):
        """The share of the tool calls that count which did not end well. Series of refusals are there once there were any."""
        refused = self.each("buttress_rejections_total", CALLS, NOT_POLICY)
        bad = f"sum({self.each(f'{SERVER}_count', CALLS, BAD)} or {refused})"
        judged = f"sum({self.each(f'{SERVER}_count', CALLS, JUDGED)} or {refused})"
        return f"({bad} or 0 * {judged}) / {judged}"

    def breaker_states(self):
        """0 where a breaker is closed, 1 where it is half open, 2 where it is open, of each target in the process that has it worst. Not
        every series is there from the start, and one that several breakers share counts them."""
        half, opened, closed = (f"clamp_max({self._breakers(f'state={name}')}, 1)" for name in ('"half_open"', '"open"', '"closed"'))
        return f"max by ({TARGET}) (2 * {opened} or {half} or 0 * {closed})"

    def breakers_open(self):
        """How many targets are left alone, but for probes, in one process or in several."""
        left_alone = self._breakers('state!="closed"')
        return f"sum(max by ({TARGET}) (sum by (job, instance, {TARGET}) ({left_alone})))"

    def _breakers(self, state):
        return self.select("buttress_circuit_breaker_state", state)


class Processes(Scope):
    """Series that have no upstream, of processes that have a Buttress in them: Prometheus scrapes others too. One that has gone is still
    known by what it said of itself a day ago."""

    def gauge(self, series, *matchers, by=""):
        return _sum(self._ours(self.select(series, *matchers)), by)

    def rate(self, series, *matchers, by=""):
        return _sum(self._ours(self.each(series, *matchers)), by)

    def began_anew(self):
        """Those that did: it need not have been called before, nor since."""
        changes = f"changes({self.select('process_start_time_seconds')}[$__rate_interval])"
        return f"max by (instance) ({self._ours(changes)}) > 0"

    def _ours(self, expression):
        return f"{expression} and on (job, instance) last_over_time({self.select('buttress_build_info')}[1d])"


def _sum(expression, by):
    return f"sum by ({by}) ({expression})" if by else f"sum({expression})"


# What series without an upstream are looked at by.
PROCESS = Processes()
