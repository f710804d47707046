// SPDX-License-Identifier: Apache-2.0
/**
 * The address space to scale, gaps between mappings cut to a sliver. A canvas, since a page of ten thousand mappings must
 * not stall: only what is visible is drawn, and mappings narrower than a pixel are drawn once a pixel.
 * Wheel and + - zoom, dragging and arrow keys move, Home shows all, Enter steps through mappings.
 */
import { scaleLinear } from "d3-scale";
import type { MappingData } from "../src/ops/html/data.js";
import { element, sizeText } from "./elements.js";

const height = 120;
const legend = ["file_private", "file_shared", "anon_private", "anon_shared", "heap", "stack", "other"] as const;

interface Placed extends MappingData {
  /** Place on the axis: bytes of all mappings and gaps before it. */
  readonly from: number;
  readonly to: number;
}

function colourOf(kind: string): string {
  return `--${(legend as readonly string[]).includes(kind) ? kind : "other"}`;
}

export class AddressSpace {
  readonly root: HTMLElement;
  readonly #canvas = element("canvas", { tabindex: "0", role: "img", "aria-label": "address space, to scale" });
  readonly #tip = element("p", { class: "tip", "aria-live": "polite" });
  readonly #list = element("div", { class: "list", tabindex: "0", "aria-label": "mappings" });
  #placed: Placed[] = [];
  #scale = scaleLinear([0, 1], [0, 1]);
  #extent = 1;
  #current = -1;
  #isQueued = false;

