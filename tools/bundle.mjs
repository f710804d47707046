// SPDX-License-Identifier: Apache-2.0
// Bundles the command line into dist/bundle/cli: starting node on one file with what a command needs is several times
// faster than resolving and reading some two hundred modules, and a dump is over in less time than that takes.
import { spawnSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { build } from "esbuild";
import { fileURLToPath } from "node:url";

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));

rmSync(path("../dist/bundle"), { recursive: true, force: true });

/** For a bundle of one command: the modules of the others are left out, since they are never loaded. */
const only = (command) => ({
  name: "only",
  setup({ onResolve }) {
    onResolve({ filter: /^\.\/commands\/[a-z]+\.js$/ }, ({ path: module }) =>
      module === `./commands/${command}.js` ? undefined : { path: module, external: true },
    );
  },
});

/** For a bundle that seldom needs a module: it is found in a file beside it, dist/bundle/cli/NAME.cjs, when it is asked for. */
const apart = (module, name) => ({
  name: `apart ${module}`,
  setup({ onResolve }) {
    onResolve({ filter: new RegExp(`^${module}$`) }, () => ({ path: `./${name}.cjs`, external: true }));
  },
});

/** Modules of Node that most commands import and few use: what is named here is looked up when it is called. */
const seldomUsed = {
  "node:child_process": ["spawn", "spawnSync"],
  "node:crypto": ["randomBytes"],
  "node:net": ["isIP", "Socket"],
  "node:timers/promises": ["setImmediate"],
  "node:tty": ["isatty"],
  "node:v8": ["setFlagsFromString"],
};

/** A function or, with a capital, a class. */
const lazy = (module, name) =>
  `export function ${name}(...words) { return ${/^[A-Z]/.test(name) ? "new " : ""}(require("${module}").${name})(...words); }`;

/** Loading them takes milliseconds, since they bring streams and keys along. A name that is missing in `names` fails the build. */
const lazyModules = (names) => ({
  name: `lazy ${Object.keys(names)}`,
  setup({ onResolve, onLoad }) {
    onResolve({ filter: new RegExp(`^(${Object.keys(names).join("|")})$`) }, ({ path: module, namespace }) =>
      namespace === "lazy" ? { path: module, external: true } : { path: module, namespace: "lazy" },
    );
    onLoad({ filter: new RegExp(`^(${Object.keys(names).join("|")})$`), namespace: "lazy" }, ({ path: module }) => ({
      contents: names[module].map((name) => lazy(module, name)).join("\n"),
    }));
  },
});

/** The same of `dump`, which other bundles use at once. */
const seldomUsedByDump = { "node:os": ["release", "tmpdir"] };

/** What a module of a bundle requires is required from where the bundle is, as bin/bundle.cjs has it. */
const ownRequire = {
  name: "own require",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(node:)?module$/ }, () => ({ path: "module", namespace: "own" }));
    onLoad({ filter: /.*/, namespace: "own" }, () => ({ contents: "export const createRequire = () => require;" }));
  },
};

/** For a bundle of a command that only reads: writers of formats, and what they take along, are never loaded (bin/bundle.cjs). */
const readsOnly = {
  name: "reads only",
  setup({ onResolve }) {
    onResolve({ filter: /\/(write|report|backtrace)\.js$/ }, ({ kind, path: module }) =>
      kind === "dynamic-import" ? { path: module, external: true } : undefined,
    );
  },
};

/** The same of what makes restore programs, which only the part `program` shows. */
const withoutPrograms = {
  name: "without programs",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /\/ckpt-elf\/link\.js$/ }, ({ path: module }) => ({ path: module, namespace: "without" }));
    onLoad({ filter: /.*/, namespace: "without" }, () => ({
      contents: 'export function linkProgramOf() { throw new Error("bin/bundle.cjs loads the bundle of all commands for this"); }',
    }));
  },
};

/** For the bundle of `dump`: formats that only --to names, for which bin/bundle.cjs loads the bundle of all commands. */
const ownFormatOnly = {
  name: "own format only",
  setup({ onResolve }) {
    onResolve({ filter: /^\.\/[a-z0-9-]+\/index\.js$/ }, ({ path: module, importer }) =>
      !importer.endsWith("/formats/registry.js") || module === "./ckpt-elf/index.js" ? undefined : { path: module, external: true },
    );
  },
};

/** What a dump asks for by import() and does not need: files of a root are for --bundle, which the bundle of all commands does. */
const notForDumps = /\/(bundle-root|exec-progress)\.js$/;

/**
 * import() of modules that are here anyway made import, so that none has to be prepared for being asked for late: their functions
 * are then declared once in one scope, and not made, with an object of what each exports, by a function for each of 400 modules.
 */
