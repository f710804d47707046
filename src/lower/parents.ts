// SPDX-License-Identifier: Apache-2.0
/** Images that have pages of the one that is resumed: each is opened, and known again by the checksum of its tables' first page. */
import { AT, O } from "./constants.js";
import type { Lowering } from "./lowering.js";

/** Ops of the first process, before it makes anything. */
export function openParents(l: Lowering): void {
  const b = l.builder;
  for (const [row, { path, checkOffset, checkLength, checkSum }] of l.checkpoint.tables.parents.entries()) {
    const file = {
      source: row + 1,
      fd: b.slot(`fd of ${path}`),
      name: `the parent image ${path}`,
      hint: "it is not the image that this one was made on (crimg dump --parent), or it is damaged",
    };
    const message = `open ${file.name}, which has pages of this one`;
    const hint = "put it back, or merge both with crimg convert --flatten, which finds it beside this image too";
    b.syscall("openat", [AT.fdcwd, b.string(path), O.rdonly | O.cloexec, 0], { store: file.fd, message, hint });
    l.keepHigh(file.fd);
    const room = b.buffer(checkLength);
    b.load([file.fd, b.piece(room, checkLength, checkSum), 1, checkOffset, 0, 0], {
      expect: checkLength,
      message: `find the tables of ${file.name} as they were`,
      hint: file.hint,
    });
    l.parents.push(file);
  }
}
