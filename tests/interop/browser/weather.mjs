// Looks at the weather example's admin page while it is driven, gone, and back without its backend: weather.mjs PAGE CONTROL PICTURES
// CONTROL is asked to stop the server, and to start it again where its backend cannot be reached.
import { join } from "node:path";
import { browse, faint, narrow, overflows, wide } from "./look.mjs";

const [address, control, pictures] = process.argv.slice(2);
await browse(async (page, seen) => {
  const picture = async (name) => {
    await page.screenshot({ path: join(pictures, `${name}.png`) });
    await page.setViewportSize(narrow);
    seen.overflows ||= await overflows(page);
    await page.screenshot({ path: join(pictures, `${name}-narrow.png`), fullPage: true });
    await page.setViewportSize(wide);
  };
  const called = () => page.waitForFunction(() => Number.parseFloat(document.getElementById("t-calls").textContent) > 0);
  const take = () => seen.complaints.splice(0);

  await page.goto(address);
  await called();
  seen.tools = await page.locator("tbody th:not(.method)").allTextContents();
  seen.faint = await faint(page);
  await page.emulateMedia({ colorScheme: "light" });
  await picture("weather");
  seen.whileUp = take();

  await fetch(`${control}/stop`, { method: "POST" });
  await page.locator("#stale").waitFor();
  seen.stale = await page.locator("#stale").textContent();
  await picture("weather-gone");
  await fetch(`${control}/start`, { method: "POST" });
  await page.getByText("Live").waitFor();
  await page.locator("#stale").waitFor({ state: "hidden" });
  // Of a server that is not there the browser itself complains.
  take();

  await called();
  await page.locator(".badge.bad").first().waitFor();
  await page.waitForFunction(() => Number(document.getElementById("t-open").textContent) > 0);
  seen.open = await page.locator(".badge.bad").allTextContents();
  seen.faint.push(...await faint(page));
  seen.title = await page.title();
  await page.emulateMedia({ colorScheme: "light" });
  await picture("weather-open");
  seen.whileBack = take();
});
