// SPDX-License-Identifier: Apache-2.0
/** Fanotify groups in image sets: marks lie in the entry. Marks of whole file systems have no place there. */
import { create } from "@bufbuild/protobuf";
import { encodeText } from "../../bytes/text.js";
import {
  FanotifyFileSchema,
  FanotifyInodeMarkSchema,
  FanotifyMarkSchema,
  FanotifyMountMarkSchema,
  FileEntrySchema,
} from "../../../formats/criu/gen/files_pb.js";
import { deviceToWire, handleToWire, markedFromWire, namelessMarks } from "../../../formats/criu/map/file-handle.js";
import { fileType } from "../../../formats/criu/map/file-types.js";
import type { FileMapping } from "../../../formats/criu/map/kind.js";
import { ownerToWire } from "../../../formats/criu/map/map-object.js";
import { fanotifyGroupRow, fanotifyMarkRow, objectRow } from "../../gen/tables.js";

const markTypes = { inode: 1, mount: 2 } as const;

export const mapping: FileMapping = {
  fromWire(builder, { ffy }) {
    if (!ffy) return undefined;
    const { tables } = builder;
    const file = tables.files.length;
    for (const { mflags, mask, ignoredMask, sDev, ie, me } of ffy.mark) {
      const path = me?.path.length ? me.path : ie?.fHandle?.path.length ? ie.fHandle.path : undefined;
      const object = markedFromWire(builder, path, ie?.iIno ?? 0n, sDev);
      tables.fanotifyMarks.push(
        fanotifyMarkRow({
          file,
          kind: me ? "mount" : "inode",
          object,
          flags: mflags,
          mask: BigInt(mask),
          ignoredMask: BigInt(ignoredMask),
        }),
      );
    }
    const detail = tables.fanotifyGroups.push(fanotifyGroupRow({ flags: ffy.faflags, eventFlags: ffy.evflags })) - 1;
    return { kind: "fanotify", detail, flags: ffy.flags, fown: ffy.fown };
  },
  toWire(context, row, file) {
    const id = context.fileId(row);
    const { fanotifyMarks, fanotifyGroups, objects } = context.tables;
    const group = fanotifyGroups[file.detail ?? -1] ?? fanotifyGroupRow();
    const mark = fanotifyMarks.flatMap(({ file: owner, kind, object, flags, mask, ignoredMask }) => {
      if (owner !== row || kind === "file_system") return [];
      const target = objects[object] ?? objectRow();
      return [
        create(FanotifyMarkSchema, {
          id,
          type: markTypes[kind],
          mflags: flags,
          mask: Number(BigInt.asUintN(32, mask)),
          ignoredMask: Number(BigInt.asUintN(32, ignoredMask)),
          sDev: deviceToWire(target),
          ...(kind === "inode"
            ? { ie: create(FanotifyInodeMarkSchema, { iIno: target.ino, fHandle: handleToWire(target) }) }
            : { me: create(FanotifyMountMarkSchema, { mntId: 0, path: encodeText(target.path) }) }),
        }),
      ];
    });
    const ffy = create(FanotifyFileSchema, {
      id,
      flags: file.flags,
      fown: ownerToWire(file),
      faflags: group.flags,
      evflags: group.eventFlags,
      mark,
    });
    return create(FileEntrySchema, { type: fileType.fanotify, id, ffy });
  },
  losses: ({ tables }) => [
    {
      code: "event-fds.fanotify-marks",
      facet: "event-fds",
      names: [
        ...namelessMarks(
          tables.objects,
          tables.fanotifyMarks.filter(({ kind }) => kind !== "file_system"),
        ),
        ...tables.fanotifyMarks.flatMap(({ kind, object }) => (kind === "file_system" ? [tables.objects[object]?.path ?? "?"] : [])),
      ],
      what: "criu restore does not find what is marked and has no name, and knows no marks of file systems",
    },
  ],
};
