// A board: its lines, who is there, and where their cursors are. Places are parts of its width and height.

const CDN = "https://cdn.socket.io/4.8.3/socket.io.min.js";
const CDN_INTEGRITY = "sha384-kzavj5fiMwLKzzD1f8S7TeoVIEi7uKHvbTA3ueZkrzYq75pNQUiUi6Dy98Q3fxb0";
const PAUSE = 50; // ms between two places of a cursor, or two pieces of a line
const LONGEST = 32; // points in a piece, as the server has it

const $ = (id) => document.getElementById(id);
const canvas = $("canvas");
const cursors = new Map();
let lines = [];
let people = [];
let me;
let socket;

/** Load the official client: from the server if it has one, else from its CDN. */
function loadClient(source = "/socket.io/socket.io.min.js", integrity = "") {
  return new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src: source, integrity });
    if (integrity) script.crossOrigin = "anonymous";
    script.onload = resolve;
    script.onerror = () => (integrity ? reject(new Error(`${source} could not be loaded`)) : loadClient(CDN, CDN_INTEGRITY).then(resolve, reject));
    document.head.append(script);
  });
}

function hueOf(name) {
  let hue = 0;
  for (const character of name) hue = (hue * 31 + character.codePointAt(0)) % 360;
  return hue;
}

// What is to be seen

function draw({ author, points }) {
  const context = canvas.getContext("2d");
  const lightness = getComputedStyle(canvas).getPropertyValue("--lightness");
  context.strokeStyle = context.fillStyle = `hsl(${hueOf(author)} 60% ${lightness})`;
  context.lineWidth = 3 * devicePixelRatio;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x * canvas.width, y * canvas.height);
  if (points.length === 1) context.lineTo(points[0][0] * canvas.width, points[0][1] * canvas.height);
  context.stroke();
}

function drawAll() {
  canvas.width = canvas.clientWidth * devicePixelRatio;
  canvas.height = canvas.clientHeight * devicePixelRatio;
  lines.forEach(draw);
}

function showPeople() {
  $("people").replaceChildren(
    ...people.map(({ id, name }) => {
      const item = document.createElement("li");
      item.textContent = id === me?.id ? `${name} (you)` : name;
      item.style.setProperty("--hue", hueOf(name));
      return item;
    }),
  );
  for (const [id, cursor] of cursors) {
    if (people.some((person) => person.id === id)) continue;
    cursor.remove();
    cursors.delete(id);
  }
}

function showCursor(id, x, y) {
  const person = people.find((one) => one.id === id);
  if (!person) return;
  if (!cursors.has(id)) {
    const cursor = document.createElement("span");
    cursor.textContent = person.name;
    cursor.style.setProperty("--hue", hueOf(person.name));
    $("cursors").append(cursor);
    cursors.set(id, cursor);
  }
  Object.assign(cursors.get(id).style, { left: `${x * 100}%`, top: `${y * 100}%` });
}

// What one does

let piece = [];
let lastMove = 0;

function placeOf({ clientX, clientY }) {
  const { left, top, width, height } = canvas.getBoundingClientRect();
  const part = (value, size) => Math.round(1e4 * Math.min(1, Math.max(0, value / size))) / 1e4;
  return [part(clientX - left, width), part(clientY - top, height)];
}

function send() {
  // While there is no connection nothing is kept: the board is what the server says it is.
  if (piece.length && socket?.connected) socket.emit("draw", piece);
  piece = piece.slice(-1);
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  piece = [placeOf(event)];
});

canvas.addEventListener("pointermove", (event) => {
  const place = placeOf(event);
  if (event.buttons && piece.length) {
    const line = { author: me.name, points: [piece.at(-1), place] };
    lines.push(line);
    draw(line);
    piece.push(place);
    if (piece.length === LONGEST) send();
  }
  if (event.timeStamp - lastMove < PAUSE) return;
  lastMove = event.timeStamp;
  socket?.volatile.emit("move", ...place);
  if (piece.length > 1) send();
});

canvas.addEventListener("pointerup", () => {
  if (piece.length > 1) send();
  piece = [];
});

$("clear").addEventListener("click", () => socket?.emit("clear"));
new ResizeObserver(drawAll).observe(canvas);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

// The connection

function connect(name, board) {
  socket = io(`/board-${board}`, { auth: { name } });
  socket.on("connect", () => { $("status").textContent = "Connected."; });
  socket.on("disconnect", (reason) => { $("status").textContent = `Not connected (${reason}).`; });
  socket.on("connect_error", (error) => { $("status").textContent = error.message; });
  // Also after a reconnection, so nothing is missing and nothing stands there twice.
  socket.on("welcome", (person, all) => {
    me = person;
    lines = all;
    drawAll();
  });
  socket.on("here", (all) => {
    people = all;
    showPeople();
  });
  socket.on("moved", showCursor);
  socket.on("drawn", (line) => {
    lines.push(line);
    draw(line);
  });
  socket.on("cleared", () => {
    lines = [];
    drawAll();
  });
}

$("board").value = location.hash.slice(1) || "tea";
$("name").value = sessionStorage.getItem("name") ?? "";
$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  const [name, board] = [$("name").value.trim(), $("board").value];
  if (!name) return;
  sessionStorage.setItem("name", name);
  location.hash = board;
  $("board-name").textContent = board;
  $("sign-in").hidden = true;
  connect(name, board);
});

loadClient().then(
  () => { $("status").textContent = "Say who you are."; },
  () => { $("status").textContent = "The client could not be loaded."; },
);
