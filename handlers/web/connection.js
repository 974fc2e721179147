// The connection: where the client comes from, how it is doing, how fast it is.

/** @import { Socket as ClientSocket } from "socket.io-client" */
/** @import { Root } from "../contract" */
/** @import { Status } from "../page" */

const LOCAL = "/socket.io/socket.io.min.js";
const CDN = "https://cdn.socket.io/4.8.3/socket.io.min.js";
const CDN_INTEGRITY = "sha384-kzavj5fiMwLKzzD1f8S7TeoVIEi7uKHvbTA3ueZkrzYq75pNQUiUi6Dy98Q3fxb0";

// A random base instead of random delays: the page can tell how long it will wait, and after a restart of the server
// its visitors still come back one by one.
const FIRST_DELAY = 600 + Math.random() * 800;
const LONGEST_DELAY = 6 * FIRST_DELAY;

const SAMPLES = 24;
const SAMPLE_INTERVAL = 3000;

/**
 * @param {string} source
 * @param {string} [integrity]
 */
function loadScript(source, integrity) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = source;
    if (integrity) {
      script.integrity = integrity;
      script.crossOrigin = "anonymous";
    }
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${source} could not be loaded`));
    document.head.append(script);
  });
}

/** Load the official browser client: from the server when it has one (--client-bundle), else from its CDN. */
async function loadClient() {
  try {
    await loadScript(LOCAL);
  } catch {
    await loadScript(CDN, CDN_INTEGRITY);
  }
}

/** Return the server to talk to: this page's own, or the one named by ?server= while the page is developed elsewhere. */
function serverUrl() {
  const named = new URLSearchParams(location.search).get("server");
  return named && /^https?:\/\//.test(named) ? named : location.origin;
}

/**
 * Prepare the connection that all namespaces share; the first socket opens it.
 *
 * `show` is called on every change.
 *
 * @param {(status: Status) => void} show
 */
export async function openManager(show) {
  try {
    await loadClient();
  } catch (error) {
    show({ state: "failed" });
    throw error;
  }
  const manager = new io.Manager(serverUrl(), {
    reconnectionDelay: FIRST_DELAY,
    reconnectionDelayMax: LONGEST_DELAY,
    randomizationFactor: 0,
    timeout: 8000,
  });
  let failures = 0;
  let trying = true;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let countdown;

  function waitForNextAttempt() {
    const until = Date.now() + Math.min(FIRST_DELAY * 2 ** failures, LONGEST_DELAY);
    failures += 1;
    trying = false;
    const tick = () => show({ state: "reconnecting", seconds: Math.max(1, Math.ceil((until - Date.now()) / 1000)) });
    clearInterval(countdown);
    countdown = setInterval(tick, 250);
    tick();
  }

  manager.on("open", () => {
    clearInterval(countdown);
    failures = 0;
    trying = false;
    const { engine } = manager;
    const connected = () => show({ state: "connected", transport: engine.transport.name });
    engine.on("upgrade", connected);
    connected();
  });
  manager.on("reconnect_attempt", () => {
    clearInterval(countdown);
    trying = true;
    show({ state: "connecting" });
  });
  // An "error" while the connection is open is followed by "close".
  manager.on("error", () => trying && waitForNextAttempt());
  // When the server has disconnected all sockets the client does not come back by itself.
  const { nsps } = /** @type {{ nsps: Record<string, ClientSocket> }} */ (/** @type {unknown} */ (manager));
  manager.on("close", () => Object.values(nsps).some((socket) => socket.active) && waitForNextAttempt());
  return manager;
}

/**
 * Measure how long an event to `/` and its ack take, every few seconds and whenever the returned function is called.
 *
 * `show` gets the latest round trips in milliseconds, oldest first.
 *
 * @param {Root.Socket} socket
 * @param {(samples: number[]) => void} show
 */
export function measureRoundTrip(socket, show) {
  /** @type {number[]} */
  const samples = [];
  let waiting = false;
  async function measure() {
    if (waiting || !socket.connected) return;
    waiting = true;
    const start = performance.now();
    try {
      await socket.timeout(5000).emitWithAck("echo", start);
      samples.push(performance.now() - start);
      samples.splice(0, samples.length - SAMPLES);
      show(samples);
    } catch {
      // No ack: the connection is down, which the status says already.
    } finally {
      waiting = false;
    }
  }
  socket.on("connect", measure);
  setInterval(() => document.hidden || measure(), SAMPLE_INTERVAL);
  return measure;
}
