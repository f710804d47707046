// SPDX-License-Identifier: Apache-2.0
/** Sections about descriptors and what is behind them: files, fds, pipes, sockets. */
import type { DescriptorRow, OpenFileRow, PipeRow, SocketRow } from "../../gen/tables.js";
import type { Block } from "./document.js";
import { openFlagNames, sockaddrText, socketKindName } from "./names.js";
import { type Scope, fileText, objectText, rowsOfTasks, taskTitle } from "./scope.js";
import type { Section } from "./section-tasks.js";

/** Open file descriptions that the processes in question hold. */
function filesOf(scope: Scope): number[] {
  const { tables } = scope.checkpoint;
  if (scope.tasks.length === tables.tasks.length) return tables.files.map((_, index) => index);
  const held = rowsOfTasks(tables.descriptors, scope).map((index) => (tables.descriptors[index] as DescriptorRow).file);
  return [...new Set(held)].sort((a, b) => a - b);
}

/** Who holds an open file description: `4711: 3 7; 4712: 3`. */
function holdersOf(scope: Scope): Map<number, string> {
  const { tables } = scope.checkpoint;
  const numbers = new Map<number, Map<number, number[]>>();
  for (const row of tables.descriptors) {
    const tasks = numbers.get(row.file) ?? new Map<number, number[]>();
    numbers.set(row.file, tasks);
    tasks.set(row.task, [...(tasks.get(row.task) ?? []), row.fd]);
  }
  return new Map(
    [...numbers].map(([file, tasks]) => {
      const words = [...tasks].map(([task, fds]) => `${tables.tasks[task]?.pid ?? "?"}: ${fds.sort((a, b) => a - b).join(" ")}`);
      return [file, words.join("; ")];
    }),
  );
}

/** Every descriptor of every process. */
export function fds(scope: Scope): Section {
  const { checkpoint } = scope;
  const { tables } = checkpoint;
  const indices = rowsOfTasks(tables.descriptors, scope);
  const columns = [
    { title: "FD", align: "right" },
    { title: "FILE", align: "right" },
    { title: "KIND" },
    { title: "FLAGS" },
    { title: "POS", align: "right" },
    { title: "WHAT" },
  ] as const;
  const blocks = scope.tasks.map((task): Block => {
    const own = checkpoint.descriptorsOf(task).map((index) => tables.descriptors[index] as DescriptorRow);
    const rows = [...own]
      .sort((a, b) => a.fd - b.fd)
      .map((row) => {
        const file = tables.files[row.file];
        const flags = file === undefined ? "-" : openFlagNames(file.flags & ~0o2000000) + (row.flags & 1 ? "|CLOEXEC" : "");
        return [String(row.fd), `#${row.file}`, file?.kind ?? "?", flags, String(file?.pos ?? 0n), fileText(checkpoint, file)];
      });
    return { heading: taskTitle(scope, task), columns, rows };
  });
  const files = [...new Set(indices.map((index) => (tables.descriptors[index] as DescriptorRow).file))];
  return { blocks, selected: { descriptors: indices, files: files.filter((index) => index < tables.files.length) } };
}

/** Every open file description, and who holds it. */
export function files(scope: Scope): Section {
  const { checkpoint } = scope;
  const { tables } = checkpoint;
  const indices = filesOf(scope);
  const holders = holdersOf(scope);
  const rows = indices.flatMap((index) => {
    const file = tables.files[index];
    if (file === undefined) return [];
    return [[`#${index}`, file.kind, openFlagNames(file.flags), String(file.pos), holders.get(index) ?? "-", fileText(checkpoint, file)]];
  });
  const columns = [
    { title: "FILE", align: "right" },
    { title: "KIND" },
    { title: "FLAGS" },
    { title: "POS", align: "right" },
    { title: "HELD AS" },
    { title: "WHAT" },
  ] as const;
  const objects = indices.flatMap((index) => tables.files[index]?.object ?? []);
  return {
    blocks: [{ columns, rows }],
    selected: { files: indices, objects: [...new Set(objects)].filter((row) => row < tables.objects.length) },
  };
}