  constructor() {
    const marks = legend.map((kind) => element("span", {}, element("i", { style: `background: var(--${kind})` }), kind.replace("_", " ")));
    const help =
      "Wheel or + − to zoom, drag or ← → to move, Home for all, Enter for the next mapping. " +
      "The lower part of a mapping is what is stored of it.";
    this.root = element(
      "div",
      {},
      element("p", { class: "legend" }, ...marks),
      this.#canvas,
      this.#tip,
      element("p", { class: "help" }, help),
      this.#list,
    );
    new ResizeObserver(() => this.#fit()).observe(this.#canvas);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#queue());
    this.#canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.#zoom(event.deltaY < 0 ? 0.8 : 1.25, event.offsetX);
    });
    let drag: number | undefined;
    this.#canvas.addEventListener("pointerdown", (event) => (drag = event.offsetX));
    this.#canvas.addEventListener("pointerup", () => (drag = undefined));
    this.#canvas.addEventListener("pointermove", (event) => {
      if (drag !== undefined && event.buttons !== 0) {
        this.#move(this.#scale.invert(drag) - this.#scale.invert(event.offsetX));
        drag = event.offsetX;
      } else this.#point(this.#indexAt(this.#scale.invert(event.offsetX)));
    });
    this.#canvas.addEventListener("keydown", (event) => this.#key(event));
    this.#list.addEventListener("scroll", () => this.#fill());
  }

  /** Shows the mappings of an address space. */
  show(mappings: readonly MappingData[]): void {
    const total = mappings.reduce((sum, { n }) => sum + n, 0);
    const gap = Math.max(4096, (total / Math.max(1, mappings.length)) * 0.05);
    let at = 0;
    let end = 0n;
    this.#placed = mappings.map((one) => {
      const start = BigInt(`0x${one.a}`);
      if (start !== end && at > 0) at += gap;
      end = start + BigInt(one.n);
      const from = at;
      at += one.n;
      return { ...one, from, to: at };
    });
    this.#extent = Math.max(1, at);
    this.#current = -1;
    this.#tip.textContent = `${mappings.length} mappings, ${sizeText(total)}`;
    this.#scale = scaleLinear([0, this.#extent], [0, this.#canvas.clientWidth || 1]);
    this.#list.scrollTop = 0;
    this.#queue();
    this.#fill();
  }

  #fit(): void {
    this.#canvas.width = this.#canvas.clientWidth * devicePixelRatio;
    this.#canvas.height = height * devicePixelRatio;
    this.#scale.range([0, this.#canvas.clientWidth]);
    this.#queue();
  }

  #queue(): void {
    if (this.#isQueued) return;
    this.#isQueued = true;
    requestAnimationFrame(() => {
      this.#isQueued = false;
      this.#draw();
    });
  }

  #draw(): void {
    const context = this.#canvas.getContext("2d");
    if (context === null) return;
    const style = getComputedStyle(this.#canvas);
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, this.#canvas.clientWidth, height);
    const [low = 0, high = 1] = this.#scale.domain();
    const colours = new Map<string, string>();
    let drawn = -1;
    for (let index = Math.max(0, this.#indexAt(low)); index < this.#placed.length; index++) {
      const one = this.#placed[index] as Placed;
      if (one.from > high) break;
      const left = this.#scale(one.from);
      const right = Math.max(left + 1, this.#scale(one.to));
      // Several in one pixel: the first stands for all.
      if (right - left <= 1 && Math.floor(left) === drawn) continue;
      drawn = Math.floor(left);
      const name = colourOf(one.kind);
      const colour = colours.get(name) ?? style.getPropertyValue(name);
      colours.set(name, colour);
      context.globalAlpha = 0.45;
      context.fillStyle = colour;
      context.fillRect(left, 8, Math.max(1, right - left - (right - left > 4 ? 1 : 0)), height - 16);
      context.globalAlpha = 1;
      for (let part = 0; part < one.stored.length; part += 2) {
        const from = this.#scale(one.from + (one.stored[part] ?? 0));
        const to = this.#scale(one.from + (one.stored[part] ?? 0) + (one.stored[part + 1] ?? 0));
        if (to >= 0 && from <= this.#canvas.clientWidth) context.fillRect(from, height / 2, Math.max(1, to - from), height / 2 - 8);
      }
      if (index === this.#current) {
        context.strokeStyle = style.color;
        context.lineWidth = 2;
        context.strokeRect(left, 7, right - left, height - 14);
      }
    }
  }

  /** Index of the mapping at a place of the axis, or the next one. */
  #indexAt(place: number): number {
    let low = 0;
    let high = this.#placed.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#placed[middle]?.to ?? 0) > place) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #point(index: number): void {
    const one = this.#placed[index];
    if (one === undefined || index === this.#current) return;
    this.#current = index;
    const stored = one.stored.reduce((sum, value, place) => sum + (place % 2 === 1 ? value : 0), 0);
    const end = (BigInt(`0x${one.a}`) + BigInt(one.n)).toString(16);
    this.#tip.textContent =
      `${one.a}-${end} ${one.prot} ${one.kind} ${one.name} · ${sizeText(one.n)}, ` +
      `${stored === 0 ? "nothing" : sizeText(stored)} stored`;
    this.#queue();
  }

  #zoom(factor: number, x: number): void {
    const [low = 0, high = 1] = this.#scale.domain();
    const middle = this.#scale.invert(x);
    const span = Math.min(this.#extent, Math.max(4096, (high - low) * factor));
    const from = Math.max(0, Math.min(this.#extent - span, middle - ((middle - low) / (high - low)) * span));
    this.#scale.domain([from, from + span]);
    this.#queue();
  }

  #move(by: number): void {
    const [low = 0, high = 1] = this.#scale.domain();
    const from = Math.max(0, Math.min(this.#extent - (high - low), low + by));
    this.#scale.domain([from, from + high - low]);
    this.#queue();
  }

  #key(event: KeyboardEvent): void {
    const [low = 0, high = 1] = this.#scale.domain();
    const middle = this.#canvas.clientWidth / 2;
    if (event.key === "+" || event.key === "=") this.#zoom(0.7, middle);
    else if (event.key === "-") this.#zoom(1.4, middle);
    else if (event.key === "ArrowRight") this.#move((high - low) / 10);
    else if (event.key === "ArrowLeft") this.#move((low - high) / 10);
    else if (event.key === "Home") this.#scale.domain([0, this.#extent]);
    else if (event.key === "Enter") {
      const next = event.shiftKey ? this.#current - 1 : this.#current + 1;
      this.#point(Math.max(0, Math.min(this.#placed.length - 1, next)));
      const one = this.#placed[this.#current];
      if (one !== undefined && (one.to < low || one.from > high)) this.#move(one.from - (low + high) / 2);
    } else return;
    event.preventDefault();
    this.#queue();
  }

  /** The list under the picture: only the rows in view exist. */
  #fill(): void {
    const rowHeight = 20;
    const visible = Math.ceil(this.#list.clientHeight / rowHeight) + 2;
    const first = Math.max(0, Math.floor(this.#list.scrollTop / rowHeight) - 1);
    const rows = this.#placed.slice(first, first + Math.max(visible, 20)).map((one, index) => {
      const row = element("div", { style: `top: ${(first + index) * rowHeight}px` });
      row.append(
        element("b", {}, one.a),
        element("span", {}, one.prot),
        element("span", {}, sizeText(one.n)),
        element("span", {}, one.kind),
        element("span", {}, one.name),
      );
      row.addEventListener("pointerenter", () => this.#point(first + index));
      return row;
    });
    this.#list.replaceChildren(element("div", { class: "whole", style: `height: ${this.#placed.length * rowHeight}px` }, ...rows));
  }
}
