// Everything begins here.

const isDark = () =>
  (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

// The theme is kept for the next time; where a page may keep nothing, it is for this time.
const kept = {
  get theme() {
    try {
      return localStorage.getItem("lookaway-theme");
    } catch {
      return null;
    }
  },
  set theme(value) {
    try {
      localStorage.setItem("lookaway-theme", value);
    } catch {
      // A page from a file, or with storage switched off.
    }
  },
};

function startTheme(changed) {
  const button = byId("theme");
  const root = document.documentElement;
  if (["light", "dark"].includes(kept.theme)) root.dataset.theme = kept.theme;
  const tell = () => (button.textContent = isDark() ? "Light" : "Dark");
  button.addEventListener("click", () => {
    root.dataset.theme = kept.theme = isDark() ? "light" : "dark";
    tell();
    changed();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    tell();
    changed();
  });
  tell();
}

// Parts of the page that are about one attack, method or explained class stand where it is chosen.
const choices = () => [...document.querySelectorAll("select[data-choose]")];

// Charts of other choices have their pictures, for print, once they are chosen.
let pictures;
async function addPictures() {
  const lacking = [...document.querySelectorAll("img[data-picture]")].filter((one) => !one.closest("[hidden]"));
  if (!lacking.length) return;
  pictures ??= unpackedJson("pictures");
  const found = await pictures;
  for (const image of lacking) {
    // It was made for an attribute, where an ampersand is escaped.
    image.src = found[image.dataset.picture].replaceAll("&amp;", "&");
    delete image.dataset.picture;
  }
}

function showChosen() {
  const picks = choices();
  for (const part of document.querySelectorAll("[data-attack], [data-method], [data-policy]")) {
    part.hidden = picks.some(({ dataset: { choose: about }, value }) => (part.dataset[about] ?? value) !== value);
  }
  addPictures();
}

function startChoices() {
  for (const pick of choices()) pick.addEventListener("change", showChosen);
  showChosen();
}

// The page's choice follows the explorer's.
function choosePage(about, value) {
  const pick = document.querySelector(`select[data-choose="${about}"]`);
  if (!pick || pick.value === value || ![...pick.options].some((one) => one.value === value)) return;
  pick.value = value;
  showChosen();
}

async function start() {
  let charts;
  startTheme(() => charts?.refit());
  startTables();
  startChoices();
  openTarget();
  window.addEventListener("hashchange", openTarget);
  charts = new Charts();
  const [about, results] = [held("explorer-data"), await unpackedJson("results")];
  const explorer = new Explorer({ ...about, results });
  charts.pick = (datum) => explorer.picked(datum);
  await explorer.ready;
  document.documentElement.dataset.ready = Math.round(performance.now());
}

start();
