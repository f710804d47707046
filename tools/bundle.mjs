// Bundles the command line into dist/bundle/cli: starting node on one file with what a command needs is several times
// faster than resolving and reading some two hundred modules, and a dump is over in less time than that takes.
import { build } from "esbuild";
import { fileURLToPath } from "node:url";

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));

await build({
  entryPoints: [path("../dist/src/cli/main.js")],
  // As deep as dist/src/cli, since modules find the addon and the schemas relative to themselves.
  outdir: path("../dist/bundle/cli"),
  bundle: true,
  minify: true,
  keepNames: true,
  platform: "node",
  target: "node20",
  format: "esm",
  // kaitai-struct names it for encodings that no format here has.
  external: ["iconv-lite"],
  // yargs measures its help texts with it; they are ASCII, and the real one builds Unicode tables at every start.
  alias: { "string-width": path("bundle/ascii-width.mjs") },
  banner: { js: 'import{createRequire as bundleRequire}from"node:module";const require=bundleRequire(import.meta.url);' },
  logLevel: "warning",
});
