// What is known, from events alone: a pure reduction, so that a replay gives the same page as having been there.

export const KEPT_MS = 600000; // scores and marks of the timeline
export const MAX_EXPRESSIONS = 500;

export function empty() {
  return { sources: new Map(), expressions: new Map(), totals: {}, clients: 0, describer: "", away: false, workers: new Map(), sessions: null };
}

function source(state, id) {
  if (!state.sources.has(id))
    state.sources.set(id, {
      id, state: "waiting", detail: "", preview: false, push: false, now: 0, scores: new Map(), spans: [], marks: [],
      gaps: [], boxes: new Map(), faces: new Map(), size: null, stats: {}, code: "", degraded: null, session: null, saved: null,
    });
  return state.sources.get(id);
}

export function created(state, data) {
  const { kind, model } = data.models.describer ?? {};
  state.describer = kind ? [kind, model].filter(Boolean).join(" ") : "";
  state.sessions = data.sessions ?? null;
  state.writes = data.access.scopes.includes("sources:write");
  for (const facts of data.sources) {
    const one = source(state, facts.id);
    one.preview = facts.preview;
    one.push = Boolean(facts.push);
    one.consent = facts.consent;
    if (facts.state !== "offline" || one.state !== "waiting" || facts.code) Object.assign(one, { state: facts.state, code: facts.code ?? "", detail: facts.message ?? "" });
    one.session = facts.session ?? null;
    if (facts.width) one.size = [facts.width, facts.height];
  }
}

export function reduce(state, { type, source: id, data }) {
  const one = id ? source(state, id) : null;
  const at = data.t_ms;
  if (one && typeof at === "number" && type !== "marker") one.now = Math.max(one.now, at);
  if (type === "score") {
    if (!one.scores.has(data.track)) one.scores.set(data.track, []);
    one.scores.get(data.track).push([at, data.me, data.sensitivity?.upper, data.sensitivity?.lower]);
    if (data.box) one.boxes.set(data.track, data.box);
    if (data.landmarks?.length === 68) one.faces.set(data.track, data.landmarks);
  } else if (type === "stats") {
    if (one) one.stats = data;
    else Object.assign(state, { totals: data.expressions ?? {}, clients: data.clients ?? 0 });
  } else if (type.startsWith("source.")) {
    what(one, type.slice(7), data);
  } else if (type === "face.appeared") one.boxes.set(data.track, data.box);
  else if (type === "face.lost") {
    one.boxes.delete(data.track);
    one.faces.delete(data.track);
  } else if (type.startsWith("expression.")) expression(state, one, type.slice(11), data);
  else if (type === "marker") {
    const clocks = id ? { [id]: { t_ns: data.t_ns } } : (data.clocks ?? {});
    for (const [name, clock] of Object.entries(clocks))
      if (clock.t_ns !== undefined) source(state, name).marks.push([Number(clock.t_ns) / 1e6, data.label]);
  } else if (type === "server.worker") {
    if (data.state === "failed") state.workers.set(data.worker, data);
    else state.workers.delete(data.worker);
  } else if (type === "events.erased") {
    for (const [key, card] of state.expressions) if (card.source === id) state.expressions.delete(key);
    if (one) one.spans = [];
  }
  if (one) forget(one);
  return state;
}

function what(one, name, data) {
  if (data.consent) one.consent = data.consent;
  if (name === "gap") {
    one.gaps.push([data.from_ms, data.to_ms]);
    return;
  }
  if (name === "degraded") {
    one.degraded = data.degraded ? data : null;
    return;
  }
  if (name === "session") {
    one.session = data.state === "begun" ? data.run : null;
    if (data.state === "saved") one.saved = data;
    return;
  }
  if (name === "picture") {
    one.state = data.state === "live" ? "online" : data.state;
    return;
  }
  one.state = name;
  Object.assign(one, { detail: data.message ?? "", code: data.code ?? "", early: Boolean(data.early), frames: data.frames });
  if (data.width) one.size = [data.width, data.height];
  if (name !== "online") {
    one.degraded = null;
    one.stats = { ...one.stats, setup: undefined };
    one.boxes.clear();
    one.faces.clear();
  }
}

function expression(state, one, stage, data) {
  const card = state.expressions.get(data.id) ?? { id: data.id, source: one.id, revision: 0 };
  // a replay may bring the end of what was seen already; later stages are never undone
  if (stage === "spotted" && card.stage) return;
  if (stage === "described") state.away = Boolean(data.description.fallback);
  else if (data.reason?.startsWith("describer_")) state.away = true;
  Object.assign(card, { stage, data, revision: card.revision + 1 });
  state.expressions.set(data.id, card);
  if (!one.spans.some((span) => span[2] === data.id)) one.spans.push([data.onset_ms, data.offset_ms, data.id]);
  while (state.expressions.size > MAX_EXPRESSIONS) state.expressions.delete(state.expressions.keys().next().value);
}

function forget(one) {
  const since = one.now - KEPT_MS;
  for (const [track, scores] of one.scores) {
    let cut = 0;
    while (cut < scores.length && scores[cut][0] < since) cut += 1;
    if (cut > 50) scores.splice(0, cut);
    if (!scores.length || scores.at(-1)[0] < since) one.scores.delete(track);
  }
  const after = (list) => (list.length && list[0][0] < since - 60000 ? list.filter((item) => item[0] >= since) : list);
  Object.assign(one, { spans: after(one.spans), marks: after(one.marks), gaps: after(one.gaps) });
}
