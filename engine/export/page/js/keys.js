// Keys, and the list of them.
(() => {
  const { $ } = report;
  const help = $("help");
  const { controls } = report;
  if (!controls) return;
  const has = (name) => (...facts) => report[name]?.(...facts);
  const KEYS = {
    " ": controls.play, l: () => controls.loop(), ",": () => controls.step(-1), ".": () => controls.step(1),
    ArrowLeft: () => controls.step(-1), ArrowRight: () => controls.step(1),
    n: () => report.next?.(1), p: () => report.next?.(-1),
    a: () => has("decide")("accept"), r: () => has("decide")("reject"), c: () => $("coded-units")?.focus(), m: () => $("comment")?.focus(),
    i: has("add"), u: has("undo"), s: has("save"), e: has("unfold"), "?": () => help.showModal(),
  };
  report.SPEEDS.forEach((speed, k) => (KEYS[String(k + 1)] = () => controls.speed(speed)));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open || $("enlarged").open) return;
    if (event.target.matches("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      if (event.key === "Enter" && event.target.closest("#review-one")) report.decide("correct");
      return;
    }
    if (event.key === " " && event.target.matches("button, summary, a")) return;
    // the timeline has keys of its own
    if (event.target.matches(".scroller") && event.key.startsWith("Arrow")) return;
    const call = KEYS[event.key];
    if (!call) return;
    event.preventDefault();
    call();
  });
  $("show-help").addEventListener("click", () => help.showModal());
  help.addEventListener("click", () => help.close());
})();
