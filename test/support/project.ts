/** Where things are, as seen from compiled tests in dist/test. */
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** The checkout. */
export const projectRoot = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");

/** The command under test. */
export const crimgCommand = join(projectRoot, "bin/crimg");

/** Images made by foreign tools, or undefined where they are not at hand (tests then skip with `noFixtures`). */
export const fixtures: string | undefined = [process.env["CRIMG_FIXTURES"], resolve(projectRoot, "../shared/fixtures")].find(
  (path) => path !== undefined && existsSync(path),
);

/** The word a test skips with when `fixtures` is undefined. */
export const noFixtures = "no fixtures: ../shared/fixtures is absent";

/** A CRIU v4.2 to check against, or undefined. */
export const criuBin: string | undefined = process.env["CRIU_BIN"] || undefined;

/** The word a test skips with when `criuBin` is undefined. */
export const noCriu = "no CRIU: CRIU_BIN is not set";
