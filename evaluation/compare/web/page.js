"use strict";
// without this script the page shows everything
(() => {
  const one = (id) => document.getElementById(id);
  const value = (id) => one(id)?.value ?? "";
  const samples = [...document.querySelectorAll(".sample")].map((node) => ({
    node,
    asks: [...node.querySelectorAll(".ask")].map((ask) => ({
      node: ask,
      answers: [...ask.querySelectorAll(".answer")],
      text: (node.querySelector("header").textContent + " " + ask.textContent).toLowerCase(),
    })),
  }));
  const boxes = [...document.querySelectorAll("#models input")];

  function filter() {
    const models = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    const [task, domain, technique, state] = ["task", "domain", "technique", "state"].map(value);
    const wanted = value("find").trim().toLowerCase();
    let shown = 0;
    for (const { node, asks } of samples) {
      const here = (!task || node.dataset.task === task) && (!domain || node.dataset.domain === domain);
      let any = false;
      for (const ask of asks) {
        let fits = false;
        for (const answer of ask.answers) {
          answer.hidden = !models.has(answer.dataset.model);
          fits ||= !answer.hidden && (!state || answer.dataset.state === state);
        }
        fits &&= here && (!technique || ask.node.dataset.technique === technique);
        fits &&= !wanted || ask.text.includes(wanted);
        ask.node.hidden = !fits;
        any ||= fits;
        shown += fits;
      }
      node.hidden = !any;
    }
    const all = samples.reduce((sum, sample) => sum + sample.asks.length, 0);
    one("count").textContent = `${shown} of ${all} questions`;
    one("nothing").hidden = shown > 0 || all === 0;
  }

  for (const control of document.querySelectorAll(".filter select, .filter input")) {
    control.addEventListener(control.type === "search" ? "input" : "change", filter);
  }
  if (matchMedia("(max-width: 760px)").matches) document.querySelector(".filter").open = false;
  filter();
})();
