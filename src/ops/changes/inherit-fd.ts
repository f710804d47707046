// SPDX-License-Identifier: Apache-2.0
/** `--inherit-fd N:FD`: a descriptor of the caller takes the place of what the program had at a number. */
import { openFileRow, type Tables } from "../../gen/tables.js";
import { failed, fcntlCommand, tryFcntl } from "../../native/index.js";
import { badChange, type InheritedFd, inheritedNumbers } from "./pair.js";

/** @throws CrimgError `usage.change` */
export function parseInheritedFd(text: string): InheritedFd {
  const numbers = inheritedNumbers(text);
  const { own } = numbers;
  if (failed(tryFcntl(own, fcntlCommand.GETFD, 0))) {
    throw badChange(
      "--inherit-fd",
      text,
      `descriptor ${own} is not open here`,
      undefined,
      `a shell opens it by ${own}<FILE or ${own}>FILE`,
    );
  }
  return numbers;
}

/** The tables with the open file at that number replaced, wherever else it is held. @throws CrimgError `usage.change` */
export function inheritFd(tables: Tables, { own, pid, fd }: InheritedFd): Tables {
  const text = `${own}:${pid === undefined ? "" : `${pid}:`}${fd}`;
  const task = pid === undefined ? (tables.checkpoint[0]?.rootTask ?? 0) : tables.tasks.findIndex((row) => row.pid === pid);
  const name = tables.tasks[task]?.pid;
  if (name === undefined) throw badChange("--inherit-fd", text, `there is no process ${pid} in this checkpoint`);
  const table = tables.tasks[task]?.descriptorTable ?? task;
  const file = tables.descriptors.find((row) => row.task === table && row.fd === fd)?.file;
  const old = file === undefined ? undefined : tables.files[file];
  if (old === undefined) {
    const numbers = tables.descriptors.flatMap((row) => (row.task === table ? [row.fd] : []));
    throw badChange(
      "--inherit-fd",
      text,
      `process ${name} has no descriptor ${fd}`,
      undefined,
      `it has ${numbers.slice(0, 20).join(", ")}`,
    );
  }
  const row = openFileRow({ kind: "inherited", detail: own, flags: old.flags });
  return { ...tables, files: tables.files.map((other, index) => (index === file ? row : other)) };
}
