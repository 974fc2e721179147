// The chat: which rooms there are, what was said, what still has to be sent.

/** @import { Manager } from "socket.io-client" */
/** @import { Chat, ErrorAnswer, Message, Root } from "../contract" */
/** @import { Room, Shown } from "../page" */

import { measureRoundTrip, openManager } from "./connection.js";
import * as view from "./view.js";

const { $ } = view;
const LOBBY = "lobby";
const MESSAGES_KEPT = 200;
const OWN_KEPT = 200;
const ACK_TIMEOUT = 8000;
const TYPING_INTERVAL = 2000;
const TYPING_SHOWN = 4000;

/** @type {Map<string, Room>} */
const rooms = new Map();
// Which messages are one's own is remembered per tab: after a reload they still belong to the right side of the page.
const own = new Set(JSON.parse(sessionStorage.getItem("own") ?? "[]"));
let current = LOBBY;
let summaries = [{ name: LOBBY, count: 0 }];
let self = "";
/** @type {Chat.Socket} */
let chat;

class Refusal extends Error {}

/** @type {(answer: any) => answer is ErrorAnswer} */
const isError = (answer) => answer?.status === "error";

/**
 * Send an event and return its ack. Throws a Refusal when the server says no, another Error when it says nothing.
 *
 * @template Answer
 * @param {(socket: ReturnType<Chat.Socket["timeout"]>) => Promise<Answer>} send
 */
async function ask(send) {
  const answer = await send(chat.timeout(ACK_TIMEOUT));
  if (isError(answer)) throw new Refusal(answer.message);
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

/** @param {string} name */
function open(name) {
  const known = rooms.get(name);
  const room = known ?? { name, ready: false, count: 0, people: [], messages: [], unread: 0, typing: new Map() };
  rooms.set(name, room);
  current = name;
  room.unread = 0;
  notify("");
  view.showRoom(name, { leavable: name !== LOBBY });
  view.showMessages(room.messages);
  view.showPeople(room.count, room.people, self);
  view.showTyping([...room.typing.keys()]);
  refresh();
  if (!known) join(room);
}

/** @param {Room} room */
async function join(room) {
  if (!chat.connected) return;
  try {
    const { messages } = await ask((socket) => socket.emitWithAck("join", room.name));
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
  if (chat.connected) await ask((socket) => socket.emitWithAck("leave", name)).catch(() => {});
}

// Messages

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {string} text */
function say(text) {
  const room = rooms.get(current);
  if (room === undefined) return;
  /** @type {Shown} */
  const message = { id: newId(), room: room.name, author: self, text, at: Date.now(), own: true, state: "pending" };
  own.add(message.id);
  sessionStorage.setItem("own", JSON.stringify([...own].slice(-OWN_KEPT)));
  add(room, message);
  flush(room);
}

/**
 * @param {Room} room
 * @param {Shown} message
 */
function add(room, message) {
  room.messages.push(message);
  if (room.messages.length > MESSAGES_KEPT) {
    room.messages.shift();
    if (room.name === current) view.showMessages(room.messages);
  } else if (room.name === current) {
    view.appendMessage(message, room.messages.at(-2));
  }
}

/**
 * Take in a room's history. What is known already stays: the server may have restarted and forgotten it.
 *
 * @param {Room} room
 * @param {Message[]} history
 */
function merge(room, history) {
  const known = new Map(room.messages.map((message) => [message.id, message]));
  for (const message of history) {
    known.set(message.id, { ...message, own: own.has(message.id), state: "sent" });
  }
  /** @param {Shown} message */
  const order = ({ state, at }) => (state === "sent" ? at : Infinity);
  room.messages = [...known.values()].sort((a, b) => order(a) - order(b) || 0).slice(-MESSAGES_KEPT);
  if (room.name === current) view.showMessages(room.messages);
}

/**
 * Send what was not acknowledged yet, one after the other. The server knows a message that it gets twice by its id.
 *
 * @param {Room} room
 */
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

/**
 * @param {Room} room
 * @param {Shown} message
 */
async function deliver(room, message) {
  try {
    const heard = await ask((socket) => socket.emitWithAck("say", room.name, message.text, message.id));
    Object.assign(message, heard, { state: "sent" });
  } catch (error) {
    if (!(error instanceof Refusal)) return;
    Object.assign(message, { state: "failed", reason: error.message });
  }
  if (room.name === current) view.updateMessage(message, room.messages[room.messages.indexOf(message) - 1]);
}

/** @param {Message} message */
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

/**
 * @param {string} name
 * @param {string} author
 */
function hearTyping(name, author) {
  const room = rooms.get(name);
  if (room === undefined) return;
  clearTimeout(room.typing.get(author));
  room.typing.set(author, setTimeout(() => stopTyping(room, author), TYPING_SHOWN));
  if (name === current) view.showTyping([...room.typing.keys()]);
}

/**
 * @param {Room} room
 * @param {string} author
 */
function stopTyping(room, author) {
  clearTimeout(room.typing.get(author));
  room.typing.delete(author);
  if (room.name === current) view.showTyping([...room.typing.keys()]);
}

// The page

/** @param {string} text */
function notify(text) {
  $("notice").textContent = text;
}

/**
 * @param {Manager} manager
 * @param {string} name
 */
function enter(manager, name) {
  $("name").value = name;
  const auth = (/** @type {(auth: object) => void} */ send) => send({ name: $("name").value });
  chat = /** @type {Chat.Socket} */ (manager.socket("/chat", { auth }));
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
    const room = rooms.get(name);
    if (room) Object.assign(room, { count, people: names });
    if (name === current) view.showPeople(count, names, self);
  });
  chat.on("said", hear);
  chat.on("typing", hearTyping);
}

/** @param {boolean} shown */
function showDetails(shown) {
  $("details").classList.toggle("shown", shown);
  $("details-toggle").setAttribute("aria-expanded", String(shown));
}

function grow() {
  const text = $("text");
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + text.offsetHeight - text.clientHeight}px`;
}

/** @param {Manager} manager */
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
    const room = rooms.get(current);
    if (document.hidden || !room) return;
    room.unread = 0;
    refresh();
  });
  new ResizeObserver(view.scrollToEnd).observe($("log"));
}

$("name").value = sessionStorage.getItem("name") ?? localStorage.getItem("name") ?? "";
const manager = await openManager(view.showStatus);
wire(manager);
const echo = /** @type {Root.Socket} */ (manager.socket("/"));
$("echo-now").addEventListener("click", measureRoundTrip(echo, view.showRoundTrips));
const name = sessionStorage.getItem("name");
if (name) {
  $("welcome").hidden = true;
  enter(manager, name);
} else {
  $("name").focus();
}
