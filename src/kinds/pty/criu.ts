// SPDX-License-Identifier: Apache-2.0
/**
 * Pseudoterminals in image sets: an entry of tty-info.img for the master and one for its slaves; tty-data.img has what
 * was read from an end (its entry's number) when the set was made.
 */
import { create } from "@bufbuild/protobuf";
import type { ModelBuilder } from "../../../formats/criu/builder.js";
import {
  type FileEntry,
  FileEntrySchema,
  type Termios,
  type TtyData,
  TtyDataSchema,
  type TtyInfo,
  TtyInfoSchema,
} from "../../../formats/criu/gen/files_pb.js";
import type { ImageSetIds } from "../../../formats/criu/ids/image-set-ids.js";
import { fileType } from "../../../formats/criu/map/file-types.js";
import type { FileMapping } from "../../../formats/criu/map/kind.js";
import { objectOfReg, ownerToWire } from "../../../formats/criu/map/map-object.js";
import { type TerminalRow, terminalRow } from "../../gen/tables.js";
import { termiosLength } from "../../linux/termios.js";

const ptyType = 1;
/** enum TtyType of devices of the machine. */
const deviceTypes = { console: 2, virtual: 3, serial: 6 } as const;
const flag = { locked: 1, packet: 2, exclusive: 4 } as const;
const numCharacters = 19;
/** struct termios: four flag words, the line discipline, the control characters. */
const lockedLength = 36;
/** Device numbers as the set has them: the kernel's 32-bit form. */
const ptmxDevice = (5 << 8) | 2;

export const mapping: FileMapping = {
  fromWire(builder, { tty }) {
    const path = tty && builder.wire.files.get(tty.regfId)?.reg;
    const info = tty && builder.wire.terminals.find(({ id }) => id === tty.ttyInfoId);
    if (path && info && isDeviceInfo(info)) {
      return { kind: "pty", detail: deviceRow(builder, info), object: objectOfReg(builder, path), flags: tty.flags, fown: tty.fown };
    }
    if (!path || info?.pty === undefined) return undefined;
    // An entry without settings hangs up: its master is gone.
    if (!builder.pairedTerminals.has(info.id) && info.termios !== undefined) return undefined;
    const detail = rowOf(builder, info.pty.index);
    return { kind: "pty", detail, object: objectOfReg(builder, path), flags: tty.flags, fown: tty.fown };
  },
  finishReading: nameMasters,
  toWire: endToWire,
  hasPathEntry: (_context, row) => row >= 0,
};

/** A console, a virtual terminal or a serial line. */
export const isDeviceInfo = ({ type }: TtyInfo): boolean => Object.values(deviceTypes).includes(type as 2 | 3 | 6);

const typeOfDevice = (major: number, minor: number): number =>
  major === 5 ? deviceTypes.console : major === 4 && minor < 64 ? deviceTypes.virtual : deviceTypes.serial;

/** Rows of devices are by number of the entry, below those of pseudoterminals. */
function deviceRow(builder: ModelBuilder, { id, sid, exclusive, termios, termiosLocked, winsize }: TtyInfo): number {
  return remembered(builder, -1 - id, () =>
    terminalRow({
      kind: "device",
      session: sid,
      flags: exclusive ? flag.exclusive : 0,
      rows: winsize?.wsRow ?? 0,
      columns: winsize?.wsCol ?? 0,
      xPixels: winsize?.wsXpixel ?? 0,
      yPixels: winsize?.wsYpixel ?? 0,
      termios: termios ? bytesOf(termios, termiosLength) : new Uint8Array(0),
      lockedTermios: termiosLocked && hasBits(termiosLocked) ? bytesOf(termiosLocked, lockedLength) : new Uint8Array(0),
    }),
  );
}

const isMasterInfo = (info: TtyInfo): boolean => info.rdev === ptmxDevice;

/** Rows of `terminals` by pty number. */
const rows = new WeakMap<ModelBuilder, Map<number, number>>();

function rowOf(builder: ModelBuilder, index: number): number {
  return remembered(builder, index, () => terminalFromWire(builder, index));
}

