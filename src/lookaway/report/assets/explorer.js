// The explorer: one image, one model, one perturbation, and a slider over its strength.

const THUMB = 112;
const WORDS = { right: "stayed right", flipped: "flipped", "wrong before": "wrong before" };

const byId = (id) => document.getElementById(id);
const percent = (value) => `${(100 * value).toFixed(1)} %`;
const three = (value) => (value === null ? "–" : value.toFixed(3));
const level = (view, place) => (place === 0 ? "clean" : `ε = ${view.epsilon(place)}`);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// A name may hold anything, also letters that run from right to left.
const named = (text) => element("bdi", {}, text);

function perturbationName(view, number) {
  const { attack, source } = view.about.perturbations[number];
  if (source === null) return "noise of the same size";
  const name = attack.toUpperCase();
  return source === view.model ? `${name} white-box` : `${name} from ${view.models[source].name}`;
}

function fill(select, labels, chosen, disabled = () => false) {
  const options = labels.map(([value, text]) => {
    const option = element("option", { value }, text);
    option.disabled = disabled(value);
    return option;
  });
  select.replaceChildren(...options);
  select.value = String(chosen);
}

class Explorer {
  constructor(about) {
    this.about = about;
    this.view = new View(about);
    this.turn = 0;
    this.layers = new LayerGrid(this);
    this.listen();
    this.ready = this.follow(true);
  }

  listen() {
    const on = (id, type, change) =>
      byId(id).addEventListener(type, (event) => {
        change(event.target.value);
        this.changed();
      });
    const { view } = this;
    on("pick-model", "change", (value) => view.chooseModel(Number(value)));
    on("pick-perturbation", "change", (value) => view.choosePerturbation(Number(value)));
    on("pick-layer", "change", (value) => (view.layer = Number(value)));
    on("pick-policy", "change", (value) => (view.policy = Number(value)));
    on("pick-image", "change", (value) => (view.image = Number(value)));
    on("pick-epsilon", "input", (value) => (view.level = Number(value)));
    on("pick-strength", "input", (value) => (view.strength = Number(value)));
    on("pick-factor", "input", (value) => (view.factor = Number(value)));
    on("pick-sort", "change", (value) => (view.sort = value));
    on("pick-only", "change", (value) => (view.only = value));
    byId("previous-image").addEventListener("click", () => this.step(-1));
    byId("next-image").addEventListener("click", () => this.step(1));
    byId("play").addEventListener("click", () => this.play());
    byId("copy-link").addEventListener("click", () => this.copyLink());
    window.addEventListener("hashchange", () => this.follow(false));
    byId("gallery").addEventListener("keydown", (event) => this.walk(event));
  }

  follow(first) {
    const followed = this.view.follow(location.hash);
    if (followed) byId("explorer").scrollIntoView();
    return followed || first ? this.changed(false) : undefined;
  }

  choose(change) {
    change(this.view);
    this.changed();
  }

  step(by) {
    const images = this.view.images();
    if (!images.length) return;
    const place = images.indexOf(this.view.image);
    this.view.image = images[(place + by + images.length) % images.length];
    this.changed();
  }

  play() {
    if (this.playing) return this.stop();
    byId("play").textContent = "Stop";
    const count = this.about.epsilons.length + 1;
    this.playing = setInterval(() => this.choose((view) => (view.level = (view.level + 1) % count)), 900);
    return undefined;
  }

  stop() {
    clearInterval(this.playing);
    this.playing = undefined;
    byId("play").textContent = "Play";
  }

  async copyLink() {
    history.replaceState(null, "", this.view.link());
    let told = "The link is in the address bar";
    try {
      await navigator.clipboard.writeText(location.href);
      told = "Copied";
    } catch {
      // A page from a file may not write to the clipboard; its address bar has the link.
    }
    byId("link-told").textContent = told;
    setTimeout(() => (byId("link-told").textContent = ""), 3000);
  }

  // Draw what was chosen; where more is chosen before it is drawn, only the last.
  async changed(remember = true) {
    this.view.keepPossible();
    if (remember) {
      clearTimeout(this.remembering);
      this.remembering = setTimeout(() => history.replaceState(null, "", this.view.link()), 250);
    }
    const turn = (this.turn += 1);
    const { dataset } = document.documentElement;
    dataset.drawn = "begun";
    this.controls();
    this.numbers();
    await this.stage(turn);
    if (turn === this.turn) await this.gallery(turn);
    if (turn === this.turn) await this.layers.changed();
    if (turn === this.turn) dataset.drawn = "all";
  }

