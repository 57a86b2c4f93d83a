// sorts the table by a column; numbers by data-n, words by what is shown
const body = document.querySelector("#table tbody");
for (const button of document.querySelectorAll("#table thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const column = [...head.parentNode.children].indexOf(head);
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => {
      const cell = row.children[column];
      if (cell.dataset.n === undefined) return cell.textContent.trim();
      return cell.dataset.n === "" ? -Infinity : Number(cell.dataset.n);
    };
    const order = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
    const rows = [...body.rows].sort((a, b) => order(value(a), value(b)));
    body.append(...(down ? rows.reverse() : rows));
  });
}
