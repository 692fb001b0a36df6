// Asks /status once a second and shows what it says. Names come from servers that nobody need trust: they become text, never markup.
"use strict";

const EVERY = 1000;
const PATIENCE = 4000;
const WORDS = {
  closed: ["Closed", "good"], half_open: ["Half open", "warn"], open: ["Open", "bad"],
};
const CAUSES = {
  failures: "too many failures", cooled_down: "the cool-down is over, one call probes", probe_failed: "the probe failed",
  probe_passed: "the probe passed", operator: "by an operator",
};
// Why calls were refused, as short as a column is narrow; what is not in here is said as it comes.
const REASONS = {
  quota: "over its quota", rate_limit: "over the limit", breaker_open: "breaker open", upstream_open: "upstream open", queue_full: "queue full",
  no_slot: "no slot to retry", deadline: "no time left", loop: "going in circles", key_reused: "key used before", in_progress: "already under way",
  draining: "closed by hand", unrecorded: "not on record", shed: "no room",
};

const byId = (id) => document.getElementById(id);
const upstreams = new Map();
const shown = { transitions: new Map(), at: null, timer: 0, asking: false };

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

function figure(value) {
  if (value === 0) return "0";
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(value < 1 ? 2 : 1);
}

function duration(seconds) {
  if (seconds === null) return "–";
  // Within the first bucket nobody can tell.
  if (seconds <= 0.01) return "≤ 10 ms";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
}

