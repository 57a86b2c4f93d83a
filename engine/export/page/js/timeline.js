// The axis of each recording: zoom, ticks, markers; the cursor of the video.
(() => {
  const PIXELS_A_SECOND = 400; // at the closest zoom
  const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600];

  const clock = (seconds, step) => {
    const whole = Math.floor(seconds + 1e-6);
    const two = (n) => String(n).padStart(2, "0");
    const hours = Math.floor(whole / 3600);
    const fraction = step < 1 ? "." + Math.round((seconds - whole) * 10) : "";
    return (hours ? hours + ":" : "") + two(Math.floor(whole / 60) % 60) + ":" + two(whole % 60) + fraction;
  };

  const axis = (scroller) => {
    const seconds = Number(scroller.dataset.ms) / 1000;
    const inner = scroller.firstElementChild;
    const pixels = inner.clientWidth / seconds;
    const step = STEPS.find((s) => s * pixels >= 80) ?? STEPS[STEPS.length - 1];
    // only what is in sight: an hour at the closest zoom has thousands of ticks
    const from = Math.max(0, Math.floor(scroller.scrollLeft / pixels / step) - 2);
    const to = Math.min(Math.floor(seconds / step), Math.ceil((scroller.scrollLeft + scroller.clientWidth) / pixels / step) + 2);
    const ticks = [];
    for (let k = from; k <= to; k++) {
      const at = k * step;
      const left = (100 * at) / seconds;
      if (left > 100 - (60 * 100) / inner.clientWidth && k > 0) break;
      const tick = document.createElement("span");
      tick.style.left = left + "%";
      tick.textContent = clock(at, step);
      ticks.push(tick);
    }
    inner.querySelector(".axis").replaceChildren(...ticks);
    crowd(scroller);
    scroller.dispatchEvent(new CustomEvent("view"));
  };

  // labels of markers that would run into the next one are cut
  const crowd = (scroller) => {
    const width = scroller.firstElementChild.clientWidth;
    const flags = [...scroller.querySelectorAll(".flags .flag")];
    flags.forEach((flag, k) => {
      const here = parseFloat(flag.style.left);
      const next = k + 1 < flags.length ? parseFloat(flags[k + 1].style.left) : 100;
      flag.style.maxWidth = Math.max(12, ((next - here) / 100) * width - 4) + "px";
    });
  };

  const zoom = (scroller, by, middle) => {
    const inner = scroller.firstElementChild;
    const seconds = Number(scroller.dataset.ms) / 1000;
    const most = Math.max(1, (seconds * PIXELS_A_SECOND) / scroller.clientWidth);
    const now = Number(scroller.dataset.zoom || 1);
    const next = by ? Math.min(most, Math.max(1, now * by)) : 1;
    const at = middle ?? scroller.clientWidth / 2;
    const place = (scroller.scrollLeft + at) / now;
    scroller.dataset.zoom = next;
    inner.style.width = next * 100 + "%";
    scroller.scrollLeft = place * next - at;
    const said = document.querySelector(`[data-zoom="${scroller.id}"] output`);
    if (said) said.textContent = next > 1 ? "×" + (next < 10 ? next.toFixed(1) : Math.round(next)) : "";
    axis(scroller);
  };

  for (const scroller of document.querySelectorAll(".scroller")) {
    let due = 0;
    scroller.addEventListener("scroll", () => {
      cancelAnimationFrame(due);
      due = requestAnimationFrame(() => axis(scroller));
    });
    scroller.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoom(scroller, event.deltaY < 0 ? 1.25 : 0.8, event.clientX - scroller.getBoundingClientRect().left);
    }, { passive: false });
    scroller.addEventListener("keydown", (event) => {
      if (event.key === "+" || event.key === "=") zoom(scroller, 2);
      else if (event.key === "-") zoom(scroller, 0.5);
      else if (event.key === "0") zoom(scroller, 0);
      else return;
      event.preventDefault();
    });
    axis(scroller);
  }
  addEventListener("resize", () => document.querySelectorAll(".scroller").forEach(axis));
  for (const bar of document.querySelectorAll(".controls[data-zoom]")) {
    bar.addEventListener("click", (event) => {
      const by = event.target.dataset?.by;
      if (by !== undefined) zoom(document.getElementById(bar.dataset.zoom), Number(by));
    });
  }

  // the cursor follows the video, and a click on a lane seeks there
  for (const recording of report.data.recordings) {
    const scroller = report.$(recording.key);
    const inner = scroller.firstElementChild;
    const cursor = report.make("i", { class: "cursor", hidden: "" });
    inner.append(cursor);
    report.on("time", (one, ms) => {
      cursor.hidden = one !== recording;
      cursor.style.left = `calc(${report.EDGE}px + (100% - ${2 * report.EDGE}px) * ${ms / recording.ms})`;
    });
    inner.addEventListener("click", (event) => {
      const mark = event.target.closest(".mark");
      if (mark) {
        event.preventDefault();
        report.select(report.byKey.get(mark.getAttribute("href").slice(1)), { scroll: true });
        return;
      }
      if (event.target.closest(".lane, .axis, .curve")) {
        const box = inner.getBoundingClientRect();
        report.seek(recording, ((event.clientX - box.left - report.EDGE) / (box.width - 2 * report.EDGE)) * recording.ms);
      }
    });
  }
})();
