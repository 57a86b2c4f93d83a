// Accept, reject, correct, comment, add: kept in a corrections file (mellm-corrections/1), saved and opened by the user.
(() => {
  const { $, clock, make } = report;
  const table = document.querySelector("table.expressions");
  if (!$("review")) return;
  const FORMAT = "mellm-corrections/1";
  const items = []; // oldest first; of several about one expression the last one holds
  let saved = 0, added = 0;

  const who = () => $("who").value.trim();
  const moment = () => new Date().toISOString().replace(/\.\d+Z$/, "Z");
  const holding = (id) => items.findLast((item) => item.id === id) ?? null;
  const seconds = (name) => ($(name).value === "" ? null : Number($(name).value));

  const say = (text, bad = false) => {
    $("review-note").textContent = text;
    $("review-note").classList.toggle("bad", bad);
  };

  const put = (item) => {
    if (!who()) {
      say("Write your initials first: a correction says who made it.", true);
      $("who").focus();
      return false;
    }
    const whole = { id: null, verdict: "", source: null, track: null, onset_s: null, apex_s: null, offset_s: null,
      units: null, class: null, comment: "", ...item, who: who(), when: moment() };
    const times = [whole.onset_s, whole.apex_s, whole.offset_s].filter((t) => t !== null);
    if (times.some((t, k) => k && t < times[k - 1])) {
      say("Onset, apex and offset have to follow each other.", true);
      return false;
    }
    items.push(whole);
    shown(whole.id);
    say(`${items.length - saved} not saved yet.`);
    return true;
  };

  const VERDICTS = { accept: "accepted", reject: "rejected", correct: "corrected", add: "added" };
  const shown = (id) => {
    const one = report.data.expressions.find((each) => each.id === id), item = holding(id);
    const body = one && $(one.key);
    if (body) {
      body.dataset.verdict = item?.verdict ?? "";
      const cell = body.querySelector(".verdict");
      cell.textContent = item ? VERDICTS[item.verdict] + (item.comment ? ` (${item.comment})` : "") : "";
      document.querySelector(`.mark[href="#${one.key}"]`)?.setAttribute("data-verdict", item?.verdict ?? "");
    }
    lines();
    if (one && one === report.chosen) fill(one);
    report.tell("verdict", one);
  };

  const lines = () => {
    const more = [...new Map(items.filter((item) => item.verdict === "add").map((item) => [item.id, item])).values()];
    $("added").replaceChildren(...more.map((item) =>
      make("li", { text: `added: ${clock(1000 * item.onset_s)} to ${clock(1000 * item.offset_s)}${item.units ? `, AU ${item.units}` : ""}` })));
    const counts = report.data.expressions.map((one) => holding(one.id)?.verdict).filter(Boolean);
    $("progress").textContent = `${counts.length} of ${report.data.expressions.length} looked at` + (more.length ? `, ${more.length} added` : "");
  };

  // the form shows the chosen expression, with what was corrected before
  const fill = (one) => {
    const item = holding(one.id);
    $("chosen-at").textContent = `${clock(one.onset)} to ${clock(one.offset)}${report.data.recordings.length > 1 ? `, ${one.source}` : ""}, face ${one.track}`;
    $("chosen-verdict").textContent = item ? VERDICTS[item.verdict] : "not looked at yet";
    $("onset").value = (item?.onset_s ?? one.onset / 1000).toFixed(3);
    $("apex").value = (item?.apex_s ?? one.apex / 1000).toFixed(3);
    $("offset").value = (item?.offset_s ?? one.offset / 1000).toFixed(3);
    $("coded-units").value = item?.units ?? one.units;
    $("class").value = item?.class ?? one.class;
    $("comment").value = item?.comment ?? "";
    for (const verdict of ["accept", "reject", "correct"]) $(verdict).setAttribute("aria-pressed", String(item?.verdict === verdict));
  };

  const decide = (verdict) => {
    const one = report.chosen;
    if (!one) return say("Choose an expression first (key n).", true);
    const comment = $("comment").value.trim();
    if (verdict !== "correct") return put({ id: one.id, verdict, comment }) && after();
    const changed = (name, value) => (Math.abs(seconds(name) - value / 1000) < 0.0005 ? null : seconds(name));
    const units = $("coded-units").value.trim(), named = $("class").value;
    if (units && !/^[LR]?\d{1,2}(\+[LR]?\d{1,2})*$/.test(units)) return say("Write units as 1+2, R12 or L14.", true);
    return put({
      id: one.id, verdict, comment, onset_s: changed("onset", one.onset), apex_s: changed("apex", one.apex),
      offset_s: changed("offset", one.offset), units: units === one.units ? null : units, class: named === one.class ? null : named || null,
    }) && after();
  };
  const after = () => {
    if ($("go-on").checked) report.next(1);
    return true;
  };

  const add = () => {
    const { recording, ms } = report.now();
    const onset = Math.round(ms) / 1000;
    added += 1;
    const id = `added-${who() || "x"}-${added}-${Math.round(ms)}`;
    if (put({ id, verdict: "add", source: recording.id, onset_s: onset, offset_s: onset + 0.2, comment: $("comment").value.trim() }))
      say(`Added at ${clock(ms)}, 200 ms long.`);
  };

  const undo = () => {
    const at = items.findLastIndex((item) => item.id === report.chosen?.id);
    if (at < 0) return;
    const [gone] = items.splice(at, 1);
    saved = Math.min(saved, items.length);
    shown(gone.id);
    say("The last decision about this expression is taken back.");
  };

  const save = () => {
    const text = JSON.stringify({ format: FORMAT, run: report.data.run, items }, null, 1) + "\n";
    const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })), download: "corrections.json" });
    link.click();
    URL.revokeObjectURL(link.href);
    saved = items.length;
    say("Saved as corrections.json: apply it with `mellm correct RUN corrections.json`.");
  };
  report.corrections = () => ({ format: FORMAT, run: report.data.run, items });

  const load = (text) => {
    let found;
    try {
      found = JSON.parse(text);
    } catch {
      return say("This file is no JSON: choose a corrections file.", true);
    }
    if (found?.format !== FORMAT || !Array.isArray(found.items)) return say(`This is no corrections file (its format has to be ${FORMAT}).`, true);
    const known = new Set(report.data.expressions.map((one) => one.id));
    const fits = found.items.filter((item) => item.verdict === "add" || known.has(item.id));
    items.splice(0, items.length, ...fits);
    saved = items.length;
    for (const one of report.data.expressions) shown(one.id);
    const lost = found.items.length - fits.length;
    const other = found.run && found.run !== report.data.run ? " It was made for another run." : "";
    return say(`${fits.length} corrections opened.${lost ? ` ${lost} are about expressions that are not here.` : ""}${other}`, Boolean(lost || other));
  };
  report.openCorrections = load;

  for (const verdict of ["accept", "reject", "correct"]) $(verdict).addEventListener("click", () => decide(verdict));
  for (const name of ["onset", "apex", "offset"])
    $(`set-${name}`).addEventListener("click", () => ($(name).value = (report.now().ms / 1000).toFixed(3)));
  $("add").addEventListener("click", add);
  $("save").addEventListener("click", save);
  $("load").addEventListener("change", async () => {
    const [file] = $("load").files;
    if (file) load(await file.text());
    $("load").value = "";
  });
  addEventListener("beforeunload", (event) => {
    if (items.length !== saved) event.preventDefault();
  });
  report.on("select", fill);
  Object.assign(report, { decide, undo, save, add });
  if (!table) $("review-one").hidden = true;
  lines();
})();
