"""Expressions over the crate's metrics, with the variables of one dashboard in every selector."""

SERVER = "mcp_server_operation_duration_seconds"
CLIENT = "mcp_client_operation_duration_seconds"
TOOL = "gen_ai_tool_name"
TARGET = "mcp_method_name, gen_ai_tool_name, resource_template"

# What counts against the server, as dashboards/README.md says. The empty error_type is a success.
CALLS = 'mcp_method_name="tools/call"'
BAD = 'error_type!~"|tool_error|cancelled|denied|client_fault|rejected"'
JUDGED = 'error_type!~"cancelled|denied|client_fault|rejected"'
NOT_POLICY = 'reason!~"quota|loop|key_reused|in_progress"'
ANSWERED = 'error_type=~"|tool_error"'


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

    def quantile(self, q, histogram, *matchers, by=""):
        labels = ", ".join(filter(None, ["le", by]))
        # Of nothing there is no quantile, only a NaN: the comparison leaves it out.
        return f"histogram_quantile({q}, {self.rate(f'{histogram}_bucket', *matchers, by=labels)}) >= 0"

    def quantiles(self, histogram, by, legend):
        return [(self.quantile(q, histogram, by=by), f"p{round(q * 100)} {legend}") for q in (0.5, 0.95)]

    def outcomes(self, histogram):
        """By error_type, which is empty where a call succeeded: an empty legend would tell nobody."""
        count = f"{histogram}_count"
        return [(self.rate(count, 'error_type=""'), "success"),
                (self.rate(count, 'error_type!=""', by="error_type"), "{{error_type}}")]

    def slots(self, by):
        return f"{self.gauge('buttress_concurrency_in_flight', by=by)} / {self.gauge('buttress_concurrency_limit', by=by)}"

    def bad_ratio(self):
        """The share of the tool calls that count which did not end well. Series of refusals are there once there were any."""
        refused = self.each("buttress_rejections_total", CALLS, NOT_POLICY)
        bad = f"sum({self.each(f'{SERVER}_count', CALLS, BAD)} or {refused})"
        judged = f"sum({self.each(f'{SERVER}_count', CALLS, JUDGED)} or {refused})"
        return f"({bad} or 0 * {judged}) / {judged}"

    def breaker_states(self):
        """0 where a breaker is closed, 1 where it is half open, 2 where it is open."""
        by = f"upstream, {TARGET}, gen_ai_prompt_name"
        state = "buttress_circuit_breaker_state"
        half, opened = (self.gauge(state, f'state="{name}"', by=by) for name in ("half_open", "open"))
        return f"{half} + 2 * {opened}"


def _sum(expression, by):
    return f"sum by ({by}) ({expression})" if by else f"sum({expression})"


# What series without an upstream are looked at by.
PROCESS = Scope()
