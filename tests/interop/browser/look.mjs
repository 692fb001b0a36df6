// A page in Chromium, and what is asked of any: browse(look) lets `look` at it, and tells in the last line what was seen.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const args = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

export const wide = { width: 1280, height: 900 };
export const narrow = { width: 400, height: 844 };

export async function browse(look) {
  const profile = mkdtempSync(join(tmpdir(), "buttress-page-"));
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  const context = await chromium.launchPersistentContext(profile, { executablePath, headless: true, args, viewport: wide });
  const seen = { complaints: [], dialogs: 0 };
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(30_000);
    page.on("console", (message) => { if (message.type() !== "info") seen.complaints.push(message.text()); });
    page.on("pageerror", (error) => seen.complaints.push(error.message));
    page.on("dialog", (dialog) => { seen.dialogs += 1; dialog.dismiss(); });
    await look(page, seen);
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  }
  console.log(JSON.stringify(seen));
}

// Whether the page as a whole has to be moved sideways.
export function overflows(page) {
  return page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
}

// The texts that are harder to read than WCAG's level AA allows, in both of the page's looks.
export async function faint(page) {
  const found = [];
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    found.push(...await page.evaluate((scheme) => {
      const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
      const linear = (channel) => ((channel /= 255) <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4);
      const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
      const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
          const colour = channels(getComputedStyle(at).backgroundColor);
          if ((colour[3] ?? 1) > 0) return colour;
        }
        return [255, 255, 255];
      };
      const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      const faint = [];
      while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        if (!texts.currentNode.data.trim() || element.offsetParent === null) continue;
        const [brighter, darker] = [light(channels(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
        const ratio = (brighter + 0.05) / (darker + 0.05);
        if (ratio < 4.5) faint.push(`${scheme}: ${texts.currentNode.data.trim()} ${ratio.toFixed(1)}`);
      }
      return faint;
    }, colorScheme));
  }
  return [...new Set(found)];
}

// What the tab key comes to from the top, until it leaves the page, and whether each place shows that it is there.
export async function tabs(page) {
  await page.evaluate(() => document.activeElement?.blur());
  const places = [];
  for (let step = 0; step < 20; step += 1) {
    await page.keyboard.press("Tab");
    const place = await page.evaluate(() => {
      const at = document.activeElement;
      if (!at || at === document.body) return null;
      const { outlineStyle, outlineWidth } = getComputedStyle(at);
      return { name: at.getAttribute("aria-label") ?? at.textContent, shown: outlineStyle !== "none" && outlineWidth !== "0px" };
    });
    if (!place || places.some((known) => known.name === place.name)) break;
    places.push(place);
  }
  return places;
}

// Elements that come or go within so many milliseconds.
export function flickers(page, ms) {
  return page.evaluate((time) => new Promise((done) => {
    const changed = new Set();
    const name = (node) => `${node.parentElement?.className ?? ""} ${node.nodeName} ${node.textContent}`;
    const watching = new MutationObserver((changes) => changes.forEach(({ addedNodes, removedNodes }) => {
      for (const node of [...addedNodes, ...removedNodes]) if (node.nodeType === Node.ELEMENT_NODE) changed.add(name(node));
    }));
    watching.observe(document.body, { childList: true, subtree: true });
    setTimeout(() => { watching.disconnect(); done([...changed]); }, time);
  }), ms);
}
