// SPDX-License-Identifier: Apache-2.0
/** The page of show --html in a real browser: what it says, its keys, light and dark, and ten thousand mappings. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { crimg, run, start, temporaryDirectory, until } from "../support/processes.js";

const browser = ["chromium", "chromium-browser", "google-chrome"].find(
  (name) => spawnSync("sh", ["-c", `command -v ${name}`]).status === 0,
);
const skip = browser === undefined ? "no Chromium here" : false;

/** Dumps a program that says when it is ready; returns its page. */
async function pageOf(t: TestContext, source: string): Promise<{ readonly page: string; readonly directory: string }> {
  const directory = temporaryDirectory(t);
  const ready = join(directory, "ready");
  const program = start(t, "/usr/bin/python3", ["-c", source, ready], { cwd: directory });
  await until("the program is ready", () => spawnSync("test", ["-e", ready]).status === 0);
  const image = join(directory, "image.elf");
  const dumped = crimg("dump", String(program.pid), "-o", image);
  assert.equal(dumped.status, 0, dumped.stderr);
  const page = join(directory, "report.html");
  const shown = crimg("show", image, "--html", page);
  assert.equal(shown.status, 0, shown.stderr);
  return { page, directory };
}

/** The page after its script, and after `more`, have run. */
function load(page: string, more = "", flags: readonly string[] = []): string {
  const probe = `${page}.probe.html`;
  writeFileSync(
    probe,
    readFileSync(page, "utf8").replace("</body>", () => `<script>${more}</script></body>`),
  );
  const args = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", ...flags, "--dump-dom", `file://${probe}`];
  const { status, stdout, stderr } = run(browser ?? "", args, { seconds: 60 });
  assert.equal(status, 0, stderr);
  return stdout;
}

const tree = `
import os, sys, time
for n in range(3):
    if os.fork() == 0:
        name = '<b>child & "%d"' % n
        open('/proc/self/comm', 'w').write(name[:15])
        if n == 2 and os.fork() == 0: time.sleep(600)
        time.sleep(600)
time.sleep(0.3)
open(sys.argv[1], 'w')
time.sleep(600)
`;

test("the page tells what is in the image, and needs nothing else", { skip, timeout: 120_000 }, async (t) => {
  const { page, directory } = await pageOf(t, tree);
  const text = readFileSync(page, "utf8");
  assert.equal(statSync(page).mode & 0o777, 0o600);
  assert.doesNotMatch(text.replaceAll("http://www.w3.org/", ""), /(src|href)="|https?:\/\//, "nothing is fetched");
  assert.equal(crimg("show", join(directory, "image.elf"), "--html", page).status, 2, "it replaces nothing unasked");

  const dom = load(page);
  for (const part of ["Process tree", "Address space", "Threads", "Descriptors", "Restore program", "Findings and losses"])
    assert.ok(dom.includes(part));
  assert.match(dom, /5 processes, 5 threads/);
  assert.equal(dom.match(/role="button" aria-label="process \d+/g)?.length, 5);
  assert.match(dom, /&lt;b&gt;child &amp;/, "a name is text, not markup");
  assert.doesNotMatch(dom, /<b>child/);

  // Keys: Enter steps through mappings; Enter on a process chooses it.
  const keys = load(
    page,
    `const press = (to, key) => to.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
     const canvas = document.querySelector("canvas");
     press(canvas, "Enter"); press(canvas, "Enter"); press(canvas, "+"); press(canvas, "ArrowRight");
     document.body.dataset.tip = document.querySelector(".tip").textContent;
     const last = [...document.querySelectorAll("g[role=button]")].at(-1);
     press(last, "Enter");
     document.body.dataset.chosen = document.querySelector(".selected").textContent + "|" + last.getAttribute("aria-label");`,
  );
  assert.match(keys, /data-tip="[0-9a-f]+-[0-9a-f]+ r/);
  const [, chosen = "", label = ""] = /data-chosen="Process (\d+)[^|]*\|process (\d+)/.exec(keys) ?? [];
  assert.equal(chosen, label);
  assert.notEqual(chosen, "");
});

test("it is light or dark as the reader's system is", { skip, timeout: 120_000 }, async (t) => {
  const { page } = await pageOf(t, tree);
  const ask = "document.body.dataset.back = getComputedStyle(document.body).backgroundColor;";
  assert.match(load(page, ask, ["--blink-settings=preferredColorScheme=1"]), /data-back="rgb\(255, 255, 255\)"/);
  assert.match(load(page, ask, ["--blink-settings=preferredColorScheme=0"]), /data-back="rgb\(13, 17, 23\)"/);
});

test("ten thousand mappings do not stall it", { skip, timeout: 180_000 }, async (t) => {
  const many = `
import mmap, sys, time
kept = []
for n in range(10000):
    m = mmap.mmap(-1, 8192, prot=mmap.PROT_READ | mmap.PROT_WRITE if n % 2 else mmap.PROT_READ)
    if n % 2: m[0] = 1
    kept.append(m)
open(sys.argv[1], 'w')
time.sleep(600)
`;
  const { page } = await pageOf(t, many);
  // Frames are drawn in animation frames: the longest task of all of them is what a reader would feel.
  const dom = load(
    page,
    `const canvas = document.querySelector("canvas");
     let worst = 0;
     for (let turn = 0; turn < 40; turn++) {
       const before = performance.now();
       canvas.dispatchEvent(new KeyboardEvent("keydown", { key: turn % 3 ? "+" : "ArrowRight", bubbles: true, cancelable: true }));
       document.querySelector(".list").scrollTop = turn * 4000;
       worst = Math.max(worst, performance.now() - before);
     }
     document.body.dataset.worst = Math.round(worst);
     document.body.dataset.rows = document.querySelectorAll(".whole > div").length;`,
  );
  const mappings = Number(/(\d+) mappings, /.exec(dom)?.[1]);
  assert.ok(mappings > 10_000, `${mappings} mappings`);
  const number = (name: string): number => Number(new RegExp(`data-${name}="(\\d+)"`).exec(dom)?.[1] ?? Number.NaN);
  assert.ok(number("ready-ms") < 3000, `${number("ready-ms")} ms until it is there`);
  assert.ok(number("worst") < 200, `${number("worst")} ms for a key`);
  assert.ok(number("rows") < 100, "only the rows in view exist");
});
