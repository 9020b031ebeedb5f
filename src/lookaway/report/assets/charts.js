// Charts: drawn by Vega when they come near, one column narrower where there is less room.

const PANEL_ROOM = 270; // px that a panel takes with its axis

function startCharts() {
  const charts = held("charts-data");
  const places = [...document.querySelectorAll("[data-chart]")];
  const draw = async (place) => {
    if (place.dataset.drawn) return;
    place.dataset.drawn = "begun";
    const spec = structuredClone(charts[place.dataset.chart]);
    if (spec.columns) spec.columns = Math.max(1, Math.min(4, Math.floor(place.clientWidth / PANEL_ROOM)));
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
  const policy = document.getElementById("pick-charts-policy");
  const choose = () => {
    for (const card of document.querySelectorAll("[data-chart-policy]")) {
      card.hidden = card.dataset.chartPolicy !== policy.value;
    }
  };
  if (policy) {
    policy.addEventListener("change", choose);
    choose();
  }
  // In quiet moments the rest, so that a print has them all.
  const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 200));
  const next = () => {
    const place = places.find((one) => !one.dataset.drawn && one.clientWidth > 0);
    if (place) draw(place).finally(() => idle(next));
  };
  return () => idle(next);
}
