// What the explorer shows, and the link that shows the same again.

const LINK = "#explore&";
const OUTCOMES = ["flipped", "right", "wrong before"];
const STYLES = ["overlay", "opacity", "contour", "raw"];
const PALETTES = ["turbo", "viridis"];
const SORTS = ["study", "most", "least", "flipped", "class"];
const ALIVE = ["all", "living", "dead"];

class View {
  constructor(about) {
    this.about = about;
    this.model = about.first.model;
    this.attack = about.perturbations[0].attack;
    this.source = "own"; // "own", the source's place, or null for noise
    this.layer = this.lastLayer(this.model);
    this.policy = about.policy;
    this.image = about.first.image;
    this.level = about.epsilons.length; // 0 is the clean image
    this.strength = 55;
    this.factor = 5;
    this.style = "overlay";
    this.colours = "turbo";
    this.sort = "study";
    this.only = "all"; // an outcome
    this.label = "all"; // a class's place
    this.alive = "all";
    this.look = "all"; // what became of the heatmap
    this.range = null; // of NISSIM: [low, high)
  }

  get models() {
    return this.about.models;
  }

  // The perturbation's place among all, for a model.
  perturbation(model = this.model) {
    const source = this.source === "own" ? model : this.source;
    return this.about.perturbations.findIndex((one) => one.attack === this.attack && one.source === source);
  }

  // Its place among those that the model met.
  slot(model = this.model) {
    return Math.max(0, this.models[model].perturbations.indexOf(this.perturbation(model)));
  }

  choosePerturbation(number) {
    const { attack, source } = this.about.perturbations[number];
    this.attack = attack;
    this.source = source === this.model ? "own" : source;
  }

  chooseModel(model) {
    if (this.source === model) this.source = "own";
    this.layer = this.likeLayer(model);
    this.model = model;
  }

  lastLayer(model) {
    return this.models[model].layers.findIndex((layer) => layer.last);
  }

  // The layer of another model that is most like the chosen one: last for last, else as deep.
  likeLayer(model) {
    const chosen = this.models[this.model].layers[this.layer];
    const layers = this.models[model].layers;
    if (chosen.last) return this.lastLayer(model);
    const same = layers.findIndex((layer) => layer.name === chosen.name);
    if (same >= 0) return same;
    const far = layers.map((layer) => Math.abs(layer.depth - chosen.depth));
    return far.indexOf(Math.min(...far));
  }

  result(image = this.image, model = this.model) {
    return this.about.results[model][image];
  }

  nissim(image = this.image, model = this.model, layer = this.layer, level = this.level) {
    if (level === 0) return null;
    const found = this.result(image, model).nissim;
    return (found[layer] ?? found[this.lastLayer(model)])[this.policy][this.slot(model)][level - 1];
  }

  // The explained class of the maps that are shown: layers before the last are kept for one alone.
  shownPolicy(layer = this.layer, model = this.model) {
    const { policies } = this.models[model].layers[layer];
    return policies.includes(this.policy) ? this.policy : policies[0];
  }

  // What became of a heatmap, as the place of a word; null where that is not known.
  lookOf(image = this.image, model = this.model, level = this.level) {
    if (level === 0) return null;
    return this.result(image, model).looks[this.policy][this.slot(model)][level - 1];
  }

  // Whether a map of the last layer is dead: of the clean image or at a level.
  isDead(image = this.image, model = this.model, level = this.level) {
    const { dead } = this.result(image, model);
    const [clean, attacked] = dead[this.policy];
    return Boolean(clean || (level > 0 && attacked[this.slot(model)][level - 1]));
  }

  // Class and confidence at a level.
  seen(image = this.image, model = this.model, level = this.level) {
    const found = this.result(image, model);
    return level === 0 ? found.clean : found.attacked[this.slot(model)][level - 1];
  }

  outcome(image = this.image, model = this.model, level = this.level) {
    const label = this.about.images[image].label;
    if (this.seen(image, model, 0)[0] !== label) return "wrong before";
    return this.seen(image, model, level)[0] === label ? "right" : "flipped";
  }

  // How heatmaps are drawn.
  drawing() {
    return { strength: this.strength / 100, style: this.style, colours: this.colours };
  }

  epsilon(level = this.level) {
    return level === 0 ? 0 : this.about.epsilons[level - 1];
  }

  // The images in the chosen order.
  images() {
    const all = this.about.images.map((_, place) => place);
    const key = {
      study: () => 0,
      most: (place) => -(this.nissim(place) ?? 0),
      least: (place) => this.nissim(place) ?? 0,
      flipped: (place) => OUTCOMES.indexOf(this.outcome(place)),
      class: (place) => this.about.images[place].label,
    }[this.sort];
    return all.filter((place) => this.fits(place)).sort((a, b) => key(a) - key(b) || a - b);
  }

