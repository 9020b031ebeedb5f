// Everything begins here.

function startTheme() {
  const button = byId("theme");
  const root = document.documentElement;
  const dark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const tell = () => (button.textContent = dark() ? "Light" : "Dark");
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    tell();
  });
  tell();
}

function startPrint() {
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const part of closed) part.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const part of closed) part.open = false;
  });
}

// Parts of the page that are about one attack, method or explained class stand where it is chosen.
function startChoices() {
  const picks = [...document.querySelectorAll("select[data-choose]")];
  const choose = () => {
    for (const part of document.querySelectorAll("[data-attack], [data-method], [data-policy]")) {
      part.hidden = picks.some(({ dataset: { choose: about }, value }) => (part.dataset[about] ?? value) !== value);
    }
  };
  for (const pick of picks) pick.addEventListener("change", choose);
  choose();
}

async function start() {
  startTheme();
  startPrint();
  startTables();
  startChoices();
  openTarget();
  window.addEventListener("hashchange", openTarget);
  const drawTheRest = startCharts();
  const explorer = new Explorer(held("explorer-data"));
  await explorer.ready;
  document.documentElement.dataset.ready = Math.round(performance.now());
  drawTheRest();
}

start();
