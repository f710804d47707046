// SPDX-License-Identifier: Apache-2.0
/** struct termios2 (asm-generic/termbits.h): c_iflag, c_oflag, c_cflag, c_lflag, c_line, c_cc[19], c_ispeed, c_ospeed. */

/** Bytes of struct termios2. */
export const termiosLength = 44;

const ICANON = 2;
const ofs = { iflag: 0, oflag: 4, lflag: 12, cc: 17 } as const;
const numCharacters = 19;
const VTIME = 5;
const VMIN = 6;

/** True if the terminal gives whole lines. */
export function isCanonical(termios: Uint8Array): boolean {
  return termios.length >= termiosLength && (viewOf(termios).getUint32(ofs.lflag, true) & ICANON) !== 0;
}

/** Modes that change no byte in either direction; reads return at once with what is there. */
export function rawModes(termios: Uint8Array): Uint8Array {
  const modes = literalModes(termios, false);
  modes[ofs.cc + VMIN] = 0;
  modes[ofs.cc + VTIME] = 0;
  return modes;
}

/**
 * Modes under which written bytes reach the reader as they are, while lines stay lines: what is put back in canonical
 * mode must be so put back, since a change of mode would make a line of what is only begun.
 */
export function literalModes(termios: Uint8Array, isCanonicalMode: boolean): Uint8Array {
  const modes = Uint8Array.from(termios);
  const view = viewOf(modes);
  view.setUint32(ofs.iflag, 0, true);
  view.setUint32(ofs.oflag, 0, true);
  view.setUint32(ofs.lflag, isCanonicalMode ? ICANON : 0, true);
  modes.fill(0, ofs.cc, ofs.cc + numCharacters);
  return modes;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