  controls() {
    const { view, about } = this;
    const model = view.models[view.model];
    fill(byId("pick-model"), view.models.map((one, place) => [place, one.name]), view.model);
    fill(
      byId("pick-perturbation"),
      model.perturbations.map((number) => [number, perturbationName(view, number)]),
      view.perturbation(),
    );
    fill(
      byId("pick-layer"),
      model.layers.map((layer, place) => [place, `${layer.name} · ${layer.size.join("×")}${layer.last ? " · last" : ""}`]),
      view.layer,
      (place) => !model.layers[place].last && !about.images[view.image].deep,
    );
    const { policies } = model.layers[view.layer];
    fill(byId("pick-policy"), about.policies.map((name, place) => [place, name]), view.policy, (place) => !policies.includes(place));
    fill(byId("pick-image"), about.images.map((image, place) => [place, image.name]), view.image);
    const slider = byId("pick-epsilon");
    slider.max = about.epsilons.length;
    slider.value = view.level;
    slider.setAttribute("aria-valuetext", level(view, view.level));
    byId("shown-epsilon").textContent = level(view, view.level);
    byId("pick-strength").value = view.strength;
    byId("shown-strength").textContent = `${view.strength} %`;
    byId("pick-factor").value = view.factor;
    byId("shown-factor").textContent = `×${view.factor}`;
    byId("pick-sort").value = view.sort;
    byId("pick-only").value = view.only;
  }

  className(place) {
    return named(this.about.classes[place]);
  }

  // What is seen and measured, in a sentence and for every strength in a table.
  numbers() {
    const { view, about } = this;
    const [before, sure] = view.seen(view.image, view.model, 0);
    const said = byId("said");
    said.replaceChildren(
      named(view.models[view.model].name), " sees ", this.className(before), ` (${percent(sure)}) in the clean image `,
      named(about.images[view.image].name), ", whose class is ", this.className(about.images[view.image].label), ".",
    );
    if (view.level > 0) {
      const [after, confidence] = view.seen();
      const score = view.nissim();
      said.append(
        ` Under ${perturbationName(view, view.perturbation())} at ${level(view, view.level)} it sees `,
        this.className(after), ` (${percent(confidence)}): ${WORDS[view.outcome()]}. `,
        score === null ? "" : `NISSIM of the two heatmaps: ${three(score)}.`,
      );
    }
    const rows = [0, ...about.epsilons].map((_, place) => {
      const [seen, confidence, psnr] = view.seen(view.image, view.model, place);
      const right = seen === about.images[view.image].label;
      const pick = element("button", { type: "button" }, level(view, place));
      pick.addEventListener("click", () => this.choose((chosen) => (chosen.level = place)));
      const row = element(
        "tr",
        place === view.level ? { class: "chosen", "aria-current": "true" } : {},
        element("td", { class: "name" }, pick),
        element("td", { class: "name" }, this.className(seen), right ? "" : element("span", { class: "wrong" }, " ✗ wrong")),
        element("td", {}, percent(confidence)),
        element("td", {}, three(view.nissim(view.image, view.model, view.layer, place))),
        element("td", {}, place === 0 || psnr === null ? "–" : `${psnr.toFixed(1)} dB`),
      );
      return row;
    });
    byId("strengths").replaceChildren(...rows);
  }

  // The six pictures.
  async stage(turn) {
    const { view, about } = this;
    const { side } = about;
    const [clean, maps] = await Promise.all([pixelsOf(about, view.image), mapsOf(about, view.model, view.image)]);
    const change =
      view.level > 0 ? await changeOf(about, view.perturbation(), view.image, view.level - 1) : null;
    if (turn !== this.turn) return;
    const layer = view.models[view.model].layers[view.layer];
    const found = maps[view.layer][view.policy];
    const after = view.level > 0 ? found.attacked[view.slot()][view.level - 1] : found.clean;
    const heat = (map) => (isDead(map) ? null : enlarged(map, layer.shown, side));
    const [heatBefore, heatAfter] = [heat(found.clean), heat(after)];
    const attacked = change === null ? clean : attackedPixels(clean, change, view.epsilon());
    const strength = view.strength / 100;
    const pictures = {
      clean,
      perturbation: perturbationPixels(clean, attacked, view.factor),
      attacked,
      before: overlayPixels(clean, heatBefore, strength),
      after: overlayPixels(attacked, heatAfter, strength),
      difference: differencePixels(clean, heatBefore, heatAfter),
    };
    for (const [name, pixels] of Object.entries(pictures)) show(byId(`picture-${name}`), pixels, side);
    const [first, second] = [view.seen(view.image, view.model, 0), view.seen()];
    const caption = (name, ...parts) => byId(`caption-${name}`).replaceChildren(...parts);
    const dead = (map) => (map === null ? " · dead map: no evidence for the class" : "");
    caption("clean", this.className(first[0]), ` ${percent(first[1])}`, this.mark(first[0]));
    caption("perturbation", view.level === 0 ? "none" : `amplified ×${view.factor}`);
    caption("attacked", this.className(second[0]), ` ${percent(second[1])}`, this.mark(second[0]));
    caption("before", `${layer.name}${dead(heatBefore)}`);
    caption("after", view.level === 0 ? "the same" : `NISSIM ${three(view.nissim())}${dead(heatAfter)}`);
    caption("difference", "after less before");
    byId("heading-attacked").textContent = view.level === 0 ? "Attacked: not yet" : `Attacked, ${level(view, view.level)}`;
  }

