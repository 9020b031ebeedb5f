// What the page holds: plain data, and deflated bytes that are unpacked when they are first shown.

function held(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

async function unpackedText(name) {
  return new TextDecoder().decode(await inflate(name));
}

async function unpackedJson(name) {
  return JSON.parse(await unpackedText(`json-${name}`));
}

// Runs a script that the page allows by its hash.
async function unpackedScript(name) {
  const script = document.createElement("script");
  script.textContent = await unpackedText(name);
  document.head.append(script);
}

// What was unpacked last is kept, up to so many bytes; what is used again stays longest.
const MOST_BYTES = 24e6;
const unpacked = new Map();
let unpackedBytes = 0;

function bytes(name) {
  const kept = unpacked.get(name) ?? { size: 0 };
  kept.raw ??= inflate(name).then((raw) => {
    kept.size = raw.length;
    unpackedBytes += raw.length;
    release();
    return raw;
  });
  unpacked.delete(name);
  unpacked.set(name, kept); // behind all others
  return kept.raw;
}

function release() {
  for (const [name, { size }] of unpacked) {
    if (unpackedBytes <= MOST_BYTES) return;
    if (!size) continue;
    unpackedBytes -= size;
    unpacked.delete(name);
  }
}

async function inflate(name) {
  const raw = Uint8Array.from(atob(document.getElementById(`bytes-${name}`).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// An image's clean pixels, RGBA; those of a few images are kept. Of images that are not pictured
// they are those of a small copy, enlarged.
const MOST_IMAGES = 32;
const pixelsOf = (() => {
  const known = new Map();
  let sheet;
  const made = async (about, image) => {
    const { images, side, small } = about;
    const { source } = images[image];
    if (source) return drawn(await decoded(source), side);
    sheet ??= decoded(small.source);
    const tile = small.tiles[image - small.first];
    const place = [small.side * (tile % small.columns), small.side * Math.floor(tile / small.columns)];
    return drawn(await sheet, side, [...place, small.side, small.side]);
  };
  return (about, image) => {
    const found = known.get(image) ?? made(about, image);
    known.delete(image);
    known.set(image, found);
    if (known.size > MOST_IMAGES) known.delete(known.keys().next().value);
    return found;
  };
})();

async function decoded(source) {
  const picture = new Image();
  picture.src = source;
  await picture.decode();
  return picture;
}

function drawn(picture, side, part = [0, 0, side, side]) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, ...part, 0, 0, side, side);
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
  const { layers, perturbations } = about.models[model];
  const { mapped, deep } = about.images[image];
  if (!mapped) return layers.map(() => about.policies.map(() => null));
  const raw = await bytes(`maps-${model}-${image}`);
  let at = 0;
  const take = (count) => raw.subarray(at, (at += count));
  return layers.map((layer) => {
    const size = layer.shown[0] * layer.shown[1];
    const found = about.policies.map(() => null);
    if (!layer.last && !deep) return found;
    for (const policy of layer.policies) {
      const clean = take(size);
      const attacked = perturbations.map(() => about.epsilons.map(() => take(size)));
      found[policy] = { clean, attacked };
    }
    return found;
  });
}
