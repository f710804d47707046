// SPDX-License-Identifier: Apache-2.0
/** A message queue with some messages. */
import fc from "fast-check";
import { fileArbitrary } from "../../../test/support/file-kind.js";
import { openFileRow, posixMessageRow, posixQueueRow } from "../../gen/tables.js";

export const arbitrary = fileArbitrary(
  fc.record({
    name: fc.stringMatching(/^[a-z]{1,8}$/),
    isDeleted: fc.boolean(),
    messages: fc.array(fc.record({ priority: fc.nat(31), data: fc.uint8Array({ maxLength: 20 }) }), { maxLength: 3 }),
  }),
  ({ tables, hold }, { name, isDeleted, messages }) => {
    const row = posixQueueRow({ name: `/${name}`, mode: 0o600, maxMessages: 10n, messageSize: 8192n, flags: isDeleted ? 1 : 0 });
    const detail = tables.posixQueues.push(row) - 1;
    const sorted = [...messages].sort((a, b) => b.priority - a.priority);
    tables.posixMessages.push(...sorted.map((message) => posixMessageRow({ ...message, queue: detail })));
    hold(tables.files.push(openFileRow({ kind: "mqueue", detail, flags: 2 })) - 1);
  },
);
