// SPDX-License-Identifier: Apache-2.0
// Stands for the package string-width in the bundle: the width of ASCII text, escape sequences of colours not counted.
export default function stringWidth(text) {
  return text.replace(/\u001B\[[0-9;]*m/g, "").length;
}
