// SPDX-License-Identifier: Apache-2.0
/** Makes docs/terminal.svg from a real run: `npm run picture`. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
const commands = [
  "python3 count.py > count.log &",
  "crimg dump $! -o image.elf",
  "tail -n 1 count.log; ls -sh image.elf",
  "./image.elf &",
  "tail -n 1 count.log",
  "crimg show image.elf | head -n 8",
];
const [size, lineHeight, width] = [14, 20, 860];

const folder = mkdtempSync(join(tmpdir(), "crimg-picture-"));
try {
  writeFileSync(join(folder, "count.py"), "import time\nn = 0\nwhile True: n += 1; print(n, flush=True); time.sleep(0.1)\n");
  const mark = "-- next --";
  const script = [
    'for path in /proc/$$/fd/*; do fd=${path##*/}; [ $fd -gt 2 ] && eval "exec $fd>&-"; done',
    "trap 'kill -KILL $(jobs -p) 2>/dev/null' EXIT",
    ...commands.flatMap((command) => [`${command} 2>&1`.replace("& 2>&1", "&"), `echo '${mark}'`, "sleep 1"]),
  ].join("\n");
  const env = { ...process.env, PATH: `${join(root, "bin")}:/usr/bin:/bin:${process.env["PATH"] ?? ""}` };
  const { stdout } = spawnSync("bash", ["-c", script], {
    cwd: folder,
    env,
    encoding: "utf8",
    timeout: 60_000,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const outputs = stdout.split(`${mark}\n`);
  const lines = commands.flatMap((command, index) => [
    `$ ${command}`,
    ...(outputs[index] ?? "").split("\n").filter((line, place, all) => line !== "" || place < all.length - 1),
  ]);
  const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  const rows = lines.map((line, index) => {
    const isCommand = line.startsWith("$ ");
    const place = `x="16" y="${48 + index * lineHeight}" fill="${isCommand ? "#7ee787" : "#e6edf3"}"`;
    return `<text ${place} xml:space="preserve">${escaped(line)}</text>`;
  });
  const height = 48 + lines.length * lineHeight;
  writeFileSync(
    join(root, "docs/terminal.svg"),
    [
      `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="monospace" font-size="${size}" role="img">`,
      "<title>crimg freezes a counting program into a file, and the file counts on</title>",
      `<rect width="${width}" height="${height}" rx="8" fill="#0d1117"/>`,
      ...["#ff5f57", "#febc2e", "#28c840"].map((colour, index) => `<circle cx="${20 + index * 18}" cy="18" r="6" fill="${colour}"/>`),
      ...rows,
      "</svg>\n",
    ].join("\n"),
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