function span(seconds) {
  const s = Math.floor(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit += 1; }
  return `${unit && count < 10 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

function percent(part, whole) {
  if (!whole) return "–";
  const share = (100 * part) / whole;
  return `${share > 0 && share < 10 ? share.toFixed(1) : share.toFixed(0)} %`;
}

function titleOf({ method, name }) {
  const own = name === "_OTHER" ? "other names" : name;
  return method === "tools/call" ? own : [method, own].filter(Boolean).join(" ");
}

// What there is to know of a cell beside its figure: shown to a mouse that points at it, and to all at the press of a button.
function explain(cell, text) {
  if (cell.title !== text) cell.title = text;
  put(cell.lastElementChild, text);
}

function badge(element, breaker) {
  if (!breaker) {
    element.className = "quiet";
    put(element, "–");
    explain(element.parentElement, "");
    return;
  }
  const [word, look] = WORDS[breaker.state] ?? [breaker.state, ""];
  element.className = `badge ${look}`;
  let text = word;
  if (breaker.forced) text += ", forced";
  else if (breaker.until_probe_seconds !== null) text += breaker.until_probe_seconds > 0 ? `, probe in ${span(Math.ceil(breaker.until_probe_seconds))}` : ", probes next";
  put(element, text);
  explain(element.parentElement, `for ${span(breaker.since_seconds)}; failures in a row: ${breaker.failures_in_a_row}`);
}

// The card of an upstream, made when it is first seen.
function card(name) {
  if (!upstreams.has(name)) {
    const root = byId("upstream").content.firstElementChild.cloneNode(true);
    const [scroll, facts, body] = [".scroll", ".facts", "tbody"].map((part) => root.querySelector(part));
    put(root.querySelector("h2"), name);
    scroll.setAttribute("aria-label", `Tools of ${name}`);
    byId("upstreams").append(root);
    upstreams.set(name, { root, rows: new Map(), scroll, facts, body });
  }
  return upstreams.get(name);
}

function newRow() {
  const row = { root: make("tr"), title: make("th") };
  row.title.scope = "row";
  row.root.append(row.title);
  for (const name of ["breaker", "rate", "errors", "p50", "p95", "slots", "queued", "attempts"]) {
    row[name] = make("td", ["slots", "breaker"].includes(name) ? "" : "number");
    row.root.append(row[name]);
  }
  row.bar = make("span", "bar");
  row.fill = row.bar.appendChild(make("i"));
  row.held = make("span");
  row.slots.append(row.bar, row.held);
  row.badge = row.breaker.appendChild(make("span"));
  row.share = row.errors.appendChild(make("span"));
  row.why = row.errors.appendChild(make("small", "why"));
  row.slowest = row.p95.appendChild(make("span"));
  for (const cell of [row.breaker, row.errors, row.p95, row.slots]) cell.append(make("small", "more"));
  return row;
}

// What recent errors were, the most first. Refusals are told by their reasons.
function whys({ error_types: types, refusals }) {
  const failed = Object.entries(types).filter(([kind]) => kind !== "rejected").map(([kind, count]) => [count, kind]);
  const refused = refusals.map(({ reason, calls }) => [calls, REASONS[reason] ?? reason]);
  return [...failed, ...refused].sort(([one], [other]) => other - one);
}

function showRow(row, target, seconds) {
  const { recent, slots } = target;
  put(row.title, titleOf(target));
  row.title.className = target.method === "tools/call" ? "" : "method";
  row.title.title = `${target.method} ${target.name ?? ""}`;
  row.root.classList.toggle("quiet", recent.calls === 0);
  put(row.rate, seconds ? figure(recent.calls / seconds) : "–");
  put(row.share, percent(recent.errors, recent.calls));
  const most = whys(recent).slice(0, 2);
  row.why.hidden = !most.length;
  if (most.length) put(row.why, most.map(([count, why]) => `${count} × ${why}`).join("\n"));
  row.errors.classList.toggle("hot", isHot(target));
  const kinds = Object.entries(target.errors).map(([kind, count]) => `${kind} ${count}`);
  const refusals = target.refusals.map(({ layer, reason, calls }) => `${layer} ${reason} ${calls}`);
  const refused = refusals.length ? `; refused by ${refusals.join(", ")}` : "";
  explain(row.errors, kinds.length ? `since the start: ${kinds.join(", ")}${refused}` : "none since the start");
  put(row.p50, duration(recent.p50_seconds));
  put(row.slowest, duration(recent.p95_seconds));
  explain(row.p95, `p99 ${duration(recent.p99_seconds)}`);
  row.bar.hidden = !slots;
  if (slots) {
    const share = slots.limit ? slots.in_flight / slots.limit : 0;
    row.fill.style.width = `${Math.min(100, 100 * share)}%`;
    row.bar.classList.toggle("full", share >= 0.9);
    put(row.held, `${slots.in_flight} / ${slots.limit}${slots.draining ? ", draining" : ""}`);
    explain(row.slots, `${slots.kept} kept for work that goes on${slots.adapts ? "; the limit adapts" : ""}`);
  } else {
    put(row.held, "–");
    explain(row.slots, "");
  }
  const waiting = (slots ? slots.waiting : 0) + target.quota_waiting;
  put(row.queued, slots || waiting ? String(waiting) : "–");
  row.queued.classList.toggle("hot", waiting > 0);
  put(row.attempts, recent.calls && recent.attempts !== null ? figure(recent.attempts / recent.calls) : "–");
  badge(row.badge, target.breaker);
}

// What is said of an upstream as a whole. A value that changes keeps its place; only another fact is another element.
function showFacts(list, facts) {
  facts.forEach(([label, value, look], place) => {
    let item = list.children[place];
    if (!item || item.dataset.label !== label || item.dataset.look !== (look ?? "")) {
      const fresh = make("li");
      Object.assign(fresh.dataset, { label, look: look ?? "" });
      if (!look) fresh.append(`${label} `);
      fresh.append(make(look ? "span" : "b", look ? `badge ${look}` : ""));
      if (item) item.replaceWith(fresh);
      else list.append(fresh);
      item = fresh;
    }
    put(item.lastElementChild, value);
  });
  while (list.children.length > facts.length) list.lastElementChild.remove();
}

function isHot({ recent }) {
  return recent.errors > 0 && recent.errors >= recent.calls / 20;
}

// What is in trouble comes first; then tools before other methods, and those before both that anybody has called. Within each by name,
// as they come. Nothing of this changes with every second, so rows stay where they are while one reads.
function order(target) {
  const { method, name, breaker, calls } = target;
  const trouble = breaker?.state === "open" ? 0 : breaker?.state === "half_open" || isHot(target) ? 1 : 2;
  const kind = method === "tools/call" ? Number(name === "_OTHER") : 2;
  return 6 * trouble + 3 * Number(calls === 0) + kind;
}

function showUpstream(upstream, seconds) {
  const { facts, rows, body, scroll } = card(upstream.name);
  const list = [];
  const fact = (...said) => list.push(said);
  fact("in flight", String(upstream.in_flight));
  for (const stack of upstream.stacks) {
    fact("retry budget", `${stack.retry.tokens} / ${stack.retry.capacity}`);
    for (const limit of stack.quota.limits) fact(`quota per ${limit.per.replaceAll("_", " ")}`, `${limit.calls} in ${span(Math.ceil(limit.seconds))}`);
    if (stack.cache) fact("cache", `${stack.cache.entries} kept, ${bytes(stack.cache.bytes)}`);
    if (stack.loop_guard) fact("agents watched", String(stack.loop_guard.agents));
    if (stack.audit) fact("audit backlog", String(stack.audit.backlog));
    if (stack.audit?.failing) fact("", "Audit failing", "bad");
    if (stack.faults) fact("", "Faults injected on purpose", "warn");
    const observing = [["quota", stack.quota.mode], ["breaker", stack.breaker_mode], ["concurrency", stack.concurrency_mode], ["loop guard", stack.loop_guard?.mode]];
    for (const [layer, mode] of observing) if (mode === "observe") fact("", `${layer} only observes`, "warn");
  }
  if (upstream.breaker && upstream.breaker.state !== "closed") {
    const [word, look] = WORDS[upstream.breaker.state] ?? [upstream.breaker.state, "bad"];
    fact("", `Whole upstream: ${word.toLowerCase()}`, look);
  }
  showFacts(facts, list);

  const left = new Set(rows.keys());
  const targets = [...upstream.targets].sort((a, b) => order(a) - order(b));
  // Who points at a row, or is in the table with the keyboard, finds it where it was.
  const held = scroll.matches(":hover, :focus-within");
  targets.forEach((target, place) => {
    const key = JSON.stringify([target.method, target.name]);
    left.delete(key);
    if (!rows.has(key)) rows.set(key, newRow());
    const row = rows.get(key);
    showRow(row, target, seconds);
    if (held && row.root.isConnected) return;
    if (body.children[place] !== row.root) body.insertBefore(row.root, body.children[place] ?? null);
  });
  for (const key of left) {
    rows.get(key).root.remove();
    rows.delete(key);
  }
}

function showTiles(status) {
  const seconds = status.recent_seconds;
  const all = status.upstreams.flatMap((upstream) => upstream.targets.map((target) => ({ ...target, upstream: upstream.name })));
  const sum = (what) => all.reduce((total, target) => total + what(target), 0);
  const calls = sum((target) => target.recent.calls);
  const errors = sum((target) => target.recent.errors);
  put(byId("t-calls"), seconds ? figure(calls / seconds) : "–");
  put(byId("t-errors"), percent(errors, calls));
  byId("t-errors").classList.toggle("bad-text", errors > 0 && errors >= calls / 20);
  put(byId("t-errors-note"), `${errors} of ${calls} calls`);
  put(byId("t-flight"), String(status.upstreams.reduce((total, upstream) => total + upstream.in_flight, 0)));
  const queued = sum((target) => (target.slots?.waiting ?? 0) + target.quota_waiting);
  put(byId("t-flight-note"), `${queued} queued`);
  const slowest = all.reduce((worst, target) => ((target.recent.p95_seconds ?? -1) > (worst?.recent.p95_seconds ?? -1) ? target : worst), null);
  put(byId("t-slow"), duration(slowest?.recent.p95_seconds ?? null));
  put(byId("t-slow-note"), slowest ? titleOf(slowest) : "no calls");
  const breakers = [...all.map((target) => target.breaker), ...status.upstreams.map((upstream) => upstream.breaker)].filter(Boolean);
  const open = breakers.filter((breaker) => breaker.state === "open").length;
  put(byId("t-open"), String(open));
  byId("t-open").classList.toggle("bad-text", open > 0);
  put(byId("t-open-note"), `of ${breakers.length}`);
}

// A change keeps its line, so that a screen reader tells each once.
function showTransitions(transitions) {
  const list = byId("transitions");
  const left = new Set(shown.transitions.keys());
  const now = Date.now();
  let place = 0;
  for (const change of transitions) {
    const who = [change.upstream, change.method, change.name, change.from, change.to, change.cause];
    // When it happened is reckoned from now, and so differs by a little from time to time.
    const when = now - 1000 * change.seconds_ago;
    let found = [...left].find((key) => {
      const line = shown.transitions.get(key);
      return line.who === JSON.stringify(who) && Math.abs(line.when - when) < 500;
    });
    if (found === undefined) {
      found = Symbol("transition");
      const root = make("li");
      const time = root.appendChild(make("time"));
      // It changes every second, and nobody wants to hear that.
      time.setAttribute("aria-live", "off");
      const [word, look] = WORDS[change.to] ?? [change.to, ""];
      const text = root.appendChild(make("span", "who"));
      text.append(make("b", "", change.method === null ? change.upstream : titleOf(change)), " ");
      const why = CAUSES[change.cause] ?? change.cause;
      text.append(make("small", "", change.method === null ? `the upstream as a whole: ${why}` : `on ${change.upstream}: ${why}`));
      root.append(make("span", `badge ${look}`, word));
      shown.transitions.set(found, { root, time, who: JSON.stringify(who), when });
    }
    left.delete(found);
    const { root, time } = shown.transitions.get(found);
    put(time, `${span(change.seconds_ago)} ago`);
    if (list.children[place] !== root) list.insertBefore(root, list.children[place] ?? null);
    place += 1;
  }
  for (const key of left) {
    shown.transitions.get(key).root.remove();
    shown.transitions.delete(key);
  }
  byId("no-transitions").hidden = place > 0;
}

function show(status) {
  const { process } = status;
  put(byId("process"), `${process.name} ${process.version}, up ${span(process.uptime_seconds)}, ${process.ready ? "ready" : "not ready"}`);
  showTiles(status);
  const left = new Set(upstreams.keys());
  for (const upstream of status.upstreams) {
    left.delete(upstream.name);
    showUpstream(upstream, status.recent_seconds);
  }
  for (const name of left) {
    upstreams.get(name).root.remove();
    upstreams.delete(name);
  }
  showTransitions(status.transitions);
  const cut = status.targets_left_out ? `, ${status.targets_left_out} of ${status.targets} left out` : "";
  put(byId("window"), `rates and latencies of the last ${Math.round(status.recent_seconds)} s${cut}`);
  document.title = `${byId("t-open").textContent === "0" ? "" : `(${byId("t-open").textContent} open) `}Buttress`;
}

function link(word, look) {
  byId("link").className = `badge ${look}`;
  put(byId("link"), word);
}

function lost(why) {
  link("Lost", "bad");
  document.body.classList.add("stale");
  // The same text for as long as it lasts: what is new in an alert is read out.
  const since = shown.at === null ? "Nothing has been heard of it yet." : `What you see is stale since ${new Date(shown.at).toLocaleTimeString()}.`;
  put(byId("stale"), `The server cannot be reached (${why}). ${since}`);
  byId("stale").hidden = false;
}

async function ask() {
  clearTimeout(shown.timer);
  if (document.hidden || shown.asking) return;
  shown.asking = true;
  try {
    const answer = await fetch("status", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(`it answered ${answer.status}`);
    const status = await answer.json();
    if (status.schema !== 1) throw new Error("it speaks another version; load this page again");
    show(status);
    shown.at = Date.now();
    document.body.classList.remove("stale");
    byId("stale").hidden = true;
    link("Live", "good");
  } catch (error) {
    lost(error.name === "TimeoutError" ? "it does not answer" : error instanceof TypeError ? "no connection" : error.message);
  }
  shown.asking = false;
  shown.timer = setTimeout(ask, EVERY);
}

byId("details").addEventListener("click", ({ currentTarget }) => {
  currentTarget.setAttribute("aria-pressed", String(document.body.classList.toggle("detailed")));
});
document.addEventListener("visibilitychange", ask);
ask();
