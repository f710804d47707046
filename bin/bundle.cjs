// SPDX-License-Identifier: Apache-2.0
/**
 * Loads the command line from its bundle, dist/bundle/cli/main.cjs, with the code cache of the command: V8 then finds
 * the functions compiled, which is half of the time from the start to the first thing done. A cache of another V8, of
 * other flags or of another bundle is rejected by V8 and does no harm.
 */
const { closeSync, existsSync, openSync, readFileSync, readSync, statSync, writeSync } = require("node:fs");
const { dirname, join } = require("node:path");
const { Script } = require("node:vm");

const bundle = join(__dirname, "../dist/bundle/cli/main.cjs");

/**
 * Commands that have a bundle of their own (tools/bundle.mjs), and words with which they need more than is in it: pages for
 * browsers, cores for debuggers, restore programs; other formats, help.
 */
const beyond = { show: /^(--html(=.*)?|bt|program)$/, dump: /^(--to(=.*)?|--bundle(=.*)?|--help|-h)$/ };

/** The bundle of a command: its own, or that of all. */
function bundleOf(command, words) {
  const own = join(dirname(bundle), `${command}.cjs`);
  const isEnough = Object.hasOwn(beyond, command) && !words.some((word) => beyond[command].test(word));
  return isEnough && existsSync(own) ? own : bundle;
}

/** The cache of a command for a bundle. The build makes them (tools/bundle/code-cache.mjs), "other" for those without one. */
function cacheOf(command, filename) {
  return join(dirname(bundle), filename === bundle ? `${command}.cache` : `${command}.own.cache`);
}

/** Commands that use the addon anyway: it also gives the files of their bundles without a copy. */
const native = new Set(["dump", "exec", "run"]);

/** The addon, undefined where there is none. */
function addon() {
  try {
    return require("../build/addon.node");
  } catch {
    // Whoever needs it says what is wrong.
    return undefined;
  }
}

/** Has a small dump end before its young objects have to be looked at: bin/crimg begins with it. The heap is made by then. */
const roomFlag = "--min-semi-space-size=8";
/** As it was: a cache is for the flags that it was made with. */
const withoutRoomFlag = "--min-semi-space-size=0";

