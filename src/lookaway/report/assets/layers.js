// Every explained layer of one image over ε, for one model; drawn when it comes into view.

const CELL = 72;

class LayerGrid {
  constructor(explorer) {
    this.explorer = explorer;
    this.near = false;
    const watch = new IntersectionObserver(
      (entries) => {
        this.near = entries.at(-1).isIntersecting;
        if (this.near) this.draw();
      },
      { rootMargin: "200px" },
    );
    watch.observe(byId("layers"));
    byId("layer-grid").addEventListener("keydown", (event) => this.walk(event));
    for (const type of ["mouseover", "focusin"]) {
      byId("layer-grid").addEventListener(type, (event) => {
        const tile = event.target.closest("button");
        if (tile) byId("layer-told").textContent = tile.title;
      });
    }
  }

  async changed() {
    this.stale = true;
    if (this.near) await this.draw();
  }

  async draw() {
    if (!this.stale) return;
    this.stale = false;
    const { explorer } = this;
    const { view, about } = explorer;
    const model = view.models[view.model];
    const heads = [0, ...about.epsilons].map((_, place) => element("th", { scope: "col" }, level(view, place)));
    const head = element("tr", {}, element("th", { scope: "col", class: "name" }, "layer"), ...heads);
    const paints = [];
    const rows = model.layers.flatMap((layer, place) => {
      if (!layer.last && !about.images[view.image].deep) return [];
      const tiles = [0, ...about.epsilons].map((_, strength) => {
        const { button, draw } = this.tile(layer, place, strength);
        paints.push(draw());
        return element("td", {}, button);
      });
      const name = element("th", { scope: "row", class: "name" }, named(layer.name), element("small", {}, `${layer.size.join("×")} · depth ${layer.depth.toFixed(2)}`));
      return [element("tr", {}, name, ...tiles)];
    });
    (await Promise.all(paints)).forEach((paint) => paint());
    if (this.stale) return;
    const grid = byId("layer-grid");
    grid.tHead.replaceChildren(head);
    const held = grid.contains(document.activeElement);
    grid.tBodies[0].replaceChildren(...rows);
    const chosen = grid.querySelector("[aria-pressed=true]") ?? grid.querySelector("button");
    if (chosen) chosen.tabIndex = 0;
    if (held) chosen?.focus({ preventScroll: true });
    byId("layers-of").replaceChildren(
      named(model.name), ", ", named(about.images[view.image].name), `, ${perturbationName(view, view.perturbation())}`,
      `, class: ${about.policies[view.shownPolicy(0)]}`,
      rows.length === 1 && model.layers.length > 1 ? ". Of this image only the last layer is in the page." : "",
      model.layers.length === 1 ? ". This study explains the last layer alone; with layers: convs it explains every convolution." : "",
    );
  }

  tile(layer, place, strength) {
    const { explorer } = this;
    const { view } = explorer;
    const score = view.nissim(view.image, view.model, place, strength);
    const told = `${layer.name}, ${layer.size.join("×")}, depth ${layer.depth.toFixed(2)}: ${level(view, strength)}${score === null ? "" : `, NISSIM ${three(score)}`}`;
    const canvas = element("canvas", { width: CELL, height: CELL, "aria-hidden": "true" });
    const chosen = place === view.layer && strength === view.level;
    const button = element("button", { type: "button", title: told, "aria-label": told, "aria-pressed": String(chosen), tabindex: -1 }, canvas);
    button.addEventListener("click", () => {
      explorer.choose((change) => Object.assign(change, { layer: place, level: strength }));
      byId("stage-top").scrollIntoView({ behavior: "smooth" });
    });
    const draw = async () => (await heatTile(view, canvas, CELL, view.image, view.model, place, strength)).paint;
    return { button, draw };
  }

  // Arrow keys go from tile to tile.
  walk(event) {
    const [down, right] = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key] ?? [0, 0];
    const cell = event.target.closest("td");
    if ((!down && !right) || !cell) return;
    event.preventDefault();
    const row = cell.parentElement;
    const next = byId("layer-grid").tBodies[0].rows[row.sectionRowIndex + down]?.cells[cell.cellIndex + right]?.querySelector("button");
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
}
