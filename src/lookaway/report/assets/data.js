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

// Signs of one perturbation and image: two bits each, (side, side, channels), as -1, 0, 1.
async function signsOf(about, perturbation, image) {
  const packed = await bytes(`signs-${perturbation}-${image}`);
  const signs = new Int8Array(about.channels * about.side * about.side);
  for (let k = 0; k < signs.length; k += 1) signs[k] = ((packed[k >> 2] >> (2 * (k & 3))) & 3) - 1;
  return signs;
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
