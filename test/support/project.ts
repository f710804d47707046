// SPDX-License-Identifier: Apache-2.0
/** Where things are, as seen from compiled tests in dist/test. */
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** The checkout. */
export const projectRoot = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");

/** The command under test. */
export const crimgCommand = join(projectRoot, "bin/crimg");

/** Images made by foreign tools, with what is known of the processes (test/fixtures/README.md). */
export const fixtures = join(projectRoot, "test/fixtures");

/** A CRIU v4.2 to check against, or undefined. */
export const criuBin: string | undefined = process.env["CRIU_BIN"] || undefined;

/** The word a test skips with when `criuBin` is undefined. */
export const noCriu = "no CRIU: CRIU_BIN is not set";
