// Adds to the page what needs a connection: a form for each namespace and each event, and what has come and gone.
// Text is only ever text: nothing here makes markup of it.

const KEPT = 200;
const ACK_TIMEOUT = 10_000;
const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const { engine, transports, types, namespaces } = JSON.parse(document.getElementById("contract").textContent);
const { io } = globalThis;

function make(tag, properties, ...children) {
  const { dataset = {}, ...plain } = properties ?? {};
  const element = Object.assign(document.createElement(tag), plain);
  Object.assign(element.dataset, dataset);
  element.append(...children);
  return element;
}

const button = (text, action, className = "") => {
  const element = make("button", { type: action ? "button" : "submit", className }, text);
  if (action) element.addEventListener("click", action);
  return element;
};

// Values: does one fit its schema? Where bytes are wanted a text is base64.

class Misfit extends Error {}

const resolved = (schema) => {
  while (schema?.$ref) schema = types[schema.$ref.split("/").at(-1)];
  return schema ?? {};
};
const isBinary = (schema) => schema.type === "string" && schema.format === "binary";
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);

function bytesOf(text, path) {
  try {
    return Uint8Array.from(atob(text.trim()), (character) => character.charCodeAt(0));
  } catch {
    throw new Misfit(`${path} is no base64; write some, such as AAEC.`);
  }
}

function need(fits, path, what) {
  if (!fits) throw new Misfit(`${path} must be ${what}.`);
}

function bounded(number, schema, path, least, most, unit) {
  if (schema[least] !== undefined) need(number >= schema[least], path, `at least ${schema[least]}${unit}`);
  if (schema[most] !== undefined) need(number <= schema[most], path, `at most ${schema[most]}${unit}`);
}

/** Return `value` as it is to be sent; throw a Misfit that says where it does not fit. */
function fit(schema, value, path) {
  schema = resolved(schema);
  if ("const" in schema) need(value === schema.const, path, JSON.stringify(schema.const));
  if (schema.enum) need(schema.enum.includes(value), path, `one of ${schema.enum.map((one) => JSON.stringify(one)).join(", ")}`);
  if (schema.allOf) return schema.allOf.reduce((made, one) => fit(one, made, path), value);
  const several = schema.anyOf ?? schema.oneOf ?? (Array.isArray(schema.type) && schema.type.map((type) => ({ ...schema, type })));
  return several ? fitOne(several, value, path) : fitType(schema, value, path);
}

function fitOne(several, value, path) {
  const faults = [];
  for (const one of several) {
    try {
      return fit(one, value, path);
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      if (resolved(one).type !== "null") faults.push(error.message);
    }
  }
  throw new Misfit(faults.length === 1 ? faults[0] : `${path} fits none of what it may be: ${faults.join(" ")}`);
}

function fitType(schema, value, path) {
  switch (schema.type) {
    case "string":
      if (isBinary(schema)) {
        need(typeof value === "string" || value instanceof Uint8Array, path, "bytes, written as base64");
        const bytes = typeof value === "string" ? bytesOf(value, path) : value;
        bounded(bytes.length, schema, path, "minLength", "maxLength", " bytes long");
        return bytes;
      }
      need(typeof value === "string", path, "a text");
      bounded([...value].length, schema, path, "minLength", "maxLength", " characters long");
      return value;
    case "integer":
    case "number":
      need(typeof value === "number" && Number.isFinite(value), path, "a number");
      if (schema.type === "integer") need(Number.isInteger(value), path, "a whole number");
      bounded(value, schema, path, "minimum", "maximum", "");
      if (schema.exclusiveMinimum !== undefined) need(value > schema.exclusiveMinimum, path, `more than ${schema.exclusiveMinimum}`);
      if (schema.exclusiveMaximum !== undefined) need(value < schema.exclusiveMaximum, path, `less than ${schema.exclusiveMaximum}`);
      return value;
    case "boolean":
      need(typeof value === "boolean", path, "true or false");
      return value;
    case "null":
      need(value === null, path, "null");
      return value;
    case "array": {
      need(Array.isArray(value), path, "a list");
      bounded(value.length, schema, path, "minItems", "maxItems", " items long");
      const first = schema.prefixItems ?? [];
      return value.map((one, index) => fit(first[index] ?? schema.items, one, `${path}[${index}]`));
    }
    case "object": {
      need(isObject(value), path, "an object");
      const { properties = {}, required = [], additionalProperties: more } = schema;
      for (const name of required) need(Object.hasOwn(value, name), `${path}.${name}`, "there");
      const known = (name) => (Object.hasOwn(properties, name) ? properties[name] : more === true ? {} : more);
      return Object.fromEntries(
        Object.entries(value).map(([name, one]) => {
          need(known(name) !== false, `${path}.${name}`, "left out: there is no such field");
          return [name, fit(known(name), one, `${path}.${name}`)];
        }),
      );
    }
    default:
      return value;
  }
}

