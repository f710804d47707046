/** Open terminals → tty-info.img. What an image set said of them before is used again. */
import { create } from "@bufbuild/protobuf";
import type { Output } from "../../src/adapter/output.js";
import { objectRow } from "../../src/gen/tables.js";
import type { WireContext } from "./context.js";
import { type TtyInfo, TtyInfoSchema } from "./gen/files_pb.js";
import { ImageWriter } from "./image-writer.js";

const ptyType = 1;
/** Unix98 pseudo-terminals: major 136 is the first of eight with 256 minors each. */
const ptyMajor = 136;

export function writeTerminals(output: Output, context: WireContext): void {
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
  if (infos.size === 0) return;
  const writer = new ImageWriter(output, "tty-info.img", "tty-info");
  for (const info of infos.values()) writer.entry(TtyInfoSchema, info);
  writer.flush();
}

function terminal(context: WireContext, id: number, path: string, major: number, minor: number): TtyInfo {
  const index = (major - ptyMajor) * 256 + minor;
  const leader = context.tables.tasks.find((task) => task.controlsTerminal !== 0);
  return create(TtyInfoSchema, {
    id,
    type: ptyType,
    locked: false,
    exclusive: false,
    packetMode: false,
    sid: leader?.sid ?? 0,
    pgrp: leader && leader.foregroundPgid > 0 ? leader.foregroundPgid : 0,
    rdev: ((major << 8) | (minor & 0xff)) >>> 0,
    pty: { index: /\/pts\/\d+$/.test(path) ? Number(path.slice(path.lastIndexOf("/") + 1)) : index },
  });
}
