// SPDX-License-Identifier: Apache-2.0
/** POSIX message queues with what is in them. */
import type { FileShow } from "../../ops/show/file-kind.js";

export const show: FileShow = {
  describe: ({ tables }, { detail }) => {
    const queue = tables.posixQueues[detail ?? -1];
    if (queue === undefined) return "message queue";
    const count = tables.posixMessages.filter((message) => message.queue === detail).length;
    const gone = (queue.flags & 1) !== 0 ? " (deleted)" : "";
    const messages = (queue.flags & 2) !== 0 ? "used by others too" : `${count} of ${queue.maxMessages} messages`;
    return `message queue ${queue.name}${gone}, ${messages}`;
  },
};
