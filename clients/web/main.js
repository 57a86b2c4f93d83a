import { Camera } from "./camera.js";
import { card, make } from "./cards.js";
import { enlargeable } from "./enlarge.js";
import { outline, overlay } from "./face.js";
import { LookBack } from "./lookback.js";
import { Client } from "./protocol.js";
import { Sessions, sessionWords } from "./session.js";
import { created, empty, reduce } from "./state.js";
import { draw, judgedNow, judgedSoFar } from "./timeline.js";
import { CONNECTION, stateOf, workerWords } from "./words.js";

const $ = (id) => document.getElementById(id);
const SHOWN = 60; // cards in the page; older ones come with the button
const state = empty();
const cards = new Map(); // id → {node, revision}
const pictures = new Map(); // id → object URLs of faces and motion map, null for what there is not
const asking = new Set();
let client, shown = SHOWN, dirty = true, camera = null;

const filters = () => ({
  source: $("filter-source").value, class: $("filter-class").value, score: Number($("filter-score").value),
  described: $("filter-described").checked,
});

function connect(token = null) {
  client?.close();
  // relative to the page: a proxy may have put the server below a path
  const place = new URL("v1/stream", document.baseURI);
  place.protocol = place.protocol === "https:" ? "wss:" : "ws:";
  place.search = place.hash = "";
  client = new Client(place.href, {
    hello: (data) => ($("notice").textContent = data.notice),
    created: (data) => {
      created(state, data);
      $("token-form").hidden = true;
      panels();
      wanted();
    },
    state: (name, detail) => {
      $("connection").textContent = CONNECTION[name];
      $("connection").className = `state ${name}`;
      $("connection").title = detail;
      $("token-form").hidden = name !== "token";
      if (name !== "connected") camera?.stop();
      else for (const [id, { node }] of cards) if (!pictures.has(id)) evidence(id, node.querySelector(".map"));
    },
    event: (envelope, picture) => {
      if (envelope.type === "preview") return preview(envelope, picture);
      if (envelope.type === "score" && camera?.source === envelope.source) camera.scored(envelope.data.t_ms);
      reduce(state, envelope);
      if (envelope.type === "stats") sessions.refresh();
      if (!document.getElementById(`panel-${envelope.source}`) && envelope.source) panels();
      dirty = true;
    },
  }, { token, replay: 2000 });
  client.open();
}

// Previews cost the server work: only where a source allows them.
function wanted() {
  const some = [...state.sources.values()].some((one) => one.preview);
  const types = ["source.*", "face.*", "expression.*", "marker", "server.worker", "score", "stats"];
  if (some && !client.types) {
    client.types = [...types, "preview"];
    client.send({ type: "subscribe", types: client.types, after: client.position });
  }
}

function panels() {
  for (const one of state.sources.values()) {
    if ($(`panel-${one.id}`)) continue;
    const panel = make("section", { class: "source", id: `panel-${one.id}`, "aria-label": `source ${one.id}` },
      make("header", {}, make("h2", { text: one.id }), make("span", { class: "state", "data-part": "state" }), make("span", { class: "actions" },
        ...(one.push ? [make("button", { type: "button", "data-part": "push", text: "Use my camera", onclick: () => push(one) })] : []),
        ...(sessions.offered ? [
          make("button", { type: "button", "data-part": "session-new", text: "New session …", onclick: () => sessions.open(one) }),
          make("button", { type: "button", "data-part": "session-save", text: "Save session", onclick: () => save(one) })] : []),
        ...(state.writes ? [make("button", { type: "button", "data-part": "withdraw", text: "Withdraw consent", onclick: () => withdraw(one) })] : []))),
      make("p", { class: "why", "data-part": "why", hidden: "" }),
      make("p", { class: "health", "data-part": "session", role: "status", hidden: "" }),
      make("div", { class: "stage" },
        make("canvas", { class: "preview", width: "320", height: "180", "data-part": "preview", "aria-label": "picture or face boxes" })),
      make("canvas", { class: "timeline", "data-part": "timeline", role: "img", "aria-label": "spotting scores of the last 30 seconds" }),
      make("p", { class: "health judged", "data-part": "judged" }),
      make("p", { class: "health", "data-part": "health" }),
      make("p", { class: "health", "data-part": "pushed", hidden: "" }),
      make("p", { class: "health", "data-part": "withdrawn", role: "status", hidden: "" }));
    $("sources").append(panel);
    $("filter-source").append(make("option", { value: one.id, text: one.id }));
    $("marker-source").append(make("option", { value: one.id, text: one.id }));
  }
}

