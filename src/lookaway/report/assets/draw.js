// Pixels of the explorer's pictures: the same colours and the same enlargement as everywhere.

// turbo and viridis: of each value from 0 to 255; lost and gained: of a change of 1. Red, green, blue, to 255.
const COLOURS = held("colours-data");

// A map enlarged bilinearly to side × side, pixel centres aligned as heatmaps are; 0 to 255.
function enlarged(map, [height, width], side) {
  const out = new Float32Array(side * side);
  const steps = (size) =>
    Array.from({ length: side }, (_, k) => {
      const place = Math.max(0, ((k + 0.5) * size) / side - 0.5);
      const low = Math.min(size - 1, Math.floor(place));
      return [low, Math.min(size - 1, low + 1), place - low];
    });
  const across = steps(width);
  steps(height).forEach(([top, bottom, down], y) => {
    for (let x = 0; x < side; x += 1) {
      const [left, right, along] = across[x];
      const above = map[top * width + left] * (1 - along) + map[top * width + right] * along;
      const below = map[bottom * width + left] * (1 - along) + map[bottom * width + right] * along;
      out[y * side + x] = above * (1 - down) + below * down;
    }
  });
  return out;
}

const isDead = (map) => map.every((value) => value === 0);

// x + ε · scale · code / 127; a code for each colour, or, of a grey image, one for all three.
function attackedPixels(clean, { codes, scale }, epsilon) {
  const out = new Uint8ClampedArray(clean);
  const count = clean.length / 4;
  const channels = codes.length / count;
  for (let place = 0; place < count; place += 1) {
    for (let colour = 0; colour < 3; colour += 1) {
      const code = codes[channels * place + (colour % channels)];
      out[4 * place + colour] = clean[4 * place + colour] + (255 * epsilon * scale * code) / 127;
    }
  }
  return out;
}

function perturbationPixels(clean, attacked, factor) {
  const out = new Uint8ClampedArray(clean);
  for (let k = 0; k < out.length; k += 1) {
    if (k % 4 !== 3) out[k] = 127.5 + factor * (attacked[k] - clean[k]);
  }
  return out;
}

// A heatmap over pixels. `overlay`: mixed with them; `opacity`: over them in grey, the less seen
// the lower it is; `contour`: lines at a quarter, half and three quarters; `raw`: alone. Where the
// map is dead: the pixels, hatched.
function overlayPixels(pixels, heat, { strength, style, colours }) {
  const out = new Uint8ClampedArray(pixels);
  if (heat === null) return hatched(out);
  const side = Math.sqrt(heat.length);
  for (let place = 0; place < heat.length; place += 1) {
    const value = heat[place] / 255;
    const colour = COLOURS[colours][Math.round(heat[place])];
    const k = 4 * place;
    const grey = 0.299 * pixels[k] + 0.587 * pixels[k + 1] + 0.114 * pixels[k + 2];
    const line = style === "contour" && crosses(heat, place, side);
    for (let channel = 0; channel < 3; channel += 1) {
      if (style === "overlay") out[k + channel] = (1 - strength) * pixels[k + channel] + strength * colour[channel];
      else if (style === "opacity") out[k + channel] = (1 - value * Math.min(1, 1.6 * strength)) * grey + value * Math.min(1, 1.6 * strength) * colour[channel];
      else if (style === "raw") out[k + channel] = colour[channel];
      else out[k + channel] = line ? colour[channel] : grey;
    }
  }
  return out;
}

function crosses(heat, place, side) {
  const next = place % side === side - 1 ? place : place + 1;
  const below = place + side < heat.length ? place + side : place;
  const step = (value) => Math.min(3, Math.floor(value / 63.75));
  return step(heat[place]) !== step(heat[next]) || step(heat[place]) !== step(heat[below]);
}

// Diagonal stripes over an image in place: no evidence here.
function hatched(pixels) {
  const side = Math.sqrt(pixels.length / 4);
  const period = Math.max(8, Math.round(side / 14));
  for (let place = 0; place < pixels.length / 4; place += 1) {
    const across = ((place % side) + Math.floor(place / side)) % period;
    const to = across < period / 4 ? 255 : 110;
    const share = across < period / 4 ? 0.55 : 0.35;
    for (let channel = 0; channel < 3; channel += 1) {
      const k = 4 * place + channel;
      pixels[k] = (1 - share) * pixels[k] + share * to;
    }
  }
  return pixels;
}

// What was lost and gained over the image in grey; full colour at a change of 1.
function differencePixels(pixels, before, after) {
  const out = new Uint8ClampedArray(pixels);
  for (let place = 0; place < pixels.length / 4; place += 1) {
    const k = 4 * place;
    const grey = 0.299 * pixels[k] + 0.587 * pixels[k + 1] + 0.114 * pixels[k + 2];
    const change = ((after ? after[place] : 0) - (before ? before[place] : 0)) / 255;
    const colour = change < 0 ? COLOURS.lost : COLOURS.gained;
    const share = Math.min(1, Math.abs(change));
    for (let channel = 0; channel < 3; channel += 1) {
      out[k + channel] = (1 - share) * (150 + 0.4 * grey) + share * colour[channel];
    }
  }
  return out;
}

function show(canvas, pixels, side) {
  if (canvas.width !== side) canvas.width = canvas.height = side;
  canvas.getContext("2d").putImageData(new ImageData(pixels, side, side), 0, 0);
}

// Pixels drawn smaller, by areas.
function shrunk(pixels, from, to) {
  const out = new Uint8ClampedArray(4 * to * to).fill(255);
  for (let y = 0; y < to; y += 1) {
    for (let x = 0; x < to; x += 1) {
      const [top, bottom] = [Math.floor((y * from) / to), Math.max(1, Math.ceil(((y + 1) * from) / to))];
      const [left, right] = [Math.floor((x * from) / to), Math.max(1, Math.ceil(((x + 1) * from) / to))];
      const sum = [0, 0, 0];
      for (let row = top; row < bottom; row += 1) {
        for (let column = left; column < right; column += 1) {
          const k = 4 * (row * from + column);
          for (let channel = 0; channel < 3; channel += 1) sum[channel] += pixels[k + channel];
        }
      }
      const count = (bottom - top) * (right - left);
      for (let channel = 0; channel < 3; channel += 1) out[4 * (y * to + x) + channel] = sum[channel] / count;
    }
  }
  return out;
}
