// Who may use the control API from another machine, by certificate: an administrator everything; a site of the installation looks only.

import type { Caller, CallerCheck } from '../api/remote.ts';
import { identityText } from '../host/tls-identity.ts';
import type { TlsMaterial } from '../host/tls-material.ts';
import { followMaterial, peerIdentity, tlsServerOptions } from '../host/tls-stream.ts';

const MAY = { admin: 'order', site: 'look', witness: 'nothing', client: 'nothing' } as const;

/** Knows callers by certificates of the authorities that a site trusts. */
export function callersBy(material: TlsMaterial): CallerCheck {
  return {
    tls: tlsServerOptions(material),
    follow: (server) => followMaterial(server, material),
    caller: (socket): Caller => {
      const identity = peerIdentity(socket);
      if (identity === null) return { who: 'nobody of Tercet', may: 'nothing', groups: null };
      return { who: identityText(identity), may: MAY[identity.kind], groups: identity.groups };
    },
  };
}
