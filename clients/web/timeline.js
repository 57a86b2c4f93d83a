// Scores of a source over the last half minute, with what was spotted, marked and missed.

const SPAN_MS = 30000;
const COLOURS = ["--line-1", "--line-2", "--line-3", "--line-4"];

export function draw(canvas, one) {
  const ratio = globalThis.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== width * ratio || canvas.height !== height * ratio)
    Object.assign(canvas, { width: width * ratio, height: height * ratio });
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name).trim();
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const [top, bottom] = [14, height - 16];
  const start = one.now - SPAN_MS;
  const x = (t) => ((t - start) / SPAN_MS) * width;
  const y = (score) => bottom - score * (bottom - top);

  pen.fillStyle = colour("--gap");
  for (const [from, to] of one.gaps) if (to > start) pen.fillRect(x(from), top, Math.max(1, x(to) - x(from)), bottom - top);
  pen.fillStyle = colour("--span");
  for (const [on, off] of one.spans) if (off > start) pen.fillRect(x(on), top, Math.max(3, x(off) - x(on)), bottom - top);

  pen.strokeStyle = colour("--grid");
  pen.lineWidth = 1;
  pen.fillStyle = colour("--muted");
  pen.font = "11px system-ui, sans-serif";
  pen.textAlign = "center";
  for (let t = Math.ceil(start / 5000) * 5000; t < one.now; t += 5000) {
    pen.beginPath();
    pen.moveTo(x(t), top);
    pen.lineTo(x(t), bottom);
    pen.stroke();
    if (t >= 0 && x(t) > 20 && x(t) < width - 20) pen.fillText(clock(t), x(t), height - 4);
  }

  let k = 0;
  for (const scores of one.scores.values()) {
    pen.strokeStyle = colour(COLOURS[k++ % COLOURS.length]);
    pen.lineWidth = 1.6;
    pen.beginPath();
    let last = -Infinity;
    for (const [t, score] of scores) {
      if (t < start) continue;
      if (t - last > 500) pen.moveTo(x(t), y(score));
      else pen.lineTo(x(t), y(score));
      last = t;
    }
    pen.stroke();
  }

  pen.textAlign = "left";
  for (const [t, label] of one.marks) {
    if (t < start) continue;
    pen.strokeStyle = pen.fillStyle = colour("--mark");
    pen.beginPath();
    pen.moveTo(x(t), 0);
    pen.lineTo(x(t), bottom);
    pen.stroke();
    pen.fillText(label.slice(0, 24), x(t) + 3, 10);
  }
}

export function clock(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n) => String(n).padStart(2, "0");
  return (s >= 3600 ? `${Math.floor(s / 3600)}:` : "") + `${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}
