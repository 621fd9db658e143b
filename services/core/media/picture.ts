/**
 * Sizes from the headers of pictures, read as tolerantly as decoders do: what stands between or behind the parts that
 * matter is passed over. Each function gives undefined for a header that is not valid, and lets DataView's RangeError out
 * where the file ends before what matters does. All take time by the file's length only.
 */

/** In pixels; neither is 0. */
export interface PixelSize {
  width: number;
  height: number;
  /** More than one frame, of which a photo shows the first. */
  isAnimated?: true;
}

/** Baseline, extended and progressive, by Huffman or arithmetic coding; decoders know no other process. */
const FRAME_MARKERS = new Set([0xc0, 0xc1, 0xc2, 0xc9, 0xca]);
/** Frames of the other processes; start of scan and end of image, after which no frame header comes. */
const END_MARKERS = new Set([0xc3, 0xc5, 0xc6, 0xc7, 0xcb, 0xcd, 0xce, 0xcf, 0xda, 0xd9]);

export function jpegSize(view: DataView): PixelSize | undefined {
  for (let at = 2; ; ) {
    at = markerFrom(view, at);
    const marker = view.getUint8(at);
    if (FRAME_MARKERS.has(marker)) return pixelSize(view.getUint16(at + 6), view.getUint16(at + 4));
    if (END_MARKERS.has(marker)) return undefined;
    const standsAlone = marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8);
    // A length counts itself; a smaller one is nonsense that decoders pass over.
    at += standsAlone ? 1 : 1 + Math.max(2, view.getUint16(at + 1));
  }
}

/** Where the next marker's second byte is: behind any bytes, then FF once or more, then one that is neither FF nor 0. */
function markerFrom(view: DataView, from: number): number {
  for (let at = from; ; at++) {
    if (view.getUint8(at) !== 0xff) continue;
    while (view.getUint8(at) === 0xff) at++;
    if (view.getUint8(at) !== 0) return at;
  }
}

const PNG = { header: 0x49484452, animation: 0x6163544c, data: 0x49444154 } as const;

export function pngSize(view: DataView): PixelSize | undefined {
  if (view.getUint32(8) !== 13 || view.getUint32(12) !== PNG.header) return undefined;
  const size = pixelSize(view.getUint32(16), view.getUint32(20));
  return size && isAnimatedPng(view) ? { ...size, isAnimated: true } : size;
}

/** A chunk in front of the picture's data tells the number of frames. */
function isAnimatedPng(view: DataView): boolean {
  for (let at = 8; at + 12 <= view.byteLength; at += 12 + view.getUint32(at)) {
    const type = view.getUint32(at + 4);
    if (type === PNG.data) return false;
    if (type === PNG.animation) return view.getUint32(at + 8) > 1;
  }
  return false;
}

const WEBP = { lossy: 0x56503820, lossless: 0x5650384c, extended: 0x56503858, frame: 0x414e4d46 } as const;
const ANIMATION_FLAG = 0x02;

/**
 * RIFF's own length is not asked: encoders are off by a byte, and bytes behind it hurt nobody. What tells a file that was
 * cut off is a picture that ends behind it.
 */
export function webpSize(view: DataView): PixelSize | undefined {
  const first = view.getUint32(12);
  if (first !== WEBP.lossy && first !== WEBP.lossless && first !== WEBP.extended) return undefined;
  const frames = wholeFrames(view);
  if (first === WEBP.lossy) return lossySize(view);
  if (first === WEBP.lossless) return losslessSize(view);
  const size = pixelSize(1 + uint24(view, 24), 1 + uint24(view, 27));
  const isAnimated = frames > 1 && (view.getUint8(20) & ANIMATION_FLAG) !== 0;
  return size && isAnimated ? { ...size, isAnimated } : size;
}

/** How many pictures the file holds. Throws a RangeError where one is not whole, or none is there. */
function wholeFrames(view: DataView): number {
  let frames = 0;
  for (let at = 12; frames === 0 || at + 8 <= view.byteLength; ) {
    const type = view.getUint32(at);
    const length = view.getUint32(at + 4, true);
    const isPicture = type === WEBP.lossy || type === WEBP.lossless || type === WEBP.frame;
    if (isPicture && at + 8 + length > view.byteLength) throw new RangeError("the picture is shorter than it says");
    if (isPicture) frames++;
    at += 8 + length + (length % 2);
  }
  return frames;
}

/** VP8: a key frame's start code, then 14 bits each; the upper two are a scale. */
function lossySize(view: DataView): PixelSize | undefined {
  if (view.getUint16(23) !== 0x9d01 || view.getUint8(25) !== 0x2a) return undefined;
  return pixelSize(view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff);
}

/** VP8L: a signature byte, then 14 bits each, less one. */
function losslessSize(view: DataView): PixelSize | undefined {
  if (view.getUint8(20) !== 0x2f) return undefined;
  const bits = view.getUint32(21, true);
  return pixelSize(1 + (bits & 0x3fff), 1 + ((bits >>> 14) & 0x3fff));
}

function uint24(view: DataView, at: number): number {
  return view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
}

function pixelSize(width: number, height: number): PixelSize | undefined {
  return width > 0 && height > 0 ? { width, height } : undefined;
}