/** The file's bytes, undefined if it cannot be read. */
function readIfThere(path) {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

/**
 * The bundle's exports and its compiled script. The bundle is one function expression, in ASCII (esbuild's default), so
 * that no decoding is needed.
 * @param isWhole that of all commands
 */
function loadBundle(command = "other", words = [], isWhole = false) {
  const filename = isWhole ? bundle : bundleOf(command, words);
  const map = native.has(command) ? addon()?.mapFile : undefined;
  if (process.execArgv.includes(roomFlag)) addon()?.setFlags(withoutRoomFlag);
  const read = (path) => {
    const mapped = map?.(path, false);
    return mapped === undefined ? readIfThere(path) : new Uint8Array(mapped);
  };
  const source = map?.(filename, true) ?? readFileSync(filename, "latin1");
  const isName = /^[a-z]+$/.test(command);
  const cachedData = (isName ? read(cacheOf(command, filename)) : undefined) ?? read(cacheOf("other", bundle));
  const script = new Script(source, { filename, cachedData });
  const module = { exports: {} };
  // As createRequire() would make it, but that takes 1 ms to load. Each of some fifty modules asks for the same few.
  const known = new Map();
  const requireThere = (id) => {
    if (!known.has(id)) known.set(id, require(id.startsWith(".") ? join(dirname(filename), id) : id));
    return known.get(id);
  };
  script.runInThisContext()(module.exports, requireThere, module, filename, dirname(filename));
  return { ...module.exports, script, filename, isCached: cachedData !== undefined && script.cachedDataRejected === false };
}

/**
 * Signals for `crimg run` that come while it is being loaded. Without a listener SIGUSR1 would start Node's debugger, and
 * SIGTERM would end crimg; schedulers send both.
 */
function keepEarlySignals() {
  const early = [];
  globalThis[Symbol.for("crimg.early-signals")] = early;
  for (const name of ["SIGUSR1", "SIGUSR2", "SIGTERM"]) process.on(name, (signal) => early.push(signal));
}

/** Descriptors from which on their order is found beforehand, and how many are too many (src/dump/fds/room.ts). */
const [manyDescriptors, tooMany] = [96, 1 << 15];
/** Numbers of 4 bytes a descriptor, and bytes, that the addon works with (src/native/looks.ts). */
const [scratchOfRow, rowLength] = [9, 240];

/**
 * Of a process with many descriptors: has another thread find their order while this one loads the code, which takes as long.
 * Whoever needs it finds it in globalThis (DescriptorOrder); it is of no consequence if it is not there.
 */
function beginOrder(pid) {
  try {
    const count = statSync(`/proc/${pid}/fd`).size;
    if (count < manyDescriptors || count > tooMany) return;
    let room = 256;
    while (room < count + 32) room *= 2;
    const order = { pid: Number(pid), room, ranks: new Int32Array(2 * room), state: new BigInt64Array(2) };
    const [rows, scratch] = [Buffer.allocUnsafeSlow(room * rowLength), new Int32Array(room * scratchOfRow)];
    require("../build/addon.node").orderDescriptors(Int32Array.of(order.pid), rows, scratch, order.ranks, order.state);
    globalThis[Symbol.for("crimg.descriptor-order")] = order;
  } catch {
    // The dump will say what is wrong.
  }
}

/** Options with which the mappings are not read before all else is known (src/ops/dump/preparation.ts). */
const readsLate = /^--(no-fork|fork=false|huge-pages.*|verbose|help)$|^-[vh]$/;
/**
 * Bytes of maps from which on another thread reads (src/dump/early-mappings.ts), and room for what it reads: of some thirty thousand
 * mappings. With much more V8 would look for memory to free.
 */
const [manyMappings, roomOfMappings] = [1 << 16, 4 << 20];

/**
 * The same for a process with many mappings that is to run on: what smaps says of them. That takes the kernel 3 µs for each, and is
 * waited for before the process is frozen; whoever needs it finds it in globalThis (begunElsewhere in src/native/lists.ts).
 */
function beginMappings(pid, words) {
  if (!words.includes("--leave-running") || words.some((word) => readsLate.test(word))) return;
  try {
    if (!isLonger(`/proc/${pid}/maps`, manyMappings)) return;
    const bits = readFileSync(join(dirname(bundle), "vm-flags.bin"));
    // One question of a list, of the mappings (wordsOf and kindOf there), and a row with one result.
    const questions = new BigInt64Array(12);
    questions[0] = 3n;
    const begun = { pid: Number(pid), rows: Buffer.alloc(16), arena: Buffer.allocUnsafeSlow(roomOfMappings), ready: new Int32Array(1) };
    const ids = Int32Array.of(begun.pid, begun.pid);
    const { gatherElsewhere } = require("../build/addon.node");
    if (gatherElsewhere(bits, questions, Buffer.alloc(1), ids, begun.rows, 16, begun.arena, begun.ready) === 0)
      globalThis[Symbol.for("crimg.mappings")] = begun;
  } catch {
    // The dump will say what is wrong.
  }
}

/** Whether a file has at least so many bytes; one of /proc does not tell its size, and gives a page at a time. */
function isLonger(path, length) {
  const [fd, page] = [openSync(path), Buffer.allocUnsafe(1 << 15)];
  try {
    for (let got; length > 0 && (got = readSync(fd, page)) > 0; ) length -= got;
  } finally {
    closeSync(fd);
  }
  return length <= 0;
}

/** Runs a command line to its end, as the process. */
function runAsProcess(words) {
  if (words[0] === "run") keepEarlySignals();
  if (!existsSync(bundle)) {
    process.stderr.write("crimg: not built yet; run `npm ci` (or `npm run build`) in the checkout first\n");
    process.exit(2);
  }
  // For which the bundle need not be read.
  if (words.length === 1 && words[0] === "--version") {
    const { version } = JSON.parse(readFileSync(join(__dirname, "../package.json"), "utf8"));
    writeSync(1, `${version}\n`);
    return;
  }
  const pid = words[0] === "dump" ? words.find((word) => /^[1-9]\d{0,8}$/.test(word)) : undefined;
  if (pid !== undefined) {
    beginMappings(pid, words);
    beginOrder(pid);
  }
  const { endWith, runCommandLine } = loadBundle(words[0], words);
  endWith(runCommandLine(words));
}

module.exports = { cacheOf, loadBundle, runAsProcess };