async function save(one) {
  const line = part(one.id, "session");
  line.hidden = false;
  line.textContent = "being saved …";
  try {
    await client.save(one.id);
    if (camera?.running && camera.source === one.id && state.sessions.consent_text !== undefined) await push(one);
  } catch (error) {
    one.saved = null;
    line.textContent = error.message;
    return;
  }
  dirty = true;
}

// Asked twice, for it cannot be undone.
async function withdraw(one) {
  const button = part(one.id, "withdraw"), line = part(one.id, "withdrawn");
  line.hidden = false;
  if (button.dataset.sure === undefined) {
    button.dataset.sure = "";
    button.textContent = "Stop and erase";
    line.textContent = `This permanently stops ${one.id} and deletes its stored data${one.consent ? ` (consent ${one.consent})` : ""}. Press again to confirm.`;
    setTimeout(() => {
      if (button.disabled) return;
      delete button.dataset.sure;
      button.textContent = "Withdraw consent";
      line.hidden = true;
    }, 10000);
    return;
  }
  button.disabled = true;
  line.textContent = "being erased …";
  try {
    const gone = await client.withdraw(one.id);
    line.textContent = `Withdrawn: ${gone.expressions} expressions, ${gone.events} events and ${gone.files} files were erased.`;
  } catch (error) {
    line.textContent = error.message;
  }
}

async function push(one) {
  const button = part(one.id, "push"), line = part(one.id, "pushed");
  if (camera?.running) {
    camera.stop();
    button.textContent = "Use my camera";
    return;
  }
  camera = new Camera(client, $("own-camera"), ({ sent, left, fps, late }) => {
    line.hidden = false;
    const delay = late === undefined ? "" : `, delay ${Math.round(late)} ms`;
    line.textContent = `your camera: ${fps} pictures a second sent (${sent} in all, ${left} left out)${delay}`;
  });
  try {
    await camera.start(one.id);
    button.textContent = "Stop my camera";
  } catch (error) {
    line.hidden = false;
    line.textContent = `your camera cannot be used: ${error.message}`;
  }
}

const part = (id, name) => $(`panel-${id}`).querySelector(`[data-part="${name}"]`);

async function preview({ source, data }, bytes) {
  const one = state.sources.get(source);
  if (!one || !$(`panel-${source}`) || lookBack.paused) return;
  const bitmap = await createImageBitmap(new Blob([bytes], { type: data.media_type }));
  const canvas = part(source, "preview");
  Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
  const pen = canvas.getContext("2d");
  pen.drawImage(bitmap, 0, 0);
  bitmap.close();
  boxes(pen, one, canvas.width);
  one.pictured = true;
}

function boxes(pen, one, width, colour = "#f5b301") {
  if (!one.size) return; // a box in the wrong place is worse than none
  const scale = width / one.size[0];
  pen.lineWidth = 2;
  pen.font = "13px system-ui, sans-serif";
  for (const points of one.faces.values()) {
    overlay(pen, points, scale, colour);
    outline(pen, points, scale, colour);
  }
  for (const [track, [x, y, w, h]] of one.boxes) {
    pen.strokeStyle = pen.fillStyle = colour;
    pen.strokeRect(x * scale, y * scale, w * scale, h * scale);
    pen.fillText(`face ${track}`, x * scale + 3, y * scale - 5);
  }
}

