/** Types of protocol.js, the JavaScript client of mellm.v1. The fields of `data` are in docs/schema/mellm.v1.schema.json. */

export interface Position {
  epoch: string;
  seq: number;
}

/** One thing that happened. Reliable events have a `seq` without holes; `score`, `stats` and `preview` have none. */
export interface Envelope<Data = Record<string, unknown>> {
  type: string;
  id: string;
  seq: number | null;
  epoch: string;
  /** Empty when it is about the whole server. */
  source: string;
  /** RFC 3339; for latency only. */
  time: string;
  data: Data;
}

export type State = "connecting" | "connected" | "waiting" | "token" | "refused" | "closed";

export interface Handlers {
  /** Every event once, in order, over any number of connections; the picture of a `preview`. */
  event?(envelope: Envelope, picture: Uint8Array | null): void;
  /** `waiting`: it comes back by itself. `token`, `refused`: it does not. */
  state?(name: State, detail: string): void;
  hello?(data: Record<string, unknown> & { notice: string; auth_needed: boolean }): void;
  created?(data: Created): void;
  /** What the server refused and nobody waits for, such as a marker. */
  error?(data: { code: string; message: string; ref: string | null }): void;
}

export interface Created {
  access: { name: string; scopes: string[]; sources: string[] | null };
  sources: Array<{ id: string; state: string; preview: boolean; push: boolean } & Record<string, unknown>>;
  models: Record<string, Record<string, unknown>>;
  evidence: EvidenceKind[];
  replay: { epoch: string; from_seq: number; to_seq: number };
  sessions?: { video: boolean; consent_text?: string; consent_sha256?: string };
}

export type EvidenceKind = "motion" | "faces";

export interface Options {
  /** Presented in the first message. */
  token?: string | null;
  /** A WebSocket class, where the platform has none. */
  socket?: new (url: string, protocols: string[]) => WebSocket;
  /** Names or families (`expression.*`); all but `preview` when left out. */
  types?: string[] | null;
  sources?: string[] | null;
  /** Passes over expressions below it. */
  minScore?: number;
  /** Replay what came after a place, or everything (`"start"`); from now on when left out. */
  after?: Position | "start" | null;
  /** Without `after`: replay so many of the newest events. */
  replay?: number;
  /** `false`: a break is final. */
  reconnect?: boolean;
}

/** What the server refused. */
export class MellmError extends Error {
  /** Stable, of the protocol: `forbidden`, `unknown_source` … */
  readonly code: string;
  /** Of the connection, where that ended. */
  readonly closeCode: number | null;
}

export interface Pushing {
  limits: { picture_bytes: number; pictures_per_s: number };
  /** timeMs: the sender's clock at capture. Throws when the connection broke. */
  send(jpeg: ArrayBuffer | Uint8Array, timeMs: number): void;
  stop(): Promise<{ pictures: number }>;
}

export class Client {
  constructor(url: string, handlers?: Handlers, options?: Options);
  readonly url: string;
  /** Resolves when the server lets the client in, rejects when it never will. */
  readonly ready: Promise<Created>;
  /** Everything up to it has been seen: keep it, and give it as `after` to go on in another process. */
  readonly position: Position | null;
  readonly reconnects: number;
  open(): void;
  close(): void;
  /** `[envelope, picture]` until the client is closed; throws what was refused. */
  events(): AsyncGenerator<[Envelope, Uint8Array | null]>;
  /** PNG; `null` when there is none (any more). Sent as slowly as the server wants requests. */
  evidence(expression: string, shown?: EvidenceKind): Promise<Uint8Array | null>;
  /** `false` when there is no connection. timeNs: media time, now when left out. */
  marker(label: string, source?: string, timeNs?: string | bigint | null): boolean;
  push(source: string): Promise<Pushing>;
  /** Stops a source for good and erases what it showed. */
  withdraw(source: string): Promise<{ events: number; expressions: number; files: number }>;
  /** The person before the source has read the consent text and answered yes; the reference of the record. */
  agree(source: string, sha256: string): Promise<string>;
  begin(source: string): Promise<{ run: string }>;
  save(source: string): Promise<{ run: string; expressions: number }>;
}

/** The binary message of a pushed picture. */
export function pushed(jpeg: ArrayBuffer | Uint8Array, timeMs: number): Uint8Array;