function parsed(text, path) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Misfit(`${path} is no JSON: ${error.message}.`);
  }
}

/** Return a value as text for people, short ones on one line. */
function spelled(value) {
  const readable = (_, one) => (one instanceof ArrayBuffer || ArrayBuffer.isView(one) ? spelledBytes(one) : one);
  const long = JSON.stringify(value, readable, 2) ?? "";
  const short = long.replaceAll(/\n */g, " "); // a line break inside of a text is an escape
  return short.length <= 60 ? short : long;
}

function spelledBytes(data) {
  const bytes = ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);
  const shown = Array.from(bytes.slice(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return `<${bytes.length} bytes: ${shown}${bytes.length > 16 ? " …" : ""}>`;
}

// Fields

let fields = 0;

function labelled(text, note, ...controls) {
  const id = `field-${(fields += 1)}`;
  controls[0].id = id;
  const fault = make("p", { className: "fault", id: `${id}-fault` });
  controls[0].setAttribute("aria-describedby", fault.id);
  const label = make("label", { htmlFor: id }, make("span", {}, text), " ", make("span", { className: "note" }, note));
  const element = make("div", { className: "field" }, label, ...controls, fault);
  const say = (message) => {
    fault.textContent = message;
    controls[0].toggleAttribute("aria-invalid", message !== "");
    if (message) controls[0].setAttribute("aria-invalid", "true");
  };
  controls.forEach((one) => one.addEventListener("input", () => say("")));
  return { element, say, focus: () => controls[0].focus() };
}

const chosen = (options) => {
  const select = make("select");
  options.forEach((one, index) => select.append(make("option", { value: index }, one === undefined ? "(left out)" : JSON.stringify(one))));
  return { select, value: () => options[select.value] };
};

/** Return a field for one argument: `read` gives its value, undefined where it is left out. */
function field(argument) {
  const { name, required, rest, example } = argument;
  const schema = rest ? { type: "array", items: argument.schema } : resolved(argument.schema);
  const optional = !required;
  const note = (what) => (optional && !rest ? `${what}, may be left out` : what);
  const scalar = (one) => one === null || typeof one !== "object";
  const options = schema.type === "boolean" ? [true, false] : "const" in schema ? [schema.const] : schema.enum;
  if (options?.every(scalar)) {
    const { select, value } = chosen(optional ? [undefined, ...options] : options);
    return { ...labelled(name, note("a choice"), select), read: async () => value() };
  }
  if (isBinary(schema)) {
    const text = make("input", { type: "text", placeholder: "such as AAEC", spellcheck: false, autocomplete: "off" });
    const file = make("input", { type: "file" });
    file.setAttribute("aria-label", `${name} from a file`);
    const read = async () => {
      if (file.files.length) return fit(schema, new Uint8Array(await file.files[0].arrayBuffer()), name);
      return optional && text.value === "" ? undefined : fit(schema, text.value, name);
    };
    return { ...labelled(name, note("bytes: base64, or a file"), text, file), read };
  }
  if (schema.type === "string") {
    const text = make("input", { type: "text", placeholder: `such as ${JSON.parse(example)}`, autocomplete: "off" });
    return { ...labelled(name, note("text"), text), read: async () => (optional && text.value === "" ? undefined : fit(schema, text.value, name)) };
  }
  if (schema.type === "integer" || schema.type === "number") {
    const text = make("input", { type: "text", inputMode: "decimal", placeholder: `such as ${example}`, autocomplete: "off" });
    const read = async () => {
      const written = text.value.trim();
      if (optional && written === "") return undefined;
      return fit(schema, written === "" ? NaN : Number(written), name);
    };
    return { ...labelled(name, note(schema.type === "integer" ? "a whole number" : "a number"), text), read };
  }
  const text = area(optional ? "" : example, rest ? "[]" : example);
  const read = async () => (optional && text.value.trim() === "" ? undefined : fit(schema, parsed(text.value, name), name));
  return { ...labelled(name, note(rest ? "any number: a JSON list" : "JSON"), text), read };
}

function area(value, placeholder = "") {
  const rows = Math.min(10, value.split("\n").length);
  return make("textarea", { value, placeholder, rows, spellcheck: false, autocomplete: "off" });
}

/** Return the values of all fields; show what is wrong with one, focus the first of these, and return undefined then. */
async function valuesOf(all) {
  const values = [];
  let wrong;
  for (const one of all) {
    try {
      values.push(await one.read());
      one.say("");
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      one.say(error.message);
      wrong ??= one;
    }
  }
  if (!wrong) {
    const last = values.findLastIndex((value) => value !== undefined);
    const gap = values.findIndex((value, index) => value === undefined && index < last);
    if (gap === -1) return values.slice(0, last + 1);
    wrong = all[gap];
    wrong.say("This cannot be left out while something behind it is there.");
  }
  wrong.focus();
  return undefined;
}

// What has come and gone

const entries = make("ol", { id: "entries" });
const counter = make("span", { className: "count" }, "0");

function openLog() {
  const toggle = button("", () => setOpen(log.classList.toggle("open")), "toggle");
  toggle.append("Log ", counter);
  const setOpen = (open) => toggle.setAttribute("aria-expanded", String(open));
  const clear = button("Clear", () => {
    entries.replaceChildren();
    counter.textContent = "0";
  });
  const empty = make("p", { className: "empty" }, "Connect to a namespace, and send it something.");
  const list = make("div", { className: "entries", id: "log-entries", tabIndex: 0 }, entries, empty);
  list.setAttribute("role", "log");
  list.setAttribute("aria-label", "What has come and gone");
  toggle.setAttribute("aria-controls", list.id);
  setOpen(false);
  const log = make("aside", { id: "log" }, make("div", { className: "head" }, toggle, clear), list);
  log.setAttribute("aria-label", "Log");
  document.body.append(log);
  document.body.classList.add("live");
}

/** Add an entry; `kind`: sent, acked, heard, failed or state. */
function note(kind, word, what, where, values, ...more) {
  const head = make("p", {}, make("time", {}, TIME.format(new Date())), ` ${word} `, ...(what ? [make("code", {}, what)] : []));
  if (namespaces.length > 1) head.append(make("span", { className: "where" }, ` in ${where}`));
  const entry = make("li", { className: kind }, head);
  values.forEach((value) => entry.append(make("pre", {}, spelled(value))));
  entry.append(...more);
  entries.prepend(entry);
  while (entries.children.length > KEPT) entries.lastElementChild.remove();
  counter.textContent = String(entries.children.length);
}

/** Return a form that answers an event. */
function answering(event, where, answer) {
  const text = area(event?.answers ?? "[]");
  const control = labelled("Answer", "a JSON list of the values", text);
  const form = make("form", {}, control.element, button("Answer"));
  form.addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    try {
      const written = parsed(text.value, "The answer");
      const items = event?.answer;
      const values = fit({ type: "array", ...(items && { prefixItems: items, minItems: items.length, maxItems: items.length }) }, written, "The answer");
      answer(...values);
      form.replaceWith(...values.map((value) => make("pre", { className: "answered" }, spelled(value))));
      note("sent", "answered", event?.name, where, values);
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      control.say(error.message);
      control.focus();
    }
  });
  return form;
}

