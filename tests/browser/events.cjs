// Drives the page about events in Chromium. Usage: node events.cjs '{"server": URL, "root": DIR, "shots": DIR, "chromium": FILE}'
//
// Every scenario prints one JSON line, {"scenario", "error"}; error is null when it passed.

"use strict";

const assert = require("node:assert/strict");
const path = require("node:path");

const { server, root, shots, chromium: executablePath } = JSON.parse(process.argv[2]);
const { chromium } = require(path.join(root, "node_modules/playwright-core"));

const URL = `${server}/events`;
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const complaints = []; // of all pages: what failed, and what the policy had to stop
const asked = new Set(); // of which origins

class Tab {
  static async open(context, url = URL) {
    const page = await context.newPage();
    page.setDefaultTimeout(10_000);
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    page.on("request", (request) => asked.add(new globalThis.URL(request.url()).origin));
    page.on("dialog", (dialog) => complaints.push(`a dialog: ${dialog.message()}`) && dialog.dismiss());
    await page.goto(url);
    return new Tab(page);
  }

  constructor(page) {
    this.page = page;
  }

  async connect(number = 0, ...fields) {
    const form = this.page.locator(`#n${number} > .connection`);
    for (const [label, value] of fields) await form.getByLabel(label).fill(value);
    await form.getByRole("button").click();
    return form.locator(".status");
  }

  async connected(number, ...fields) {
    await this.connect(number, ...fields);
    await this.page.locator(`#n${number} .status[data-state=on]`).waitFor();
  }

  async event(name) {
    const event = this.page.locator("details.sent", { has: this.page.locator("summary > code").getByText(name, { exact: true }) });
    if ((await event.getAttribute("open")) === null) await event.locator("summary").click();
    return event;
  }

  async send(name, ...fields) {
    const event = await this.event(name);
    for (const [label, value] of fields) await event.getByLabel(label).first().fill(value);
    await event.getByRole("button", { name: "Send" }).click();
    return event;
  }

  /** Return what the acknowledgement says. */
  async answers(event) {
    await event.locator(".output p").getByText(/^Acknowledged after \d+ ms:$/).waitFor();
    return event.locator(".output pre").allTextContents();
  }
}

