"use strict";

// Standard input: {name: hex digits of a packet that we encoded}.
// Standard output: the same packets as the official parser encodes them, packets that only JavaScript has, and what became of ours.

const { Decoder, Encoder } = require("socket.io-msgpack-parser");

const SAME = {
  connect: { type: 0, nsp: "/" },
  "connect with auth": { type: 0, data: { token: "é", nested: { list: [1, null, true] } }, nsp: "/chat" },
  connected: { type: 0, data: { sid: "abcdefghijklmnopqrst" }, nsp: "/" },
  disconnect: { type: 1, nsp: "/chat" },
  event: { type: 2, data: ["message", 1, "2", { 3: [false] }], nsp: "/" },
  "event with an ack id": { type: 2, data: ["x"], id: 0, nsp: "/" },
  "large ack id": { type: 2, data: ["x"], id: Number.MAX_SAFE_INTEGER, nsp: "/" },
  ack: { type: 3, data: [], id: 456, nsp: "/" },
  "ack with values": { type: 3, data: [null, "x", Buffer.from("x")], id: 7, nsp: "/admin" },
  refusal: { type: 4, data: { message: "bad token", data: { code: 4001 } }, nsp: "/guarded" },
  "invalid namespace": { type: 4, data: { message: "Invalid namespace" }, nsp: "/nowhere" },
  integers: {
    type: 2,
    data: ["x", ...[0, 1, 127, 128, 255, 256, 65_535, 65_536, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53, 2 ** 63, 2 ** 64 - 2048]],
    nsp: "/",
  },
  "negative integers": {
    type: 2,
    data: ["x", ...[-1, -32, -33, -128, -129, -32_768, -32_769, -(2 ** 31), -(2 ** 31) - 1, -(2 ** 32), -(2 ** 53), -(2 ** 63)]],
    nsp: "/",
  },
  floats: { type: 2, data: ["x", 1.5, -0.1, 5e-324, 123456789.123, NaN, Infinity, -Infinity], nsp: "/" },
  strings: { type: 2, data: ["x", ...[0, 1, 31, 32, 33, 255, 256, 65_535, 65_536].map((length) => "a".repeat(length))], nsp: "/" },
  text: { type: 2, data: ["événement 🎉", "", "漢字", "\0", "🙂".repeat(20)], nsp: "/é" },
  bytes: { type: 2, data: ["x", ...[0, 1, 32, 33, 255, 256, 65_535, 65_536].map((length) => Buffer.alloc(length, 7))], nsp: "/" },
  arrays: { type: 2, data: ["x", ...[0, 15, 16, 65_535, 65_536].map((length) => Array(length).fill(null))], nsp: "/" },
  objects: {
    type: 2,
    data: ["x", ...[0, 15, 16, 65_536].map((length) => Object.fromEntries(Array.from({ length }, (_, index) => [`k${index}`, index])))],
    nsp: "/",
  },
  dates: { type: 2, data: ["x", new Date(0), new Date(-1), new Date(1_751_373_000_123), new Date(-62_135_596_800_000)], nsp: "/" },
};

const THEIRS = {
  undefined: { type: 2, data: ["x", undefined, { a: undefined }], nsp: "/" },
  "undefined fields": { type: 0, data: undefined, id: undefined, nsp: "/" },
  options: { type: 2, data: ["x"], options: { compress: true, volatile: undefined }, nsp: "/" },
  buffers: { type: 2, data: ["x", ...[0, 1, 8, 256, 65_536].map((length) => new ArrayBuffer(length))], nsp: "/" },
  views: { type: 2, data: ["x", new Uint8Array([0]), new Uint8Array([1, 2]), new Float64Array([1.5])], nsp: "/" },
  surrogates: { type: 2, data: ["x", "a\ud800", "\ud800 and more than thirty-two characters"], nsp: "/" },
  "whole floats": { type: 2, data: ["x", 1.0, -0], nsp: "/" },
};

function encode(packets) {
  const encoder = new Encoder();
  return Object.fromEntries(Object.entries(packets).map(([name, packet]) => [name, encoder.encode(packet)[0].toString("hex")]));
}

// Decoded, and encoded again.
function thereAndBack(digits) {
  const decoder = new Decoder();
  const packets = [];
  decoder.on("decoded", (packet) => packets.push(packet));
  decoder.add(Buffer.from(digits, "hex"));
  return new Encoder().encode(packets[0])[0].toString("hex");
}

const ours = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const back = Object.fromEntries(Object.entries(ours).map(([name, digits]) => [name, thereAndBack(digits)]));
process.stdout.write(JSON.stringify({ same: encode(SAME), theirs: encode(THEIRS), back }));
