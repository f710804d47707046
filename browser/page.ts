// SPDX-License-Identifier: Apache-2.0
/** The page of `crimg show --html`. Bundled with d3's scales and hierarchy by tools/bundle.mjs into one script. */
import type { ReportData } from "../src/ops/html/data.js";
import { AddressSpace } from "./address-space.js";
import { element, section, table } from "./elements.js";
import { processTree } from "./process-tree.js";

const data = JSON.parse(document.getElementById("data")?.textContent ?? "{}") as ReportData;
const page = document.getElementById("page") as HTMLElement;

/** Tasks and numbers that hold a file. */
const holders = new Map<number, string[]>();
for (const { pid, descriptors } of data.processes) {
  for (const { fd, file } of descriptors) holders.set(file, [...(holders.get(file) ?? []), `${pid}:${fd}`]);
}

page.append(element("h1", {}, data.title));
page.append(
  element("dl", { class: "facts" }, ...data.facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
);

const findings = section("Findings and losses");
if (data.findings.length === 0 && data.losses.length === 0)
  findings.append(element("p", {}, "Nothing wrong was found, and nothing was left out."));
for (const { severity, message } of data.findings)
  findings.append(element("p", { class: `finding ${severity}` }, `${severity}: ${message}`));
for (const loss of data.losses) findings.append(element("p", { class: "finding loss" }, `left out: ${loss}`));

const tree = section("Process tree");
const memory = section("Address space");
const threads = section("Threads");
const descriptors = section("Descriptors");
const program = section("Restore program");
page.append(findings, tree, memory, threads, descriptors, program);

const heading = element("p", { class: "selected", "aria-live": "polite" });
const space = new AddressSpace();
memory.append(heading, space.root);

function select(index: number): void {
  const chosen = data.processes[index];
  if (chosen === undefined) return;
  const words = chosen.command || chosen.name;
  heading.textContent = `Process ${chosen.pid} ${words.length > 120 ? `${words.slice(0, 119)}…` : words}, ${chosen.state}`;
  heading.title = words;
  space.show(data.spaces[chosen.space] ?? []);
  threads.querySelector("table")?.remove();
  threads.append(
    table(
      ["Tid", "Name", "Instruction", "Stack", "In"],
      chosen.threads.map((one) => [String(one.tid), one.name, one.ip, one.sp, one.in]),
    ),
  );
  descriptors.querySelector("table")?.remove();
  descriptors.append(
    table(
      ["Fd", "Kind", "What", "Position", "Shared with"],
      chosen.descriptors.map(({ fd, file, cloexec }) => {
        const open = data.files[file];
        const others = (holders.get(file) ?? []).filter((one) => one !== `${chosen.pid}:${fd}`);
        return [`${fd}${cloexec ? " (close-on-exec)" : ""}`, open?.kind ?? "?", open?.what ?? "?", open?.position ?? "", others.join(" ")];
      }),
    ),
  );
}

tree.append(processTree(data.processes, select));
select(0);

program.append(
  element("p", {}, `${data.program.total} lines; the most frequent operations:`),
  table(
    ["Operation", "Times"],
    data.program.counts.slice(0, 12).map(([name, count]) => [name, String(count)]),
  ),
);
const details = element("details", {}, element("summary", {}, "What executing the image does, line by line"));
const text = element("pre", { tabindex: "0" });
details.append(text);
// A large text is laid out only for those who ask.
details.addEventListener("toggle", () => {
  if (text.textContent === "") text.textContent = data.program.lines.join("\n");
});
program.append(details);
document.documentElement.dataset["readyMs"] = String(Math.round(performance.now()));
