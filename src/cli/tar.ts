// Files as one archive in the old, plain form of tar (ustar), which every system unpacks.

const BLOCK_BYTES = 512;
const NAME_BYTES_MAX = 100;

/** An archive of texts. Names are relative, with at most 100 bytes. */
export function tarOf(files: ReadonlyMap<string, string>, seconds: number): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const [name, text] of files) {
    const content = Buffer.from(text, 'utf8');
    parts.push(
      headerOf(name, content.length, seconds),
      content,
      new Uint8Array((BLOCK_BYTES - (content.length % BLOCK_BYTES)) % BLOCK_BYTES),
    );
  }
  return Buffer.concat([...parts, new Uint8Array(2 * BLOCK_BYTES)]);
}

function headerOf(name: string, size: number, seconds: number): Uint8Array {
  const header = Buffer.alloc(BLOCK_BYTES);
  if (Buffer.byteLength(name) > NAME_BYTES_MAX) throw new RangeError(`a name in an archive has at most ${NAME_BYTES_MAX} bytes: ${name}`);
  const octal = (value: number, digits: number): string => `${value.toString(8).padStart(digits, '0')}\0`;
  header.write(name, 0);
  header.write(octal(0o600, 7), 100);
  header.write(octal(0, 7) + octal(0, 7), 108);
  header.write(octal(size, 11) + octal(seconds, 11), 124);
  header.write(' '.repeat(8), 148);
  header.write('0', 156);
  header.write('ustar\u000000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${octal(sum, 6)} `, 148);
  return header;
}
