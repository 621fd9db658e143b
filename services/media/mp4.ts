/**
 * What the boxes of an MP4 say. A box is a length, a name of four letters and a payload, which may be boxes again; a file
 * is boxes from its first byte to its last.
 */

/** In pixels as it is shown; 0 where the file does not say. */
export interface VideoSize {
  width: number;
  height: number;
}

/** A box's name and where its payload lies. */
interface Box {
  type: string;
  from: number;
  to: number;
}

/** The brands of files that players take for MP4. QuickTime, HEIF pictures and sound have brands of their own. */
const MP4_BRANDS = /^(iso[m2-9a-c]|mp4[12]|mp71|avc1|M4V[ HP]|MSNV|dash|XAVC)$/;
/** Real files list a handful. */
const MAX_BRANDS = 64;

/** Whether a file that begins with `ftyp` says that it can be played as MP4. */
export function hasMp4Brand(view: DataView): boolean {
  const end = Math.min(view.getUint32(0), view.byteLength, 16 + MAX_BRANDS * 4);
  if (MP4_BRANDS.test(typeAt(view, 8))) return true;
  for (let at = 16; at + 4 <= end; at += 4) {
    if (MP4_BRANDS.test(typeAt(view, at))) return true;
  }
  return false;
}

/**
 * Size of the first video track; undefined where there is none, or where a box is not valid. Lets a RangeError out where
 * a box ends behind the file.
 */
export function videoSize(view: DataView): VideoSize | undefined {
  let size: VideoSize | undefined;
  // To the end, although the tracks may come first: an upload that was cut shows only there.
  for (const box of boxes(view, 0, view.byteLength)) {
    if (box === undefined) return undefined;
    if (box.type === "moov") size ??= sizeInMovie(view, box);
  }
  return size;
}

function sizeInMovie(view: DataView, movie: Box): VideoSize | undefined {
  for (const box of boxes(view, movie.from, movie.to)) {
    if (box?.type !== "trak") continue;
    const handler = child(view, child(view, box, "mdia"), "hdlr");
    if (handler === undefined || typeAt(view, handler.from + 8) !== "vide") continue;
    const header = child(view, box, "tkhd");
    return header && sizeInHeader(view, header.from);
  }
  return undefined;
}

/** Width and height are 16.16 fixed point; version 1 has longer times in front of them. */
function sizeInHeader(view: DataView, from: number): VideoSize {
  const matrix = from + (view.getUint8(from) === 1 ? 52 : 40);
  const width = view.getUint32(matrix + 36) >>> 16;
  const height = view.getUint32(matrix + 40) >>> 16;
  // A telephone held upright writes a lying picture and a quarter turn.
  const turned = view.getInt32(matrix) === 0 && view.getInt32(matrix + 16) === 0;
  return turned ? { width: height, height: width } : { width, height };
}

function child(view: DataView, parent: Box | undefined, type: string): Box | undefined {
  if (parent === undefined) return undefined;
  for (const box of boxes(view, parent.from, parent.to)) {
    if (box?.type === type) return box;
  }
  return undefined;
}

/** The boxes in a range, and undefined at the end if one is not valid. Each takes at least 8 bytes, so this ends. */
function* boxes(view: DataView, from: number, to: number): Generator<Box | undefined> {
  let at = from;
  while (at + 8 <= to) {
    const { headerBytes, totalBytes } = extent(view, at, to);
    if (totalBytes < headerBytes) return yield undefined;
    if (at + totalBytes > to) throw new RangeError("a box ends behind what holds it");
    yield { type: typeAt(view, at + 4), from: at + headerBytes, to: at + totalBytes };
    at += totalBytes;
  }
}

/** Length 1 stands for a longer number behind the name, 0 for "all that is left". */
function extent(view: DataView, at: number, to: number): { headerBytes: number; totalBytes: number } {
  const short = view.getUint32(at);
  if (short === 0) return { headerBytes: 8, totalBytes: to - at };
  if (short === 1) return { headerBytes: 16, totalBytes: Number(view.getBigUint64(at + 8)) };
  return { headerBytes: 8, totalBytes: short };
}

function typeAt(view: DataView, at: number): string {
  return String.fromCharCode(view.getUint8(at), view.getUint8(at + 1), view.getUint8(at + 2), view.getUint8(at + 3));
}
