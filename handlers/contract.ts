// Written by `trio-sio contract`: do not change it, run that again.

import type { Socket as ClientSocket } from "socket.io-client";

/** What is sent as an attachment. It arrives as an ArrayBuffer in browsers, as a Buffer in Node. */
export type Binary = ArrayBuffer | ArrayBufferView;

/** What acknowledges an event whose handler has failed, or whose arguments do not fit, unless the server is told otherwise. */
export interface ErrorAnswer {
  status: "error";
  message: string;
  path?: string;
}

type Events<Map> = Record<keyof Map, (...args: any[]) => void>;

type Unacknowledged<Arguments> = Arguments extends [...infer Front, (...answer: any[]) => void] ? Front : Arguments;

type Answer<Arguments> = Arguments extends [...any[], (...answer: infer Values) => void]
  ? Values extends [infer First, ...any[]]
    ? First
    : undefined
  : null;

interface Asking<Sent extends Events<Sent>> {
  emitWithAck<Event extends keyof Sent & string>(
    event: Event,
    ...args: Unacknowledged<Parameters<Sent[Event]>>
  ): Promise<Answer<Parameters<Sent[Event]>>>;
}

/** The client's socket. Its `emit` may do without an acknowledgement, and `emitWithAck` has types behind `timeout`, too. */
type TypedSocket<Heard extends Events<Heard>, Sent extends Events<Sent>> = Omit<
  ClientSocket<Heard, Sent>,
  "emit" | "emitWithAck" | "timeout"
> &
  Asking<Sent> & {
    emit<Event extends keyof Sent & string>(
      event: Event,
      ...args: Parameters<Sent[Event]> | Unacknowledged<Parameters<Sent[Event]>>
    ): unknown;
    timeout(milliseconds: number): Omit<ReturnType<ClientSocket<Heard, Sent>["timeout"]>, "emitWithAck"> & Asking<Sent>;
  };

/** The answer to ``join``. */
export type Joined = {
  messages: Message[];
  room: string;
};

/** One message, as clients see it; ``at`` is in milliseconds, as JavaScript's ``Date`` counts. */
export type Message = {
  at: number;
  author: string;
  id: string;
  room: string;
  text: string;
};

/** One line of the list of rooms. */
export type RoomSummary = {
  count: number;
  name: string;
};

/** The name that a client got, and where it can go. */
export type Welcome = {
  name: string;
  rooms: RoomSummary[];
};

/** Answers ``echo`` with its arguments: in the ack where one is wanted, else as an ``echo`` event. */
export namespace Root {
  export const path = "/";

  export interface ClientToServerEvents {
    "echo": (...args: [...args_: unknown[], ack: (answer: unknown) => void]) => void;
  }

  export interface ServerToClientEvents {
    "echo": (...values: unknown[]) => void;
  }

  export type Socket = TypedSocket<ServerToClientEvents, ClientToServerEvents>;
}

/**
 * One person in the chat, who connects with ``auth: {name}``.
 *
 * Text is text: nothing that a client sends is markup, here or on the page.
 */
export namespace Chat {
  export const path = "/chat";

  export interface ClientToServerEvents {
    /** Enter a room, which is made if it is not there. */
    "join": (room: string, ack: (answer: Joined) => void) => void;
    /** Leave a room. */
    "leave": (room: string) => void;
    /** Say something in a room; saying it again with the same id changes nothing. */
    "say": (room: string, text: string, id: string, ack: (answer: Message) => void) => void;
    /** Hint that one is writing. */
    "typing": (room: string) => void;
  }

  export interface ServerToClientEvents {
    /** All rooms, whenever somebody has come or gone. */
    "rooms": (rooms: RoomSummary[]) => void;
    /** Who is in a room: how many, and the names of those who came first. */
    "people": (room: string, count: number, names: string[]) => void;
    /** Somebody else has said something in a room. */
    "said": (message: Message) => void;
    /** Somebody writes; only the latest hint matters, and one may be missing. */
    "typing": (room: string, author: string) => void;
    /** What a client hears first. */
    "welcome": (welcome: Welcome) => void;
  }

  export type Socket = TypedSocket<ServerToClientEvents, ClientToServerEvents>;
}
