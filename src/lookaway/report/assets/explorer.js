// The explorer: one image, one model, one perturbation, and a slider over its strength.

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
    this.images = new Tiles(this.view, "gallery", {
      layer: (image) => (about.images[image].deep ? this.view.layer : this.view.lastLayer(this.view.model)),
      tile: (image) => ({ image, model: this.view.model, name: about.images[image].name, chosen: image === this.view.image }),
      pick: (image) => this.pickTile((view) => (view.image = image)),
    });
    this.models = new Tiles(this.view, "models-strip", {
      layer: (model) => this.view.likeLayer(model),
      tile: (model) => ({ image: this.view.image, model, name: this.view.models[model].name, chosen: model === this.view.model }),
      pick: (model) => this.pickTile((view) => view.chooseModel(model)),
    });
    this.listen();
    this.ready = this.follow(true);
  }

  listen() {
    const { view } = this;
    const on = (id, type, change, push = true) =>
      byId(id)?.addEventListener(type, (event) => {
        change(event.target.value);
        this.changed(push);
      });
    on("pick-model", "change", (value) => view.chooseModel(Number(value)));
    on("pick-perturbation", "change", (value) => view.choosePerturbation(Number(value)));
    on("pick-layer", "change", (value) => (view.layer = Number(value)));
    on("pick-policy", "change", (value) => (view.policy = this.about.policies.indexOf(value)));
    on("pick-shown-attack", "change", (value) => (view.attack = value));
    on("pick-image", "change", (value) => (view.image = Number(value)));
    on("pick-epsilon", "input", (value) => (view.level = Number(value)), false);
    on("pick-strength", "input", (value) => (view.strength = Number(value)), false);
    on("pick-factor", "input", (value) => (view.factor = Number(value)), false);
    on("pick-style", "change", (value) => (view.style = value));
    on("pick-colours", "change", (value) => (view.colours = value));
    on("pick-sort", "change", (value) => (view.sort = value));
    on("pick-only", "change", (value) => (view.only = value));
    on("pick-label", "change", (value) => (view.label = value));
    on("pick-alive", "change", (value) => (view.alive = value));
    on("pick-look", "change", (value) => (view.look = value));
    byId("previous-image").addEventListener("click", () => this.step(-1));
    byId("next-image").addEventListener("click", () => this.step(1));
    byId("play").addEventListener("click", () => this.play());
    byId("pin").addEventListener("click", () => this.pin());
    byId("unpin").addEventListener("click", () => this.unpin());
    byId("clear-range").addEventListener("click", () => this.choose((chosen) => (chosen.range = null)));
    byId("copy-link").addEventListener("click", () => this.copyLink());
    window.addEventListener("popstate", (event) => this.back(event.state));
    byId("gallery").addEventListener("keydown", (event) => this.walk(event));
    for (const name of ["before", "after"]) {
      byId(`picture-${name}`).addEventListener("pointermove", (event) => this.value(name, event));
      byId(`picture-${name}`).addEventListener("pointerleave", () => (byId("value-told").textContent = ""));
    }
  }

  follow(first) {
    const followed = this.view.follow(location.hash);
    if (followed) byId("explorer").scrollIntoView();
    return followed || first ? this.changed() : undefined;
  }

  // Back and forward: what was chosen then, without leaving the place on the page.
  back(state) {
    if (state?.view) {
      if (this.view.follow(state.view)) this.changed();
    } else this.follow(false);
  }

  choose(change, push = true) {
    change(this.view);
    return this.changed(push);
  }

  // A small picture was clicked: what it opens must be in sight.
  async pickTile(change) {
    await this.choose(change);
    const { top, bottom } = byId("stage").getBoundingClientRect();
    if (top < 0 || bottom > innerHeight) byId("stage-top").scrollIntoView({ behavior: "smooth" });
  }

  // A mark of a chart was clicked: a bar shows its images, a cell or a point its perturbation.
  picked(datum) {
    const { view, about } = this;
    const model = view.models.findIndex((one) => [datum.model, datum.panel].includes(one.name));
    if (model >= 0) view.chooseModel(model);
    const source = view.models.findIndex((one) => one.name === datum.source);
    if (source >= 0) view.source = source === view.model ? "own" : source;
    const told = datum.epsilon ?? String(datum["ε"] ?? datum.level ?? "").split(" ").at(-1);
    const level = told === "" ? -1 : [0, ...about.epsilons].indexOf(Number(told));
    if (level >= 0) view.level = level;
    if (datum.label !== undefined && about.classes.includes(datum.label)) view.label = String(about.classes.indexOf(datum.label));
    const word = about.looks.indexOf(datum.measure);
    if (word >= 0) view.look = String(word);
    view.range = datum.from === undefined ? null : [datum.from, datum.to];
    // Bars of a model are of its own attack or of noise; their names end where ε begins.
    const made = datum.perturbation ?? String(datum.level ?? "").split(" ").slice(0, -1).join(" ");
    if (made) {
      const number = about.perturbations.findIndex(({ attack, source: its }) => attack === made && (its === view.model || its === null));
      view.choosePerturbation(number >= 0 ? number : about.perturbations.length - 1);
    }
    const [first] = view.images();
    if (first !== undefined && !view.fits(view.image)) view.image = first;
    this.changed(true);
    byId("images-title").scrollIntoView({ behavior: "smooth" });
  }

  async step(by) {
    const images = this.view.images();
    if (!images.length) return;
    const place = images.indexOf(this.view.image);
    await this.choose((view) => (view.image = images[(place + by + images.length) % images.length]));
    this.images.bring();
  }

  play() {
    if (this.playing) return this.stop();
    byId("play").textContent = "Stop";
    const count = this.about.epsilons.length + 1;
    this.playing = setInterval(() => this.choose((view) => (view.level = (view.level + 1) % count), false), 900);
    return undefined;
  }

  stop() {
    clearInterval(this.playing);
    this.playing = undefined;
    byId("play").textContent = "Play";
  }

  // What is shown now stays below, beside what is chosen next.
  pin() {
    const copy = byId("stage").cloneNode(true);
    const pictures = [...byId("stage").querySelectorAll("canvas")];
    copy.querySelectorAll("canvas").forEach((canvas, place) => canvas.getContext("2d").drawImage(pictures[place], 0, 0));
    for (const part of [copy, ...copy.querySelectorAll("[id]")]) part.removeAttribute("id");
    copy.querySelectorAll("canvas").forEach((canvas) => {
      canvas.removeAttribute("aria-labelledby");
      canvas.setAttribute("aria-label", `pinned: ${canvas.closest("figure").querySelector("h3").textContent}`);
    });
    const said = element("p", { class: "dim" });
    said.innerHTML = byId("said").innerHTML;
    byId("pinned").replaceChildren(element("h3", {}, "Pinned"), said, copy);
    byId("unpin").hidden = byId("pinned").hidden = false;
  }

  unpin() {
    byId("pinned").replaceChildren();
    byId("unpin").hidden = byId("pinned").hidden = true;
  }

  async copyLink() {
    this.remember(false);
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

  // The address bar has the view; each choice is a step that Back undoes, each move of a slider not.
  remember(push) {
    const link = this.view.link();
    if (push) history.pushState({ view: link }, "", link);
    else history.replaceState({ view: link }, "", link);
  }

  // Draw what was chosen; where more is chosen before it is drawn, only the last.
  async changed(push = null) {
    const { view } = this;
    view.keepPossible();
    clearTimeout(this.remembering);
    if (push === true) {
      history.replaceState({ view: this.current }, ""); // what Back shows again
      this.remember(true);
    } else if (push === false) this.remembering = setTimeout(() => this.remember(false), 250);
    this.current = view.link();
    const turn = (this.turn += 1);
    const { dataset } = document.documentElement;
    dataset.drawn = "begun";
    this.controls();
    this.numbers();
    await this.stage(turn);
    if (turn === this.turn) await this.gallery();
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
    fill(byId("pick-image"), about.images.map((image, place) => [place, image.name]), view.image);
    const labels = [...new Set(about.images.map(({ label }) => label))];
    fill(byId("pick-label"), [["all", "all"], ...labels.map((label) => [label, about.classes[label]])], view.label);
    fill(byId("pick-look"), [["all", "all"], ...about.looks.map((word, place) => [place, word])], view.look);
    const slider = byId("pick-epsilon");
    slider.max = about.epsilons.length;
    slider.value = view.level;
    slider.setAttribute("aria-valuetext", level(view, view.level));
    byId("shown-epsilon").textContent = level(view, view.level);
    byId("pick-strength").value = view.strength;
    byId("shown-strength").textContent = `${view.strength} %`;
    byId("pick-factor").value = view.factor;
    byId("shown-factor").textContent = `×${view.factor}`;
    for (const name of ["style", "colours", "sort", "only", "alive"]) byId(`pick-${name}`).value = view[name];
    document.documentElement.style.setProperty("--heat", `var(--${view.colours})`);
    byId("range-told").hidden = !view.range;
    if (view.range) byId("shown-range").textContent = `NISSIM from ${three(view.range[0])} to ${three(view.range[1])}`;
    choosePage("policy", about.policies[view.policy]);
    choosePage("attack", view.attack);
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
    const { source, mapped } = about.images[view.image];
    if (!source) said.append(` It is not one of the pictured images: its attacked pixels${mapped ? "" : " and its heatmaps"} are not in this page.`);
    const rows = [0, ...about.epsilons].map((_, place) => {
      const [seen, confidence, psnr] = view.seen(view.image, view.model, place);
      const right = seen === about.images[view.image].label;
      const pick = element("button", { type: "button" }, level(view, place));
      pick.addEventListener("click", () => this.choose((chosen) => (chosen.level = place), false));
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
    const { source, mapped } = about.images[view.image];
    const change =
      source && view.level > 0 ? await changeOf(about, view.perturbation(), view.image, view.level - 1) : null;
    if (turn !== this.turn) return;
    const layer = view.models[view.model].layers[view.layer];
    const policy = view.shownPolicy();
    const found = maps[view.layer][policy];
    const after = view.level > 0 ? found?.attacked[view.slot()][view.level - 1] : found?.clean;
    const heat = (map) => (!map || isDead(map) ? null : enlarged(map, layer.shown, side));
    const [heatBefore, heatAfter] = [heat(found?.clean), heat(after)];
    const attacked = change === null ? clean : attackedPixels(clean, change, view.epsilon());
    const how = view.drawing();
    this.heats = { before: heatBefore, after: heatAfter };
    const pictures = {
      clean,
      perturbation: perturbationPixels(clean, attacked, view.factor),
      attacked,
      before: overlayPixels(clean, heatBefore, how),
      after: overlayPixels(attacked, heatAfter, how),
      difference: differencePixels(clean, heatBefore, heatAfter),
    };
    for (const [name, pixels] of Object.entries(pictures)) {
      const there = name === "clean" || (["perturbation", "attacked"].includes(name) ? source : mapped);
      byId(`picture-${name}`).parentElement.hidden = !there;
      if (there) show(byId(`picture-${name}`), pixels, side);
    }
    byId("heading-clean").textContent = source ? "Clean image" : "Clean image, small copy";
    const [first, second] = [view.seen(view.image, view.model, 0), view.seen()];
    const caption = (name, ...parts) => byId(`caption-${name}`).replaceChildren(...parts);
    const dead = (map) => (map === null ? " · dead map: no evidence for the class" : "");
    caption("clean", this.className(first[0]), ` ${percent(first[1])}`, this.mark(first[0]));
    caption("perturbation", view.level === 0 ? "none" : `amplified ×${view.factor}`);
    caption("attacked", this.className(second[0]), ` ${percent(second[1])}`, this.mark(second[0]));
    caption("before", `${layer.name}${policy === view.policy ? "" : `, class: ${about.policies[policy]}, the one kept for this layer`}${dead(heatBefore)}`);
    caption("after", view.level === 0 ? "the same" : `NISSIM ${three(view.nissim())}${this.evidence(policy)}${dead(heatAfter)}`);
    caption("difference", "after less before");
    this.otherClasses(maps[view.layer], attacked, layer, policy);
    byId("heading-attacked").textContent = view.level === 0 ? "Attacked: not yet" : `Attacked, ${level(view, view.level)}`;
  }

  // The attacked image's heatmaps of the other explained classes, beside that of the chosen one.
  otherClasses(maps, attacked, layer, chosen) {
    const { view, about } = this;
    about.policies.forEach((name, policy) => {
      const found = maps[policy];
      byId(`figure-class-${name}`).hidden = policy === chosen || !found;
      if (policy === chosen || !found) return;
      const map = view.level > 0 ? found.attacked[view.slot()][view.level - 1] : found.clean;
      const heat = isDead(map) ? null : enlarged(map, layer.shown, about.side);
      show(byId(`picture-class-${name}`), overlayPixels(attacked, heat, view.drawing()), about.side);
      const score = view.level > 0 ? three(view.result().nissim[view.layer][policy][view.slot()][view.level - 1]) : "–";
      byId(`caption-class-${name}`).textContent = `NISSIM ${score}${heat === null ? " · dead map: no evidence for the class" : ""}`;
    });
  }

  // How much of the clean map's evidence, its maximum before it is divided by it, is left.
  evidence(policy) {
    const { view } = this;
    const { last } = view.models[view.model].layers[view.layer];
    const left = last && view.level > 0 ? view.result().evidence[policy][view.slot()][view.level - 1] : null;
    return left ? ` · ${Math.round(100 * left)} % of the clean map's evidence` : "";
  }

  mark(seen) {
    return seen === this.about.images[this.view.image].label ? "" : element("span", { class: "wrong" }, " ✗");
  }

  // Every image under the chosen model and strength, and every model on the chosen image.
  async gallery() {
    const { view } = this;
    const images = view.images();
    byId("gallery-count").textContent = images.length ? `${images.length} of ${this.about.images.length} images` : "No image fits this choice.";
    await Promise.all([this.images.changed(images), this.models.changed(view.models.map((_, place) => place))]);
  }

  // What a heatmap is at the pointer.
  value(name, { offsetX, offsetY, target }) {
    const heat = this.heats?.[name];
    const side = target.width;
    const at = (offset, room) => Math.min(side - 1, Math.max(0, Math.floor((offset * side) / room)));
    const place = at(offsetY, target.clientHeight) * side + at(offsetX, target.clientWidth);
    byId("value-told").textContent = heat ? `heatmap here: ${(heat[place] / 255).toFixed(2)} of its highest` : "";
  }

  // Arrow keys go from picture to picture.
  walk(event) {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (by === undefined || !event.target.closest(".tile")) return;
    event.preventDefault();
    this.step(by).then(() => this.images.chosen()?.focus({ preventScroll: true }));
  }
}
