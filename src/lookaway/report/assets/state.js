// What the explorer shows, and the link that shows the same again.

const LINK = "#explore&";

class View {
  constructor(about) {
    this.about = about;
    this.model = 0;
    this.attack = about.perturbations[0].attack;
    this.source = "own"; // "own", the source's place, or null for noise
    this.layer = this.lastLayer(0);
    this.policy = about.policy;
    this.image = 0;
    this.level = about.epsilons.length; // 0 is the clean image
    this.strength = 55;
    this.factor = 5;
    this.sort = "study";
    this.only = "all";
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
    return this.result(image, model).nissim[layer][this.policy][this.slot(model)][level - 1];
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
      flipped: (place) => ["flipped", "right", "wrong before"].indexOf(this.outcome(place)),
      class: (place) => this.about.images[place].label,
    }[this.sort];
    return all
      .filter((place) => this.only === "all" || this.outcome(place) === this.only)
      .sort((a, b) => key(a) - key(b) || a - b);
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
        sort: this.sort,
        show: this.only,
      })
    );
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
    if (["study", "most", "least", "flipped", "class"].includes(said.get("sort"))) this.sort = said.get("sort");
    if (["all", "flipped", "right", "wrong before"].includes(said.get("show"))) this.only = said.get("show");
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

  // Layers before the last are kept for one class policy and some images only.
  keepPossible() {
    const { layers, perturbations } = this.models[this.model];
    if (!layers[this.layer].policies.includes(this.policy)) this.policy = layers[this.layer].policies[0];
    if (!perturbations.includes(this.perturbation())) this.source = "own";
    if (!layers[this.layer].last && !this.about.images[this.image].deep) {
      this.layer = this.lastLayer(this.model);
    }
  }
}
