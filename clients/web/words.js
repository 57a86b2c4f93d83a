// Words for what codes say: states of sources, parts of the server, what to do about it.

const STATES = {
  waiting: ["no picture yet", "warn"], online: ["online", "ok"], offline: ["no picture", "bad"], reconnecting: ["reconnecting …", "warn"],
  ended: ["ended", "muted"], frozen: ["picture does not change", "warn"], dark: ["picture is dark", "warn"],
};
const CONSENT = { consent_missing: ["waiting for consent", "warn"], consent_withdrawn: ["consent withdrawn", "bad"] };
const REMEDIES = {
  frozen: "The same picture for three seconds: check the camera, its cover and its cable. Nothing is judged.",
  dark: "The picture is black: open the cover or put light on the face. Nothing is judged.",
};

// {text, level: ok | warn | bad | muted, more: a sentence with what to do, or ""}
export function stateOf(one) {
  const [text, level] = (one.state === "offline" && CONSENT[one.code]) || STATES[one.state] || [one.state.replaceAll("_", " "), "warn"];
  if (one.state === "ended") return ended(one, text);
  if (one.state !== "online") return { text, level, more: REMEDIES[one.state] ?? sentence(one.detail) };
  if (one.degraded) return { text: "too much to do", level: "warn", more: sentence(one.degraded.message) };
  const setup = one.stats.setup;
  if (setup && !setup.ready) {
    const why = setup.checks.filter((check) => check.level === "bad").map((check) => check.text).join("; ");
    return { text: "not judged now", level: "bad", more: sentence(why) };
  }
  return { text, level, more: "" };
}

function ended(one, text) {
  const level = "muted";
  if (one.code) return { text, level: "bad", more: `${sentence(one.detail)} The source is not tried again.` };
  if (one.early) return { text: "ended early", level: "warn", more: sentence(one.detail) };
  const frames = one.frames === undefined ? "" : ` (${one.frames} frames)`;
  return { text, level, more: `The recording was played to its end${frames}. Nothing more will come.` };
}

export function sentence(text) {
  if (!text) return "";
  const whole = text[0].toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}

const PARTS = {
  previews: "The small pictures", retention: "Deleting old data", stats: "The counts", journal: "The event log", audit: "The audit log",
};

// a part of the server that failed, for people
export function workerWords(name, { message }) {
  const describe = name.startsWith("mellm-describe") || name.startsWith("describe");
  const source = /^(watch|read|tell|session|video)-(.+)$/.exec(name);
  const part = PARTS[name] ?? (describe ? "Describing" : source ? `A part of source ${source[2]}` : `Source ${name}`);
  return `${part} failed and will be started again${message ? `: ${sentence(message)}` : "."}`;
}

export const CONNECTION = { connected: "connected", connecting: "connecting …", waiting: "connection lost, trying again …",
  token: "a token is needed", refused: "refused", closed: "closed" };
