// Drives the chat page in Chromium. Usage: node drive.cjs '{"server": URL, "root": DIR, "shots": DIR, "chromium": FILE}'
//
// Every scenario prints one JSON line, {"scenario", "error"}; error is null when it passed. A line {"ask": "stop"} or
// {"ask": "start"} asks the test to stop or start the server; it answers with any line on stdin.

"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const readline = require("node:readline");

const { server, root, shots, chromium: executablePath } = JSON.parse(process.argv[2]);
const { chromium } = require(path.join(root, "node_modules/playwright-core"));

const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--host-resolver-rules=MAP foreign.example 127.0.0.1",
];

const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

async function ask(what) {
  print({ ask: what });
  await answers.next();
}

/** The same page at an origin of its own, as a front-end's development server would have it. */
function servePageElsewhere() {
  const elsewhere = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    const file = pathname.startsWith("/socket.io/")
      ? path.join(root, "node_modules/socket.io-client/dist", path.basename(pathname))
      : path.join(root, "handlers/web", pathname === "/" ? "index.html" : path.basename(pathname));
    response.setHeader("Content-Type", TYPES[path.extname(file)] ?? "text/plain");
    response.end(fs.readFileSync(file));
  });
  return new Promise((resolve) => elsewhere.listen(0, "127.0.0.1", () => resolve(elsewhere)));
}

class Tab {
  static async open(context, url = server) {
    const page = await context.newPage();
    const tab = new Tab(page);
    page.on("pageerror", (error) => tab.errors.push(String(error)));
    await page.goto(url);
    return tab;
  }

  constructor(page) {
    this.page = page;
    this.errors = [];
  }

  async signIn(name) {
    await this.page.getByLabel("Your name").fill(name);
    await this.page.getByRole("button", { name: "Join the chat" }).click();
  }

  async enter(name) {
    await this.signIn(name);
    await this.page.locator("#app").waitFor();
  }

  async write(text) {
    await this.page.getByLabel("Message", { exact: true }).fill(text);
    await this.page.keyboard.press("Enter");
  }

  /** Wait for a message; `kind` is one or more of the classes own, other, sent, pending, failed. */
  async sees(text, kind = "message") {
    await this.page.locator(`.message.${kind}`, { hasText: text }).waitFor();
  }

  async status(text) {
    await this.page.locator("#status-text").getByText(text, { exact: true }).waitFor();
  }

  async transport(name) {
    await this.page.locator("#transport").getByText(name, { exact: true }).waitFor();
  }

  async openRoom(name) {
    await this.page.getByLabel("Name of a new room").fill(name);
    await this.page.keyboard.press("Enter");
    await this.page.locator("#room-title").getByText(name).waitFor();
  }

  async people(...names) {
    await this.page.waitForFunction(
      (wanted) => JSON.stringify([...document.querySelectorAll("#people bdi")].map((e) => e.textContent).sort()) === wanted,
      JSON.stringify(names.sort()),
    );
  }

  texts() {
    return this.page.locator(".message .text").allTextContents();
  }
}

