// The chat: which rooms there are, what was said, what still has to be sent.

import { measureRoundTrip, openManager } from "./connection.js";
import * as view from "./view.js";

const { $ } = view;
const LOBBY = "lobby";
const MESSAGES_KEPT = 200;
const OWN_KEPT = 200;
const ACK_TIMEOUT = 8000;
const TYPING_INTERVAL = 2000;
const TYPING_SHOWN = 4000;

// The rooms that one is in, or will be in again as soon as there is a connection.
const rooms = new Map();
// Which messages are one's own is remembered per tab: after a reload they still belong to the right side of the page.
const own = new Set(JSON.parse(sessionStorage.getItem("own") ?? "[]"));
let current = LOBBY;
let summaries = [{ name: LOBBY, count: 0 }];
let self = "";
let chat;

class Refusal extends Error {}

/** Send an event and return its ack. Throws a Refusal when the server says no, another Error when it says nothing. */
async function ask(...event) {
  const answer = await chat.timeout(ACK_TIMEOUT).emitWithAck(...event);
  if (answer?.status === "error") throw new Refusal(answer.message);
  return answer;
}

// Rooms

function refresh() {
  const known = new Set(summaries.map(({ name }) => name));
  const unlisted = [...rooms.keys()].filter((name) => !known.has(name)).map((name) => ({ name, count: 0 }));
  const lines = [...summaries, ...unlisted].map(({ name, count }) => {
    const room = rooms.get(name);
    return { name, count, unread: room?.unread ?? 0, joined: room !== undefined };
  });
  view.showRooms(lines, current, open);
  const unread = lines.reduce((sum, line) => sum + line.unread, 0);
  document.title = `${unread ? `(${unread}) ` : ""}#${current} – trio_sio chat`;
}

function open(name) {
  const isNew = !rooms.has(name);
  if (isNew) rooms.set(name, { name, ready: false, count: 0, people: [], messages: [], unread: 0, typing: new Map() });
  const room = rooms.get(name);
  current = name;
  room.unread = 0;
  notify("");
  view.showRoom(name, { leavable: name !== LOBBY });
  view.showMessages(room.messages);
  view.showPeople(room.count, room.people, self);
  view.showTyping([...room.typing.keys()]);
  refresh();
  if (isNew) join(room);
}

async function join(room) {
  if (!chat.connected) return;
  try {
    const { messages } = await ask("join", room.name);
    merge(room, messages);
    room.ready = true;
    flush(room);
  } catch (error) {
    if (!(error instanceof Refusal)) return;
    rooms.delete(room.name);
    if (current === room.name) open(LOBBY);
    else refresh();
    notify(error.message);
  }
}

async function leave() {
  const name = current;
  rooms.delete(name);
  open(LOBBY);
  if (chat.connected) await ask("leave", name).catch(() => {});
}

// Messages

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function say(text) {
  const room = rooms.get(current);
  const message = { id: newId(), room: room.name, author: self, text, at: Date.now(), own: true, state: "pending" };
  own.add(message.id);
  sessionStorage.setItem("own", JSON.stringify([...own].slice(-OWN_KEPT)));
  add(room, message);
  flush(room);
}

function add(room, message) {
  room.messages.push(message);
  if (room.messages.length > MESSAGES_KEPT) {
    room.messages.shift();
    if (room.name === current) view.showMessages(room.messages);
  } else if (room.name === current) {
    view.appendMessage(message, room.messages.at(-2));
  }
}

/** Take in a room's history. What is known already stays: the server may have restarted and forgotten it. */
function merge(room, history) {
  const known = new Map(room.messages.map((message) => [message.id, message]));
  for (const message of history) {
    known.set(message.id, { ...message, own: own.has(message.id), state: "sent" });
  }
  const order = ({ state, at }) => (state === "sent" ? at : Infinity);
  room.messages = [...known.values()].sort((a, b) => order(a) - order(b) || 0).slice(-MESSAGES_KEPT);
  if (room.name === current) view.showMessages(room.messages);
}

/** Send what was not acknowledged yet, one after the other. The server knows a message that it gets twice by its id. */
async function flush(room) {
  if (room.flushing) return;
  room.flushing = true;
  try {
    let message;
    while (room.ready && (message = room.messages.find(({ state }) => state === "pending"))) {
      await deliver(room, message);
    }
  } finally {
    room.flushing = false;
  }
}

async function deliver(room, message) {
  try {
    Object.assign(message, await ask("say", room.name, message.text, message.id), { state: "sent" });
  } catch (error) {
    if (!(error instanceof Refusal)) return;
    Object.assign(message, { state: "failed", reason: error.message });
  }
  if (room.name === current) view.updateMessage(message, room.messages[room.messages.indexOf(message) - 1]);
}

