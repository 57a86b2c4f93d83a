"use strict";
// What the other files share. Every word from outside is set as text, never as markup.
const report = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byKey = new Map(data.expressions.map((one) => [one.key, one]));
  const recordings = new Map(data.recordings.map((one) => [one.id, one]));

  const two = (n) => String(n).padStart(2, "0");

  // media time in milliseconds as h:mm:ss.mmm
  const clock = (ms, digits = 3) => {
    const whole = Math.round(Math.max(0, ms) * 10 ** (digits - 3)) / 10 ** digits;
    const s = Math.floor(whole), hours = Math.floor(s / 3600);
    const rest = digits ? (whole - s).toFixed(digits).slice(1) : "";
    return `${hours ? hours + ":" : ""}${two(Math.floor(s / 60) % 60)}:${two(s % 60)}${rest}`;
  };

  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "text") node.textContent = value;
      else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  };

  const decoded = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  for (const recording of data.recordings)
    for (const curve of recording.curves)
      for (const name of ["me", "upper", "lower"]) curve[name] = decoded(curve[name]);

  // listeners: select(expression), time(recording, ms), verdict(expression)
  const heard = { select: [], time: [], verdict: [] };
  const on = (what, call) => heard[what].push(call);
  const tell = (what, ...facts) => heard[what].forEach((call) => call(...facts));

  let chosen = null;
  const select = (expression, { seek = true, scroll = false } = {}) => {
    chosen = expression;
    tell("select", expression, { seek, scroll });
  };

  return {
    EDGE: 12, // padding of the timeline, see report.css
    data, byKey, recordings, clock, make, on, tell, select,
    get chosen() { return chosen; },
    $: (id) => document.getElementById(id),
  };
})();
