// A client of mellm.v1: connects, presents a token, subscribes, and after any break goes on where it was.
// Needs a WebSocket and nothing else: browsers, Node 22, Deno and Bun have one; older Node gets one as `socket`.
// Types: protocol.d.ts. How to use it: docs/how-to/javascript.md.

const FINAL = new Set([4400, 4401, 4403, 4408]); // coming back would only repeat the mistake
const START_MS = 250, LONGEST_MS = 15000;
const ANSWERS = ["evidence", "error", "push.accepted", "push.ended", "consent.withdrawn", "consent.given", "run.changed"];
const NOTICES = ["replay.truncated", "replay.done", "stream.skipped"]; // of the stream itself
const CONTROL = new Set([...ANSWERS, ...NOTICES, "hello", "session.created", "session.closed", "subscribed", "unsubscribed"]);

// What the server refused. code: stable, of the protocol; closeCode: of the connection, where that ended.
export class MellmError extends Error {
  constructor(message, { code = "", closeCode = null } = {}) {
    super(message);
    Object.assign(this, { name: "MellmError", code, closeCode });
  }
}

export class Client {
  // handlers: event(envelope, picture), state(name, detail), created(data), hello(data), error(data)
  constructor(url, handlers = {}, { token = null, socket = globalThis.WebSocket, types = null, sources = null, minScore = 0,
    after = null, replay = 0, reconnect = true } = {}) {
    if (!socket) throw new MellmError("this JavaScript has no WebSocket - give one as the option socket");
    Object.assign(this, { url, handlers, token, types, sources, minScore, after, replay, reconnect });
    this.socketType = socket;
    this.position = typeof after === "object" ? after : null; // {epoch, seq}: everything up to it has been seen
    this.asked = new Map();
    this.waiting = []; // requests that are not sent yet
    this.pumping = null;
    this.pauseMs = 100;
    this.shows = ["motion"];
    this.number = 0;
    this.delay = START_MS;
    this.closed = false;
    this.reconnects = -1;
    this.ready = new Promise((resolve, reject) => Object.assign(this, { admitted: resolve, turnedAway: reject }));
    this.ready.catch(() => {}); // whoever waits for it hears of it
  }

  open() {
    this.closed = false;
    this.tell("connecting");
    const socket = new this.socketType(this.url, ["mellm.v1"]);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onmessage = (message) => this.receive(message.data);
    socket.onclose = (end) => this.ended(socket, end.code, end.reason);
    socket.onerror = () => {}; // the close that follows says more
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    clearTimeout(this.pumping);
    if (this.socket) this.socket.close(1000);
    this.tell("closed");
  }

