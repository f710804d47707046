// SPDX-License-Identifier: Apache-2.0
/** Epoll sets in image sets: items lie in the entry of their set. */
import { create } from "@bufbuild/protobuf";
import type { ModelBuilder } from "../../../formats/criu/builder.js";
import { FileEntrySchema } from "../../../formats/criu/gen/files_pb.js";
import { fileType } from "../../../formats/criu/map/file-types.js";
import type { FileMapping } from "../../../formats/criu/map/kind.js";
import { ownerToWire } from "../../../formats/criu/map/map-object.js";
import { epollWatchRow } from "../../gen/tables.js";

export const mapping: FileMapping = {
  fromWire: (_builder, { epfd }) => (epfd ? { kind: "epoll", flags: epfd.flags, fown: epfd.fown } : undefined),
  finishReading: watchesFromWire,
  toWire(context, row, file) {
    const id = context.fileId(row);
    const watches = context.tables.epollWatches.filter((watch) => watch.epoll === row);
    return create(FileEntrySchema, {
      type: fileType.epoll,
      id,
      epfd: {
        id,
        flags: file.flags,
        fown: ownerToWire(file),
        // The restorer finds the watched file by its descriptor number alone.
        tfd: watches.map(({ fd, events, data }) => ({ id: 0, tfd: fd, events, data })),
      },
    });
  },
  losses: ({ tables }) => [
    {
      code: "event-fds.busy-poll",
      facet: "event-fds",
      names: tables.epollParameters.map(({ epoll }) => `epoll set ${epoll}`),
      what: "busy polling is not kept",
    },
  ],
};

/** Watches name descriptors of the task that has the epoll file. */
function watchesFromWire(builder: ModelBuilder): void {
  const { tables, wire } = builder;
  const holders = new Map<number, number>();
  const byTask = new Map<number, Map<number, number>>();
  for (const { task, fd, file } of tables.descriptors) {
    if (tables.files[file]?.kind === "epoll" && !holders.has(file)) holders.set(file, task);
    const own = byTask.get(task) ?? new Map<number, number>();
    own.set(fd, file);
    byTask.set(task, own);
  }
  for (const [id, epoll] of builder.fileRows) {
    const task = holders.get(epoll);
    for (const target of wire.files.get(id)?.epfd?.tfd ?? []) {
      const file = task === undefined ? null : (byTask.get(task)?.get(target.tfd) ?? null);
      tables.epollWatches.push(epollWatchRow({ epoll, fd: target.tfd, file, events: target.events, data: target.data }));
    }
  }
}
