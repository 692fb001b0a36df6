// @modelcontextprotocol/client, pinned to 2026-07-28: it asks `server/discover` for that revision and never falls back.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

import { report, target } from "./report.mjs";

const ERA = "2026-07-28";

const { transport, first, others } = target();
const road =
  transport === "http"
    ? new StreamableHTTPClientTransport(new URL(first))
    : new StdioClientTransport({ command: first, args: others });
const client = new Client({ name: "interop", version: "1" }, { versionNegotiation: { mode: { pin: ERA } } });
await client.connect(road);
await report(client, {
  sdk: "@modelcontextprotocol/client",
  era: ERA,
  transport,
  revision: () => client.getNegotiatedProtocolVersion(),
});
