// The list of expressions: evidence folded or not, sorted, filtered, chosen.
(() => {
  const MANY = 12; // more expressions than this begin with their evidence folded away
  const table = document.querySelector("table.expressions");
  if (!table) return;
  const bodies = [...table.tBodies];
  const { $ } = report;

  const show = (body, open) => {
    body.querySelector(".evidence").hidden = !open;
    body.querySelector(".toggle").setAttribute("aria-expanded", String(open));
  };
  const all = $("all");
  const everything = (open) => {
    bodies.forEach((body) => show(body, open));
    all.setAttribute("aria-pressed", String(open));
    all.textContent = open ? "Hide all evidence" : "Show all evidence";
  };
  all.addEventListener("click", () => everything(all.getAttribute("aria-pressed") !== "true"));
  table.addEventListener("click", (event) => {
    const body = event.target.closest("tbody"), button = event.target.closest(".toggle");
    if (button) show(body, button.getAttribute("aria-expanded") !== "true");
    else if (body && event.target.closest(".row")) report.select(report.byKey.get(body.id));
  });

  const sorts = document.querySelectorAll("[data-sort]");
  sorts.forEach((button) => button.addEventListener("click", () => {
    const key = button.dataset.sort;
    sorts.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    const order = (body) => Number(body.dataset[key]) * (key === "time" ? 1 : -1);
    bodies.sort((a, b) => order(a) - order(b) || a.dataset.time - b.dataset.time);
    table.append(...bodies);
  }));

  const wanted = () => ({
    class: $("filter-class").value, verdict: $("filter-verdict").value, score: Number($("filter-score").value),
    words: $("filter-words").value.trim().toLowerCase(),
  });
  const passes = (body, { class: css, verdict, score, words }) =>
    (!css || body.dataset.class === css) && Number(body.dataset.score) >= score &&
    (!verdict || (body.dataset.verdict || "open") === verdict) &&
    (!words || body.textContent.toLowerCase().includes(words));
  const filter = () => {
    const now = wanted();
    $("filter-score-shown").textContent = now.score.toFixed(2);
    let shown = 0;
    for (const body of bodies) {
      const yes = passes(body, now);
      body.hidden = !yes;
      shown += yes;
      document.querySelector(`.mark[href="#${body.id}"]`)?.classList.toggle("faint", !yes);
    }
    $("filter-count").textContent = shown === bodies.length ? "" : `${shown} of ${bodies.length}`;
  };
  for (const id of ["filter-class", "filter-verdict", "filter-score", "filter-words"]) $(id).addEventListener("input", filter);
  report.on("verdict", filter);

  report.on("select", (one, { scroll }) => {
    bodies.forEach((body) => body.classList.toggle("chosen", body.id === one.key));
    for (const mark of document.querySelectorAll(".mark")) mark.classList.toggle("chosen", mark.getAttribute("href") === "#" + one.key);
    if (!scroll) return;
    const body = $(one.key);
    show(body, true);
    body.scrollIntoView({ block: "nearest" });
  });

  // the next or the previous of those that are shown, in the order in which they stand
  report.next = (by) => {
    const seen = bodies.filter((body) => !body.hidden);
    if (!seen.length) return;
    const at = seen.findIndex((body) => body.id === report.chosen?.key);
    const to = at < 0 ? 0 : Math.min(seen.length - 1, Math.max(0, at + by));
    report.select(report.byKey.get(seen[to].id), { scroll: true });
  };
  report.unfold = () => {
    const body = report.chosen && $(report.chosen.key);
    if (body) show(body, body.querySelector(".evidence").hidden);
  };

  const aim = () => {
    const body = location.hash && document.getElementById(location.hash.slice(1));
    if (body && bodies.includes(body)) report.select(report.byKey.get(body.id), { scroll: true });
  };
  addEventListener("hashchange", aim);
  everything(bodies.length <= MANY);
  addEventListener("DOMContentLoaded", aim);
})();
