// SPDX-License-Identifier: Apache-2.0
/** Inotify instances in image sets: watches lie in the entry. Events have no place there. */
import { create } from "@bufbuild/protobuf";
import { FileEntrySchema, InotifyFileSchema, InotifyWatchSchema } from "../../../formats/criu/gen/files_pb.js";
import { deviceToWire, handleToWire, markedFromWire, namelessMarks } from "../../../formats/criu/map/file-handle.js";
import { fileType } from "../../../formats/criu/map/file-types.js";
import type { FileMapping } from "../../../formats/criu/map/kind.js";
import { ownerToWire } from "../../../formats/criu/map/map-object.js";
import { inotifyWatchRow, objectRow } from "../../gen/tables.js";

/** FS_EVENT_ON_CHILD, which kernels before 5.19 show in masks. */
const onChild = 0x0800_0000;

export const mapping: FileMapping = {
  fromWire(builder, { ify }) {
    if (!ify) return undefined;
    const file = builder.tables.files.length;
    for (const { wd, mask, iIno, sDev, fHandle } of ify.wd) {
      const object = markedFromWire(builder, fHandle?.path.length ? fHandle.path : undefined, iIno, sDev);
      builder.tables.inotifyWatches.push(inotifyWatchRow({ file, wd, mask: (mask & ~onChild) >>> 0, object }));
    }
    return { kind: "inotify", flags: ify.flags, fown: ify.fown };
  },
  toWire(context, row, file) {
    const id = context.fileId(row);
    const { inotifyWatches, objects } = context.tables;
    const wd = inotifyWatches
      .filter((watch) => watch.file === row)
      .map((watch) => {
        const object = objects[watch.object] ?? objectRow();
        return create(InotifyWatchSchema, {
          id,
          wd: watch.wd,
          mask: watch.mask,
          ignoredMask: 0,
          iIno: object.ino,
          sDev: deviceToWire(object),
          fHandle: handleToWire(object),
        });
      });
    const ify = create(InotifyFileSchema, { id, flags: file.flags, fown: ownerToWire(file), wd });
    return create(FileEntrySchema, { type: fileType.inotify, id, ify });
  },
  losses: ({ tables }) => [
    {
      code: "event-fds.inotify-events",
      facet: "event-fds",
      names: [...new Set(tables.inotifyEvents.map(({ file }) => `open file ${file}`))],
      what: "inotify events that wait are not kept",
    },
    {
      code: "event-fds.inotify-oneshot",
      facet: "event-fds",
      names: tables.inotifyWatches.flatMap(({ mask, object }) => (mask >>> 31 === 1 ? [tables.objects[object]?.path ?? "?"] : [])),
      what: "criu restore makes a lasting watch of one for a single event (IN_ONESHOT)",
    },
    {
      code: "event-fds.inotify-watches",
      facet: "event-fds",
      names: namelessMarks(tables.objects, tables.inotifyWatches),
      what: "criu restore does not find what is watched and has no name, or is a symbolic link",
    },
  ],
};