const allAtOnce = {
  name: "all at once",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: notForDumps }, ({ path: module }) => ({ path: module, external: true }));
    onLoad({ filter: /\/dist\/(src|formats)\/.*\.js$/ }, async ({ path: file }) => {
      const text = await readFile(file, "utf8");
      const asked = [];
      const contents = text.replace(/\bimport\(("\.[^"]*")\)/g, (whole, module) => {
        if (notForDumps.test(JSON.parse(module)) || isElsewhere(file, JSON.parse(module))) return whole;
        asked.push(module);
        return `Promise.resolve(askedFor${asked.length})`;
      });
      return { contents: asked.map((module, index) => `import * as askedFor${index + 1} from ${module};\n`).join("") + contents };
    });
  },
};

/** Whether a module is left out by one of the plugins above. */
const isElsewhere = (file, module) =>
  (/^\.\/commands\//.test(module) && module !== "./commands/dump.js") ||
  (/\/formats\/registry\.js$/.test(file) && module !== "./ckpt-elf/index.js");

/** Help, errors and whatever else only yargs understands: the bundle of all commands does it. */
const withoutYargs = {
  name: "without yargs",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^\.\/yargs-parser\.js$/ }, ({ path: module }) => ({ path: module, namespace: "yargs" }));
    onLoad({ filter: /.*/, namespace: "yargs" }, () => ({
      contents: `export async function parseByYargs(words) {
        process.exit(await require("../../../bin/bundle.cjs").loadBundle(words[0], words, true).runCommandLine(words));
      }`,
    }));
  },
};

/** Bundles the command line, whole or with one command only, into dist/bundle/cli/NAME.cjs. */
const bundle = (name, plugins = [], external = []) =>
  build({
    entryPoints: [path("../dist/src/cli/main.js")],
    // As deep as dist/src/cli, since modules find the addon and the schemas relative to themselves.
    outfile: path(`../dist/bundle/cli/${name}.cjs`),
    plugins: [lazyModules(seldomUsed), ownRequire, ...plugins],
    bundle: true,
    minify: true,
    platform: "node",
    target: "node20",
    format: "cjs",
    // Node's own clock is loaded at its first use, with all that measures performance.
    define: { "import.meta.dirname": "__dirname", "import.meta.url": "bundleIs.url", "performance.now": "milliseconds" },
    // A function that bin/bundle.cjs calls: to put one around the text there would copy all of it at every start.
    banner: {
      js:
        "(function(exports,require,module,__filename,__dirname){" +
        'const bundleIs={get url(){return require("node:url").pathToFileURL(__filename).href}};' +
        "function milliseconds(){const[seconds,rest]=process.hrtime();return seconds*1e3+rest/1e6}",
    },
    footer: { js: "})" },
    // kaitai-struct names it for encodings that no format here has.
    external: ["iconv-lite", "../../../bin/bundle.cjs", ...external],
    // What is left out is found by require: a script run by node:vm cannot import().
    supported: { "dynamic-import": false },
    // yargs measures its help texts with it; they are ASCII, and the real one builds Unicode tables at every start.
    alias: { "string-width": path("bundle/ascii-width.mjs") },
    logLevel: "warning",
  });

await bundle("main");
// What is read at every start counts most where little else is.
// Archives are rare; their readers stay where npm has put them.
await bundle(
  "show",
  [only("show"), readsOnly, withoutPrograms, apart("ajv/dist/2020.js", "ajv")],
  ["xz-decompress", "tar-stream", "fzstd"],
);
// What bin/bundle.cjs reads mappings with, before any bundle is loaded.
writeFileSync(path("../dist/bundle/cli/vm-flags.bin"), (await import("../dist/src/dump/smaps.js")).bitNumbers);
// A small program is dumped in less time than it takes to load what the other commands need.
await bundle("dump", [lazyModules(seldomUsedByDump), only("dump"), ownFormatOnly, withoutYargs, allAtOnce]);
// Only JSON images are checked with a schema.
await build({
  stdin: { contents: 'export { Ajv2020 } from "ajv/dist/2020.js";', resolveDir: path("..") },
  outfile: path("../dist/bundle/cli/ajv.cjs"),
  bundle: true,
  minify: true,
  platform: "node",
  target: "node20",
  format: "cjs",
  logLevel: "warning",
});
// The page of `show --html` (browser/): one script and one style sheet, which the command puts into the page.
await build({
  entryPoints: [path("../browser/page.ts"), path("../browser/page.css")],
  outdir: path("../dist/bundle/report"),
  bundle: true,
  minify: true,
  platform: "browser",
  target: "es2022",
  format: "iife",
  logLevel: "warning",
});
// In a process of its own: what it runs must not be able to stop the build, since crimg works without a cache, only slower.
const { status } = spawnSync(process.execPath, [path("bundle/code-cache.mjs")], {
  stdio: ["ignore", "ignore", "inherit"],
  timeout: 60_000,
});
if (status !== 0) console.error("build: not all code caches could be made; crimg starts more slowly");
