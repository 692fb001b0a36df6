// Looks at the admin page, and tells in its last line what it saw: page.mjs PAGE CONTROL PICTURES
// CONTROL is asked to let a tool fail, and to stop the server.
import { join } from "node:path";
import { browse, faint, flickers, narrow, overflows, tabs } from "./look.mjs";

const [address, control, pictures] = process.argv.slice(2);
await browse(async (page, seen) => {
  await page.goto(address);
  const row = (name) => page.locator("tbody tr", { has: page.getByRole("rowheader", { name, exact: true }) });
  await row("steady").getByText("Closed").waitFor();
  seen.upstream = await page.locator(".upstream h2").textContent();
  seen.images = await page.locator("img").count();
  seen.link = await page.locator("#link").textContent();
  // Once something has happened within the last half minute, it shows as a rate.
  await page.waitForFunction(() => Number.parseFloat(document.getElementById("t-calls").textContent) > 0);
  // Calls come all the time, and figures change: nothing else does.
  await page.waitForTimeout(2_000);
  seen.flickers = await flickers(page, 4_000);

  await fetch(`${control}/fail`, { method: "POST" });
  await row("flaky").locator(".badge", { hasText: "Open" }).waitFor();
  const why = row("flaky").locator(".why");
  await why.filter({ hasText: "breaker open" }).waitFor();
  seen.why = await why.textContent();
  seen.breaker = await row("flaky").locator(".badge").textContent();
  seen.first = await page.locator("tbody th").first().textContent();
  seen.transition = await page.locator("#transitions li").first().textContent();
  seen.title = await page.title();
  seen.hostile = await row("other names").count();
  seen.headers = await page.locator("thead th[scope=col]").count();
  await page.screenshot({ path: join(pictures, "page.png") });
  seen.tabs = await tabs(page);
  // What a mouse is shown that points at a cell is there without one too.
  const more = row("flaky").locator(".number .more").first();
  seen.hidden = !(await more.isVisible());
  await page.getByRole("button", { name: "Details" }).press("Enter");
  await more.waitFor();
  seen.more = await more.textContent();
  await page.screenshot({ path: join(pictures, "page-details.png") });
  seen.pressed = await page.getByRole("button", { name: "Details", pressed: true }).count();
  seen.faint = await faint(page);
  await page.setViewportSize(narrow);
  seen.overflows = await overflows(page);
  await page.screenshot({ path: join(pictures, "page-phone-dark-details.png"), fullPage: true });
  await page.getByRole("button", { name: "Details" }).click();
  seen.overflows ||= await overflows(page);
  await page.screenshot({ path: join(pictures, "page-phone-dark.png"), fullPage: true });
  seen.complaintsWhileUp = seen.complaints.length;

  await fetch(`${control}/stop`, { method: "POST" });
  await page.locator("#stale").waitFor();
  seen.stale = await page.locator("#stale").textContent();
  await page.waitForTimeout(2_500);
  seen.saidOnce = await page.locator("#stale").textContent() === seen.stale;
  seen.lost = await page.locator("#link").textContent();
  seen.kept = await row("flaky").count();
});
