// Small pictures: every image under the chosen model and strength, every model on the chosen image.
// Those that can be seen are drawn; a change of strength draws them again and makes nothing anew.

const THUMB = 112;

const smallPixels = (() => {
  const known = new Map();
  return (about, image, side) => {
    const key = `${image} ${side}`;
    if (!known.has(key)) known.set(key, pixelsOf(about, image).then((pixels) => shrunk(pixels, about.side, side)));
    return known.get(key);
  };
})();

// A small overlay over the clean image; returns what paints it, and whether a map is dead.
async function heatTile(view, canvas, side, image, model, layer, place) {
  const slot = view.slot(model);
  const [clean, maps] = await Promise.all([smallPixels(view.about, image, side), mapsOf(view.about, model, image)]);
  const found = maps[layer][view.shownPolicy(layer, model)];
  if (!found) return { paint: () => undefined, dead: false };
  const map = place > 0 ? found.attacked[slot][place - 1] : found.clean;
  const dead = isDead(map);
  const paint = () => {
    const heat = dead ? null : enlarged(map, view.models[model].layers[layer].shown, side);
    show(canvas, overlayPixels(clean, heat, view.drawing()), side);
  };
  return { paint, dead };
}

class Tiles {
  // `id`: the element; `layer(key)`, `tile(key)` ({ image, model, name, chosen }), `pick(key)`.
  constructor(view, id, { layer, tile, pick }) {
    Object.assign(this, { view, layer, tile, pick });
    this.box = byId(id);
    this.known = new Map(); // a tile for each key
    this.keys = [];
    this.turn = 0;
    this.watch = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) target.near = isIntersecting;
        this.draw();
      },
      { rootMargin: "150px" },
    );
  }

  changed(keys) {
    const same = keys.length === this.keys.length && keys.every((key, place) => key === this.keys[place]);
    for (const key of keys) this.write(key);
    if (!same) {
      const held = this.box.contains(document.activeElement);
      this.box.replaceChildren(...keys.map((key) => this.known.get(key)));
      if (held) this.chosen()?.focus({ preventScroll: true });
    }
    this.keys = keys;
    this.turn += 1;
    const stop = this.chosen() ?? this.box.firstElementChild;
    for (const key of keys) this.known.get(key).tabIndex = -1; // one stop for Tab; arrow keys go on
    if (stop) stop.tabIndex = 0;
    return this.draw();
  }

  chosen() {
    return this.box.querySelector("[aria-pressed=true]");
  }

  // The chosen one into the box's sight; the page stays where it is.
  bring() {
    const tile = this.chosen();
    if (!tile) return;
    const top = tile.offsetTop - this.box.offsetTop;
    if (top < this.box.scrollTop || top + tile.offsetHeight > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = top;
  }

  write(key) {
    const { view } = this;
    const { image, model, name, chosen } = this.tile(key);
    if (!this.known.has(key)) {
      const canvas = element("canvas", { width: THUMB, height: THUMB, "aria-hidden": "true" });
      const made = element("button", { type: "button", class: "tile" }, canvas, ...Array.from({ length: 3 }, () => element("span")));
      made.querySelector("span").className = "tile-name";
      made.addEventListener("click", () => this.pick(key));
      this.known.set(key, made);
      this.watch.observe(made);
    }
    const button = this.known.get(key);
    const [seen, confidence] = view.seen(image, model);
    const wrong = seen === view.about.images[image].label ? "" : element("span", { class: "wrong" }, " ✗");
    const [, first, second, third] = button.children;
    first.replaceChildren(named(name));
    second.replaceChildren(named(view.about.classes[seen]), ` ${percent(confidence)}`, wrong);
    const score = `NISSIM ${three(view.nissim(image, model, this.layer(key)))} · ${WORDS[view.outcome(image, model)]}`;
    third.replaceChildren(view.level === 0 ? "clean" : score, view.isDead(image, model) ? element("span", { class: "wrong" }, " dead map") : "");
    button.setAttribute("aria-pressed", String(chosen));
  }

  async draw() {
    const { turn } = this;
    const near = this.keys.filter((key) => this.known.get(key).near && this.known.get(key).drawn !== turn);
    const paints = await Promise.all(
      near.map(async (key) => {
        const { image, model } = this.tile(key);
        const button = this.known.get(key);
        const { paint } = await heatTile(this.view, button.firstElementChild, THUMB, image, model, this.layer(key), this.view.level);
        return () => {
          button.drawn = turn;
          paint();
        };
      }),
    );
    if (turn === this.turn) paints.forEach((paint) => paint());
  }
}