  send(message) {
    if (!this.socket || this.socket.readyState !== 1) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  // The motion map of an expression ("faces": onset beside apex) as bytes; null when there is none (any more).
  // A page full of cards asks for many at once: they are sent as slowly as the server wants them.
  evidence(expression, shown = "motion") {
    if (!this.shows.includes(shown)) return Promise.resolve(null);
    const which = shown === "motion" ? {} : { shown };
    return this.paced({ type: "evidence.get", expression, ...which }).then((answer) => answer.picture ?? null);
  }

  // Stops a source for good and erases what it showed; how much that was.
  withdraw(source) {
    return this.ask({ type: "consent.withdraw", source });
  }

  // Pictures of a source whose address is push: follow; {send(jpeg, timeMs), stop()}.
  async push(source) {
    const accepted = await this.ask({ type: "push.start", source });
    const socket = this.socket;
    return {
      limits: accepted,
      send: (jpeg, timeMs) => {
        if (socket !== this.socket || socket.readyState !== 1) throw new MellmError("the connection broke - push again");
        socket.send(pushed(jpeg, timeMs));
      },
      stop: () => this.ask({ type: "push.stop" }),
    };
  }

  // The same as an asynchronous iterator: [envelope, picture] until the client is closed; beside the handlers, not in place of them.
  async *events() {
    const queue = [];
    let wake = null;
    const heard = this.handlers, { event, state } = heard;
    const awake = () => { wake?.(); wake = null; };
    this.handlers = { ...heard,
      event: (...facts) => { event?.(...facts); queue.push(facts); awake(); },
      state: (...facts) => { state?.(...facts); awake(); } };
    try {
      for (;;) {
        while (queue.length) yield queue.shift();
        if (this.refusal) throw this.refusal;
        if (this.closed) return;
        await new Promise((resolve) => (wake = resolve));
      }
    } finally {
      this.handlers = heard;
    }
  }

  // The person before this source has read the consent text and answered yes; the reference of the record.
  agree(source, sha256) {
    return this.ask({ type: "consent.give", source, sha256 }).then((answer) => answer.reference);
  }

  // A session begins (one that is open is saved first); {run}.
  begin(source) {
    return this.ask({ type: "run.begin", source });
  }

  // The session ends and is saved; {run, expressions}.
  save(source) {
    return this.ask({ type: "run.save", source });
  }

  // An outside event on the media clock: now, or at timeNs (media time as a string or BigInt of nanoseconds).
  marker(label, source, timeNs = null) {
    return this.send({ type: "marker.add", label, ...(source ? { source } : {}), ...(timeNs === null ? {} : { time_ns: String(timeNs) }) });
  }

  ask(message) {
    const id = `ask-${++this.number}`;
    return new Promise((resolve, reject) => {
      if (!this.send({ ...message, id })) return reject(new MellmError("not connected"));
      this.asked.set(id, { resolve, reject });
    });
  }

  paced(message) {
    return new Promise((resolve, reject) => {
      this.waiting.push({ message, resolve, reject });
      this.pump();
    });
  }

  pump() {
    if (this.pumping || !this.waiting.length) return;
    const { message, resolve, reject } = this.waiting.shift();
    this.ask(message).then(resolve, reject);
    this.pumping = setTimeout(() => {
      this.pumping = null;
      this.pump();
    }, this.pauseMs);
  }

  tell(state, detail = "") {
    this.handlers.state?.(state, detail);
  }

  receive(data) {
    let envelope, picture = null;
    if (typeof data === "string") {
      envelope = JSON.parse(data);
    } else {
      const length = new DataView(data).getUint32(0);
      envelope = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
      picture = new Uint8Array(data, 4 + length);
    }
    const { type, data: body } = envelope;
    if (type === "hello") {
      this.pauseMs = 1500 / body.limits.messages_per_s; // leaves a third for whatever else is said
      this.handlers.hello?.(body);
      if (body.auth_needed) {
        if (this.token) this.send({ type: "session.auth", token: this.token });
        else this.tell("token", "this server asks for a token");
      }
    } else if (type === "session.created") {
      this.delay = START_MS;
      this.reconnects += 1;
      this.shows = body.evidence ?? ["motion"];
      this.created = body;
      this.handlers.created?.(body);
      this.subscribe(body.replay);
      this.tell("connected");
      this.admitted(body);
    } else if (this.asked.has(body?.ref) && ANSWERS.includes(type)) {
      const { resolve, reject } = this.asked.get(body.ref);
      this.asked.delete(body.ref);
      if (type !== "error") resolve({ ...body, picture });
      else if (body.code === "no_evidence") resolve({ ...body, picture: null });
      else reject(new MellmError(body.message, { code: body.code }));
    } else if (type === "replay.truncated") {
      this.position = { ...body.from };
      this.handlers.event?.(envelope, null);
    } else if (type === "subscribed") {
      this.position ??= { ...body.from };
    } else if (type === "error" && body.ref === this.subscription) {
      this.refuse(`the subscription was refused: ${body.message}`, body.code, null);
    } else if (NOTICES.includes(type)) {
      this.handlers.event?.(envelope, null);
    } else if (type === "error") {
      this.handlers.error?.(body); // of a message that nobody waits for an answer to, such as a marker
    } else if (CONTROL.has(type)) {
      return; // an answer that nobody waits for any more
    } else {
      if (envelope.seq !== null && envelope.seq !== undefined) {
        const at = this.position;
        if (at && at.epoch === envelope.epoch && envelope.seq <= at.seq) return; // seen before the break
        this.position = { epoch: envelope.epoch, seq: envelope.seq };
      }
      this.handlers.event?.(envelope, picture);
    }
  }

  refuse(message, code, closeCode) {
    this.refusal = new MellmError(message, { code, closeCode });
    this.turnedAway(this.refusal);
    this.tell(closeCode === 4401 || closeCode === 4408 ? "token" : "refused", message);
  }

  subscribe(replay) {
    this.subscription = `subscribe-${++this.number}`;
    const message = { type: "subscribe", id: this.subscription };
    if (this.types) message.types = this.types;
    if (this.sources) message.sources = this.sources;
    if (this.minScore) message.min_score = this.minScore;
    if (this.after === "start" && !this.position) this.position = { epoch: replay.epoch, seq: 0 };
    if (this.position) message.after = this.position;
    else if (this.replay) {
      // of an empty log too: what comes before the subscription arrives must not be missed
      const seq = Math.max(replay.from_seq - 1, replay.to_seq - this.replay, 0);
      message.after = { epoch: replay.epoch, seq };
      this.position = message.after;
    }
    this.send(message);
  }

  ended(socket, code, reason) {
    if (socket !== this.socket) return;
    for (const { reject } of this.asked.values()) reject(new MellmError("the connection broke"));
    this.asked.clear();
    for (const { reject } of this.waiting.splice(0)) reject(new MellmError("the connection broke"));
    if (this.closed) return;
    if (FINAL.has(code) || !this.reconnect) {
      this.refuse(reason || `closed with ${code}`, reason, code);
      return;
    }
    this.tell("waiting", reason || "connection lost");
    // jitter: a thousand pages must not come back in one moment
    this.timer = setTimeout(() => this.open(), this.delay * (0.5 + Math.random() / 2));
    this.delay = Math.min(2 * this.delay, LONGEST_MS);
  }
}

// The binary message of a pushed picture. timeMs: the sender's clock at capture.
export function pushed(jpeg, timeMs) {
  const head = new TextEncoder().encode(JSON.stringify({ time_ns: String(Math.round(timeMs * 1e6)) }));
  const message = new Uint8Array(4 + head.length + jpeg.byteLength);
  new DataView(message.buffer).setUint32(0, head.length);
  message.set(head, 4);
  message.set(new Uint8Array(jpeg), 4 + head.length);
  return message;
}
