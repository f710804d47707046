// SPDX-License-Identifier: Apache-2.0
/** Facts about the document that reader and writer share. */
export const documentFormat = "crimg-json";
/** Version of the tables (spec/ksy/ckpt_elf_v2.ksy: version_major, version_minor). */
export const documentVersion = [2, 0] as const;
export const documentSchema = "urn:crimg:schema:json-document:2";
/** What the name of the raw file adds to the document's. */
export const pagesSuffix = ".pages";
/** Pages that a document may hold inline: base64 makes 171 MiB of them, and JSON is parsed as one string. */
export const maxInlineBytes = 128n << 20n;
/** Largest document that is read: inline pages, and as many bytes of tables again. */
export const maxDocumentBytes = 400n << 20n;
/** Longest command line or environment that is shown as strings; longer ones stay in memory alone. */
export const maxStringBytes = 4n << 20n;
