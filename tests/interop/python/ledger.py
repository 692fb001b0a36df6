"""The books: what every call was answered, and whether the answers were true."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from answers import TOOL_ERROR, Answer, Form
from workload import NOWHERE, Call

# These say that nothing was done.
REFUSED = frozenset({TOOL_ERROR, "client_fault", "local_reject", "not_sent", "throttled"})

# This one says that nobody knows.
UNKNOWN = "outcome_unknown"

# Reads are repeated by the server, so that its callers hardly see a failure.
READS_SUCCEED = 0.99

# How many calls that went wrong in the same way are told one by one.
EXAMPLES = 5


@dataclass(slots=True)
class Writes:
    """The notes of reports, by what was said of them."""

    claimed: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)

    def violations(self, effects: Counter[str]) -> list[str]:
        """Holds what was said against how often each note is on record."""
        found: list[str] = []
        for said, notes, least, most in (
            ("claimed", self.claimed, 1, 1),
            ("refused", self.refused, 0, 0),
            ("of unknown outcome", self.unknown, 0, 1),
        ):
            wrong = [note for note in sorted(notes) if not least <= effects[note] <= most]
            found += [f"{note!r} was {said} but is on record {effects[note]} times." for note in wrong]
        strangers = sorted(effects.keys() - self.claimed - self.refused - self.unknown)
        return found + [f"{note!r} is on record but nobody reported it." for note in strangers]


@dataclass(slots=True)
class Ledger:
    asked: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    is_error: Counter[str] = field(default_factory=Counter)
    json_rpc: Counter[str] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)
    reads: int = 0
    reads_succeeded: int = 0
    writes: Writes = field(default_factory=Writes)
    effects: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def enter(self, call: Call, answer: Answer) -> None:
        self.asked[call.name] += 1
        match answer.form:
            case Form.RESULT:
                self.answered += 1
            case Form.IS_ERROR:
                self.is_error[answer.outcome] += 1
            case Form.JSON_RPC_ERROR:
                self.json_rpc[str(answer.code)] += 1
            case Form.NONE:
                self.missing.append(f"{call.name}: {answer.text}")
        self._judge(call, answer)
        if call.is_write:
            self._enter_write(call, answer)
        elif not call.is_hopeless:
            self.reads += 1
            self.reads_succeeded += answer.form is Form.RESULT

    def close(self, effects: Counter[str]) -> None:
        """The end of the run: `effects` is how often each note is on record."""
        self.effects = effects
        self.violations += self.writes.violations(effects)
        if self.missing:
            examples = "; ".join(self.missing[:EXAMPLES])
            self.violations.append(f"{len(self.missing)} calls got no answer of the server's: {examples}.")
        if self.reads_succeeded < READS_SUCCEED * self.reads:
            self.violations.append(f"Only {self.reads_succeeded} of {self.reads} reads succeeded.")

    def summary(self) -> dict[str, Any]:
        return {
            "calls": self.asked.total(),
            "asked": dict(self.asked),
            "answered": self.answered,
            "isError": dict(self.is_error),
            "jsonRpcErrors": dict(self.json_rpc),
            "transportErrors": len(self.missing),
            "reads": {"attempted": self.reads, "succeeded": self.reads_succeeded},
            "writes": {
                "claimed": len(self.writes.claimed),
                "refused": len(self.writes.refused),
                "unknown": len(self.writes.unknown),
                "unknownButDone": sum(self.effects[note] for note in self.writes.unknown),
            },
            "effects": self.effects.total(),
            "violations": self.violations,
        }

    def _judge(self, call: Call, answer: Answer) -> None:
        """Whether this is an answer that such a call may get at all."""
        if answer.form is Form.NONE:
            return
        if answer.form is Form.RESULT:
            if call.is_hopeless:
                self.violations.append(f"{call.name} knew an answer about {NOWHERE}.")
            return
        if not answer.text.strip():
            self.violations.append(f"{call.name} failed without a word: {answer}.")
        if answer.outcome in (TOOL_ERROR, "client_fault") and not (call.is_hopeless and NOWHERE in answer.text):
            self.violations.append(f"{call.name} was blamed without a cause: {answer}.")

    def _enter_write(self, call: Call, answer: Answer) -> None:
        note = call.note
        assert note is not None
        if answer.form is Form.RESULT:
            self.writes.claimed.add(note)
        elif answer.outcome in REFUSED:
            self.writes.refused.add(note)
        else:
            self.writes.unknown.add(note)
            # Without an answer there is a violation already.
            if answer.form is not Form.NONE and answer.outcome != UNKNOWN:
                self.violations.append(f"{note!r} ended in a class that no write may end in: {answer}.")
