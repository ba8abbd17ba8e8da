// Where connections are accepted and made.

/** Where to listen or connect to: TCP, or a local socket by its path. */
export type StreamAddress = { readonly host: string; readonly port: number } | { readonly path: string };

/** An address as people write it. */
export function addressText(address: StreamAddress): string {
  if ('path' in address) return `unix:${address.path}`;
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}
