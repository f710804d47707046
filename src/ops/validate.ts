// SPDX-License-Identifier: Apache-2.0
/** crimg validate: reads an image, applies the rules of a profile, and says what is wrong and where. */
import { statSync } from "node:fs";
import type { FormatAdapter } from "../adapter/format.js";
import { detectFormat, probeInputOf } from "../adapter/detect.js";
import type { FormatRegistry } from "../adapter/registry.js";
import { FileBytes } from "../bytes/random-bytes.js";
import { CrimgError, type ExitStatus, exitStatus } from "../errors/crimg-error.js";
import { logStep } from "../errors/log.js";
import { fromSystemError } from "../errors/render.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { fileRules, modelRules } from "../validate/catalogue.js";
import type { Finding, Profile, RuleInfo } from "../validate/finding.js";
import { checksumRules } from "../validate/rules/checksums.js";
import { type Container, containerRules, readContainer } from "../validate/rules/container.js";
import { coreRules, readCoreFiles } from "../validate/rules/core-files.js";
import { programRules, programUnreadable, readProgram } from "../validate/rules/program.js";
import { lkmlRules, replayLkml } from "../validate/lkml.js";
import { type Locator, imageLocator, pathLocator } from "../validate/locate.js";
import { type RuleRun, runRules, toFinding } from "../validate/run-rules.js";
import { type SingleFile, singleFileOf } from "../validate/single/index.js";
import { expandInput } from "./expand/expand-input.js";
import { resolveInput } from "./input.js";
import { modelText } from "./report/words.js";

export interface ValidateOptions {
  readonly registry: FormatRegistry;
  readonly profile: Profile;
  /** Format id; by content if absent. */
  readonly from?: string;
  readonly onProgress?: (doneBytes: bigint, totalBytes: bigint) => void;
}

export interface ValidationReport {
  readonly source: string;
  /** Format id, once it is known. */
  readonly format?: string;
  /** Kind of image, if it is one file of a set. */
  readonly part?: string;
  readonly profile: Profile;
  readonly findings: readonly Finding[];
  /** Rules with more findings than are listed. */
  readonly cutOff: readonly string[];
  /** Number of rules applied. */
  readonly rules: number;
  /** Why no judgement was possible. */
  readonly unjudged?: CrimgError;
}

/** Codes of errors that say nothing about the image itself: it is not there, may not be read, or is of no known format. */
const notTheImage = /^(input|system|format|usage|native)\./;

/** Exit status of one or several reports: 0 clean, 1 findings, 2 could not judge. */
export function exitOf(reports: readonly ValidationReport[], strict: boolean): ExitStatus {
  if (reports.some((report) => report.unjudged !== undefined)) return exitStatus.trouble;
  const counts = reports
    .flatMap((report) => report.findings)
    .filter(({ severity }) => severity === "error" || (strict && severity === "warning"));
  return counts.length > 0 ? exitStatus.findings : exitStatus.ok;
}

/** Whether others than the owner can read the image. */
function readableByOthers(path: string, source: string, format: string | undefined): Finding[] {
  const { mode } = statSync(path);
  if ((mode & 0o044) === 0) return [];
  const problem = {
    message: `${source} can be read by others than its owner`,
    expected: "no permissions for group and others",
    actual: `mode 0${(mode & 0o777).toString(8)}`,
    hint: `chmod go= ${source}`,
  };
  return [toFinding(fileRules.readable, problem, source, format, pathLocator)];
}

/** What a reader refused, as a finding at the place that it named. */
function unreadable(error: CrimgError, source: string, format: string): Finding {
  const { message, offset, path, expected, actual, hint, specRef, code } = error;
  return {
    code: fileRules.unreadable.code,
    severity: "error",
    source: error.source ?? source,
    format,
    ...(offset === undefined ? {} : { offset }),
    ...(path === undefined ? {} : { path }),
    message: `${message} [${code}]`,
    ...(expected === undefined ? {} : { expected }),
    ...(actual === undefined ? {} : { actual }),
    ...(hint === undefined ? {} : { hint }),
    spec: specRef ?? fileRules.unreadable.spec,
  };
}

/** Judges a checkpoint that is already in memory, by the rules of the `format` profile. */
export function validateCheckpoint(
  checkpoint: Checkpoint,
  options: { readonly source: string; readonly format: FormatAdapter; readonly locate?: Locator },
): Judgement {
  const { source, format, locate = pathLocator } = options;
  const context = { checkpoint, tables: checkpoint.tables, format: format.id };
  const run = runRules(modelRules, context, { source, format: format.id, locate, has: holds(format) });
  return { findings: run.findings, cutOff: run.cutOff, rules: run.applied };
}

/** An image and, for executable ones, the file that it is. */
export function validateImage(
  path: string,
  checkpoint: Checkpoint,
  options: {
    readonly source: string;
    readonly format: FormatAdapter;
    readonly locate: Locator;
    readonly onProgress?: ValidateOptions["onProgress"];
  },
): Judgement {
  const model = validateCheckpoint(checkpoint, options);
  if (options.format.id === "core") return withCoreRules(path, model, options);
  if (options.format.id !== "ckpt-elf") return model;
  const file = FileBytes.open(path);
  try {
    const container = readContainer(file, checkpoint, options.onProgress);
    const rest = { source: options.source, format: "ckpt-elf", locate: options.locate };
    const runs = [runRules([...containerRules, ...checksumRules], container, rest), ...judgeProgram(container, rest), model];
    return {
      findings: runs.flatMap((run) => run.findings),
      cutOff: runs.flatMap((run) => run.cutOff),
      rules: runs.reduce((sum, run) => sum + ("applied" in run ? run.applied : run.rules), 0),
    };
  } finally {
    file.close();
  }
}