function hear(message) {
  const room = rooms.get(message.room);
  if (room === undefined || room.messages.some(({ id }) => id === message.id)) return;
  stopTyping(room, message.author);
  add(room, { ...message, own: own.has(message.id), state: "sent" });
  if (room.name !== current || document.hidden) {
    room.unread += 1;
    refresh();
  }
}

// Typing

let lastTyping = 0;

function hintTyping() {
  if (Date.now() - lastTyping < TYPING_INTERVAL) return;
  lastTyping = Date.now();
  chat.volatile.emit("typing", current);
}

function hearTyping(name, author) {
  const room = rooms.get(name);
  if (room === undefined) return;
  clearTimeout(room.typing.get(author));
  room.typing.set(author, setTimeout(() => stopTyping(room, author), TYPING_SHOWN));
  if (name === current) view.showTyping([...room.typing.keys()]);
}

function stopTyping(room, author) {
  clearTimeout(room.typing.get(author));
  room.typing.delete(author);
  if (room.name === current) view.showTyping([...room.typing.keys()]);
}

// The page

function notify(text) {
  $("notice").textContent = text;
}

function enter(manager, name) {
  $("name").value = name;
  chat = manager.socket("/chat", { auth: (send) => send({ name: $("name").value }) });
  chat.on("connect", () => view.showStatus({ state: "connected", transport: manager.engine.transport.name }));
  chat.on("welcome", (welcome) => {
    self = welcome.name;
    summaries = welcome.rooms;
    sessionStorage.setItem("name", $("name").value);
    localStorage.setItem("name", $("name").value);
    $("welcome").hidden = true;
    if ($("app").hidden) {
      $("app").hidden = false;
      open(LOBBY);
      if (matchMedia("(pointer: fine)").matches) $("text").focus();
      return;
    }
    refresh();
    rooms.forEach(join);
  });
  chat.on("connect_error", (error) => {
    if (chat.active) return; // the transport failed, and the client tries again
    sessionStorage.removeItem("name");
    $("welcome").hidden = false;
    $("app").hidden = true;
    $("name-error").textContent = error.message;
    $("name").focus();
  });
  chat.on("disconnect", (reason) => {
    for (const room of rooms.values()) {
      room.ready = false;
      for (const author of room.typing.keys()) stopTyping(room, author);
    }
    if (reason === "io server disconnect") view.showStatus({ state: "refused" });
  });
  chat.on("rooms", (list) => {
    summaries = list;
    refresh();
  });
  chat.on("people", (name, count, names) => {
    if (rooms.has(name)) Object.assign(rooms.get(name), { count, people: names });
    if (name === current) view.showPeople(count, names, self);
  });
  chat.on("said", hear);
  chat.on("typing", hearTyping);
}

function showDetails(shown) {
  $("details").classList.toggle("shown", shown);
  $("details-toggle").setAttribute("aria-expanded", String(shown));
}

function grow() {
  const text = $("text");
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + text.offsetHeight - text.clientHeight}px`;
}

function wire(manager) {
  $("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    $("name-error").textContent = "";
    if (chat) chat.connect();
    else enter(manager, $("name").value);
  });
  $("new-room").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = $("room-name").value.trim().normalize("NFC");
    $("room-name").value = "";
    if (name) open(name);
  });
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("text").value.trim();
    $("text").value = "";
    grow();
    lastTyping = 0;
    notify("");
    if (text) say(text);
  });
  $("text").addEventListener("input", () => {
    grow();
    if ($("text").value.trim()) hintTyping();
  });
  $("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      $("composer").requestSubmit();
    }
  });
  $("leave").addEventListener("click", leave);
  $("reconnect").addEventListener("click", () => chat.connect());
  $("details-toggle").addEventListener("click", () => showDetails(!$("details").classList.contains("shown")));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") showDetails(false);
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden || !rooms.has(current)) return;
    rooms.get(current).unread = 0;
    refresh();
  });
  new ResizeObserver(view.scrollToEnd).observe($("log"));
}

$("name").value = sessionStorage.getItem("name") ?? localStorage.getItem("name") ?? "";
const manager = await openManager(view.showStatus);
wire(manager);
const echo = manager.socket("/");
$("echo-now").addEventListener("click", measureRoundTrip(echo, view.showRoundTrips));
if (sessionStorage.getItem("name")) {
  $("welcome").hidden = true;
  enter(manager, sessionStorage.getItem("name"));
} else {
  $("name").focus();
}
