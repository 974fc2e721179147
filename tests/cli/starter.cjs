// Drives the page of a new project in Chromium. Usage: node starter.cjs '{"server": URL, "root": DIR, "chromium": FILE, "shots": DIR}'

"use strict";

const assert = require("node:assert/strict");
const path = require("node:path");

const { server, root, chromium: executablePath, shots } = JSON.parse(process.argv[2]);
const { chromium } = require(path.join(root, "node_modules/playwright-core"));

const errors = [];

// Npm's client stands in for that of the CDN.
async function enter(browser, options) {
  const page = await (await browser.newContext(options)).newPage();
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  const file = path.join(root, "node_modules/socket.io-client/dist/socket.io.min.js");
  await page.route("https://cdn.socket.io/**", (route) => route.fulfill({ path: file, headers: { "access-control-allow-origin": "*" } }));
  await page.goto(server);
  return page;
}

const statusIs = (page, text) => page.waitForFunction((text) => document.getElementById("status").textContent === text, text);

async function main() {
  const browser = await chromium.launch({ executablePath, args: ["--headless", "--no-sandbox", "--disable-gpu"] });
  const ann = await enter(browser, { viewport: { width: 900, height: 600 }, colorScheme: "light" });
  await statusIs(ann, "You are alone.");
  const bob = await enter(browser, { viewport: { width: 390, height: 700 }, colorScheme: "dark" });
  await statusIs(ann, "2 are here.");
  await ann.fill("#name", "Ann");
  await ann.fill("#text", "Hello!");
  await ann.press("#text", "Enter");
  await bob.fill("#text", "<b>Who</b> is there?");
  await bob.click("button");
  for (const page of [ann, bob]) {
    const lines = await page.waitForFunction(() => {
      const items = [...document.querySelectorAll("#log li")];
      return items.length === 2 && items.map((item) => [...item.childNodes].map((node) => node.textContent));
    });
    assert.deepEqual(await lines.jsonValue(), [["Ann", "Hello!"], ["somebody", "<b>Who</b> is there?"]]);
  }
  await ann.screenshot({ path: path.join(shots, "starter-light.png") });
  await bob.screenshot({ path: path.join(shots, "starter-dark.png") });
  await bob.close();
  await statusIs(ann, "You are alone.");
  await browser.close();
  assert.deepEqual(errors, []);
}

main().catch((error) => {
  console.error(error, errors);
  process.exit(1);
});
