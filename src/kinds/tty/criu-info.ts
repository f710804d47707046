// SPDX-License-Identifier: Apache-2.0
/** Open terminals → tty-info.img. What an image set said of them before is used again. */
import { create, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import type { Output } from "../../adapter/output.js";
import { objectRow } from "../../gen/tables.js";
import type { ImageSetIds } from "../../../formats/criu/ids/image-set-ids.js";
import { TtyDataSchema, type TtyInfo, TtyInfoSchema } from "../../../formats/criu/gen/files_pb.js";
import { packCharacters, ptysToWire, settings } from "../pty/criu.js";
import { ImageWriter } from "../../../formats/criu/wire/image-writer.js";

const ptyType = 1;
/** Unix98 pseudo-terminals: major 136 is the first of eight with 256 minors each. */
const ptyMajor = 136;

/**
 * A terminal as login finds it (stty sane): the model takes the caller's as it is, but an entry without settings
 * counts as hung up. Numbers of asm-generic/termbits.h; control characters in the order of VINTR to VEOL2.
 */
const saneTermios = {
  cIflag: 0x500,
  cOflag: 5,
  cCflag: 0xbf,
  cLflag: 0x8a3b,
  cLine: 0,
  cIspeed: 0,
  cOspeed: 0,
  cCc: packCharacters([3, 0x1c, 0x7f, 0x15, 4, 0, 1, 0, 0x11, 0x13, 0x1a, 0, 0x12, 0xf, 0x17, 0x16, 0, 0, 0]),
};
const nothingLocked = { cIflag: 0, cOflag: 0, cCflag: 0, cLflag: 0, cLine: 0, cIspeed: 0, cOspeed: 0, cCc: saneTermios.cCc.map(() => 0) };

export function writeTerminals(output: Output, context: ImageSetIds): void {
  const kept = context.foreign.whole("image:tty-info.img")[0];
  if (kept) {
    const writer = new ImageWriter(output, "tty-info.img", null);
    writer.raw(kept.value);
    writer.flush();
    return;
  }
  const infos = new Map<number, TtyInfo>();
  context.tables.files.forEach((file, row) => {
    if (!context.isTerminal(row)) return;
    const object = (file.object === null ? undefined : context.tables.objects[file.object]) ?? objectRow();
    infos.set(context.ttyInfoId(row), terminal(context, context.ttyInfoId(row), object.path, object.rdevMajor, object.rdevMinor));
  });
  const ptys = ptysToWire(context);
  for (const info of ptys.infos) infos.set(info.id, info);
  writeList(output, "tty-info", TtyInfoSchema, [...infos.values()]);
  writeList(output, "tty-data", TtyDataSchema, ptys.data);
}

/** An image of its own, if there is anything to say. */
function writeList<Schema extends DescMessage>(output: Output, id: string, schema: Schema, entries: readonly MessageShape<Schema>[]): void {
  if (entries.length === 0) return;
  const writer = new ImageWriter(output, `${id}.img`, id);
  for (const entry of entries) writer.entry(schema, entry);
  writer.flush();
}

function terminal(context: ImageSetIds, id: number, path: string, major: number, minor: number): TtyInfo {
  const index = (major - ptyMajor) * 256 + minor;
  const leader = context.tables.tasks.find((task) => task.controlsTerminal !== 0);
  const known = context.tables.terminals.find((row) => row.kind === "outside" && row.termios.length > 0);
  return create(TtyInfoSchema, {
    id,
    type: ptyType,
    locked: false,
    exclusive: false,
    packetMode: false,
    sid: leader?.sid ?? 0,
    pgrp: leader && leader.foregroundPgid > 0 ? leader.foregroundPgid : 0,
    rdev: ((major << 8) | (minor & 0xff)) >>> 0,
    ...(known === undefined
      ? { termios: saneTermios, termiosLocked: nothingLocked, winsize: { wsRow: 24, wsCol: 80, wsXpixel: 0, wsYpixel: 0 } }
      : settings(known)),
    uid: 0,
    gid: 0,
    pty: { index: /\/pts\/\d+$/.test(path) ? Number(path.slice(path.lastIndexOf("/") + 1)) : index },
  });
}