  fits(place) {
    const last = this.lastLayer(this.model);
    const score = this.range && this.nissim(place, this.model, last);
    return (
      (this.only === "all" || this.outcome(place) === this.only) &&
      (this.label === "all" || this.about.images[place].label === Number(this.label)) &&
      (this.alive === "all" || this.isDead(place) === (this.alive === "dead")) &&
      (this.look === "all" || this.lookOf(place) === Number(this.look)) &&
      (!this.range || (score !== null && score >= this.range[0] && score < this.range[1]))
    );
  }

  link() {
    const source = this.source === "own" || this.source === null ? this.source : this.models[this.source].name;
    return (
      LINK +
      new URLSearchParams({
        model: this.models[this.model].name,
        attack: this.attack,
        source: source ?? "",
        layer: this.models[this.model].layers[this.layer].name,
        class: this.about.policies[this.policy],
        image: this.about.images[this.image].name,
        epsilon: this.epsilon(),
        strength: this.strength,
        factor: this.factor,
        style: this.style,
        colours: this.colours,
        sort: this.sort,
        show: this.only,
        ...this.filters(),
      })
    );
  }

  // Which images are shown besides by outcome, as far as that is chosen.
  filters() {
    const { label, alive, look, range } = this;
    return {
      ...(label === "all" ? {} : { label: this.about.classes[label] }),
      ...(alive === "all" ? {} : { maps: alive }),
      ...(look === "all" ? {} : { heatmap: this.about.looks[look] }),
      ...(range ? { from: range[0], to: range[1] } : {}),
    };
  }

  // Take what a link says; what it does not say, or what is not here, stays.
  follow(hash) {
    if (!hash.startsWith(LINK)) return false;
    const said = new URLSearchParams(hash.slice(LINK.length));
    const find = (list, value, use) => {
      const place = list.indexOf(value);
      if (place >= 0) use(place);
    };
    const within = (name, low, high, use) => {
      const value = Number(said.get(name));
      if (said.get(name) && value >= low && value <= high) use(value);
    };
    find(this.models.map((model) => model.name), said.get("model"), (place) => this.chooseModel(place));
    find(this.models[this.model].layers.map((layer) => layer.name), said.get("layer"), (place) => (this.layer = place));
    find(this.about.policies, said.get("class"), (place) => (this.policy = place));
    find(this.about.images.map((image) => image.name), said.get("image"), (place) => (this.image = place));
    find([0, ...this.about.epsilons], Number(said.get("epsilon") ?? NaN), (place) => (this.level = place));
    within("strength", 0, 100, (value) => (this.strength = value));
    within("factor", 1, 20, (value) => (this.factor = value));
    find(STYLES, said.get("style"), (place) => (this.style = STYLES[place]));
    find(PALETTES, said.get("colours"), (place) => (this.colours = PALETTES[place]));
    find(SORTS, said.get("sort"), (place) => (this.sort = SORTS[place]));
    find(["all", ...OUTCOMES], said.get("show"), (place) => (this.only = ["all", ...OUTCOMES][place]));
    [this.label, this.alive, this.look, this.range] = ["all", "all", "all", null];
    find(this.about.classes, said.get("label"), (place) => (this.label = String(place)));
    find(ALIVE, said.get("maps"), (place) => (this.alive = ALIVE[place]));
    find(this.about.looks, said.get("heatmap"), (place) => (this.look = String(place)));
    if (said.get("from") && Number(said.get("to")) > Number(said.get("from"))) this.range = [Number(said.get("from")), Number(said.get("to"))];
    if (said.has("attack") && said.has("source")) this.followPerturbation(said.get("attack"), said.get("source"));
    this.keepPossible();
    return true;
  }

  followPerturbation(attack, source) {
    const other = this.models.findIndex((model) => model.name === source);
    const wanted = source === "" ? null : source === "own" && other < 0 ? this.model : other < 0 ? this.model : other;
    const number = this.about.perturbations.findIndex((one) => one.attack === attack && one.source === wanted);
    if (this.models[this.model].perturbations.includes(number)) this.choosePerturbation(number);
  }

  // Layers before the last are kept for some images only.
  keepPossible() {
    const { layers, perturbations } = this.models[this.model];
    if (!perturbations.includes(this.perturbation())) this.source = "own";
    if (!layers[this.layer].last && !this.about.images[this.image].deep) {
      this.layer = this.lastLayer(this.model);
    }
  }
}
