// Pictures enlarge: all of a card side by side.

import { make } from "./cards.js";

export function enlargeable(cards, box) {
  cards.addEventListener("click", (event) => {
    const row = event.target.closest(".map");
    if (!row || !event.target.matches("img")) return;
    box.replaceChildren(
      make("div", { class: "map row" }, ...[...row.querySelectorAll("figure")].map((figure) => figure.cloneNode(true))),
      make("p", { class: "muted", text: "Click, or press Escape, to close." }));
    box.showModal();
  });
  box.addEventListener("click", () => box.close());
}
