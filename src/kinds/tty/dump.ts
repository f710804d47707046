// SPDX-License-Identifier: Apache-2.0
/**
 * Terminals: the caller's terminal takes the place of those of the standard streams; devices of the machine are opened again
 * by their name.
 */
import { decodeText } from "../../bytes/text.js";
import { type Collecting, type Description, nameOf, refuseDescription, stdioNumber } from "../../dump/fds/context.js";
import { inodeType, isTerminal } from "../../dump/fds/facts.js";
import { leadsTo } from "../../dump/fds/files.js";
import type { FileDump, FileFields } from "../../dump/fds/kind.js";
import { inherited } from "../inherited/dump.js";
import { ptysOf } from "../pty/dump.js";

/** The terminal's device number as one key. /dev/tty (5:0) is whatever terminal the session has. */
const deviceOf = ({ stat }: Description): string => `${stat.rdevMajor}:${stat.rdevMinor}`;
const isOwnTerminal = (description: Description): boolean => deviceOf(description) === "5:0";

export const dump: FileDump = {
  recognises: (facts) => inodeType(facts) === "char_device" && !facts.isPath && isTerminal(facts),
  collector: (collecting) => {
    const terminals: Description[] = [];
    const ptys = ptysOf(collecting);
    return {
      note: (description) => {
        terminals.push(description);
        ptys.noteSlave(description);
      },
      collect: (description) => ptys.collectSlave(description) ?? collectTerminal(collecting, description, terminals),
    };
  },
};

/**
 * The row of a terminal: inherited when it is a standard stream; else a second description of a terminal that is one,
 * opened again through it.
 */
function collectTerminal(collecting: Collecting, description: Description, terminals: readonly Description[]): FileFields {
  const text = decodeText(description.link);
  ptysOf(collecting).noteOutside(description);
  const { objects } = collecting.context;
  const object = leadsTo(collecting.context.view.path(text), description.stat)
    ? objects.add({ stat: description.stat, link: description.link, fsMagic: description.fsMagic, holder: nameOf(description) })
    : null;
  const own = inherited(description, { object });
  if (own !== undefined) return own;
  const twin = terminals.find(
    (other) =>
      stdioNumber(other) !== undefined && (isOwnTerminal(description) || isOwnTerminal(other) || deviceOf(other) === deviceOf(description)),
  );
  if (!twin) {
    const device = object === null ? undefined : ptysOf(collecting).collectDevice(description, object);
    if (device !== undefined) return device;
    refuseDescription(description, "terminal", `the terminal ${text}, which is none of the standard streams of the tree`);
  }
  return { kind: "tty", detail: stdioNumber(twin) ?? 0, object };
}
