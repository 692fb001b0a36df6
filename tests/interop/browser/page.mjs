// Looks at the admin page in Chromium, and tells in its last line what it saw: page.mjs PAGE CONTROL PICTURES
// CONTROL is asked to let a tool fail, and to stop the server.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [address, control, pictures] = process.argv.slice(2);
const args = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
const profile = mkdtempSync(join(tmpdir(), "buttress-page-"));
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const context = await chromium.launchPersistentContext(profile, { executablePath, headless: true, args, viewport: { width: 1280, height: 900 } });
const seen = { complaints: [], dialogs: 0 };
try {
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("console", (message) => { if (message.type() !== "info") seen.complaints.push(message.text()); });
  page.on("pageerror", (error) => seen.complaints.push(error.message));
  page.on("dialog", (dialog) => { seen.dialogs += 1; dialog.dismiss(); });
  await page.goto(address);

  const row = (name) => page.locator("tbody tr", { has: page.getByRole("rowheader", { name, exact: true }) });
  await row("steady").getByText("Closed").waitFor();
  seen.upstream = await page.locator(".upstream h2").textContent();
  seen.images = await page.locator("img").count();
  seen.link = await page.locator("#link").textContent();
  // Once something has happened within the last half minute, it shows as a rate.
  await page.waitForFunction(() => Number.parseFloat(document.getElementById("t-calls").textContent) > 0);

  await fetch(`${control}/fail`, { method: "POST" });
  await row("flaky").getByText("Open").waitFor();
  seen.breaker = await row("flaky").locator(".badge").textContent();
  seen.transition = await page.locator("#transitions li").first().textContent();
  seen.title = await page.title();
  seen.hostile = await row("other names").count();
  seen.headers = await page.locator("thead th[scope=col]").count();
  await page.screenshot({ path: join(pictures, "page.png") });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.setViewportSize({ width: 390, height: 844 });
  seen.overflows = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  await page.screenshot({ path: join(pictures, "page-phone-dark.png"), fullPage: true });
  seen.complaintsWhileUp = seen.complaints.length;

  await fetch(`${control}/stop`, { method: "POST" });
  await page.locator("#stale").waitFor();
  seen.stale = await page.locator("#stale").textContent();
  seen.lost = await page.locator("#link").textContent();
  seen.kept = await row("flaky").count();
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
console.log(JSON.stringify(seen));