function remembered(builder: ModelBuilder, key: number, make: () => TerminalRow): number {
  const known = rows.get(builder) ?? new Map<number, number>();
  rows.set(builder, known);
  let row = known.get(key);
  if (row === undefined) {
    row = builder.tables.terminals.push(make()) - 1;
    known.set(key, row);
  }
  return row;
}

function terminalFromWire({ wire }: ModelBuilder, index: number): TerminalRow {
  const infos = wire.terminals.filter((info) => info.pty?.index === index);
  const master = infos.find(isMasterInfo);
  const slave = infos.find((info) => !isMasterInfo(info));
  const modes = slave?.termios ?? master?.termios;
  const locks = slave?.termiosLocked ?? master?.termiosLocked;
  const size = slave?.winsize ?? master?.winsize;
  const dataOf = (info: TtyInfo | undefined): Uint8Array =>
    wire.terminalData.find(({ ttyId }) => ttyId === info?.id)?.data ?? new Uint8Array(0);
  const isLocked = master?.locked ?? false;
  if (master === undefined) return terminalRow({ kind: "hung_up", index });
  return terminalRow({
    kind: "pty",
    index,
    session: slave?.sid ?? 0,
    flags: (isLocked ? flag.locked : 0) | (master?.packetMode ? flag.packet : 0) | (slave?.exclusive ? flag.exclusive : 0),
    mode: slave === undefined ? 0 : 0o20620,
    uid: slave?.uid ?? 0,
    gid: slave?.gid ?? 0,
    rows: size?.wsRow ?? 0,
    columns: size?.wsCol ?? 0,
    xPixels: size?.wsXpixel ?? 0,
    yPixels: size?.wsYpixel ?? 0,
    termios: modes ? bytesOf(modes, termiosLength) : new Uint8Array(0),
    lockedTermios: locks && hasBits(locks) ? bytesOf(locks, lockedLength) : new Uint8Array(0),
    input: dataOf(slave),
    output: dataOf(master),
  });
}

/**
 * CRIU copies the bytes of c_cc into the first of its 19 values, four to a value; what is in the others means nothing
 * (seen in sets of 4.2, and so read back by it).
 */
export function packCharacters(characters: ArrayLike<number>): number[] {
  return Array.from({ length: numCharacters }, (_, value) =>
    [0, 1, 2, 3].reduce((sum, byte) => (sum | ((characters[value * 4 + byte] ?? 0) << (byte * 8))) >>> 0, 0),
  );
}

function unpackCharacters(values: readonly number[]): Uint8Array {
  return Uint8Array.from({ length: numCharacters }, (_, index) => ((values[index >> 2] ?? 0) >>> ((index & 3) * 8)) & 0xff);
}

const hasBits = ({ cCc, cIflag, cOflag, cCflag, cLflag }: Termios): boolean =>
  [...unpackCharacters(cCc), cIflag, cOflag, cCflag, cLflag].some((value) => value !== 0);

/** The row of the master's file in each terminal. */
function nameMasters({ tables }: ModelBuilder): void {
  tables.files.forEach((file, row) => {
    const object = file.object === null ? undefined : tables.objects[file.object];
    if (
      file.kind !== "pty" ||
      file.detail === null ||
      tables.terminals[file.detail]?.kind === "device" ||
      object?.path.endsWith("/ptmx") !== true
    )
      return;
    tables.terminals[file.detail] = { ...(tables.terminals[file.detail] as TerminalRow), master: row };
  });
}

function endToWire(context: ImageSetIds, row: number): FileEntry {
  const file = context.tables.files[row];
  const id = context.fileId(row);
  const tty = {
    id,
    ttyInfoId: context.ttyInfoId(row),
    flags: file?.flags ?? 0,
    ...(file === undefined ? {} : { fown: ownerToWire(file) }),
    regfId: context.pathFileId(row),
  };
  return create(FileEntrySchema, { type: fileType.tty, id, tty });
}