// Without a preview the page shows where faces are, and nothing of them.
function schematic(one) {
  const canvas = part(one.id, "preview");
  const [w, h] = one.size ?? [320, 180];
  Object.assign(canvas, { width: 320, height: Math.round((320 * h) / w) });
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  pen.fillStyle = style.getPropertyValue("--panel-2");
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = style.getPropertyValue("--muted");
  pen.font = "13px system-ui, sans-serif";
  pen.fillText("no picture, landmarks only: preview is off", 8, canvas.height - 10);
  boxes(pen, one, 320, style.getPropertyValue("--warn"));
}

// Onset, apex and motion map side by side; without kept faces (the usual case) the motion map alone.
function evidence(id, holder) {
  const [faces, map] = pictures.get(id) ?? [];
  if (pictures.has(id)) {
    const shown = [];
    if (faces) shown.push(figure(faces, "onset", "face at the onset"), figure(faces, "apex", "face at the apex"));
    if (map) shown.push(figure(map, "motion", "motion map: colour is direction, strength is distance"));
    holder.classList.toggle("row", Boolean(faces));
    holder.replaceChildren(...(shown.length ? shown : [make("span", { class: "none", text: "motion map not kept" })]));
    return;
  }
  if (asking.has(id)) return;
  asking.add(id);
  Promise.all([client.evidence(id, "faces"), client.evidence(id)]).then((found) => {
    // right after the spotting the map may not be there yet: asked again when the description comes
    if (!found[1] && state.expressions.get(id)?.stage === "spotted") return;
    if (!state.expressions.has(id)) return;
    pictures.set(id, found.map((bytes) => bytes && URL.createObjectURL(new Blob([bytes], { type: "image/png" }))));
    const now = cards.get(id)?.node.querySelector(".map"); // the card may have been drawn anew meanwhile
    if (now) evidence(id, now);
  }).catch(() => {}) // asked again with the card's next change
    .finally(() => asking.delete(id));
}

function figure(url, name, alt) {
  return make("figure", {}, make("img", { src: url, alt, class: name }), make("figcaption", { text: name }));
}

function passes(item, chosen) {
  const one = state.sources.get(item.source);
  if (lookBack.paused && one && item.data.offset_ms > lookBack.end(one)) return false;
  const coarse = item.data.description?.emotion?.coarse ?? "";
  return (!chosen.source || item.source === chosen.source) && (!chosen.class || coarse === chosen.class) &&
    item.data.score >= chosen.score && (!chosen.described || item.stage === "described");
}

function render() {
  requestAnimationFrame(render);
  if (!dirty) return;
  dirty = false;
  for (const one of state.sources.values()) {
    if (!$(`panel-${one.id}`)) continue;
    const where = part(one.id, "state");
    const { text, level, more } = stateOf(one), why = part(one.id, "why");
    where.textContent = text;
    where.className = `state ${level}`;
    Object.assign(why, { textContent: more, className: `why ${level}`, hidden: !more });
    if (sessions.offered) {
      const said = sessionWords(one, state.sessions), line = part(one.id, "session");
      if (said) Object.assign(line, { textContent: said, hidden: false });
      part(one.id, "session-save").disabled = !one.session;
    }
    draw(part(one.id, "timeline"), one, lookBack.end(one));
    part(one.id, "judged").textContent = [lookBack.paused ? "" : judgedNow(one), judgedSoFar(one.stats)].filter(Boolean).join("\n");
    if (!one.preview && !lookBack.paused) schematic(one);
    const s = one.stats;
    const dropped = Object.values(s.dropped ?? {}).reduce((a, b) => a + b, 0);
    part(one.id, "health").textContent = s.captured === undefined ? "" :
      `${s.fps.toFixed(0)} fps in · ${s.analysed} analysed · ${dropped} dropped (${((100 * dropped) / Math.max(1, s.captured)).toFixed(1)} %) · ` +
      (s.score_p95_ms ? `delay ${Math.round(s.score_p95_ms)} ms · ` : "no face judged yet · ") + `${s.waiting} ${s.waiting === 1 ? "frame" : "frames"} waiting`;
  }
  const problems = [...state.workers].map(([name, data]) => make("li", { text: workerWords(name, data) }));
  $("problems").hidden = !problems.length;
  $("problems").replaceChildren(...problems);
  const pending = state.totals.pending ?? 0;
  const describer = state.describer && ` · describer: ${state.describer}${state.away ? ", away" : ""}`;
  $("health").textContent = `expressions here: ${state.expressions.size} · waiting for a description: ${pending}${describer} · viewers: ${state.clients}`;
  list();
}