function withCoreRules(
  path: string,
  model: Judgement,
  options: { readonly source: string; readonly format: FormatAdapter; readonly locate: Locator },
): Judgement {
  const rest = { source: options.source, format: options.format.id, locate: options.locate };
  const runs = readCoreFiles(path).map((file) => runRules(coreRules, file, rest));
  return {
    findings: [...runs.flatMap((run) => run.findings), ...model.findings],
    cutOff: [...new Set(runs.flatMap((run) => run.cutOff)), ...model.cutOff],
    rules: model.rules + coreRules.length,
  };
}

/** The restore program, if there is one: an image without it is still a document. */
function judgeProgram(
  container: Container,
  options: { readonly source: string; readonly format: string; readonly locate: Locator },
): RuleRun[] {
  try {
    const program = readProgram(container);
    return program === undefined ? [] : [runRules(programRules, program, options)];
  } catch (error) {
    if (!(error instanceof CrimgError)) throw error;
    const { message, offset, path, expected, actual } = error;
    const finding = toFinding(
      programUnreadable,
      { message, place: { offset, path }, expected, actual },
      options.source,
      options.format,
      options.locate,
    );
    return [{ findings: [finding], cutOff: [], applied: 1 }];
  }
}

/** Whether a format holds what a rule is about. */
function holds(format: FormatAdapter): (rule: RuleInfo) => boolean {
  return ({ facet }) => facet === undefined || format.facets[facet] !== "absent";
}

/** Would it resume here and now? The host's own rules first, then those of the image on it. */
async function judgeOnHost(checkpoint: Checkpoint, source: string, format: FormatAdapter, locate: Locator): Promise<Judgement> {
  const [{ hostFacts }, { hostRules }, { imageRules }] = await Promise.all([
    import("../validate/host/facts.js"),
    import("../validate/host/host-rules.js"),
    import("../validate/host/image-rules.js"),
  ]);
  const facts = hostFacts();
  const host = runRules(hostRules, facts, { source: "this host", locate: pathLocator });
  const image = runRules(
    imageRules,
    { checkpoint, tables: checkpoint.tables, facts },
    { source, format: format.id, locate, has: holds(format) },
  );
  return {
    findings: [...host.findings, ...image.findings],
    cutOff: [...host.cutOff, ...image.cutOff],
    rules: host.applied + image.applied,
  };
}

type Judgement = Pick<ValidationReport, "findings" | "cutOff" | "rules">;

/** The 2011 loader's verdict; it looks at any file, whatever is in it. */
async function judgeByLoader(path: string, source: string): Promise<ValidationReport> {
  const found = await replayLkml(path);
  const findings = found.map(([rule, problem]) => toFinding(rule, problem, source, undefined, pathLocator));
  return { source, format: "ckpt-elf-v1", profile: "lkml", findings, cutOff: [], rules: Object.keys(lkmlRules).length };
}

/** One file of a set, by itself. */
async function judgeSingle(single: SingleFile, path: string, source: string): Promise<ValidationReport> {
  const findings = readableByOthers(path, source, single.format);
  try {
    await single.check();
  } catch (error) {
    if (!(error instanceof CrimgError)) throw error;
    findings.push(unreadable(error, source, single.format));
  }
  return { source, format: single.format, part: single.kind, profile: "format", findings, cutOff: [], rules: 2 };
}

/** Judges one image. Never throws for what is wrong with it; `unjudged` says why nothing could be said. */
export async function validate(path: string, options: ValidateOptions): Promise<ValidationReport> {
  const { profile, registry } = options;
  const given = resolveInput(path);
  let input = given;
  const source = input.name;
  let format: FormatAdapter | undefined;
  try {
    if (options.from === undefined && profile !== "lkml") input = await expandInput(given, registry);
    if (profile === "lkml") {
      if (probeInputOf(input.path).isDirectory) {
        throw new CrimgError("input.kind", `${source} is a directory: the loader takes one ET_CKPT file`, {
          source,
          hint: "crimg convert makes one of any checkpoint: --to ckpt-elf-v1",
        });
      }
      return await judgeByLoader(input.path, source);
    }
    if (options.from === undefined && profile === "format") {
      const single = await singleFileOf(probeInputOf(input.path));
      if (single !== undefined) return await judgeSingle(single, input.path, source);
    }
    format = options.from === undefined ? await detectFormat(input.path, registry) : await registry.load(options.from);
    if (format.read === undefined) {
      throw new CrimgError("format.write-only", `crimg does not read ${format.id}`, { source });
    }
    const findings = path === "-" || profile !== "format" ? [] : readableByOthers(input.path, source, format.id);
    const checkpoint = await format.read(input.path, {});
    logStep(() => `read ${source} as ${format?.id}: ${modelText(checkpoint)}`);
    try {
      // Locating needs the tables again: only once something is to be located.
      let known: Locator | undefined;
      const locate: Locator = (place) => {
        known ??= format?.id === "ckpt-elf" ? imageLocator(input.path) : pathLocator;
        return known(place);
      };
      const run =
        profile === "host"
          ? await judgeOnHost(checkpoint, source, format, locate)
          : validateImage(input.path, checkpoint, { source, format, locate, onProgress: options.onProgress });
      return { source, format: format.id, profile, ...run, findings: [...findings, ...run.findings] };
    } finally {
      checkpoint.close();
    }
  } catch (error) {
    const known = fromSystemError(error);
    if (!(known instanceof CrimgError)) throw error;
    const base = { source, ...(format === undefined ? {} : { format: format.id }), profile, cutOff: [], rules: 1 };
    if (format === undefined || notTheImage.test(known.code)) return { ...base, findings: [], unjudged: known };
    return { ...base, findings: [unreadable(known, source, format.id)] };
  } finally {
    input.close();
    given.close();
  }
}
