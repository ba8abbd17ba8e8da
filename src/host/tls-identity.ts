// Who a certificate speaks for. The name is in the subject alternative names, as a URI, because that is what no two authorities read
// differently: tercet://site/near, tercet://witness, tercet://admin, tercet://client/db1; and tercet://group/db for each group that it is
// limited to. Host names and addresses in a certificate are for NBD clients; sites and the witness are known by their URI alone.

import type { X509Certificate } from 'node:crypto';

/** What a certificate's holder is. */
export type IdentityKind = 'site' | 'witness' | 'admin' | 'client';

/** The holder of a certificate. */
export interface TlsIdentity {
  readonly kind: IdentityKind;
  /** Of the site or client; empty for a witness and an administrator. */
  readonly name: string;
  /** The only groups that it may speak about; null for all. */
  readonly groups: readonly string[] | null;
}

const NAME = '[a-z0-9-]{1,32}';
const HOLDER = new RegExp(`^tercet://(?:(site|client)/(${NAME})|(witness|admin))$`);
const GROUP = new RegExp(`^tercet://group/(${NAME})$`);

/** The URIs that say so in a certificate. */
export function identityUris({ kind, name, groups }: TlsIdentity): readonly string[] {
  const holder = kind === 'site' || kind === 'client' ? `tercet://${kind}/${name}` : `tercet://${kind}`;
  return [holder, ...(groups ?? []).map((group) => `tercet://group/${group}`)];
}

/** Who a certificate speaks for; null when it names nobody of Tercet, or more than one. */
export function readIdentity(certificate: Pick<X509Certificate, 'subjectAltName'>): TlsIdentity | null {
  const uris = [...(certificate.subjectAltName ?? '').matchAll(/(?:^|, )URI:([^,"]*)/g)].map((match) => match[1] ?? '');
  const ours = uris.filter((uri) => uri.startsWith('tercet:'));
  const holders = ours.flatMap((uri) => {
    const match = HOLDER.exec(uri);
    return match === null ? [] : [{ kind: (match[1] ?? match[3]) as IdentityKind, name: match[2] ?? '' }];
  });
  const groups = ours.flatMap((uri) => GROUP.exec(uri)?.[1] ?? []);
  const [holder] = holders;
  // A URI of ours that means nothing here could be a limit that this version does not know.
  if (holder === undefined || holders.length > 1 || holders.length + groups.length !== ours.length) return null;
  return { ...holder, groups: groups.length === 0 ? null : groups };
}

/** The same for people: 'site near (groups db)'. */
export function identityText({ kind, name, groups }: TlsIdentity): string {
  const holder = { site: `site ${name}`, client: `client ${name}`, witness: 'the witness', admin: 'an administrator' }[kind];
  return groups === null ? holder : `${holder} (for ${groups.join(', ')} only)`;
}

/** Whether a holder may speak about a group. */
export function coversGroup(identity: TlsIdentity, group: string): boolean {
  return identity.groups === null || identity.groups.includes(group);
}
