// Scores of a source over the last half minute, with what was spotted, marked and missed, and what could be judged.

const SPAN_MS = 30000;
export const BARS = [2, 3]; // per cent of the eye distance: a motion of this size would be found
export const MOST = 10; // what is told is this or more
const STRIP = 5; // height of a half's strip
const COLOURS = ["--line-1", "--line-2", "--line-3", "--line-4"];

// end: the moment at the right edge, milliseconds of the source
export function draw(canvas, one, end = one.now) {
  const ratio = globalThis.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== width * ratio || canvas.height !== height * ratio)
    Object.assign(canvas, { width: width * ratio, height: height * ratio });
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name).trim();
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const [top, bottom] = [14, height - 18 - 2 * STRIP];
  const start = end - SPAN_MS;
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
  for (let t = Math.ceil(start / 5000) * 5000; t < end; t += 5000) {
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
      if (t < start || t > end) continue;
      if (t - last > 500) pen.moveTo(x(t), y(score));
      else pen.lineTo(x(t), y(score));
      last = t;
    }
    pen.stroke();
  }

  for (const scores of [...one.scores.values()].slice(0, 1)) strips(pen, scores, { start, x, top: bottom + 3, colour });

  pen.textAlign = "left";
  for (const [t, label] of one.marks) {
    if (t < start || t > end) continue;
    pen.strokeStyle = pen.fillStyle = colour("--mark");
    pen.beginPath();
    pen.moveTo(x(t), 0);
    pen.lineTo(x(t), bottom);
    pen.stroke();
    const said = label.slice(0, 24), fits = x(t) + 3 + pen.measureText(said).width < width;
    pen.textAlign = fits ? "left" : "right";
    pen.fillText(said, x(t) + (fits ? 3 : -3), 10);
  }
}

// The upper and the lower half of the first face: how small a motion would have been found.
function strips(pen, scores, { start, x, top, colour }) {
  for (let i = 0; i < scores.length; i++) {
    const [t, , upper, lower] = scores[i];
    if (t < start || t > start + SPAN_MS || upper === undefined) continue;
    const next = scores[i + 1]?.[0] ?? t + 100;
    const width = Math.max(1, x(Math.min(next, t + 500)) - x(t));
    [upper, lower].forEach((value, half) => {
      pen.fillStyle = colour(`--${level(value)}`);
      pen.fillRect(x(t), top + half * (STRIP + 1), width, STRIP);
    });
  }
}

export function level(value) {
  return value <= BARS[0] ? "good" : value <= BARS[1] ? "fair" : "hidden";
}

// In words, for the newest score of a face.
export function judgedNow(one) {
  const last = [...one.scores.values()].map((scores) => scores.at(-1)).find((score) => score && score[0] > one.now - 1000);
  if (!last || last[2] === undefined) return "";
  const said = (name, value) => `${name}: ` + (value > BARS[1] ? `${value >= MOST ? "hidden" : `only motions over ${value.toFixed(1)} %`} (it moves by itself)` :
    `motions from ${value.toFixed(1)} % would be found`);
  return `${said("upper face", last[2])} · ${said("lower face", last[3])}`;
}

// Since the source started, from its counts: the time over which anything found has to be read.
export function judgedSoFar({ judged }) {
  if (!judged?.upper) return "";
  const time = (seconds) => clock(1000 * seconds);
  const [upper, lower] = [judged.upper, judged.lower].map((half) => half.judged_s[BARS[1]] ?? 0);
  return `could be judged (motions of ${BARS[1]} %): upper face ${time(upper)}, lower face ${time(lower)} of ${time(judged.face_s)} with a face`;
}

export function clock(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n) => String(n).padStart(2, "0");
  return (s >= 3600 ? `${Math.floor(s / 3600)}:` : "") + `${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}
