/**
 * Sizes from the headers of pictures. Each function gives undefined for a header that is not valid, and lets DataView's
 * RangeError out where the file ends before its header does.
 */

/** In pixels; neither is 0. */
export interface PixelSize {
  width: number;
  height: number;
}

/** Frame headers are C0–CF, but for the tables C4 (Huffman), C8 (reserved) and CC (arithmetic conditioning). */
const FRAME_MARKERS = new Set([0xc0, 0xc1, 0xc2, 0xc3, 0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcd, 0xce, 0xcf]);
/** Start of scan and end of image: no frame header comes after them. */
const TOO_LATE_MARKERS = new Set([0xda, 0xd9]);

export function jpegSize(view: DataView): PixelSize | undefined {
  for (let at = 2; ; ) {
    if (view.getUint8(at) !== 0xff) return undefined;
    const marker = view.getUint8(at + 1);
    if (FRAME_MARKERS.has(marker)) return pixelSize(view.getUint16(at + 7), view.getUint16(at + 5));
    if (TOO_LATE_MARKERS.has(marker)) return undefined;
    at += segmentLength(view, at, marker);
  }
}

/** At least 1, so that the walk ends with the file at the latest. */
function segmentLength(view: DataView, at: number, marker: number): number {
  // Any number of FF may stand before a marker.
  if (marker === 0xff) return 1;
  const standsAlone = marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8);
  return standsAlone ? 2 : 2 + view.getUint16(at + 2);
}

export function pngSize(view: DataView): PixelSize | undefined {
  const isHeader = view.getUint32(8) === 13 && view.getUint32(12) === 0x49484452;
  return isHeader ? pixelSize(view.getUint32(16), view.getUint32(20)) : undefined;
}

export function webpSize(view: DataView): PixelSize | undefined {
  // RIFF counts what follows its own eight bytes.
  if (view.getUint32(4, true) + 8 > view.byteLength) throw new RangeError("the file is shorter than it says");
  switch (view.getUint32(12)) {
    case 0x56503820:
      return lossySize(view);
    case 0x5650384c:
      return losslessSize(view);
    case 0x56503858:
      return pixelSize(1 + uint24(view, 24), 1 + uint24(view, 27));
    default:
      return undefined;
  }
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
