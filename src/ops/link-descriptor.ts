/** linkat(2) of an open, nameless file: Node's own link() cannot do it. */

export const linkDescriptor = {
  /** Whether the native part that makes the call is there. */
  isAvailable(): boolean {
    return false;
  },
  /** Names an O_TMPFILE descriptor. Returns false if the name exists. */
  link(_fd: number, _path: string): boolean {
    return false;
  },
};
