// Pictures enlarge; the motion map lies over the face at the apex as strongly as wanted.
(() => {
  const { $ } = report;
  const box = $("enlarged");
  document.addEventListener("click", (event) => {
    const picture = event.target.closest(".trio img");
    if (!picture) return;
    const trio = [...picture.closest(".trio").querySelectorAll("figure:not(.legend-wheel)")];
    box.querySelector("div").replaceChildren(...trio.map((figure) => {
      const copy = figure.cloneNode(true);
      copy.querySelectorAll("[id]").forEach((node) => node.removeAttribute("id"));
      copy.querySelectorAll("label").forEach((node) => node.remove()); // the slider has no place here
      return copy;
    }));
    box.showModal();
  });
  box.addEventListener("click", () => box.close());
  document.addEventListener("input", (event) => {
    if (event.target.matches(".over")) event.target.closest("figure").style.setProperty("--over", event.target.value);
  });
})();
