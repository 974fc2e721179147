// What the page shows. Everything that came from a client goes through textContent, never through markup.

/** @import { RoomLine, Shown, Status } from "../page" */

const GROUP_WITHIN = 3 * 60 * 1000;
const DIGITS = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 2 });
const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY_AND_TIME = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const IN_FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

/** @type {(id: string) => HTMLInputElement & HTMLFormElement} what an id stands for, index.html says */
export const $ = (id) => /** @type {any} */ (document.getElementById(id));

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} [className]
 * @param {string} [text]
 */
function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** @param {string} name */
function avatar(name) {
  const badge = make("span", "avatar", [...name][0].toUpperCase());
  let sum = 0;
  for (const character of name) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) % 10007;
  badge.style.setProperty("--hue", String(Math.round(sum * 137.5) % 360)); // the golden angle keeps similar names apart
  badge.setAttribute("aria-hidden", "true");
  return badge;
}

/** @param {Status} status */
export function showStatus({ state, transport, seconds }) {
  const texts = {
    connecting: "Connecting…",
    connected: "Connected",
    reconnecting: `Reconnecting in ${seconds} s`,
    refused: "Disconnected",
    failed: "The Socket.IO client could not be loaded",
  };
  $("status").dataset.state = state;
  // Assigning the same text again would make screen readers repeat it.
  if ($("status-text").textContent !== texts[state]) $("status-text").textContent = texts[state];
  $("transport").hidden = transport === undefined;
  $("transport").textContent = transport ?? "";
  $("reconnect").hidden = state !== "refused";
}

/**
 * @param {RoomLine[]} rooms
 * @param {string} current
 * @param {(name: string) => void} choose
 */
export function showRooms(rooms, current, choose) {
  const focused = document.activeElement?.getAttribute("data-room");
  $("rooms").replaceChildren(
    ...rooms.map(({ name, count, unread, joined }) => {
      const button = make("button");
      button.type = "button";
      button.dataset.room = name;
      button.classList.toggle("joined", joined);
      if (name === current) button.setAttribute("aria-current", "true");
      button.append(make("bdi", "name", name));
      if (unread) {
        const badge = make("span", "unread", unread > 99 ? "99+" : String(unread));
        badge.append(make("span", "unseen", " unread"));
        button.append(badge);
      } else if (count) {
        const badge = make("span", "count", String(count));
        badge.append(make("span", "unseen", " here"));
        button.append(badge);
      }
      button.addEventListener("click", () => choose(name));
      const item = make("li");
      item.append(button);
      return item;
    }),
  );
  if (focused) /** @type {HTMLElement | null} */ ($("rooms").querySelector(`[data-room="${CSS.escape(focused)}"]`))?.focus();
}

/**
 * @param {string} name
 * @param {{ leavable: boolean }} options
 */
export function showRoom(name, { leavable }) {
  $("room-title").replaceChildren(make("span", "hash", "# "), make("bdi", "", name));
  $("leave").hidden = !leavable;
}

/**
 * @param {number} count
 * @param {string[]} names
 * @param {string} self
 */
export function showPeople(count, names, self) {
  $("people-title").textContent = `Here now: ${count}`;
  $("details-toggle").textContent = count === 1 ? "1 person" : `${count} people`;
  const items = names.map((name) => {
    const item = make("li");
    item.append(avatar(name), make("bdi", "", name));
    if (name === self) item.append(make("span", "you", "you"));
    return item;
  });
  if (count > names.length) items.push(make("li", "more", `and ${count - names.length} more`));
  $("people").replaceChildren(...items);
}

/** @param {string[]} names */
export function showTyping(names) {
  const list = new Intl.ListFormat("en").format(names.slice(0, 3));
  const many = names.length > 3 ? "Several people are typing…" : `${list} ${names.length === 1 ? "is" : "are"} typing…`;
  $("typing").textContent = names.length === 0 ? "" : many;
}

/** @param {number} at */
function timeOf(at) {
  const date = new Date(at);
  const element = make("time", "", (date.toDateString() === new Date().toDateString() ? TIME : DAY_AND_TIME).format(date));
  element.dateTime = date.toISOString();
  element.title = IN_FULL.format(date);
  return element;
}

/** @param {Shown} message */
function describe(message) {
  if (message.state === "failed") return `not sent: ${message.reason}`;
  if (message.state === "pending") return "not delivered yet";
  return "";
}

/**
 * @param {Element} item
 * @param {Shown} message
 * @param {Shown} [previous]
 */
function fill(item, message, previous) {
  const sameAuthor = previous !== undefined && previous.author === message.author && previous.own === message.own;
  const continues = sameAuthor && message.at - previous.at < GROUP_WITHIN;
  item.className = `message ${message.own ? "own" : "other"} ${message.state}${continues ? " continues" : ""}`;
  const head = make("p", "head");
  head.append(make("bdi", "author", message.own ? "You" : message.author), timeOf(message.at));
  const text = make("p", "text", message.text);
  text.dir = "auto";
  item.replaceChildren(avatar(message.author), head, text);
  const note = describe(message);
  if (note) item.append(make("p", "note", note));
}

/**
 * Show all messages of a room; used when another room is opened, and after history came in.
 *
 * @param {Shown[]} messages
 */
export function showMessages(messages) {
  // Otherwise a screen reader would read out the whole room.
  $("log").setAttribute("aria-live", "off");
  $("messages").replaceChildren();
  messages.forEach((message, index) => appendMessage(message, messages[index - 1]));
  $("empty").hidden = messages.length > 0;
  scrollToEnd();
  requestAnimationFrame(() => $("log").removeAttribute("aria-live"));
}

/**
 * @param {Shown} message
 * @param {Shown} [previous]
 */
export function appendMessage(message, previous) {
  const item = make("li");
  item.dataset.id = message.id;
  fill(item, message, previous);
  const log = $("log");
  const following = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  $("messages").append(item);
  $("empty").hidden = true;
  if (following || message.own) scrollToEnd();
}

/**
 * @param {Shown} message
 * @param {Shown} [previous]
 */
export function updateMessage(message, previous) {
  const item = $("messages").querySelector(`[data-id="${CSS.escape(message.id)}"]`);
  if (item) fill(item, message, previous);
}

export function scrollToEnd() {
  $("log").scrollTop = $("log").scrollHeight;
}

/** @param {number[]} samples */
export function showRoundTrips(samples) {
  const sorted = [...samples].sort((a, b) => a - b);
  const [latest, longest] = [samples.at(-1) ?? 0, sorted.at(-1) ?? 0];
  $("echo-value").textContent = DIGITS.format(latest);
  $("echo-hint").textContent = `Median ${DIGITS.format(sorted[sorted.length >> 1])} ms, best ${DIGITS.format(sorted[0])} ms.`;
  $("echo-bars").replaceChildren(
    ...samples.map((sample) => {
      const bar = make("span");
      bar.style.setProperty("--height", `${Math.max(6, (100 * sample) / longest)}%`);
      return bar;
    }),
  );
}
