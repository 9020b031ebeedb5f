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

async function start() {
  startTheme();
  startPrint();
  startTables();
  openTarget();
  window.addEventListener("hashchange", openTarget);
  const drawTheRest = startCharts();
  const explorer = new Explorer(held("explorer-data"));
  await explorer.ready;
  document.documentElement.dataset.ready = Math.round(performance.now());
  drawTheRest();
}

start();
