// Charts: drawn by Vega when they come near, as wide as there is room, again where that changes.

// What each colour of a chart is on a dark ground; those that are not here do on both.
const ON_DARK = {
  "#0072B2": "#4aa8e8", "#009E73": "#2fc49a", "#CC79A7": "#e9a6cc", "#882255": "#c9568f", "#D55E00": "#ee7b2d",
  "#8c3b00": "#d98a5a", "#5b3a29": "#c9a68c", "#6b5b00": "#cdbb4a", "#8a7a5c": "#b8a988", "#6f7f8f": "#9fb2c5", "#8f6f86": "#c09ab5",
  "#4a4a4a": "#b9b9c0", "#6b6b6b": "#b9b9c0", "#9a9a9a": "#85858f", "#a8327f": "#d765ae", "#cf3f3f": "#e46565",
  "#c4c4c8": "#54545e", "#2a6f97": "#4393d4", "#84c9b0": "#a9e6cf", "#333333": "#f4f4f6", "#a4508b": "#cf7db8",
  "#f2ece6": "#3d3d46", "#7a2d00": "#ff9c63", "#ffffff": "#17171a", "#1d1d1f": "#ececf0", "#e5e5e5": "#3b3b44", "#cccccc": "#4a4a55",
};

function dressed(spec) {
  const { datasets, ...rest } = spec;
  const dark = isDark();
  const plain = dark
    ? JSON.parse(JSON.stringify(rest).replace(/"(#[0-9A-Fa-f]{6})"/g, (all, colour) => (colour in ON_DARK ? `"${ON_DARK[colour]}"` : all)))
    : structuredClone(rest);
  const ink = dark ? "#ececf0" : "#1d1d1f";
  const line = dark ? "#85858f" : "#888888";
  const { config } = plain;
  config.aria = false; // a sentence and a table say it in place of every mark
  config.axis = { ...config.axis, labelColor: ink, titleColor: ink, domainColor: line, tickColor: line };
  for (const part of ["legend", "header"]) config[part] = { ...config[part], labelColor: ink, titleColor: ink };
  config.title = { ...config.title, color: ink };
  config.text = { ...config.text, fill: ink };
  return { ...plain, datasets, background: "transparent" }; // the page's own ground
}

// Panels fill a row of `room` px: fewer beside each other where there is little room.
function fitted(spec, room) {
  const { facet } = spec;
  const sized = (columns, names, between, least, most) =>
    Math.round(Math.max(least, Math.min(most, (room - names) / columns - between)));
  if (facet.column) {
    spec.spec.width = sized(facet.column.sort.length, 75, 10, 48, 240);
  } else {
    const most = Math.max(1, Math.min(4, facet.sort.length, Math.floor(room / 230)));
    const rows = Math.ceil(facet.sort.length / most);
    spec.columns = Math.ceil(facet.sort.length / rows); // as many in each row
    spec.spec.width = sized(spec.columns, 10, 62, 130, 420);
    facet.header.labelLimit = spec.spec.width + 25;
  }
  narrowLegends(spec, room);
}

// Short words take less room than the names of models and perturbations.
function narrowLegends(part, room) {
  if (part === null || typeof part !== "object") return;
  if (part.orient === "bottom" && part.columns) {
    if (part.labelLimit) part.labelLimit = Math.min(part.labelLimit, room - 60);
    const entry = part.columns > 3 ? 100 : part.labelLimit + 40;
    part.columns = Math.max(1, Math.min(part.columns, Math.floor(room / entry)));
  }
  for (const [name, inner] of Object.entries(part)) if (name !== "datasets") narrowLegends(inner, room);
}

