// SPDX-License-Identifier: Apache-2.0
/** docs/limits.md from the families. */
import { unseen } from "./unseen.js";
import type { Expectation, Family, Probe } from "./probe.js";

const words = (is: Expectation): string => {
  if (is === "kept") return "kept";
  if ("refused" in is) return is.ignore === undefined ? "refused" : `refused (\`--ignore ${is.ignore}\`)`;
  return `cannot be kept, because ${is.cannot}`;
};

/** One line of the page. */
export const lineOf = ({ state, is }: Probe, untried: ReadonlySet<string>): string =>
  `| ${state} | ${words(is)}${untried.has(state) ? " (not tried: this machine does not have it)" : ""} |`;

/** The whole page. `untried`: states that the machine of the last run does not have. */
export function limitsPage(families: readonly Family[], untried: ReadonlySet<string>): string {
  const probes = families.flatMap((family) => family.probes);
  const count = (test: (is: Expectation) => boolean): number => probes.filter(({ is }) => test(is)).length;
  const kept = count((is) => is === "kept");
  const refused = count((is) => is !== "kept" && "refused" in is);
  return [
    "# What a resume keeps, and what it cannot",
    "",
    "<!-- Written by `npm run limits` from test/probes; do not edit. -->",
    "",
    `Small programs hold each state, are dumped, gone, and resumed, twice, and tell it from inside: ${kept} are kept, ${refused} are`,
    `refused by name before anything is ended, ${probes.length - kept - refused} cannot be kept. With \`--ignore CLASS\` a dump ` +
      `goes on without what it would`,
    "refuse, and the image and its report name the loss. `crimg show IMAGE state` shows the small states of an image.",
    "",
    ...families.flatMap(({ title, probes: rows, notes = [] }) => [
      `## ${title}`,
      "",
      "| state | after a resume |",
      "|---|---|",
      ...rows.map((probe) => lineOf(probe, untried)),
      "",
      ...notes.flatMap((note) => [note, ""]),
    ]),
    "## What the kernel shows to nobody",
    "",
    "| state | why it is lost, and cannot be told |",
    "|---|---|",
    ...unseen.map(({ state, why }) => `| ${state} | ${why} |`),
    "",
  ].join("\n");
}
