// Pause, and look back over the last ten minutes; everything goes on behind it.

import { KEPT_MS } from "./state.js";
import { clock } from "./timeline.js";

export class LookBack {
  // changed(): called whenever something else is to be shown
  constructor(state, { button, slider, label }, changed) {
    Object.assign(this, { state, button, slider, label, changed, at: null });
    slider.max = String(KEPT_MS / 1000);
    button.addEventListener("click", () => this.pause(!this.paused));
    slider.addEventListener("input", () => {
      if (!this.paused) this.pause(true);
      this.show();
    });
    this.show();
  }

  get paused() { return this.at !== null; }

  // moments are held per source: their clocks differ
  pause(on) {
    this.at = on ? new Map([...this.state.sources.values()].map((one) => [one.id, one.now])) : null;
    if (!on) this.slider.value = "0";
    this.show();
  }

  // to a moment of a source, as far as it is kept
  to(source, ms) {
    const one = this.state.sources.get(source);
    if (!one || ms < one.now - KEPT_MS) return;
    this.pause(true);
    this.slider.value = String(Math.max(0, (one.now - ms) / 1000 - 5));
    this.show();
  }

  step(seconds) {
    if (!this.paused) this.pause(true);
    this.slider.value = String(Number(this.slider.value) + seconds);
    this.show();
  }

  // the moment that is shown of a source
  end(one) {
    return this.paused ? Math.max(0, (this.at.get(one.id) ?? one.now) - 1000 * Number(this.slider.value)) : one.now;
  }

  show() {
    this.button.textContent = this.paused ? "Back to now" : "Pause";
    this.button.setAttribute("aria-pressed", String(this.paused));
    this.label.textContent = this.paused ? `paused, ${clock(1000 * Number(this.slider.value))} before` : "";
    this.changed();
  }
}
