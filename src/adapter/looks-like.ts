// SPDX-License-Identifier: Apache-2.0
/** What a file that crimg does not read is, for the message: people bring cores and dumps of many kinds. */
import { machineName } from "../linux/elf-machines.js";
import type { ProbeInput } from "./format.js";

const elfMagic = 0x7f454c46;
const elfTypes: Readonly<Record<number, string>> = {
  1: "relocatable object",
  2: "executable",
  3: "shared object or executable",
  4: "core dump",
};

/** Beginnings of files, and what they tell. */
const beginnings: readonly (readonly [string, string])[] = [
  ["=erl_crash_dump:", "it is an Erlang crash dump, a text about a virtual machine and no memory of a process (crashdump_viewer shows it)"],
  ["KDUMP   ", "it is a compressed dump of a kernel (makedumpfile), not of a process: crash(8) reads it"],
  ["DISKDUMP", "it is a compressed dump of a kernel (diskdump), not of a process: crash(8) reads it"],
  ["PAGEDU64", "it is a crash dump of a Windows kernel"],
  ["PAGEDUMP", "it is a crash dump of a Windows kernel"],
  ["\xcf\xfa\xed\xfe", "it is a Mach-O file of macOS"],
  ["\xce\xfa\xed\xfe", "it is a Mach-O file of macOS"],
  ["JAVA PROFILE", "it is a heap dump of Java (hprof), not of a process"],
  ["!<arch>\n", "it is an archive of object files (ar)"],
  ["#!", "it is a script"],
  ["#\n# A fatal error has been detected by the Java", "it is a crash report of Java (hs_err), a text: the core that it names can be read"],
  ["{", "it is JSON, but not crimg's"],
];

/** A clause such as "it is a script". */
export function looksLike({ head, isDirectory }: ProbeInput): string {
  if (isDirectory) return "none of its files begins an image set that crimg knows";
  const bytes = Buffer.from(head.buffer, head.byteOffset, Math.min(head.length, 64));
  if (bytes.length >= 20 && bytes.readUInt32BE(0) === elfMagic) return looksLikeElf(bytes);
  const text = bytes.toString("latin1");
  return beginnings.find(([beginning]) => text.startsWith(beginning))?.[1] ?? "its first bytes are those of no checkpoint format";
}

function looksLikeElf(bytes: Buffer): string {
  const isBig = bytes[5] === 2;
  const [type, machine] = isBig ? [bytes.readUInt16BE(16), bytes.readUInt16BE(18)] : [bytes.readUInt16LE(16), bytes.readUInt16LE(18)];
  if (type === 4 && (bytes[4] === 1 || isBig)) {
    const width = bytes[4] === 1 ? "32-bit" : "64-bit";
    const what = `${width} ${isBig ? "big-endian " : ""}program (${machineName(machine)})`;
    return `it is the core dump of a ${what}; crimg reads those of 64-bit x86-64 programs`;
  }
  return `it is an ordinary ELF ${elfTypes[type] ?? "file"}, without a checkpoint in it`;
}
