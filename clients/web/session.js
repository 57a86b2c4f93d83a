// A session: consent of the person on camera, a look at picture and light, begin, save.

import { make } from "./cards.js";
import { sentence } from "./words.js";

// lines that were wrapped in a file run on; empty lines and lists stay
const reflowed = (text) => text.replace(/([^\n])\n(?!\n|\s*(?:[-*•]|\d+[.)]))/g, "$1 ");

export class Sessions {
  // camera(one): starts this browser's camera for a source that is pushed
  constructor(state, ask, box, camera) {
    Object.assign(this, { state, ask, box, camera, source: null });
    box.addEventListener("close", () => (this.source = null));
  }

  get offered() { return Boolean(this.state.sessions && this.state.writes); }

  open(one) {
    this.source = one;
    this.error = "";
    this.waits = this.state.sessions.consent_text !== undefined && one.code === "consent_missing" && one.state === "offline";
    this.draw();
    this.box.showModal();
  }

  draw() {
    this.box.replaceChildren(...(this.waits ? this.consent() : this.check()));
  }

  consent() {
    const yes = make("button", { type: "button", disabled: "", text: "Yes, I agree", onclick: () => this.agree() });
    const read = make("input", { type: "checkbox", onchange: () => (yes.disabled = !read.checked) });
    return [
      make("h2", { text: "For the person in front of the camera" }),
      make("p", { class: "consent", text: reflowed(this.state.sessions.consent_text) }),
      make("label", {}, read, " I have read this."),
      make("p", { class: "bar" }, yes, this.closing("No, do not record me")),
      make("p", { class: "muted", text: "With a yes the camera starts, and this text, the time and your answer are kept as the consent record. " +
        "You can withdraw at any time: everything kept of you is then deleted." }),
      this.problem(),
    ];
  }

  async agree() {
    const one = this.source;
    try {
      await this.ask.agree(one.id, this.state.sessions.consent_sha256);
      this.waits = false;
      if (one.push) await this.camera(one);
    } catch (error) {
      this.error = error.message;
    }
    this.draw();
  }

  check() {
    const one = this.source, setup = one.state === "online" ? one.stats.setup : null;
    const rows = setup ? setup.checks : [{ level: "warn", text: one.state === "online" ? "looking …" : "waiting for the camera" }];
    const words = { ok: "good", warn: "could be better", bad: "change this" };
    const ready = Boolean(setup?.ready);
    return [
      make("h2", { text: `Set-up of ${one.id}` }),
      make("ul", { class: "checks" }, ...rows.map(({ level, text }) =>
        make("li", { class: level }, make("strong", { text: words[level] }), ` ${sentence(text)}`))),
      make("p", { class: ready ? "state ok" : "state warn", text: ready ? "Ready." : "Not ready yet: parts of the session could not be judged." }),
      make("p", { class: "bar" },
        make("button", { type: "button", text: ready ? "Start the session" : "Start all the same", onclick: () => this.begin() }),
        this.closing("Cancel")),
      this.state.sessions.video ? make("p", { class: "state warn", text: "The video of the session is kept too." }) : "",
      this.problem(),
    ];
  }

  async begin() {
    try {
      await this.ask.begin(this.source.id);
      this.box.close();
    } catch (error) {
      this.error = error.message;
      this.draw();
    }
  }

  // once a second, while the person moves chair and lamp
  refresh() {
    if (this.source && !this.waits) this.draw();
  }

  closing(text) {
    return make("button", { type: "button", text, onclick: () => this.box.close() });
  }

  problem() {
    return make("p", { class: "state bad", role: "alert", text: this.error });
  }
}

// what the panel of a source says about its session
export function sessionWords(one, sessions) {
  if (!sessions) return "";
  if (one.session) return `Session ${one.session}${sessions.video ? ", video is kept" : ""}`;
  return one.saved ? `Saved as ${one.saved.run}: ${one.saved.expressions} ${one.saved.expressions === 1 ? "expression" : "expressions"}` : "";
}