const scenarios = {
  async "two tabs exchange messages"({ ada, grace }) {
    await ada.write("Good morning, Grace");
    await ada.sees("Good morning, Grace", "own.sent");
    await grace.sees("Good morning, Grace", "other.sent");
    await grace.write("Good morning!");
    await ada.sees("Good morning!", "other.sent");
    assert.deepEqual(await ada.texts(), await grace.texts());
  },

  async "the connection starts with polling and ends up on a WebSocket"({ ada }) {
    await ada.status("Connected");
    await ada.transport("websocket");
  },

  async "everybody sees who is here"({ ada, grace }) {
    await ada.people("Ada", "Grace");
    await grace.people("Ada", "Grace");
  },

  async "a name that is taken gets a number"({ context, ada }) {
    const twin = await Tab.open(context);
    await twin.enter("ada");
    await ada.people("Ada", "Grace", "ada 2");
    await twin.page.close();
    await ada.people("Ada", "Grace");
  },

  async "a name that cannot be is refused with the reason"({ context }) {
    const visitor = await Tab.open(context);
    await visitor.signIn("   ");
    await visitor.page.locator("#name-error").getByText("Your name needs 1 to 24 characters.").waitFor();
    await visitor.enter("Visitor");
    await visitor.page.close();
  },

  async "typing shows, and ends with the message"({ ada, grace }) {
    await ada.page.getByLabel("Message", { exact: true }).pressSequentially("Do you");
    await grace.page.locator("#typing").getByText("Ada is typing…").waitFor();
    await ada.page.keyboard.type(" like compilers?");
    await ada.page.keyboard.press("Enter");
    await grace.sees("Do you like compilers?");
    await grace.page.waitForFunction(() => document.getElementById("typing").textContent === "");
  },

  async "markup stays text"({ ada, grace }) {
    const markup = "<img src=x onerror='window.hacked = true'><b>bold</b>";
    await ada.write(markup);
    await grace.sees("<b>bold</b>");
    assert.equal((await grace.texts()).at(-1), markup);
    assert.equal(await grace.page.evaluate(() => window.hacked), undefined);
    assert.equal(await grace.page.locator("#messages img, #messages b").count(), 0);
  },

  async "a line break stays one"({ ada, grace }) {
    await ada.page.getByLabel("Message", { exact: true }).fill("first line");
    await ada.page.keyboard.press("Shift+Enter");
    await ada.page.keyboard.type("second line");
    await ada.page.keyboard.press("Enter");
    await grace.sees("second line");
    assert.equal((await grace.texts()).at(-1), "first line\nsecond line");
  },

  async "rooms are apart, and tell what is unread"({ ada, grace }) {
    await ada.openRoom("analytical engines");
    await grace.page.locator("#rooms").getByRole("button", { name: "analytical engines" }).click();
    await ada.people("Ada", "Grace");
    await grace.page.locator("#rooms").getByRole("button", { name: "lobby" }).click();
    await ada.write("Only for engineers");
    await ada.sees("Only for engineers", "own.sent");
    await grace.page.locator("#rooms").getByRole("button", { name: "analytical engines 1 unread" }).waitFor();
    assert.ok(!(await grace.texts()).includes("Only for engineers"));
    await grace.page.locator("#rooms").getByRole("button", { name: "analytical engines" }).click();
    await grace.sees("Only for engineers", "other");
  },

  async "leaving a room leads back to the lobby"({ ada, grace }) {
    await grace.page.getByRole("button", { name: "Leave" }).click();
    await grace.page.locator("#room-title").getByText("lobby").waitFor();
    await ada.people("Ada");
    await ada.page.locator("#rooms").getByRole("button", { name: "lobby" }).click();
    await ada.page.locator("#room-title").getByText("lobby").waitFor();
  },

  async "the round trip is measured"({ ada }) {
    await ada.page.getByRole("button", { name: "Measure now" }).click();
    await ada.page.waitForFunction(() => Number.parseFloat(document.getElementById("echo-value").textContent) > 0);
  },

  async "a reload keeps name, history and sides"({ ada, grace }) {
    const before = await ada.texts();
    await ada.page.reload();
    await ada.page.locator("#app").waitFor();
    await ada.sees("Good morning, Grace", "own");
    await ada.sees("Good morning!", "other");
    assert.deepEqual(await ada.texts(), before);
    await ada.people("Ada", "Grace");
    await grace.write("Welcome back");
    await ada.sees("Welcome back");
  },

  async "what is written during a restart of the server arrives after it"({ ada, grace }) {
    await ada.openRoom("engines");
    await ada.page.locator("#rooms").getByRole("button", { name: "lobby" }).click();
    await ask("stop");
    await ada.status(/^Reconnecting in \d+ s$/);
    await ada.write("Are you still there?");
    await ada.sees("Are you still there?", "own.pending");
    await ada.page.screenshot({ path: path.join(shots, "reconnecting.png") });
    await ask("start");
    await ada.status("Connected");
    await grace.status("Connected");
    await ada.sees("Are you still there?", "own.sent");
    await grace.sees("Are you still there?", "other");
    await ada.sees("Welcome back", "other");
    await ada.people("Ada", "Grace");
    await grace.write("I am");
    await ada.sees("I am");
    await ada.page.locator("#rooms").getByRole("button", { name: "engines" }).click();
    await ada.people("Ada");
    await ada.page.locator("#rooms").getByRole("button", { name: "lobby" }).click();
  },

  async "the page works from another loopback port"({ context, elsewhere, grace }) {
    const visitor = await Tab.open(context, `http://127.0.0.1:${elsewhere}/?server=${server}`);
    await visitor.enter("Mary");
    await visitor.transport("websocket");
    await visitor.write("Hello from the other port");
    await grace.sees("Hello from the other port");
    await visitor.page.close();
  },

  async "the page does not get in from a foreign origin"({ context, elsewhere, grace }) {
    const visitor = await context.newPage();
    const refused = () => visitor.waitForEvent("requestfailed", (request) => request.url().startsWith(`${server}/socket.io/?`));
    const first = refused();
    await visitor.goto(`http://foreign.example:${elsewhere}/?server=${server}`);
    await visitor.getByLabel("Your name").fill("Mallory");
    await visitor.getByRole("button", { name: "Join the chat" }).click();
    await first;
    await refused();
    await refused();
    await visitor.locator("#status-text").getByText(/^Reconnecting/).waitFor();
    assert.equal(await visitor.locator("#app").isVisible(), false);
    await grace.people("Ada", "Grace");
    // Nor by a WebSocket, for which browsers ask no permission.
    const opened = await visitor.evaluate(
      (url) => new Promise((resolve) => {
        const socket = new WebSocket(url);
        socket.onopen = () => resolve(true);
        socket.onerror = () => resolve(false);
      }),
      `${server.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`,
    );
    assert.equal(opened, false);
    await visitor.close();
  },

  async "nothing is cut off on any screen"({ browser, ada }) {
    await ada.page.screenshot({ path: path.join(shots, "desktop.png") });
    for (const [name, width, height, colorScheme] of [
      ["phone", 390, 844, "light"],
      ["phone-dark", 360, 740, "dark"],
      ["tablet", 820, 1100, "light"],
      ["desktop-dark", 1200, 800, "dark"],
    ]) {
      const context = await browser.newContext({ viewport: { width, height }, colorScheme });
      const tab = await Tab.open(context);
      await tab.page.screenshot({ path: path.join(shots, `${name}-sign-in.png`) });
      await tab.enter("Katherine");
      await tab.transport("websocket");
      await tab.write(`A word that is too long for any line: ${"supercalifragilistic".repeat(8)}`);
      await tab.sees("A word that is too long", "own.sent");
      await tab.page.screenshot({ path: path.join(shots, `${name}.png`) });
      const wide = await tab.page.evaluate(() => [document.documentElement, document.getElementById("log")].map((e) => e.scrollWidth - e.clientWidth));
      assert.deepEqual(wide, [0, 0], `${name} scrolls sideways`);
      const button = tab.page.locator("#composer button");
      const { x, y, width: w, height: h } = await button.boundingBox();
      assert.ok(x + w <= width && y + h <= height, `${name} hides the send button`);
      if (await tab.page.locator("#details-toggle").isVisible()) {
        await tab.page.locator("#details-toggle").click();
        await tab.page.getByRole("heading", { name: "Round trip" }).waitFor();
        await tab.page.waitForTimeout(200); // until the panel has faded in; for the picture only
        await tab.page.screenshot({ path: path.join(shots, `${name}-details.png`) });
      }
      assert.deepEqual(tab.errors, []);
      await context.close();
    }
  },

  async "nothing went wrong in the tabs"({ ada, grace }) {
    assert.deepEqual([...ada.errors, ...grace.errors], []);
  },
};

async function main() {
  const browser = await chromium.launch({ executablePath, args: FLAGS });
  const elsewhere = await servePageElsewhere();
  try {
    const context = await browser.newContext({ viewport: { width: 1200, height: 800 } });
    context.setDefaultTimeout(15_000);
    const ada = await Tab.open(context);
    await ada.page.screenshot({ path: path.join(shots, "desktop-sign-in.png") });
    await ada.enter("Ada");
    const grace = await Tab.open(context);
    await grace.enter("Grace");
    const world = { browser, context, ada, grace, elsewhere: elsewhere.address().port };
    for (const [scenario, run] of Object.entries(scenarios)) {
      let failure = null;
      try {
        await run(world);
      } catch (error) {
        failure = error.stack;
        await ada.page.screenshot({ path: path.join(shots, "failure-ada.png") });
        await grace.page.screenshot({ path: path.join(shots, "failure-grace.png") });
      }
      print({ scenario, error: failure });
    }
  } finally {
    await browser.close();
    elsewhere.close();
    process.stdin.destroy();
  }
}

main().catch((error) => {
  print({ scenario: "start", error: error.stack });
  process.exitCode = 1;
});
