// SPDX-License-Identifier: Apache-2.0
/** The process tree as a drawing: tab and Enter, or a click, choose a process. */
import { hierarchy, tree as treeLayout } from "d3-hierarchy";
import type { ProcessData } from "../src/ops/html/data.js";
import { element, svg } from "./elements.js";

const rowHeight = 26;
const columnWidth = 190;

interface Node {
  readonly index: number;
  readonly children: Node[];
}

export function processTree(processes: readonly ProcessData[], choose: (index: number) => void): HTMLElement {
  const nodes = processes.map((_, index): Node => ({ index, children: [] }));
  const roots: Node[] = [];
  processes.forEach(({ parent }, index) => {
    const node = nodes[index];
    if (node !== undefined) (parent >= 0 && parent < index ? nodes[parent]?.children : roots)?.push(node);
  });
  // One invisible root above all, since a checkpoint may hold several trees.
  const all = hierarchy<Node>({ index: -1, children: roots }, (node) => node.children);
  const laid = treeLayout<Node>().nodeSize([rowHeight, columnWidth])(all);
  const placed = laid.descendants().filter(({ data }) => data.index >= 0);
  const top = Math.min(...placed.map(({ x }) => x));
  const height = Math.max(...placed.map(({ x }) => x)) - top + 2 * rowHeight;
  const width = Math.max(...placed.map(({ y }) => y)) + columnWidth;
  const drawing = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", class: "tree" });
  const at = ({ x, y }: { x: number; y: number }) => ({ left: y - columnWidth + 8, middle: x - top + rowHeight });
  for (const node of placed) {
    if (node.parent === null || node.parent.data.index < 0) continue;
    const from = at(node.parent);
    const to = at(node);
    const start = from.left + columnWidth - 24;
    drawing.append(
      svg("path", { d: `M${start},${from.middle} C${start + 12},${from.middle} ${to.left - 12},${to.middle} ${to.left},${to.middle}` }),
    );
  }
  let chosen: SVGElement | undefined;
  for (const node of placed) {
    const { index } = node.data;
    const one = processes[index];
    if (one === undefined) continue;
    const { left, middle } = at(node);
    const group = svg("g", { tabindex: 0, role: "button", "aria-label": `process ${one.pid} ${one.name}` });
    group.append(svg("rect", { x: left, y: middle - 10, width: columnWidth - 24, height: 20, rx: 4 }));
    group.append(
      svg(
        "text",
        { x: left + 6, y: middle + 4 },
        `${one.pid} ${one.name}${one.threads.length > 1 ? ` (${one.threads.length} threads)` : ""}`,
      ),
    );
    group.append(svg("title", {}, `${one.command || one.name}\n${one.state}`));
    const pick = (): void => {
      chosen?.classList.remove("chosen");
      chosen = group;
      group.classList.add("chosen");
      choose(index);
    };
    group.addEventListener("click", pick);
    group.addEventListener("keydown", (event) => {
      if (event instanceof KeyboardEvent && (event.key === "Enter" || event.key === " ")) {
        event.preventDefault();
        pick();
      }
    });
    if (index === 0) {
      chosen = group;
      group.classList.add("chosen");
    }
    drawing.append(group);
  }
  return element("div", { class: "scroll" }, drawing as unknown as Node & HTMLElement);
}
