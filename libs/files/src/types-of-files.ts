/** What is known of a file whose first bytes say nothing. */
export const UNKNOWN_TYPE = 'application/octet-stream';

/** How many bytes tell the type of a file. */
export const TELLING_BYTES = 16;

const ascii = (text: string): string => Buffer.from(text, 'latin1').toString('hex');

/** The first bytes of types, in hexadecimal digits; a dot stands for any digit. */
const BEGINNINGS: readonly (readonly [type: string, ...beginnings: string[]])[] = [
  ['image/jpeg', 'ffd8ff'],
  ['image/png', '89504e470d0a1a0a'],
  // The second pair: files of more than 4 GB. Raw pictures of cameras (DNG) begin so, too.
  ['image/tiff', '49492a00', '4d4d002a', '49492b00', '4d4d002b'],
  ['image/webp', `${ascii('RIFF')}........${ascii('WEBP')}`],
  ['image/gif', ascii('GIF87a'), ascii('GIF89a')],
  ['image/avif', `........${ascii('ftypavif')}`],
  ['image/heic', ...['heic', 'heix', 'mif1'].map((brand) => `........${ascii(`ftyp${brand}`)}`)],
  ['image/jp2', `0000000c${ascii('jP  ')}`],
  [
    'video/mp4',
    ...['isom', 'iso2', 'mp41', 'mp42', 'avc1'].map((brand) => `........${ascii(`ftyp${brand}`)}`),
  ],
  ['application/pdf', ascii('%PDF-')],
];

const PATTERNS = BEGINNINGS.map(
  ([type, ...beginnings]) => [type, new RegExp(`^(?:${beginnings.join('|')})`)] as const,
);

/** The type of a file by its first bytes: neither its name nor its sender is believed. */
export function typeOfFile(beginning: Uint8Array): string {
  const digits = Buffer.from(beginning.subarray(0, TELLING_BYTES)).toString('hex');
  return PATTERNS.find(([, pattern]) => pattern.test(digits))?.[0] ?? UNKNOWN_TYPE;
}

/** The pictures among the types that are known. */
export const IMAGE_TYPES: readonly string[] = BEGINNINGS.map(([type]) => type).filter((type) =>
  type.startsWith('image/'),
);
