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
  /** The name as a number: a file may be made of millions of boxes. */
  type: number;
  from: number;
  to: number;
}

/** The brands of files that players take for MP4. QuickTime, HEIF pictures and sound have brands of their own. */
const MP4_BRANDS = /^(iso[m2-9a-c]|mp4[12]|mp71|mmp4|avc1|hvc1|hev1|av01|M4V[ HP]|F4V |MSNV|dash|cmf[2cfs]|XAVC)$/;
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

/** The boxes that a player needs; what else there is may end where it likes. */
const BOX = {
  movie: 0x6d6f6f76, // moov
  content: 0x6d646174, // mdat
  fragment: 0x6d6f6f66, // moof
  track: 0x7472616b, // trak
  trackHeader: 0x746b6864, // tkhd
  media: 0x6d646961, // mdia
  handler: 0x68646c72, // hdlr
} as const;
const NEEDED = new Set<number>([BOX.movie, BOX.content, BOX.fragment]);

/**
 * Size of the first video track; undefined where there is no such track, or nothing to play in it. Lets a RangeError out
 * where a box that a player needs ends behind the file. Bytes behind the last box that are none are passed over.
 */
export function videoSize(view: DataView): VideoSize | undefined {
  let size: VideoSize | undefined;
  let hasContent = false;
  // To the end, although the tracks may come first: an upload that was cut shows only there.
  for (const box of boxes(view, 0, view.byteLength)) {
    if (box.to > view.byteLength && NEEDED.has(box.type)) throw new RangeError("a box ends behind the file");
    if (box.type === BOX.movie) size ??= sizeInMovie(view, box);
    if (box.type === BOX.content) hasContent = true;
  }
  return hasContent ? size : undefined;
}

function sizeInMovie(view: DataView, movie: Box): VideoSize | undefined {
  for (const box of boxes(view, movie.from, movie.to)) {
    if (box.type !== BOX.track) continue;
    const handler = child(view, child(view, box, BOX.media), BOX.handler);
    if (handler === undefined || typeAt(view, handler.from + 8) !== "vide") continue;
    const header = child(view, box, BOX.trackHeader);
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

function child(view: DataView, parent: Box | undefined, type: number): Box | undefined {
  if (parent === undefined) return undefined;
  for (const box of boxes(view, parent.from, parent.to)) {
    if (box.type === type) return box;
  }
  return undefined;
}

/** The boxes in a range, up to one that is not valid; the last may end behind it. Each takes 8 bytes, so this ends. */
function* boxes(view: DataView, from: number, to: number): Generator<Box> {
  for (let at = from; at + 8 <= to; ) {
    const { headerBytes, totalBytes } = extent(view, at, to);
    if (totalBytes < headerBytes) return;
    yield { type: view.getUint32(at + 4), from: at + headerBytes, to: at + totalBytes };
    at += totalBytes;
  }
}

/** Length 1 stands for a longer number behind the name, 0 for "all that is left". */
function extent(view: DataView, at: number, to: number): { headerBytes: number; totalBytes: number } {
  const short = view.getUint32(at);
  if (short === 0) return { headerBytes: 8, totalBytes: to - at };
  if (short === 1) return { headerBytes: 16, totalBytes: at + 16 > to ? 0 : Number(view.getBigUint64(at + 8)) };
  return { headerBytes: 8, totalBytes: short };
}

function typeAt(view: DataView, at: number): string {
  return String.fromCharCode(view.getUint8(at), view.getUint8(at + 1), view.getUint8(at + 2), view.getUint8(at + 3));
}
