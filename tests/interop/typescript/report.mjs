// The frame around a run: its command line, its one line of JSON, its exit code.

import { exercise } from "./exercise.mjs";

const USAGE = "Give me `http URL`, or `stdio PROGRAM ARGUMENTS...`.";

/** What the command line asks for: the kind of transport, and its first argument and the others. */
export function target() {
  const [transport, first, ...others] = process.argv.slice(2);
  if (!["http", "stdio"].includes(transport) || first === undefined) {
    console.error(USAGE);
    process.exit(2);
  }
  return { transport, first, others };
}

/** Puts the client through everything, then prints what was seen. `revision` tells what was agreed on. */
export async function report(client, { sdk, era, transport, revision }) {
  const seen = await exercise(client);
  const agreed = revision();
  if (agreed !== era) seen.violations.push(`The server speaks ${agreed} where ${era} was wanted.`);
  await client.close();
  console.log(JSON.stringify({ sdk, era: agreed, transport, ...seen }));
  for (const violation of seen.violations) console.error(violation);
  process.exitCode = seen.violations.length > 0 ? 1 : 0;
}
