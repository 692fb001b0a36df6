"""What the agents ask the weather server for."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

OBSERVATIONS = "weather://observations"
PROMPT = "packing_list"

CITIES = ("Berlin", "Lima", "Nairobi", "New York", "Oslo", "Tokyo")
NOWHERE = "Atlantis"


class Kind(Enum):
    """A primitive of the protocol, and whether using it changes anything."""

    READ_TOOL = "tool that reads"
    WRITE_TOOL = "tool that writes"
    RESOURCE = "resource"
    PROMPT = "prompt"


@dataclass(frozen=True, slots=True)
class Call:
    """One call, and what is known of it beforehand."""

    kind: Kind
    name: str
    arguments: dict[str, str | int | float]
    note: str | None = None

    @property
    def is_write(self) -> bool:
        return self.kind is Kind.WRITE_TOOL

    @property
    def is_hopeless(self) -> bool:
        """Whether the city does not exist, so that only a refusal is right."""
        return self.arguments.get("city") == NOWHERE


def weather(city: str, number: int) -> Call:
    units = ("metric", "imperial")[number % 2]
    return Call(Kind.READ_TOOL, "get_weather", {"city": city, "units": units})


def forecast(city: str, number: int) -> Call:
    return Call(Kind.READ_TOOL, "get_forecast", {"city": city, "days": 1 + number % 16})


def report(city: str, number: int) -> Call:
    note = f"report {number}"
    arguments = {"city": city, "temperature_c": number % 40 - 10.5, "note": note}
    return Call(Kind.WRITE_TOOL, "report_observation", arguments, note)


def observations(_city: str, _number: int) -> Call:
    return Call(Kind.RESOURCE, OBSERVATIONS, {})


def packing_list(city: str, _number: int) -> Call:
    return Call(Kind.PROMPT, PROMPT, {"city": city})


# How often each comes in every hundred calls.
MIX = ((weather, 33), (forecast, 30), (report, 30), (observations, 2), (packing_list, 5))

# One city in that many does not exist.
ONE_NOWHERE_IN = 20


def plan(calls: int, seed: int) -> Iterator[Call]:
    """The same calls in the same order for the same seed, each hundred in the same mix."""
    dice = random.Random(seed)
    hundred: list[int] = []
    for number in range(calls):
        if not hundred:
            hundred = [kind for kind, (_, share) in enumerate(MIX) for _ in range(share)]
            dice.shuffle(hundred)
        make, _ = MIX[hundred.pop()]
        city = NOWHERE if dice.randrange(ONE_NOWHERE_IN) == 0 else dice.choice(CITIES)
        yield make(city, number)
