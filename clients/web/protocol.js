// A client of mellm.v1: connects, presents a token, subscribes, and after any break goes on where it was.
// No browser needed: tests run it in Node with a WebSocket of their own.

const FINAL = new Set([4400, 4401, 4403, 4408]); // coming back would only repeat the mistake
const START_MS = 250, LONGEST_MS = 15000;

const ANSWERS = ["evidence", "error", "push.accepted", "push.ended", "consent.withdrawn", "consent.given", "run.changed"];

export class Client {
  // handlers: event(envelope, picture), state(name, detail), created(data), hello(data)
  constructor(url, handlers, { token = null, socket = globalThis.WebSocket, types = null, replay = 0 } = {}) {
    Object.assign(this, { url, handlers, token, types, replay });
    this.socketType = socket;
    this.position = null; // {epoch, seq}: everything up to it has been seen
    this.asked = new Map();
    this.waiting = []; // requests that are not sent yet
    this.pumping = null;
    this.pauseMs = 100;
    this.shows = ["motion"];
    this.number = 0;
    this.delay = START_MS;
    this.closed = false;
    this.reconnects = -1;
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

  marker(label, source) {
    return this.send({ type: "marker.add", label, ...(source ? { source } : {}) });
  }

  ask(message) {
    const id = `ask-${++this.number}`;
    return new Promise((resolve, reject) => {
      if (!this.send({ ...message, id })) return reject(new Error("not connected"));
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
      this.handlers.created?.(body);
      this.subscribe(body.replay);
      this.tell("connected");
    } else if (this.asked.has(body?.ref) && ANSWERS.includes(type)) {
      const { resolve, reject } = this.asked.get(body.ref);
      this.asked.delete(body.ref);
      if (type !== "error") resolve({ ...body, picture });
      else if (body.code === "no_evidence") resolve({ ...body, picture: null });
      else reject(new Error(body.message));
    } else if (type === "replay.truncated") {
      this.position = { ...body.from };
      this.handlers.event?.(envelope, null);
    } else if (type === "subscribed") {
      this.position ??= { ...body.from };
    } else {
      if (envelope.seq !== null && envelope.seq !== undefined) {
        const at = this.position;
        if (at && at.epoch === envelope.epoch && envelope.seq <= at.seq) return; // seen before the break
        this.position = { epoch: envelope.epoch, seq: envelope.seq };
      }
      this.handlers.event?.(envelope, picture);
    }
  }

  subscribe(replay) {
    const message = { type: "subscribe" };
    if (this.types) message.types = this.types;
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
    for (const { reject } of this.asked.values()) reject(new Error("the connection broke"));
    this.asked.clear();
    for (const { reject } of this.waiting.splice(0)) reject(new Error("the connection broke"));
    if (this.closed) return;
    if (FINAL.has(code)) {
      this.tell(code === 4401 || code === 4408 ? "token" : "refused", reason || `closed with ${code}`);
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