/** Row numbers in a detail table of the files of one kind, in table order. */
function detailsOf(scope: Scope, kind: OpenFileRow["kind"]): number[] {
  const { tables } = scope.checkpoint;
  const rows = filesOf(scope).flatMap((index) => {
    const file = tables.files[index];
    return file?.kind === kind && file.detail !== null ? [file.detail] : [];
  });
  return [...new Set(rows)].sort((a, b) => a - b);
}

/** Pipes with both their ends. */
export function pipes(scope: Scope): Section {
  const { tables } = scope.checkpoint;
  const holders = holdersOf(scope);
  const indices = detailsOf(scope, "pipe").filter((index) => index < tables.pipes.length);
  const ends = (detail: number, isWriting: boolean): string => {
    const found = tables.files.flatMap((file, index) => {
      const writes = (file.flags & 3) !== 0;
      return file.kind === "pipe" && file.detail === detail && writes === isWriting ? [holders.get(index) ?? "-"] : [];
    });
    return found.join("; ") || "-";
  };
  const rows = indices.map((index) => {
    const pipe = tables.pipes[index] as PipeRow;
    return [
      `pipe:[${pipe.ino}]`,
      String(pipe.capacity),
      String(pipe.data.length),
      pipe.isPacket === 0 ? "stream" : "packets",
      ends(index, false),
      ends(index, true),
    ];
  });
  const columns = [
    { title: "PIPE" },
    { title: "CAPACITY", align: "right" },
    { title: "IN FLIGHT", align: "right" },
    { title: "MODE" },
    { title: "READ BY" },
    { title: "WRITTEN BY" },
  ] as const;
  return { blocks: [rows.length > 0 ? { columns, rows } : { lines: ["no pipes"] }], selected: { pipes: indices } };
}

/** Sockets with addresses, options and what waits in them. */
export function sockets(scope: Scope): Section {
  const { tables } = scope.checkpoint;
  const holders = holdersOf(scope);
  const indices = detailsOf(scope, "socket").filter((index) => index < tables.sockets.length);
  const wanted = new Set(indices);
  const options = tables.socketOptions.flatMap((row, index) => (wanted.has(row.socket) ? [index] : []));
  const messages = tables.socketMessages.flatMap((row, index) => (wanted.has(row.socket) ? [index] : []));
  const rows = indices.map((index) => {
    const socket = tables.sockets[index] as SocketRow;
    const file = tables.files.findIndex((one) => one.kind === "socket" && one.detail === index);
    const queued = tables.socketMessages.filter((message) => message.socket === index);
    const bytes = queued.reduce((sum, message) => sum + message.data.length, 0);
    const peer = socket.peer === null ? sockaddrText(socket.peerAddress) : `socket:[${tables.sockets[socket.peer]?.ino ?? "?"}]`;
    return [
      `socket:[${socket.ino}]`,
      socketKindName(socket.family, socket.type, socket.protocol),
      socket.state,
      sockaddrText(socket.localAddress) || (socket.object === null ? "-" : objectText(tables.objects[socket.object])),
      peer || "-",
      `${queued.length} (${bytes} B)`,
      String(tables.socketOptions.filter((option) => option.socket === index).length),
      holders.get(file) ?? "-",
    ];
  });
  const columns = [
    { title: "SOCKET" },
    { title: "KIND" },
    { title: "STATE" },
    { title: "LOCAL" },
    { title: "PEER" },
    { title: "QUEUED", align: "right" },
    { title: "OPTIONS", align: "right" },
    { title: "HELD AS" },
  ] as const;
  return {
    blocks: [rows.length > 0 ? { columns, rows } : { lines: ["no sockets"] }],
    selected: { sockets: indices, socketOptions: options, socketMessages: messages },
  };
}
