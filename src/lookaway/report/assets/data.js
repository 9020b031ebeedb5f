// What the page holds: plain data, and deflated bytes that are unpacked when they are first shown.

function held(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

const unpacked = new Map();

function bytes(name) {
  if (!unpacked.has(name)) unpacked.set(name, inflate(name));
  return unpacked.get(name);
}

async function inflate(name) {
  const raw = Uint8Array.from(atob(document.getElementById(`bytes-${name}`).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// An image's clean pixels, RGBA.
const pixelsOf = (() => {
  const known = new Map();
  return (about, image) => {
    if (!known.has(image)) known.set(image, decoded(about.images[image].source, about.side));
    return known.get(image);
  };
})();

async function decoded(source, side) {
  const picture = new Image();
  picture.src = source;
  await picture.decode();
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  return context.getImageData(0, 0, side, side).data;
}

// The change of one perturbation, image and level of ε: codes (side, side, channels) from -127 to
// 127, and how much of ε 127 is. They are stored once for every level or for each, as signs of two
// bits or as they are.
async function changeOf(about, perturbation, image, level) {
  const raw = await bytes(`codes-${perturbation}-${image}`);
  const count = about.channels * about.side * about.side;
  const packed = Math.ceil(count / 4);
  const { signs, scale } = about.changes[perturbation][image];
  const each = signs ? packed : count;
  const place = raw.length > each ? level : 0;
  const stored = raw.subarray(place * each);
  const codes = new Int8Array(count);
  for (let k = 0; k < count; k += 1) {
    codes[k] = signs ? 127 * (((stored[k >> 2] >> (2 * (k & 3))) & 3) - 1) : (stored[k] << 24) >> 24;
  }
  return { codes, scale: scale === null ? 1 : scale[place] };
}

// A model's maps of an image by layer and policy: { clean, attacked[slot][level] }, or null.
async function mapsOf(about, model, image) {
  const raw = await bytes(`maps-${model}-${image}`);
  const { layers, perturbations } = about.models[model];
  let at = 0;
  const take = (count) => raw.subarray(at, (at += count));
  return layers.map((layer) => {
    const size = layer.shown[0] * layer.shown[1];
    const found = about.policies.map(() => null);
    if (!layer.last && !about.images[image].deep) return found;
    for (const policy of layer.policies) {
      const clean = take(size);
      const attacked = perturbations.map(() => about.epsilons.map(() => take(size)));
      found[policy] = { clean, attacked };
    }
    return found;
  });
}
