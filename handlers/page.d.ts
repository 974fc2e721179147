// What the page makes of what it hears.

import type { Manager } from "socket.io-client";
import type { Message } from "./contract";

declare global {
  /** The official client's bundle, which connection.js loads. */
  const io: { Manager: typeof Manager };
}

/** A message as it is shown: whose it is, and whether the server has it. */
export type Shown = Message & { own: boolean; state: "pending" | "sent" | "failed"; reason?: string };

/** A room that one is in, or will be in again as soon as there is a connection. */
export interface Room {
  name: string;
  ready: boolean;
  flushing?: boolean;
  count: number;
  people: string[];
  messages: Shown[];
  unread: number;
  /** Who is typing, with the timer that ends it. */
  typing: Map<string, number>;
}

/** One line of the list of rooms. */
export interface RoomLine {
  name: string;
  count: number;
  unread: number;
  joined: boolean;
}

export interface Status {
  state: "connecting" | "connected" | "reconnecting" | "refused" | "failed";
  transport?: string;
  seconds?: number;
}