/** Entries of tty-info.img and tty-data.img for the pseudoterminals of the tree. */
export function ptysToWire(context: ImageSetIds): { infos: TtyInfo[]; data: TtyData[] } {
  const infos: TtyInfo[] = [];
  const data: TtyData[] = [];
  const { files, tasks, terminals } = context.tables;
  terminals.forEach((terminal, index) => {
    if (terminal.kind === "outside") return;
    const members = files.flatMap((file, row) => (file.kind === "pty" && file.detail === index ? [row] : []));
    const leader = tasks.find((task) => terminal.session !== 0 && task.pid === terminal.session);
    if (terminal.kind === "device") {
      const row = members[0];
      const object = row === undefined ? undefined : context.tables.objects[files[row]?.object ?? -1];
      if (row === undefined || object === undefined) return;
      infos.push(
        create(TtyInfoSchema, {
          id: context.ttyInfoId(row),
          type: typeOfDevice(object.rdevMajor, object.rdevMinor),
          locked: false,
          exclusive: (terminal.flags & flag.exclusive) !== 0,
          packetMode: false,
          sid: terminal.session,
          pgrp: leader === undefined || leader.foregroundPgid <= 0 ? 0 : leader.foregroundPgid,
          rdev: ((object.rdevMajor << 8) | (object.rdevMinor & 0xff)) >>> 0,
          ...settings(terminal),
          uid: object.uid,
          gid: object.gid,
        }),
      );
      return;
    }
    for (const isMaster of [true, false]) {
      const row = members.find((member) => (member === terminal.master) === isMaster);
      if (row === undefined) continue;
      const id = context.ttyInfoId(row);
      const bytes = isMaster ? terminal.output : terminal.input;
      if (bytes.length > 0) data.push(create(TtyDataSchema, { ttyId: id, data: bytes }));
      const minor = terminal.index & 0xff;
      infos.push(
        create(TtyInfoSchema, {
          id,
          type: ptyType,
          locked: isMaster && (terminal.flags & flag.locked) !== 0,
          exclusive: !isMaster && (terminal.flags & flag.exclusive) !== 0,
          packetMode: isMaster && (terminal.flags & flag.packet) !== 0,
          sid: isMaster ? 0 : terminal.session,
          pgrp: isMaster || leader === undefined || leader.foregroundPgid <= 0 ? 0 : leader.foregroundPgid,
          rdev: isMaster ? ptmxDevice : ((136 + (terminal.index >> 8)) << 8) | minor,
          // An entry without settings counts as hung up.
          ...(terminal.kind === "pty" ? settings(terminal) : {}),
          uid: terminal.uid,
          gid: terminal.gid,
          pty: { index: terminal.index },
        }),
      );
    }
  });
  return { infos, data };
}

/** Modes and size. */
export function settings(terminal: TerminalRow): Pick<TtyInfo, "termios" | "termiosLocked" | "winsize"> {
  const { rows: wsRow, columns: wsCol, xPixels: wsXpixel, yPixels: wsYpixel, termios, lockedTermios } = terminal;
  return {
    termios: termiosOf(termios.length >= lockedLength ? termios : new Uint8Array(termiosLength)),
    termiosLocked: termiosOf(lockedTermios.length >= lockedLength ? lockedTermios : new Uint8Array(lockedLength)),
    winsize: { $typeName: "crimg.criu.Winsize", wsRow, wsCol, wsXpixel, wsYpixel },
  };
}

function termiosOf(bytes: Uint8Array): Termios {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const hasSpeeds = bytes.length >= termiosLength;
  return {
    $typeName: "crimg.criu.Termios",
    cIflag: view.getUint32(0, true),
    cOflag: view.getUint32(4, true),
    cCflag: view.getUint32(8, true),
    cLflag: view.getUint32(12, true),
    cLine: view.getUint8(16),
    cCc: packCharacters(bytes.subarray(17, 17 + numCharacters)),
    cIspeed: hasSpeeds ? view.getUint32(36, true) : 0,
    cOspeed: hasSpeeds ? view.getUint32(40, true) : 0,
  };
}

function bytesOf(termios: Termios, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  [termios.cIflag, termios.cOflag, termios.cCflag, termios.cLflag].forEach((word, index) => view.setUint32(index * 4, word >>> 0, true));
  view.setUint8(16, termios.cLine);
  bytes.set(unpackCharacters(termios.cCc), 17);
  if (length >= termiosLength) {
    view.setUint32(36, termios.cIspeed >>> 0, true);
    view.setUint32(40, termios.cOspeed >>> 0, true);
  }
  return bytes;
}
