// SPDX-License-Identifier: Apache-2.0
/** Timerfds in image sets: seconds and nanoseconds apart. */
import { create } from "@bufbuild/protobuf";
import { FileEntrySchema } from "../../../formats/criu/gen/files_pb.js";
import { fileType } from "../../../formats/criu/map/file-types.js";
import type { FileMapping } from "../../../formats/criu/map/kind.js";
import { ownerToWire } from "../../../formats/criu/map/map-object.js";
import { timerfdRow } from "../../gen/tables.js";

const nanoseconds = 1_000_000_000n;

export const mapping: FileMapping = {
  fromWire({ tables }, { tfd }) {
    if (!tfd) return undefined;
    const { clockid, ticks, settimeFlags, vsec, vnsec, isec, insec } = tfd;
    const timer = { clock: clockid | 0, ticks, settimeFlags, valueNs: vsec * nanoseconds + vnsec, intervalNs: isec * nanoseconds + insec };
    const detail = tables.timerfds.push(timerfdRow(timer)) - 1;
    return { kind: "timerfd", detail, flags: tfd.flags, fown: tfd.fown };
  },
  toWire(context, row, file) {
    const id = context.fileId(row);
    const timer = context.tables.timerfds[file.detail ?? 0] ?? timerfdRow();
    return create(FileEntrySchema, {
      type: fileType.timerfd,
      id,
      tfd: {
        id,
        flags: file.flags,
        fown: ownerToWire(file),
        clockid: timer.clock >>> 0,
        ticks: timer.ticks,
        settimeFlags: timer.settimeFlags,
        vsec: timer.valueNs / nanoseconds,
        vnsec: timer.valueNs % nanoseconds,
        isec: timer.intervalNs / nanoseconds,
        insec: timer.intervalNs % nanoseconds,
      },
    });
  },
};