class Charts {
  constructor() {
    this.specs = unpackedJson("charts");
    this.places = [...document.querySelectorAll("[data-chart]")];
    this.drawn = new Map(); // each place's view, and the room that it was fitted to
    const watch = new IntersectionObserver(
      (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => this.draw(entry.target)),
      { rootMargin: "300px" },
    );
    fenced(byId("vg-tooltip-element"));
    let waiting;
    const sizes = new ResizeObserver(() => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.refit(), 150);
    });
    for (const place of this.places) {
      watch.observe(place);
      sizes.observe(place);
    }
    for (const part of document.querySelectorAll("details.numbers")) {
      part.addEventListener("toggle", () => this.tell(part), { once: true });
    }
  }

  async draw(place) {
    const room = place.clientWidth;
    const known = this.drawn.get(place);
    if (!room || (known && known.room === room && known.dark === isDark())) return;
    const here = { room, dark: isDark(), view: known?.view };
    this.drawn.set(place, here);
    place.dataset.drawn = "begun";
    const spec = dressed((await this.specs)[place.dataset.chart]);
    fitted(spec, room);
    const actions = { export: true, source: false, compiled: false, editor: false };
    const tooltip = { offsetX: 12, offsetY: 12 };
    await (this.vega ??= unpackedScript("vega"));
    const { view } = await vegaEmbed(place, spec, { renderer: "svg", actions, tooltip, downloadFileName: place.dataset.chart });
    if (this.drawn.get(place) !== here) return view.finalize();
    known?.view?.finalize();
    here.view = view;
    place.querySelector("svg.marks").setAttribute("aria-hidden", "true");
    place.querySelector("summary")?.setAttribute("aria-label", `Save the chart ${place.dataset.chart}`);
    this.share(view);
    view.addEventListener("click", (event, item) => this.clicked(view, event, item));
    place.dataset.drawn = "done";
    return undefined;
  }

  // A click on a mark shows its images. A tap tells its value, as pointing at it does; one more on
  // the same mark shows its images.
  clicked(view, event, item) {
    const touched = event.pointerType === "touch";
    const told = item?.tooltip ?? null;
    if (touched) view.tooltip()?.(null, event, item, told);
    const again = !touched || this.tapped === item;
    this.tapped = item;
    if (again && told !== null) this.pick?.(item.datum); // a legend's name tells nothing
  }

  // Again where the room or the theme has changed since.
  refit() {
    for (const [place, { room, dark }] of this.drawn) {
      if (place.clientWidth && (Math.abs(place.clientWidth - room) > 4 || dark !== isDark())) this.draw(place);
    }
  }

  // A name that is chosen in one legend is chosen in all that have it.
  share(view) {
    if (!chosenIn(view)) return;
    if (this.store?.length) view.data("chosen_store", this.store).runAsync();
    view.addDataListener("chosen_store", (_, store) => {
      const told = JSON.stringify(store.map(({ fields, values }) => [fields.map(({ field }) => field), values]));
      if (told === this.told) return;
      [this.told, this.store] = [told, store.map((one) => ({ ...one }))];
      for (const { view: other } of this.drawn.values()) {
        if (other && other !== view && chosenIn(other)) other.data("chosen_store", this.store).runAsync();
      }
    });
  }

  // The numbers of a chart as a table, made when it is opened.
  async tell(part) {
    const { datasets, spec } = (await this.specs)[part.dataset.numbers];
    const fields = spec.layer.flatMap(({ encoding }) => encoding?.tooltip ?? []).filter(({ field }) => !["from", "to", "share"].includes(field));
    const columns = [...new Map(fields.map(({ field, title, format }) => [field, { title: title ?? field, format }])).entries()];
    const value = columns.find(([, { format }]) => format)?.[0];
    const known = new Set();
    const rows = datasets.rows.flatMap((row) => {
      if (value && (row[value] ?? null) === null) return [];
      const cells = columns.map(([field, { format }]) => written(row[field], format));
      const told = cells.join("\u0000");
      return known.has(told) ? [] : [known.add(told) && cells];
    });
    const head = element("tr", {}, ...columns.map(([, { title }]) => element("th", { scope: "col", class: "name" }, title)));
    const body = rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", { class: "name" }, element("bdi", {}, cell)))));
    part.querySelector("table").append(element("thead", {}, head), element("tbody", {}, ...body));
  }
}

// Keeps a chart's tooltip in the window, whatever side of the pointer it stands on.
function fenced(tooltip) {
  const watch = new MutationObserver(() => {
    const { left, top, width, height } = tooltip.getBoundingClientRect();
    const inside = (place, size, room) => Math.max(4, Math.min(place, room - size - 4));
    const [x, y] = [inside(left, width, innerWidth), inside(top, height, innerHeight)];
    if (Math.abs(x - left) > 1) tooltip.style.left = `${x}px`;
    if (Math.abs(y - top) > 1) tooltip.style.top = `${y}px`;
  });
  watch.observe(tooltip, { attributes: true, attributeFilter: ["style", "class"] });
}

// What is chosen in a chart's legend; null where none can be.
function chosenIn(view) {
  try {
    return view.data("chosen_store");
  } catch {
    return null;
  }
}

function written(value, format) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  const places = Number(format?.match(/\.(\d)/)?.[1] ?? NaN);
  if (format?.endsWith("%")) return `${(100 * value).toFixed(1)} %`;
  return Number.isNaN(places) ? String(value) : value.toFixed(places);
}
