// Tables: sorted by a click on a column's head, and saved as CSV.

function sortTable(head) {
  const table = head.closest("table");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const column = heads.indexOf(head);
  const order = { none: "descending", descending: "ascending", ascending: "none" };
  const isName = head.classList.contains("name");
  const first = { none: "ascending", ascending: "descending", descending: "none" };
  const wanted = (isName ? first : order)[head.getAttribute("aria-sort") ?? "none"];
  for (const other of heads) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", wanted);
  body.classList.toggle("sorted", wanted !== "none");
  const sign = wanted === "ascending" ? 1 : -1;
  const key = (row) => (isName ? row.cells[column].textContent : (row.cells[column].dataset.value ?? ""));
  const compare = (a, b) => {
    if (wanted === "none") return a.dataset.place - b.dataset.place;
    const [x, y] = [key(a), key(b)];
    if (isName) return sign * x.localeCompare(y) || a.dataset.place - b.dataset.place;
    if (x === "" || y === "") return (x === "") - (y === "") || a.dataset.place - b.dataset.place;
    return sign * (Number(x) - Number(y)) || a.dataset.place - b.dataset.place;
  };
  body.append(...[...body.rows].sort(compare));
}

function saveText(name, text, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function startTables() {
  for (const table of document.querySelectorAll("table.data")) {
    [...table.tBodies[0].rows].forEach((row, place) => (row.dataset.place = place));
    table.tHead.addEventListener("click", (event) => {
      const head = event.target.closest("th");
      if (head) sortTable(head);
    });
  }
  for (const button of document.querySelectorAll("button[data-csv]")) {
    button.addEventListener("click", async () => {
      const csv = await unpackedJson("tables");
      saveText(`${button.dataset.csv}.csv`, csv[button.dataset.csv], "text/csv;charset=utf-8");
    });
  }
}

// A link to a table that stands in a closed part of the page opens it, and chooses what it is of.
function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (const pick of target ? document.querySelectorAll("select[data-choose]") : []) {
    const part = target.closest(`[data-${pick.dataset.choose}]`);
    if (part) pick.value = part.dataset[pick.dataset.choose];
    pick.dispatchEvent(new Event("change"));
  }
  const closed = target && target.closest("details:not([open])");
  if (closed) {
    closed.open = true;
    target.scrollIntoView();
  }
}