// Connections

function authField() {
  const text = make("input", { type: "text", placeholder: 'such as {"token": "secret"}', spellcheck: false, autocomplete: "off" });
  const read = async () => (text.value.trim() === "" ? undefined : fit({ type: "object" }, parsed(text.value, "This"), "This"));
  return { ...labelled("Credentials", "auth, as JSON; may be left out", text), read };
}

function nameField(pattern) {
  const text = make("input", { type: "text", placeholder: "such as /…", spellcheck: false, autocomplete: "off" });
  const read = async () => {
    need(text.value.startsWith("/") && matches(pattern, text.value), "The name", `one that matches ${pattern}`);
    return text.value;
  };
  return { ...labelled("Name", "of the namespace", text), read };
}

/** Whether a Python pattern matches a whole text, as far as JavaScript understands it. */
function matches(pattern, text) {
  try {
    return new RegExp(`^(?:${pattern.replaceAll("(?P<", "(?<")})$`, "u").test(text);
  } catch {
    return true;
  }
}

class Connection {
  constructor(manager, namespace, place) {
    this.manager = manager;
    this.namespace = namespace;
    this.socket = undefined;
    this.status = make("p", { className: "status", dataset: { state: "off" } }, "Not connected.");
    this.status.setAttribute("role", "status");
    this.given = namespace.pattern ? [nameField(namespace.name), authField()] : [authField()];
    this.toggle = button("Connect");
    const form = make("form", {}, ...this.given.map(({ element }) => element), this.toggle);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.socket?.active) this.disconnect();
      else this.connect();
    });
    place.append(form, this.status);
  }

  show(state, text, error) {
    this.status.dataset.state = state;
    this.status.replaceChildren(text, ...(error?.data === undefined ? [] : [make("pre", {}, spelled(error.data))]));
    this.toggle.textContent = this.socket?.active ? "Disconnect" : "Connect";
    this.toggle.classList.toggle("quiet", Boolean(this.socket?.active));
  }

  disconnect() {
    const told = this.socket.connected; // else nobody says that it is over
    this.socket.disconnect();
    if (!told) this.show("off", "Not connected.");
  }

  async connect() {
    const given = await valuesOf(this.given);
    if (given === undefined) return;
    const name = this.namespace.pattern ? given.shift() : this.namespace.name;
    this.socket?.off();
    this.socket?.offAny();
    const socket = (this.socket = this.manager.socket(name));
    [socket.auth] = given;
    socket.on("connect", () => {
      this.show("on", `Connected to ${name} as ${socket.id}.`);
      note("state", "connected", "", name, []);
    });
    socket.on("disconnect", (reason) => {
      this.show("off", `Disconnected: ${reason}.`);
      note("state", `disconnected: ${reason}`, "", name, []);
    });
    socket.on("connect_error", (error) => {
      if (socket.active) this.show("busy", "The server cannot be reached; trying again.");
      else {
        this.show("refused", `Refused: ${error.message}`, error);
        note("failed", `refused: ${error.message}`, "", name, error.data === undefined ? [] : [error.data]);
      }
    });
    socket.onAny((event, ...values) => {
      const answer = typeof values.at(-1) === "function" ? values.pop() : undefined;
      const known = this.namespace.heard.find((one) => one.name === event);
      note("heard", "heard", event, name, values, ...(answer ? [answering(known, name, answer)] : []));
    });
    socket.connect();
    this.show("busy", `Connecting to ${name}…`);
  }
}

