// Charts: drawn by Vega when they come near, as wide as there is room.

// Panels fill a row of `room` px: fewer beside each other where there is little room.
function fitted(spec, room) {
  const { facet } = spec;
  const sized = (columns, names, between, least, most) =>
    Math.round(Math.max(least, Math.min(most, (room - names) / columns - between)));
  if (facet.column) {
    spec.spec.width = sized(facet.column.sort.length, 75, 10, 48, 240);
  } else {
    spec.columns = Math.max(1, Math.min(4, facet.sort.length, Math.floor(room / 260)));
    spec.spec.width = sized(spec.columns, 85, 30, 150, 320);
  }
  narrowLegends(spec, room);
  spec.background = "transparent"; // the page's own, light or dark
}

// Short words take less room than the names of models and perturbations.
function narrowLegends(part, room) {
  if (part === null || typeof part !== "object") return;
  if (part.orient === "bottom" && part.columns) {
    if (part.labelLimit) part.labelLimit = Math.min(part.labelLimit, room - 60);
    const entry = part.columns > 3 ? 100 : part.labelLimit + 40;
    part.columns = Math.max(1, Math.min(part.columns, Math.floor(room / entry)));
  }
  for (const [name, inner] of Object.entries(part)) if (name !== "data") narrowLegends(inner, room);
}

function startCharts() {
  const charts = held("charts-data");
  const places = [...document.querySelectorAll("[data-chart]")];
  const draw = async (place) => {
    if (place.dataset.drawn) return;
    place.dataset.drawn = "begun";
    const spec = structuredClone(charts[place.dataset.chart]);
    fitted(spec, place.clientWidth);
    const actions = { export: true, source: false, compiled: false, editor: false };
    await vegaEmbed(place, spec, { renderer: "svg", actions, downloadFileName: place.dataset.chart });
    place.querySelector("summary")?.setAttribute("aria-label", `Save the chart ${place.dataset.chart}`);
    place.dataset.drawn = "done";
  };
  const watch = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
    { rootMargin: "300px" },
  );
  places.forEach((place) => watch.observe(place));
  // In quiet moments the rest, so that a print has them all.
  const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 200));
  const next = () => {
    const place = places.find((one) => !one.dataset.drawn && one.clientWidth > 0);
    if (place) draw(place).finally(() => idle(next));
  };
  return () => idle(next);
}