const scenarios = {
  async "without scripts it is there to read"({ browser }) {
    const context = await browser.newContext({ javaScriptEnabled: false });
    const { page } = await Tab.open(context);
    await page.locator("#n0-sent-1 summary").click();
    assert.ok(await page.locator("#n0-sent-1").getByText("at least 1 · at most 99").isVisible());
    assert.equal(await page.locator("form, button").count(), 0);
    await context.close();
  },

  async "markup is text, and the policy lets none of it run"({ tab: { page } }) {
    assert.equal(await page.title(), "Events");
    assert.equal(await page.locator("img, main b, iframe").count(), 0);
    assert.ok(await page.getByText("<b>Not bold</b>").count());
    const ran = await page.evaluate(() => {
      const script = document.createElement("script");
      try {
        script.textContent = "window.ran = true";
        document.body.append(script);
        document.body.innerHTML = "gone";
      } catch (error) {
        return error.name;
      }
      return window.ran;
    });
    assert.equal(ran, "TypeError"); // markup of text is not even made
    assert.ok(complaints.splice(0).every((one) => one.includes("TrustedScript")));
  },

  async "an event is sent, and what comes of it is in the log"({ tab }) {
    await tab.send("say");
    await tab.page.getByText("Not connected: connect to the namespace first").waitFor();
    await tab.connected(0);
    const answers = await tab.answers(await tab.send("say", ["message", '{"text": "<b>hello</b>"}']));
    assert.deepEqual(answers, ['"Ann"', '{ "text": "<b>hello</b>", "color": "black", "tags": [] }']);
    await tab.page.locator("#entries .heard", { hasText: "said" }).first().waitFor();
    assert.equal(await tab.page.locator("#entries b").count(), 0);
  },

  async "a field says what is wrong with it"({ tab }) {
    const event = await tab.send("add", ["first", "100"]);
    await event.getByText("first must be at most 99.").waitFor();
    assert.equal(await event.getByLabel("first").getAttribute("aria-invalid"), "true");
    assert.ok(await event.getByLabel("first").evaluate((element) => element === document.activeElement));
    await event.getByLabel("negative").selectOption({ label: "true" });
    await tab.send("add", ["first", "41"]);
    await event.getByText("This cannot be left out while something behind it is there.").waitFor();
    assert.deepEqual(await tab.answers(await tab.send("add", ["second", "1"])), ["-42"]);
  },

  async "bytes are base64, or a file"({ tab }) {
    const event = await tab.send("upload", ["name", "a"], ["data", "?"]);
    await event.getByText("data is no base64").waitFor();
    assert.deepEqual(await tab.answers(await tab.send("upload", ["data", "AAECAwQF"])), ["6"]);
    await tab.page.locator("#entries .heard pre", { hasText: "<4 bytes: 00 01 02 03>" }).waitFor();
    await event.getByLabel("data from a file").setInputFiles({ name: "b", mimeType: "image/png", buffer: Buffer.alloc(70_000) });
    await event.getByRole("button", { name: "Send" }).click();
    await event.locator(".output pre").getByText("70000").waitFor();
  },

  async "arguments may be many, and an acknowledgement is asked for or not"({ tab }) {
    const event = await tab.event("tell");
    await event.getByLabel("ask for an acknowledgement").uncheck();
    await tab.send("tell", ["words", '["all", "of", "them"]']);
    await event.locator(".output").getByText("Sent.", { exact: true }).waitFor();
    await tab.page.locator("#entries .heard pre", { hasText: '"all of them"' }).waitFor();
  },

  async "the server asks, and a person answers"({ tab }) {
    const event = await tab.send("survey");
    const form = tab.page.locator("#entries .heard form");
    await form.getByLabel("Answer").fill('["old"]');
    await form.getByRole("button").click();
    await form.getByText("The answer[0] must be a number.").waitFor();
    await form.getByLabel("Answer").fill("[41]");
    await form.getByRole("button").click();
    assert.deepEqual(await tab.answers(event), ["42"]);
  },

  async "a refusal is shown, and credentials help"({ tab }) {
    const status = await tab.connect(1);
    await status.getByText("Refused: Bad <b>token</b>.").waitFor();
    assert.equal(await status.locator("pre").textContent(), '{ "code": 4001 }');
    assert.equal(await tab.page.locator(".status b").count(), 0);
    await tab.connected(1, ["Credentials", '{"token": "secret"}']);
    assert.deepEqual(await tab.answers(await tab.send("who")), ['"/private"']);
    await (await tab.connect(1)).getByText("Disconnected: io client disconnect.").waitFor();
  },

  async "a pattern takes a name"({ tab }) {
    await tab.connect(2, ["Name", "/room-x"]);
    await tab.page.locator("#n2").getByText("The name must be one that matches").waitFor();
    await tab.connected(2, ["Name", "/room-7"]);
    await tab.page.locator("#entries .heard", { hasText: "number in /room-7" }).getByText('"7"').waitFor();
  },

  async "of thousands of events the newest are kept"({ tab }) {
    const answers = await tab.answers(await tab.send("flood", ["count", "1000"]));
    assert.deepEqual(answers, ["1000"]);
    assert.equal(await tab.page.locator("#entries > li").count(), 200);
    await tab.page.locator("#entries .heard").first().getByText('"999"').waitFor();
    await tab.page.locator("#log").getByRole("button", { name: "Clear" }).click();
    assert.equal(await tab.page.locator("#entries > li").count(), 0);
  },

  async "a link to an event opens it"({ context }) {
    const { page } = await Tab.open(context, `${URL}#%`);
    await page.locator("#n0 form").first().waitFor();
    await page.goto(`${URL}#n0-sent-1`);
    await page.locator("#n0-sent-1[open]").waitFor();
    await page.locator("nav").getByRole("link", { name: "upload" }).press("Enter");
    await page.locator("#n0-sent-2[open]").waitFor();
    await page.close();
  },

  async "no other page frames it"({ context }) {
    const page = await context.newPage();
    await page.setContent(`<iframe src="${URL}"></iframe>`);
    const frame = await (await page.locator("iframe").elementHandle()).contentFrame();
    await frame.waitForURL(/^chrome-error:/);
    await page.close();
  },

  async "a client that is not there is missed in a sentence"({ browser }) {
    const context = await browser.newContext();
    await context.route("**/socket.io.min.js", (route) => route.fulfill({ status: 404 }));
    const { page } = await Tab.open(context);
    await page.locator("#notice").getByText("must have the official client: let --client-bundle name a directory").waitFor();
    assert.equal(await page.locator("form").count(), 0);
    assert.ok(complaints.splice(0).every((one) => one.includes("404")));
    await context.close();
  },

  async "nothing is cut off on any screen, and a finger finds what it needs"({ browser }) {
    for (const [name, width, height, colorScheme] of [
      ["phone", 360, 740, "light"],
      ["phone-dark", 390, 844, "dark"],
      ["tablet", 820, 1100, "light"],
      ["desktop", 1440, 900, "light"],
      ["desktop-dark", 1200, 800, "dark"],
    ]) {
      const context = await browser.newContext({ viewport: { width, height }, colorScheme, hasTouch: width < 500 });
      const tab = await Tab.open(context);
      await tab.page.screenshot({ path: path.join(shots, `${name}.png`) });
      await tab.connected(0);
      await tab.answers(await tab.send("say"));
      const toggle = tab.page.locator("#log .toggle");
      if (width < 1100) {
        assert.equal(await tab.page.locator("#entries").isVisible(), false);
        await toggle.click();
        assert.equal(await toggle.getAttribute("aria-expanded"), "true");
      }
      await tab.page.locator("#entries .heard").getByText("said").waitFor();
      await tab.page.screenshot({ path: path.join(shots, `${name}-used.png`) });
      await tab.page.evaluate(() => document.querySelectorAll("details").forEach((one) => (one.open = true)));
      await tab.page.screenshot({ path: path.join(shots, `${name}-full.png`), fullPage: true });
      const wide = await tab.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(wide, 0, `${name} scrolls sideways`);
      const small = await tab.page.locator("button:visible, summary").evaluateAll((all) => all.map((one) => one.getBoundingClientRect().height).filter((one) => one < 40));
      assert.deepEqual(small, [], `${name} has what a finger misses`);
      const ground = await tab.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      assert.equal(ground, colorScheme === "dark" ? "rgb(15, 20, 19)" : "rgb(246, 245, 241)");
      await context.close();
    }
  },

  async "nothing went wrong, and nobody else was asked"() {
    assert.deepEqual(complaints, []);
    assert.deepEqual([...asked].filter((one) => one !== "null"), [server]);
  },
};

async function main() {
  const browser = await chromium.launch({ executablePath, args: FLAGS });
  try {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
    const tab = await Tab.open(context);
    for (const [scenario, run] of Object.entries(scenarios)) {
      let failure = null;
      try {
        await run({ browser, context, tab });
      } catch (error) {
        failure = error.stack;
        await tab.page.screenshot({ path: path.join(shots, "failure.png") });
      }
      process.stdout.write(`${JSON.stringify({ scenario, error: failure })}\n`);
    }
  } finally {
    await browser.close();
  }
}

main().catch((error) => process.stdout.write(`${JSON.stringify({ scenario: "start", error: error.stack })}\n`));