function trying(connection, event, body) {
  const all = event.arguments.map(field);
  const box = make("input", { type: "checkbox", checked: true });
  const acknowledged = make("label", { className: "check" }, box, "ask for an acknowledgement");
  const output = make("div", { className: "output" });
  output.setAttribute("role", "status");
  const form = make("form", { className: "try" }, make("h4", {}, "Try it"), ...all.map(({ element }) => element), acknowledged, button("Send"), output);
  const say = (className, ...children) => output.replaceChildren(make("p", { className }, ...children));
  form.addEventListener("submit", async (submitted) => {
    submitted.preventDefault();
    const given = await valuesOf(all);
    if (given === undefined) return output.replaceChildren();
    const values = event.arguments.at(-1)?.rest && given.length === event.arguments.length ? [...given.slice(0, -1), ...given.at(-1)] : given;
    const { socket } = connection;
    if (!socket?.connected) return say("fault", "Not connected: connect to the namespace first, at its top.");
    const where = socket.nsp;
    note("sent", "sent", event.name, where, values);
    if (!box.checked) {
      socket.emit(event.name, ...values);
      return say("", "Sent.");
    }
    say("", "Sent; waiting for the acknowledgement…");
    const started = performance.now();
    return socket.timeout(ACK_TIMEOUT).emit(event.name, ...values, (error, ...answers) => {
      if (error) {
        say("fault", `No acknowledgement: ${error.message}.`);
        return note("failed", "no answer to", event.name, where, []);
      }
      const failed = isObject(answers[0]) && answers[0].status === "error";
      say(failed ? "fault" : "", failed ? "The server answered with an error:" : `Acknowledged after ${Math.round(performance.now() - started)} ms:`);
      output.append(...answers.map((one) => make("pre", {}, spelled(one))));
      return note(failed ? "failed" : "acked", failed ? "error from" : "answer to", event.name, where, answers);
    });
  });
  body.append(form);
}

// What a link leads to is open. The ids on this page need no decoding.
function reveal() {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}

addEventListener("hashchange", reveal);
reveal();

if (io) {
  const url = new URL(engine, location.href);
  const manager = new io.Manager(url.origin, { path: url.pathname, transports, autoConnect: false });
  namespaces.forEach((namespace, number) => {
    const connection = new Connection(manager, namespace, document.querySelector(`#n${number} > .connection`));
    namespace.sent.forEach((event, place) => trying(connection, event, document.querySelector(`#n${number}-sent-${place} > .body`)));
  });
  if (namespaces.length) openLog();
} else {
  const notice = document.getElementById("notice");
  if (notice.hidden) notice.textContent = `To try the events on this page, ${new URL(engine, location.href)} must have the official client: let --client-bundle name a directory with its files, such as node_modules/socket.io-client/dist.`;
  notice.hidden = false;
}
