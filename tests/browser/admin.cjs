// Drives npm's @socket.io/admin-ui in Chromium. Usage: node admin.cjs '{"servers": [URL, URL], "figures": URL, "root": DIR, "shots": DIR, "chromium": FILE}'
//
// `servers` share a Redis and have a password, "ada" and "correct horse"; `figures` has none, shows figures only, and may only be read.

"use strict";

const assert = require("node:assert/strict");
const path = require("node:path");

const { servers, figures, root, shots, chromium: executablePath } = JSON.parse(process.argv[2]);
const { chromium } = require(path.join(root, "node_modules/playwright-core"));
const { io } = require(path.join(root, "node_modules/socket.io-client"));

const errors = [];
let pictures = 0;

async function open(browser, url) {
  const page = await (await browser.newContext({ viewport: { width: 1300, height: 850 } })).newPage();
  page.setDefaultTimeout(20_000);
  page.on("pageerror", (error) => errors.push(String(error)));
  // Its fonts, which are elsewhere.
  await page.route((asked) => asked.hostname !== "127.0.0.1", (route) => route.abort());
  await page.goto(url);
  return page;
}

const show = async (page, name) => {
  pictures += 1;
  await page.screenshot({ path: path.join(shots, `admin-${pictures}-${name}.png`), animations: "disabled" });
};


/** Wait until the view with that title is the only one: the last one slides away. */
const arrived = (page, title) =>
  page.waitForFunction((title) => {
    const titles = [...document.querySelectorAll(".v-breadcrumbs li:last-child")].map((item) => item.textContent.trim());
    return titles.length === 1 && titles[0] === title;
  }, title);

async function visit(page, title) {
  await page.locator(".v-navigation-drawer").getByText(title, { exact: true }).click();
  await arrived(page, title);
}

async function look(page, text, title) {
  await row(page, text).click();
  await arrived(page, title);
}

const row = (page, text) => page.locator("tbody tr", { hasText: text });
const gone = (locator) => locator.waitFor({ state: "detached" });

/** Wait until the page has these figures for its charts, which nobody can read. */
const counted = (page, ...types) =>
  page.waitForFunction((types) => {
    const { aggregatedEvents } = document.getElementById("app").__vue__.$store.state.main;
    return types.every((type) => aggregatedEvents.some((event) => event.type === type && event.count > 0));
  }, types);

async function connect(url) {
  const socket = io(url, { forceNew: true });
  await new Promise((resolve, reject) => socket.once("connect", resolve).once("connect_error", reject));
  return socket;
}

async function logIn(page, url, username, password) {
  await page.getByLabel("Server URL").fill(url);
  await page.getByLabel("Username").fill(username);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Connect" }).click();
}

async function development(browser) {
  const page = await open(browser, servers[0]);
  await logIn(page, servers[0], "ada", "wrong");
  await page.getByText("Invalid credentials").waitFor();
  await show(page, "refused");
  const here = await connect(servers[0]);
  await logIn(page, servers[0], "ada", "correct horse");
  await page.locator(".v-dialog--active").waitFor({ state: "hidden" });
  const there = await connect(servers[1]);
  const { id } = there; // which it has only as long as it is connected

  await visit(page, "Servers");
  await row(page, "Healthy").nth(1).waitFor();
  await show(page, "servers");

  await visit(page, "Sockets");
  await row(page, here.id).waitFor();
  await row(page, id).getByText("WebSocket").waitFor();
  await show(page, "sockets");

  // Commands, for a socket of the other server.
  await look(page, id, "Socket details");
  await page.getByLabel("Join a room").fill("tea");
  await page.locator("main form button[type=submit]").click();
  await row(page, "tea").waitFor();
  await show(page, "joined");
  await row(page, "tea").getByRole("button").click();
  await arrived(page, "Room details"); // as that is where a click on its row leads
  await row(page, "Deleted").waitFor();
  await visit(page, "Sockets");
  await look(page, id, "Socket details");
  await page.getByLabel("Join a room").fill("coffee");
  await page.locator("main form button[type=submit]").click();
  await row(page, "coffee").waitFor();

  await visit(page, "Rooms");
  await show(page, "rooms");
  await look(page, "coffee", "Room details");
  await row(page, id).waitFor();
  await row(page, "Active").getByRole("button").click();
  await row(page, "Deleted").waitFor();
  await show(page, "cleared");

  assert.deepEqual(await here.timeout(10_000).emitWithAck("echo", { hello: "admin" }), { hello: "admin" });
  assert.deepEqual(await there.timeout(10_000).emitWithAck("echo", "from the other server"), "from the other server");
  await visit(page, "Events");
  await row(page, "Room left").first().waitFor();
  for (const one of [here.id, id]) await row(page, one).filter({ hasText: "Event received" }).getByText("echo").waitFor();
  await row(page, here.id).filter({ hasText: "Event received" }).locator("button").click();
  await page.getByText('"hello": "admin"').waitFor();
  await show(page, "events");

  const reason = new Promise((resolve) => there.once("disconnect", resolve));
  await visit(page, "Sockets");
  await row(page, id).getByRole("button").click();
  assert.equal(await reason, "io server disconnect");
  await arrived(page, "Socket details");
  await visit(page, "Sockets");
  await row(page, here.id).waitFor();
  await gone(row(page, id));

  await page.reload();
  await row(page, here.id).waitFor();
  assert.equal(await page.getByLabel("Password").count(), 0, "Who has logged in need not do so again.");

  const end = new Promise((resolve) => here.once("disconnect", resolve));
  await visit(page, "Clients");
  await row(page, "1").first().waitFor();
  await show(page, "clients");
  await visit(page, "Sockets");
  await look(page, here.id, "Socket details");
  await row(page, "Status").first().getByRole("button").click();
  assert.equal(await end, "io server disconnect");
  await visit(page, "Dashboard");
  await counted(page, "rawDisconnection");
  await show(page, "dashboard");
  for (const socket of [here, there]) socket.close();
}

async function production(browser) {
  const page = await open(browser, figures);
  await logIn(page, figures, "", "");
  await page.locator(".v-dialog--active").waitFor({ state: "hidden" });
  await visit(page, "Servers");
  await row(page, "Healthy").waitFor();
  const client = await connect(figures);
  client.emit("echo", "x".repeat(1_000));
  await visit(page, "Dashboard");
  await counted(page, "rawConnection", "bytesIn", "bytesOut");
  assert.deepEqual(await page.locator(".v-navigation-drawer .v-list-item__title").allTextContents(), ["Dashboard", "Servers"]);
  await show(page, "production");
  client.close();
}

async function main() {
  const browser = await chromium.launch({ executablePath, args: ["--headless", "--no-sandbox", "--disable-gpu"] });
  try {
    await Promise.all([development(browser), production(browser)]);
  } catch (error) {
    for (const context of browser.contexts()) for (const page of context.pages()) await show(page, "failed");
    throw error;
  }
  await browser.close();
  assert.deepEqual(errors, []);
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
