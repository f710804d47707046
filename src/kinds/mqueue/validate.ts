// SPDX-License-Identifier: Apache-2.0
/** POSIX message queues: names, room and order of messages. */
import { modelRule } from "../../validate/model-context.js";
import { type FileValidation, lacksDetail } from "../../validate/rules/file-kind.js";

/** MQ_PRIO_MAX */
const priorities = 32768;

export const validation: FileValidation = {
  problem: lacksDetail,
  rules: [
    modelRule(
      {
        code: "fd.mqueue",
        facet: "files",
        summary: "A POSIX message queue has a name with one slash, and no more messages, and none longer, than it takes.",
        spec: "SPEC 5.95, 5.96",
      },
      function* ({ tables }) {
        for (const [row, { name, maxMessages, messageSize }] of tables.posixQueues.entries()) {
          const at = { table: "posixQueues", row } as const;
          if (!/^\/[^/]+$/.test(name)) yield { message: `"${name}" is no name of a message queue`, at: { ...at, field: "name" } };
          const own = tables.posixMessages.filter(({ queue }) => queue === row);
          if (BigInt(own.length) > maxMessages) {
            yield { message: `the queue ${name} has ${own.length} messages`, at, expected: `at most ${maxMessages}` };
          }
          for (const [index, { data, priority }] of own.entries()) {
            if (BigInt(data.length) > messageSize) {
              yield { message: `a message of ${name} has ${data.length} bytes`, at, expected: `at most ${messageSize}` };
            }
            if (priority >= priorities)
              yield { message: `a message of ${name} has priority ${priority}`, at, expected: `below ${priorities}` };
            if (priority > (own[index - 1]?.priority ?? priority)) {
              yield { message: `messages of ${name} are not in the order in which they will be received`, at };
            }
          }
        }
      },
    ),
  ],
};
