// Curves: score and sensitivity below each lane of the timeline, score and strongest regions around the chosen expression.
(() => {
  const { $ } = report;
  const UNKNOWN = 255, ME = 250, PER_CENT = 25, MOST = 10;
  const ROOM = 600; // milliseconds shown before and after an expression
  const LINES = ["--line-1", "--line-2", "--line-3", "--line-4"];

  const prepared = (canvas) => {
    const ratio = globalThis.devicePixelRatio || 1, { clientWidth: w, clientHeight: h } = canvas;
    Object.assign(canvas, { width: Math.max(1, w * ratio), height: Math.max(1, h * ratio) });
    const pen = canvas.getContext("2d"), style = getComputedStyle(canvas);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, w, h);
    return { pen, w, h, colour: (name) => style.getPropertyValue(name).trim() };
  };

  // values at pixels; many to a pixel become their largest
  const line = (pen, values, first, step, x, y, read) => {
    pen.beginPath();
    let drawn = false, at = -1, top = null;
    const put = (px, v) => {
      if (drawn) pen.lineTo(px, y(v));
      else pen.moveTo(px, y(v));
      drawn = true;
    };
    for (let i = 0; i < values.length; i++) {
      const v = read(values[i]);
      if (v === null) {
        if (top !== null) put(at, top);
        [drawn, top] = [false, null];
        continue;
      }
      const px = Math.round(x(first + i * step));
      if (px !== at && top !== null) {
        put(at, top);
        top = null;
      }
      [at, top] = [px, top === null ? v : Math.max(top, v)];
    }
    if (top !== null) put(at, top);
    pen.stroke();
  };

  const part = (curve, from, to) => {
    const a = Math.max(0, Math.floor((from - curve.t) / curve.step)), b = Math.ceil((to - curve.t) / curve.step) + 1;
    return { a, b, t: curve.t + a * curve.step };
  };
  const score = (v) => (v === UNKNOWN ? null : v / ME);
  const share = (v) => (v === UNKNOWN ? null : Math.min(1, v / PER_CENT / MOST));

  const lane = (canvas, scroller, recording, track) => {
    const inner = scroller.firstElementChild, { pen, w, h, colour } = prepared(canvas);
    // the picture begins where the lane does, and stays in sight where that is scrolled away
    const scale = (inner.clientWidth - 2 * report.EDGE) / recording.ms, left = Math.max(report.EDGE, scroller.scrollLeft);
    const from = (left - report.EDGE) / scale, to = from + w / scale;
    const x = (ms) => report.EDGE + ms * scale - left, y = (v) => h - 3 - v * (h - 6);
    for (const curve of recording.curves) {
      if (curve.track !== track) continue;
      const { a, b, t } = part(curve, from, to);
      if (b <= a || a >= curve.me.length) continue;
      pen.lineWidth = 1;
      pen.setLineDash([3, 2]);
      for (const [name, tone] of [["upper", "--line-2"], ["lower", "--line-3"]]) {
        pen.strokeStyle = colour(tone);
        line(pen, curve[name].subarray(a, b), t, curve.step, x, y, share);
      }
      pen.setLineDash([]);
      pen.lineWidth = 1.5;
      pen.strokeStyle = colour("--line-1");
      line(pen, curve.me.subarray(a, b), t, curve.step, x, y, score);
    }
  };

  const lanes = [];
  for (const canvas of document.querySelectorAll("canvas.curve")) {
    const scroller = canvas.closest(".scroller");
    const recording = report.data.recordings.find((one) => one.key === scroller.id);
    const draw = () => {
      canvas.style.width = scroller.clientWidth - 2 * report.EDGE + "px";
      lane(canvas, scroller, recording, Number(canvas.dataset.track));
    };
    scroller.addEventListener("view", draw);
    lanes.push(draw);
  }

  const near = $("near");
  let cursor = null;
  const around = () => {
    const one = report.chosen;
    if (!near || !one) return;
    const recording = report.recordings.get(one.source), { pen, w, h, colour } = prepared(near);
    const [from, to] = [one.onset - ROOM, one.offset + ROOM];
    const x = (ms) => ((ms - from) / (to - from)) * w, y = (v) => h - 16 - v * (h - 22);
    pen.fillStyle = colour("--span");
    pen.fillRect(x(one.onset), 0, x(one.offset) - x(one.onset), h - 14);
    pen.strokeStyle = colour("--line");
    pen.beginPath();
    pen.moveTo(x(one.apex), 0);
    pen.lineTo(x(one.apex), h - 14);
    pen.stroke();
    const regions = one.regions?.of ?? [];
    const most = Math.max(1, ...regions.flatMap((each) => each.v.filter((v) => v !== null)));
    pen.lineWidth = 1.5;
    regions.forEach((each, n) => {
      pen.strokeStyle = colour(LINES[n % LINES.length]);
      pen.setLineDash(n ? [4 - n, n + 1] : []);
      line(pen, each.v, one.regions.t, one.regions.step, x, y, (v) => (v === null ? null : v / most));
    });
    pen.setLineDash([]);
    pen.lineWidth = 2;
    pen.strokeStyle = colour("--ink");
    for (const curve of recording.curves) {
      if (curve.track !== one.track) continue;
      const { a, b, t } = part(curve, from, to);
      if (a < curve.me.length && b > a) line(pen, curve.me.subarray(a, b), t, curve.step, x, y, score);
    }
    if (cursor !== null && cursor >= from && cursor <= to) {
      pen.strokeStyle = colour("--cursor");
      pen.beginPath();
      pen.moveTo(x(cursor), 0);
      pen.lineTo(x(cursor), h - 14);
      pen.stroke();
    }
    pen.fillStyle = colour("--soft");
    pen.font = "11px system-ui, sans-serif";
    for (const [ms, name, side] of [[one.onset, "onset", "right"], [one.apex, "apex", "center"], [one.offset, "offset", "left"]]) {
      pen.textAlign = side;
      pen.fillText(name, x(ms), h - 3);
    }
    const keys = [report.make("span", {}, report.make("i", { class: "stroke score" }), "score, 0 to 1")];
    regions.forEach((each, n) => keys.push(report.make("span", {}, report.make("i", { class: `stroke line-${n + 1}` }), each.name)));
    if (regions.length) keys.push(report.make("span", { text: `motion over 100 ms; the top of the picture is ${most.toFixed(1)} % of the eye distance` }));
    $("near-key").replaceChildren(...keys);
  };
  const all = () => {
    lanes.forEach((draw) => draw());
    around();
  };
  report.on("select", around);
  report.on("time", (recording, ms) => {
    if (!report.chosen || recording.id !== report.chosen.source) return;
    cursor = ms;
    around();
  });
  addEventListener("resize", all);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  all();
})();
