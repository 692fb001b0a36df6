// What both generations of the SDK are put through. Their clients have the same methods, so one script does for both.

const OBSERVATIONS = "weather://observations";
const OUTCOME = "dev.buttress/outcome";
const NOWHERE = "Atlantis";
const CITIES = ["Berlin", "Lima", "Nairobi", "New York", "Oslo", "Tokyo"];

const CALLS_PER_TOOL = 36;
const AT_ONCE = 6;

// How often a note may be on record, by what was said of its report. Of any other class no write may speak.
const EFFECTS = {
  ok: [1, 1],
  tool_error: [0, 0],
  client_fault: [0, 0],
  local_reject: [0, 0],
  not_sent: [0, 0],
  throttled: [0, 0],
  outcome_unknown: [0, 1],
};

/**
 * Uses every primitive of the weather server through a connected `client`.
 *
 * Resolves to what was seen; its `violations` are sentences, one for each promise that was not kept.
 */
export async function exercise(client) {
  const seen = { tools: [], classes: {}, unknownCity: [], effects: 0, transportErrors: 0, violations: [] };
  const writes = new Map();

  const { tools } = await client.listTools();
  seen.tools = tools.map(({ name }) => name).sort();
  const { resources } = await client.listResources();
  expect(
    seen,
    resources.some(({ uri }) => uri === OBSERVATIONS),
    `${OBSERVATIONS} is not listed`,
  );
  const { prompts } = await client.listPrompts();
  expect(
    seen,
    prompts.some(({ name }) => name === "packing_list"),
    "packing_list is not listed",
  );

  await inParallel(plan(), async ({ name, args }) => {
    const { kind, text } = await call(client, seen, name, args);
    count(seen, name, kind);
    if (args.note !== undefined) writes.set(args.note, kind);
    expect(seen, !["tool_error", "client_fault"].includes(kind), `${name} was blamed without a cause: ${text}`);
    expect(seen, kind === "ok" || text.trim() !== "", `${name} failed without a word`);
  });

  const prompt = await attempt(seen, () => client.getPrompt({ name: "packing_list", arguments: { city: "Oslo" } }));
  count(seen, "packing_list", prompt.kind);
  if (prompt.kind === "ok") {
    const { content } = prompt.result.messages[0];
    expect(seen, content.text.includes("Oslo"), `the prompt does not speak of Oslo: ${content.text}`);
  }

  for (const [name, args] of argumentsFor(NOWHERE, "from nowhere", 0)) {
    const { kind, text } = await call(client, seen, name, args);
    if (args.note !== undefined) writes.set(args.note, kind);
    seen.unknownCity.push(text);
    const said = kind === "tool_error" && text.includes(NOWHERE);
    expect(seen, said, `${name} did not say that there is no ${NOWHERE}, but ${kind}: ${text}`);
  }

  settle(seen, writes, await notesOnRecord(client));
  return seen;
}

/** Each tool in turn, over and over, with a note of its own for each report. */
function* plan() {
  for (let number = 0; number < CALLS_PER_TOOL; number += 1) {
    const city = CITIES[number % CITIES.length];
    for (const [name, args] of argumentsFor(city, `report ${number}`, number)) yield { name, args };
  }
}

function argumentsFor(city, note, number) {
  return [
    ["get_weather", { city, units: number % 2 ? "imperial" : "metric" }],
    ["get_forecast", { city, days: 1 + (number % 16) }],
    ["report_observation", { city, temperature_c: number - 10.5, note }],
  ];
}

/** Calls a tool; tells in one word how it ended, and what was said about it. */
async function call(client, seen, name, args) {
  const { kind, text, result } = await attempt(seen, () => client.callTool({ name, arguments: args }));
  if (!result?.isError) return { kind, text };
  const words = result.content.map((part) => part.text ?? "").join("\n");
  return { kind: result._meta?.[OUTCOME]?.class ?? "tool_error", text: words };
}

/** Tells an error of the server's from one that the SDK makes up: the server says of all its failures what they mean. */
async function attempt(seen, ask) {
  try {
    return { kind: "ok", text: "", result: await ask() };
  } catch (error) {
    const outcome = error.data?.[OUTCOME]?.class;
    if (outcome !== undefined) return { kind: outcome, text: error.message };
    seen.transportErrors += 1;
    seen.violations.push(`No answer of the server's: ${error}.`);
    return { kind: "transport", text: String(error) };
  }
}

async function notesOnRecord(client) {
  const { contents } = await client.readResource({ uri: OBSERVATIONS });
  return JSON.parse(contents.map(({ text }) => text).join("")).map(({ note }) => note);
}

/** Holds what was said of each report against how often its note is on record. */
function settle(seen, writes, notes) {
  seen.effects = notes.length;
  for (const [note, kind] of writes) {
    const times = notes.filter((other) => other === note).length;
    const [least, most] = EFFECTS[kind] ?? [1, 0];
    expect(seen, least <= times && times <= most, `"${note}" ended as ${kind} and is on record ${times} times`);
  }
  for (const note of notes) expect(seen, writes.has(note), `"${note}" is on record but nobody reported it`);
}

async function inParallel(jobs, run) {
  const worker = async () => {
    for (const job of jobs) await run(job);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

function count(seen, name, kind) {
  const classes = (seen.classes[name] ??= {});
  classes[kind] = (classes[kind] ?? 0) + 1;
}

function expect(seen, holds, sentence) {
  if (!holds) seen.violations.push(`${sentence}.`);
}