function list() {
  const chosen = filters();
  const items = [...state.expressions.values()].filter((item) => passes(item, chosen)).reverse();
  const seen = items.slice(0, shown);
  const keep = new Set(seen.map((item) => item.id));
  for (const [id, held] of cards) if (!keep.has(id)) {
    held.node.remove();
    cards.delete(id);
  }
  for (const [id, urls] of pictures) if (!state.expressions.has(id)) {
    for (const url of urls) if (url) URL.revokeObjectURL(url);
    pictures.delete(id);
  }
  const box = $("cards");
  let before = box.firstChild;
  for (const item of seen) {
    const held = cards.get(item.id);
    if (held?.revision !== item.revision) {
      const node = card(item, evidence);
      if (held) {
        const focused = held.node === document.activeElement;
        if (before === held.node) before = node;
        held.node.replaceWith(node);
        if (focused) node.focus();
      } else box.insertBefore(node, before);
      cards.set(item.id, { node, revision: item.revision });
    }
    const { node } = cards.get(item.id);
    if (node !== before) box.insertBefore(node, before);
    else before = before.nextSibling;
    if (node.nextSibling !== before) before = node.nextSibling;
  }
  $("empty").hidden = seen.length > 0;
  $("more").hidden = items.length <= shown;
  $("count").textContent = `${items.length} of ${state.expressions.size}`;
}

const lookBack = new LookBack(state, { button: $("pause"), slider: $("back"), label: $("paused") }, () => (dirty = true));
const sessions = new Sessions(state, {
  agree: (source, sha256) => client.agree(source, sha256), begin: (source) => client.begin(source),
}, $("session"), (one) => (camera?.running ? null : push(one)));
enlargeable($("cards"), $("enlarged"));
$("cards").addEventListener("click", (event) => {
  const article = event.target.closest("h3")?.closest(".card"), item = article && state.expressions.get(article.dataset.id);
  if (item) lookBack.to(item.source, item.data.offset_ms);
});

for (const id of ["filter-source", "filter-class", "filter-score", "filter-described"])
  $(id).addEventListener("input", () => {
    $("score-shown").textContent = Number($("filter-score").value).toFixed(2);
    dirty = true;
  });
$("more").addEventListener("click", () => {
  shown += SHOWN;
  dirty = true;
});
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  connect($("token").value);
  $("token").value = "";
});
$("marker-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const label = $("marker-label").value.trim();
  if (label && client.marker(label, $("marker-source").value)) $("marker-label").value = "";
});
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, select, textarea, button") || document.querySelector("dialog[open]")) return;
  if (event.key === " ") {
    event.preventDefault();
    lookBack.pause(!lookBack.paused);
  }
  if (event.key === "," || event.key === ".") lookBack.step(event.key === "," ? 5 : -5);
  if (event.key === "m") {
    event.preventDefault();
    $("marker-label").focus();
  }
  if (event.key !== "j" && event.key !== "k") return;
  const all = [...$("cards").children], at = all.indexOf(document.activeElement);
  all[Math.max(0, Math.min(all.length - 1, at + (event.key === "j" ? 1 : -1)))]?.focus();
});
addEventListener("resize", () => (dirty = true));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (dirty = true));
connect();
render();
