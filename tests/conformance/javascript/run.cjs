"use strict";

// node run.cjs URL polling|websocket|upgrade json|msgpack MODULE...
//
// Runs every scenario of the modules, one after the other, and prints one line of JSON for each: what it returned, or how it failed.
// A scenario may also print a signal, on which the other side acts.

const { Scene } = require("./scene.cjs");

const DEADLINE = 5_000;

// JSON with the values that it lacks.
function plain(value) {
  if (value === undefined) return { $undefined: true };
  if (typeof value === "number" && !Number.isFinite(value)) return { $number: String(value) };
  if (Buffer.isBuffer(value)) return { $bytes: value.toString("hex") };
  if (value instanceof ArrayBuffer) return { $bytes: Buffer.from(value).toString("hex") };
  if (value instanceof Date) return { $date: value.getTime() };
  if (Array.isArray(value)) return value.map(plain);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  }
  return value;
}

function print(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function late() {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`not finished after ${DEADLINE} ms`)), DEADLINE).unref();
  });
}

async function main(url, mode, parser, ...modules) {
  for (const module of modules) {
    for (const [scenario, play] of Object.entries(require(`./${module}.cjs`))) {
      const scene = new Scene(url, mode, parser, scenario);
      scene.signal = (signal) => print({ signal });
      try {
        print({ scenario, result: plain(await Promise.race([play(scene), late()])) });
      } catch (error) {
        print({ scenario, error: error.stack });
      }
      scene.close();
    }
  }
  process.exit(0);
}

main(...process.argv.slice(2));
