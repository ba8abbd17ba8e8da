// Where something listens, as people write it: "10.0.0.1:7410", "[::1]:7410", "localhost:7410" or "unix:/run/tercet/control.sock".

/** A TCP host and port, or the path of a unix socket. `text` is what was written. */
export type Address =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number; readonly text: string }
  | { readonly kind: 'unix'; readonly path: string; readonly text: string };

/** Outcome of reading an address: the address, or what is wrong with it as the rest of a sentence that begins "must be". */
export type AddressReading = { readonly address: Address } | { readonly wrong: string };

const UNIX = 'unix:';
/** Bytes of a unix socket's path that Linux takes (sun_path without its last zero). */
const UNIX_PATH_BYTES_MAX = 107;
const TCP_FORM = /^(?:\[([0-9A-Fa-f:.]+)\]|([0-9A-Za-z._-]+)):([0-9]{1,5})$/;

/** Reads HOST:PORT (an IPv6 host in brackets) or unix:PATH. The path is absolute. */
export function readAddress(text: string): AddressReading {
  if (text.startsWith(UNIX)) return readUnix(text);
  const match = TCP_FORM.exec(text);
  if (match === null) return { wrong: 'HOST:PORT, such as "127.0.0.1:7400" or "[::1]:7400", or unix:/PATH' };
  const port = Number(match[3]);
  if (port < 1 || port > 65_535) return { wrong: 'HOST:PORT with a port from 1 to 65535' };
  return { address: { kind: 'tcp', host: match[1] ?? match[2] ?? '', port, text } };
}

function readUnix(text: string): AddressReading {
  const path = text.slice(UNIX.length);
  if (!path.startsWith('/')) return { wrong: 'unix: and an absolute path, such as "unix:/run/tercet/control.sock"' };
  if (new TextEncoder().encode(path).length > UNIX_PATH_BYTES_MAX) {
    return { wrong: `unix: and a path of at most ${UNIX_PATH_BYTES_MAX} bytes: the system takes no longer one for a socket` };
  }
  return { address: { kind: 'unix', path, text } };
}

/** Whether only programs on this machine can connect to it. A name other than "localhost" counts as reachable from elsewhere. */
export function isLocal(address: Address): boolean {
  return address.kind === 'unix' || address.host === 'localhost' || address.host === '::1' || /^127(\.[0-9]{1,3}){3}$/.test(address.host);
}
