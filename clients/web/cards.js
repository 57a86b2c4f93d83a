// One card for each expression. Every word from outside is set as text, never as markup.

import { clock } from "./timeline.js";

export const UNITS = {
  1: "inner brow raiser", 2: "outer brow raiser", 4: "brow lowerer", 5: "upper lid raiser", 6: "cheek raiser",
  7: "lid tightener", 9: "nose wrinkler", 10: "upper lip raiser", 12: "lip corner puller", 14: "dimpler",
  15: "lip corner depressor", 16: "lower lip depressor", 17: "chin raiser", 18: "lip pucker", 20: "lip stretcher",
  22: "lip funneler", 23: "lip tightener", 24: "lip pressor", 25: "lips part", 26: "jaw drop", 28: "lip suck",
};

const STAGES = { abstained: "No description", dropped: "Dropped" };

const QUALITY = { ok: "good", warn: "limited", refused: "not judged", fps_warn: "low frame rate", fps_low: "frame rate too low",
  face_small: "face too small", yaw_high: "face turned away" };

// the same words as in engine/results/reasons.py; a test compares them
export const REASONS = {
  not_coded: "a person added it without units or class",
  motion_floor: "the motion is too small to tell from noise",
  motion_large: "the motion is larger than a micro-expression",
  no_unit: "no action unit was recognised",
  unstable: "small changes of the picture change the reading",
  unlikely: "the motion does not look like a micro-expression",
  model_abstained: "the model was not sure",
  model_refused: "the model refused to answer",
  no_face: "the face could not be placed in both pictures",
  face_small: "face too small",
  yaw_high: "face turned away",
  fps_low: "frame rate too low",
  unparsable: "the model's answer could not be read",
  cut_answer: "the model's answer was cut short",
  empty_answer: "the model's answer was empty",
  answer_invalid: "the model's answer was not valid",
  deadline: "no description came in time",
  asked_twice: "describing it ended a process, twice",
  recipe_mismatch: "the describing model reads another kind of motion map",
  overflow: "dropped under load",
  describer_unavailable: "the describing model could not be reached",
  describer_paused: "the describing model could not be reached",
  describer_timeout: "the describing model took too long",
  describer_rejected: "the describing model rejected the request",
  describer_failed: "the describing model failed",
  internal: "an internal error",
  withdrawn: "consent was withdrawn",
  shutdown: "the program was stopped",
  restart: "the server was restarted",
  fps_warn: "frame rate below the recommended 50",
  dark: "dark picture",
  frozen: "frozen picture",
  decode: "frames that could not be decoded",
  pts: "a jump in the time stamps",
  reconnect: "the source was away",
};

const LARGE = "motion_large";

export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

export function card(item, evidence) {
  const { data, stage } = item;
  const node = make("article", { class: `card ${stage}${data.reason === LARGE ? " large" : ""}`, tabindex: "0", "data-id": item.id });
  const length = Math.round(data.offset_ms - data.onset_ms);
  node.append(
    make("header", {},
      make("h3", { text: `${clock(data.apex_ms)} · ${length} ms` }),
      make("span", { class: "where", text: `${item.source}, face ${data.track}` })),
  );
  const picture = make("div", { class: "map" });
  node.append(picture);
  evidence(item.id, picture);
  const body = make("div", { class: "body" });
  node.append(body);
  const described = data.description;
  if (stage === "spotted") body.append(make("p", { class: "pending", text: "being described …" }));
  else if (described && stage === "described") describe(body, described);
  else body.append(make("p", { class: "reason", text: why(stage, data.reason) }));
  body.append(quality(data));
  if (data.regions) node.append(regions(data.regions));
  return node;
}

function why(stage, code) {
  const words = REASONS[code] ?? (code ?? "no reason given").replaceAll("_", " ");
  return code === LARGE ? words[0].toUpperCase() + words.slice(1) : `${STAGES[stage] ?? stage}: ${words}`;
}

function describe(body, said) {
  body.append(make("p", { class: "text", text: said.text }));
  const units = make("ul", { class: "units", "aria-label": "action units" });
  for (const unit of said.action_units)
    units.append(make("li", {},
      make("span", {}, make("strong", { text: `AU${unit.au}` }), ` ${UNITS[unit.au] ?? ""}, ${unit.side}${unit.readings === undefined ? "" : ` (${unit.readings} of ${said.readings} readings)`}`),
      bar(unit.score)));
  if (said.action_units.length) body.append(units);
  if (said.emotion) {
    const classes = make("ul", { class: "classes", "aria-label": "coarse emotion with probabilities" });
    for (const [name, share] of Object.entries(said.emotion.scores))
      classes.append(make("li", name === said.emotion.coarse ? { class: "chosen" } : {},
        make("span", { text: `${name} ${share.toFixed(2)}` }), bar(share)));
    body.append(classes);
  }
  const by = said.fallback ? `${said.model}, standing in for ${said.fallback.model}` : said.model;
  body.append(make("p", { class: "by", text: `read by ${by}` }));
}

// what two words in the wrong order would not say; the others read as they are
const PLACES = {
  brow_outer: "outer brow", brow_mid: "middle of the brow", brow_inner: "inner brow", nose_bridge: "bridge of the nose",
  nose_tip: "tip of the nose", nose_side: "side of the nose", nasolabial: "nasolabial fold",
};
const ARROWS = ["→", "↗", "↑", "↖", "←", "↙", "↓", "↘"];
const MOST = 6;
const FULL = 6; // hundredths of the inter-ocular distance: what fills a bar

// Where the face moved most, largest first; left and right are the person's own, arrows are as the picture shows it.
function regions(moved) {
  const rows = Object.entries(moved)
    .map(([name, [x, y]]) => ({ name, x, y, size: Math.hypot(x, y) }))
    .sort((a, b) => b.size - a.size).slice(0, MOST);
  const list = make("ul", { class: "regions", "aria-label": "regions that moved most" });
  for (const { name, x, y, size } of rows) {
    const octant = (Math.round(Math.atan2(-y, x) / (Math.PI / 4)) + 8) % 8;
    const meter = make("meter", { min: "0", max: String(FULL), value: String(Math.min(FULL, size)), "aria-label": `${size.toFixed(1)} percent` });
    list.append(make("li", {}, make("span", { text: region(name) }), make("span", { class: "arrow", text: ARROWS[octant] }), meter,
      make("span", { class: "size", text: `${size.toFixed(1)} %` })));
  }
  return make("details", { class: "moved" },
    make("summary", { text: "Motion by region" }), list,
    make("p", { class: "by", text: "% of the distance between the eyes, head motion removed; arrows as in the picture." }));
}

function region(name) {
  const side = { L: "left ", R: "right " }[name.at(-1)] ?? "";
  const place = side ? name.slice(0, -2) : name;
  return side + (PLACES[place] ?? place.replaceAll("_", " "));
}

function bar(share) {
  // width as an attribute of its own: the page's security policy allows no inline style
  const meter = make("meter", { min: "0", max: "1", value: String(share) });
  meter.setAttribute("aria-label", share.toFixed(2));
  return meter;
}

function quality(data) {
  const { quality: q } = data;
  const reasons = q.reasons?.map((code) => QUALITY[code] ?? code.replaceAll("_", " ")).join(", ");
  return make("p", { class: "quality",
    text: `spotting score ${data.score.toFixed(2)} · picture quality: ${reasons || (QUALITY[q.verdict] ?? q.verdict)}, ${Math.round(q.fps)} fps, face ${Math.round(q.face_width)} px` });
}
