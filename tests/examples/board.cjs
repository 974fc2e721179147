// Drives the page of examples/board in Chromium. Usage: node board.cjs '{"server": URL, "root": DIR, "chromium": FILE, "shots": DIR}'

"use strict";

const assert = require("node:assert/strict");
const path = require("node:path");

const { server, root, chromium: executablePath, shots } = JSON.parse(process.argv[2]);
const { chromium } = require(path.join(root, "node_modules/playwright-core"));

const errors = [];

async function enter(browser, name, options) {
  const page = await (await browser.newContext(options)).newPage();
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.goto(`${server}/#tea`);
  await page.fill("#name", name);
  await page.click("form button");
  await page.waitForFunction(() => document.getElementById("status").textContent === "Connected.");
  return page;
}

const peopleAre = (page, ...names) =>
  page.waitForFunction((names) => String([...document.querySelectorAll("#people li")].map((item) => item.textContent)) === names, String(names));

const inked = (page) =>
  page.evaluate(() => {
    const canvas = document.getElementById("canvas");
    return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value);
  });

async function until(what, page) {
  for (let tries = 0; tries < 100; tries += 1) {
    if (await what(page)) return;
    await page.waitForTimeout(50);
  }
  assert.fail(`It did not come to this: ${what}`);
}

async function main() {
  const browser = await chromium.launch({ executablePath, args: ["--headless", "--no-sandbox", "--disable-gpu"] });
  const ann = await enter(browser, "Ann", { viewport: { width: 1100, height: 700 }, colorScheme: "light" });
  const bob = await enter(browser, "Bob", { viewport: { width: 390, height: 760 }, colorScheme: "dark" });
  await peopleAre(ann, "Ann (you)", "Bob");
  await peopleAre(bob, "Ann", "Bob (you)");

  await ann.mouse.move(300, 300);
  await ann.mouse.down();
  for (let step = 0; step <= 100; step += 1) await ann.mouse.move(300 + 5 * step, 350 + 120 * Math.sin(step / 9));
  await ann.mouse.up();
  await until(inked, bob);
  await bob.waitForSelector("#cursors span:has-text('Ann')");
  await ann.screenshot({ path: path.join(shots, "board-light.png") });
  await bob.screenshot({ path: path.join(shots, "board-dark.png") });

  // Who comes later sees what there is; who reloads has gone meanwhile.
  await bob.reload();
  await peopleAre(ann, "Ann (you)");
  await ann.waitForFunction(() => document.querySelectorAll("#cursors span").length === 0);
  await bob.screenshot({ path: path.join(shots, "board-sign-in.png") });
  await bob.click("form button");
  await until(inked, bob);
  await bob.click("#clear");
  await until(async (page) => !(await inked(page)), ann);
  await browser.close();
  assert.deepEqual(errors, []);
}

main().catch((error) => {
  console.error(error, errors);
  process.exit(1);
});
