// Opens WebSockets in Chromium. Usage: node deflate.cjs '{"server": URL, "root": DIR, "chromium": FILE}'
//
// Prints one line of JSON: what was agreed on, and whether what came back is what was sent.

"use strict";

const path = require("node:path");

const { server, root, chromium: executablePath } = JSON.parse(process.argv[2]);
const { chromium } = require(path.join(root, "node_modules/playwright-core"));

// In the page: join the main namespace, and have each text sent back in an acknowledgement.
async function echo(url) {
  const websocket = new WebSocket(url);
  const next = () => new Promise((resolve) => websocket.addEventListener("message", ({ data }) => resolve(data), { once: true }));
  await next();
  websocket.send("40");
  await next();
  const same = [];
  for (const text of ["", "é".repeat(5_000), "x".repeat(200_000), "é".repeat(5_000)]) {
    const answer = next();
    websocket.send("427" + JSON.stringify(["echo", text]));
    same.push((await answer) === "437" + JSON.stringify([text]));
  }
  websocket.close();
  return { extensions: websocket.extensions, same };
}

async function main() {
  const browser = await chromium.launch({ executablePath, args: ["--headless", "--no-sandbox", "--disable-gpu"] });
  const page = await browser.newPage();
  await page.goto(server);
  const result = await page.evaluate(echo, `${server.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
  process.stdout.write(JSON.stringify(result));
  await browser.close();
}

main();