  mark(seen) {
    return seen === this.about.images[this.view.image].label ? "" : element("span", { class: "wrong" }, " ✗");
  }

  // Every image under the chosen model and strength, and every model on the chosen image.
  async gallery(turn) {
    const { view } = this;
    const images = view.images();
    const layer = (image) => (this.about.images[image].deep ? view.layer : view.lastLayer(view.model));
    const tiles = images.map((image) =>
      this.tile(image, view.model, layer(image), image === view.image, this.about.images[image].name, (chosen) => (chosen.image = image)),
    );
    const others = view.models.map((model, place) =>
      this.tile(view.image, place, view.likeLayer(place), place === view.model, model.name, (chosen) => chosen.chooseModel(place)),
    );
    for (const tile of tiles) tile.button.tabIndex = -1; // one stop for Tab; arrow keys go on from there
    const drawn = await Promise.all([...tiles, ...others].map((tile) => tile.draw()));
    if (turn !== this.turn) return;
    const focused = document.activeElement && document.activeElement.closest("#gallery, #models-strip");
    drawn.forEach((paint) => paint());
    byId("gallery").replaceChildren(...tiles.map((tile) => tile.button));
    byId("models-strip").replaceChildren(...others.map((tile) => tile.button));
    byId("gallery-count").textContent = images.length ? `${images.length} of ${this.about.images.length} images` : "No image fits this choice.";
    const chosen = byId("gallery").querySelector("[aria-pressed=true]") ?? byId("gallery").firstElementChild;
    if (chosen) chosen.tabIndex = 0;
    if (focused) (focused.querySelector("[aria-pressed=true]") ?? chosen)?.focus({ preventScroll: true });
  }

  tile(image, model, layer, chosen, name, choose) {
    const { view, about } = this;
    const [seen, confidence] = view.seen(image, model);
    const canvas = element("canvas", { width: THUMB, height: THUMB, "aria-hidden": "true" });
    const wrong = seen === about.images[image].label ? "" : element("span", { class: "wrong" }, " ✗");
    const score = `NISSIM ${three(view.nissim(image, model, layer))} · ${WORDS[view.outcome(image, model)]}`;
    const button = element(
      "button",
      { type: "button", class: "tile", "aria-pressed": String(chosen) },
      canvas,
      element("span", { class: "tile-name" }, named(name)),
      element("span", {}, this.className(seen), ` ${percent(confidence)}`, wrong),
      element("span", {}, view.level === 0 ? "clean" : score),
    );
    button.addEventListener("click", () => this.choose(choose));
    const draw = () => this.heatTile(canvas, THUMB, image, model, layer, view.level, () => button.append(element("span", { class: "wrong" }, "dead map")));
    return { button, draw };
  }

  // A small overlay over the clean image; returns what paints it.
  async heatTile(canvas, side, image, model, layer, place, tellDead = () => undefined) {
    const { view, about } = this;
    const slot = view.slot(model);
    const [clean, maps] = await Promise.all([smallPixels(about, image, side), mapsOf(about, model, image)]);
    const found = maps[layer][view.policy] ?? maps[layer].find((one) => one !== null);
    return () => {
      if (!found) return;
      const map = place > 0 ? found.attacked[slot][place - 1] : found.clean;
      const heat = isDead(map) ? null : enlarged(map, view.models[model].layers[layer].shown, side);
      if (heat === null) tellDead();
      show(canvas, overlayPixels(clean, heat, view.strength / 100), side);
    };
  }

  // Arrow keys go from picture to picture.
  walk(event) {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (by === undefined || !event.target.closest(".tile")) return;
    event.preventDefault();
    this.step(by);
  }
}

const smallPixels = (() => {
  const known = new Map();
  return (about, image, side) => {
    const key = `${image} ${side}`;
    if (!known.has(key)) known.set(key, pixelsOf(about, image).then((pixels) => shrunk(pixels, about.side, side)));
    return known.get(key);
  };
})();
