// @modelcontextprotocol/sdk, which knows only the revisions that begin with `initialize`, and asks for its newest.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

import { report, target } from "./report.mjs";

const { transport, first, others } = target();
const road =
  transport === "http"
    ? new StreamableHTTPClientTransport(new URL(first))
    : new StdioClientTransport({ command: first, args: others });

// The client itself does not tell what was agreed on; it tells its transport, where that wants to know.
let agreed;
const tell = road.setProtocolVersion?.bind(road);
road.setProtocolVersion = (revision) => {
  agreed = revision;
  tell?.(revision);
};

const client = new Client({ name: "interop", version: "1" });
await client.connect(road);
await report(client, { sdk: "@modelcontextprotocol/sdk", era: "2025-11-25", transport, revision: () => agreed });
