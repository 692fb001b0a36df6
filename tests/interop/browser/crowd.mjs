// Looks at the admin page of a server with very many tools, one of them in trouble: crowd.mjs PAGE ROWS PICTURES
import { join } from "node:path";
import { browse, narrow, overflows } from "./look.mjs";

const [address, rows, pictures] = process.argv.slice(2);
await browse(async (page, seen) => {
  const before = Date.now();
  await page.goto(address);
  await page.waitForFunction((count) => document.querySelectorAll("tbody tr").length >= count, Number(rows));
  seen.firstShown = Date.now() - before;
  [seen.bytes, seen.again] = await page.evaluate(async () => {
    const text = await (await fetch("status")).text();
    const status = JSON.parse(text);
    const began = performance.now();
    show(status);
    document.body.getBoundingClientRect();
    return [text.length, performance.now() - began];
  });
  // What the same process has counted of another server stands above it.
  const crowd = page.locator(".upstream").last();
  seen.top = await crowd.locator("tbody tr").first().textContent();
  const names = await crowd.locator("tbody th").allTextContents();
  [seen.rows, seen.second] = [names.length, names[1]];
  seen.others = names.filter((name) => !name.startsWith("tool-"));
  await crowd.scrollIntoViewIfNeeded();
  await page.screenshot({ path: join(pictures, "page-crowd.png") });
  seen.overflows = await overflows(page);
  await page.setViewportSize(narrow);
  seen.overflows ||= await overflows(page);
  seen.tallest = await page.evaluate(() => Math.max(...[...document.querySelectorAll("tr")].map((row) => row.offsetHeight)));
  await page.screenshot({ path: join(pictures, "page-crowd-phone.png") });
});
