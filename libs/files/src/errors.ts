import { invalidInput, unavailable, WaylogError } from '#lib/platform';

/** What is asked for by a name that is none. */
export const badName = (name: string) =>
  new WaylogError(
    'file.bad-name',
    'invalid',
    `${JSON.stringify(name.slice(0, 80))} is no name of a file: it is called by its SHA-256, 64 hexadecimal digits in lower case.`,
  );

export const emptyFile = () =>
  invalidInput([{ field: '', message: 'is empty: send the bytes of a file' }], 'file.empty');

export const tooLarge = (maxBytes: number) =>
  new WaylogError(
    'file.too-large',
    'too-large',
    `The file has more than ${maxBytes} bytes, which is the most that is taken (WAYLOG_FILES_MAX_MB). Nothing of it was kept.`,
    { maxBytes },
  );

export const typeRefused = (type: string, types: readonly string[]) =>
  new WaylogError(
    'file.type-refused',
    'unsupported',
    `The first bytes of the file say that it is ${type}; taken are ${types.join(', ')}. Nothing of it was kept.`,
    { type, types },
  );

export const otherDigest = (announced: string, sha256: string) =>
  new WaylogError(
    'file.other-digest',
    'invalid',
    `The SHA-256 of what arrived is ${sha256}, and ${announced} was announced: it was changed on the way, or the file changed meanwhile. Nothing of it was kept; send it again.`,
    { announced, sha256 },
  );

export const cutOff = (announced: number, size: number) =>
  invalidInput(
    [{ field: '', message: `ends after ${size} bytes, and ${announced} were announced: send it again` }],
    'file.cut-off',
  );

/** The bytes of a file are not those that it is called by. */
export const damaged = (sha256: string, is: string) =>
  unavailable(
    'file.damaged',
    `The bytes of file ${sha256} have the SHA-256 ${is}: the disk has changed them. Put the file again, or bring it back from a backup; see \`waylog files verify\`.`,
    { sha256 },
  );

/** An unfinished file was gone before it was finished: it had not been written to for so long. */
export const unfinishedGone = (cause: unknown) =>
  unavailable(
    'file.not-finished',
    'The unfinished file was removed, as nothing had been written to it for too long. Send it again.',
    {},
    cause,
  );

/** The disk does not take it. The folder is no business of the caller's. */
export const noRoom = (code: string, cause: unknown) =>
  unavailable(
    'files.not-written',
    `The disk for files did not take it (${code}). Nothing of it was kept.`,
    { retryAfterSeconds: 60 },
    cause,
  );

/** Files may have been removed. */
export const noteNotWritten = (code: string, cause: unknown) =>
  unavailable(
    'files.note-not-written',
    `The disk for files did not take the note of whose files they are (${code}). What could be removed was removed. Make room, and run \`waylog files gc\` again.`,
    { retryAfterSeconds: 60 },
    cause,
  );

/** Its disk is not mounted, or its name is not right. It is made by no one but the operator. */
export const noFolder = (folder: string, cause: unknown) =>
  unavailable(
    'files.no-folder',
    'The folder for files is not there: its disk is not mounted, or nobody has made it yet. Nothing was stored or removed.',
    { folder },
    cause,
  );

/** The disk does not give it. */
export const notRead = (sha256: string, code: string, cause: unknown) =>
  unavailable(
    'file.not-read',
    `The disk for files does not give file ${sha256} (${code}). See \`waylog files verify\`.`,
    { sha256 },
    cause,
  );

/** The file is shorter or longer than it was when it was stored. */
export const otherSize = (sha256: string, size: number, is: number) =>
  unavailable(
    'file.damaged',
    `File ${sha256} has ${is} bytes, and ${size} were stored: the disk has changed it. Put the file again, or bring it back from a backup; see \`waylog files verify\`.`,
    { sha256 },
  );

/** An event names the file, and a collection was quicker. */
export const takenMeanwhile = (sha256: string) =>
  unavailable(
    'file.taken-meanwhile',
    `File ${sha256} was removed as nobody needed it, right before it was recorded that somebody does. Send it again.`,
    { sha256 },
  );

/** An event names a file that is not there. */
export const missingFile = (sha256: string) =>
  unavailable(
    'file.missing',
    `File ${sha256} is not there, although an event names it. Bring it back from a backup, or send it again; \`waylog files verify\` names all such files.`,
    { sha256 },
  );

export const noFiles = () =>
  unavailable('files.none', 'No files are kept here: WAYLOG_FILES_DIR names no folder for them.');
