// SPDX-License-Identifier: Apache-2.0
/** A chart of a series: time over size, both by powers of ten, a line an engine and measure. */

export interface Line {
  readonly name: string;
  readonly color: string;
  readonly isDashed?: boolean;
  readonly points: readonly (readonly [number, number])[];
}

const [width, height] = [640, 360];
const [left, right, top, bottom] = [56, 150, 28, 44];

/** Decimal steps that lie around some values. */
function decades(values: readonly number[]): number[] {
  const logs = values.filter((value) => value > 0).map(Math.log10);
  const [first, last] = [Math.floor(Math.min(...logs)), Math.ceil(Math.max(...logs))];
  return Array.from({ length: Math.max(last, first + 1) - first + 1 }, (_, index) => 10 ** (first + index));
}

const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

export function chart(title: string, unit: string, lines: readonly Line[]): string {
  const points = lines.flatMap((line) => line.points);
  const sizes = points.map(([size]) => size);
  const ticks = decades(points.map(([, ms]) => ms));
  const [least, most] = [Math.log2(Math.min(...sizes)), Math.log2(Math.max(...sizes))];
  const [low, high] = [Math.log10(ticks[0] ?? 1), Math.log10(ticks.at(-1) ?? 10)];
  const x = (size: number): number => left + ((Math.log2(size) - least) / Math.max(most - least, 1)) * (width - left - right);
  const y = (ms: number): number => height - bottom - ((Math.log10(ms) - low) / (high - low)) * (height - top - bottom);
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" `,
    'font-family="sans-serif" font-size="12">',
    `<title>${escaped(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="${left}" y="18" font-weight="bold">${escaped(title)}</text>`,
  ];
  for (const tick of ticks) {
    parts.push(`<path d="M${left} ${y(tick).toFixed(1)}H${width - right}" stroke="#ddd"/>`);
    parts.push(`<text x="${left - 6}" y="${(y(tick) + 4).toFixed(1)}" text-anchor="end" fill="#555">${tick} ms</text>`);
  }
  for (const size of new Set(sizes)) {
    parts.push(
      `<text x="${x(size).toFixed(1)}" y="${height - bottom + 18}" text-anchor="middle" fill="#555">${size.toLocaleString("en")}</text>`,
    );
  }
  parts.push(`<text x="${(left + width - right) / 2}" y="${height - 8}" text-anchor="middle" fill="#555">${escaped(unit)}</text>`);
  lines.forEach(({ name, color, isDashed, points: of }, index) => {
    const path = of.filter(([, ms]) => ms > 0).map(([size, ms]) => `${x(size).toFixed(1)} ${y(ms).toFixed(1)}`);
    const dash = isDashed === true ? ' stroke-dasharray="5 4"' : "";
    parts.push(`<path d="M${path.join("L")}" fill="none" stroke="${color}" stroke-width="2"${dash}/>`);
    const at = top + 12 + index * 20;
    parts.push(`<path d="M${width - right + 12} ${at}h22" stroke="${color}" stroke-width="2"${dash}/>`);
    parts.push(`<text x="${width - right + 40}" y="${at + 4}">${escaped(name)}</text>`);
  });
  return `${parts.join("\n")}\n</svg>\n`;
}
