// The way to a site's daemon. On the site's own machine that is its socket. From anywhere else it is `remote_control`, with a certificate: that of an
// administrator where this user has one, or else that of the site whose key can be read here, which is enough for looking.

import { ControlClient, type ControlTls, RemoteError } from '../api/client.ts';
import type { DaemonStatus } from '../api/schema.ts';
import { TercetError } from '../core/base/errors.ts';

type Config = import('../daemon/config.ts').Config;
type SiteConfig = import('../daemon/config.ts').SiteConfig;
type TlsMaterial = import('../host/tls-material.ts').TlsMaterial;

/** A daemon that was found, and what it said when it was. */
export interface Reached {
  readonly client: ControlClient;
  readonly status: DaemonStatus;
}

/** Ways to the sites of one configuration. */
export class Reach {
  readonly #config: Config;
  readonly #env: Readonly<Record<string, string | undefined>>;
  #material: Promise<TlsMaterial | null> | null = null;

  constructor(config: Config, env: Readonly<Record<string, string | undefined>>) {
    this.#config = config;
    this.#env = env;
  }

  /** Finds the daemon of a site. Throws TERCET_UNREACHABLE, TERCET_TLS, or what the daemon says is wrong. */
  async site(site: SiteConfig): Promise<Reached> {
    const here = new ControlClient(site.control);
    let refused: TercetError;
    try {
      const status = await here.status();
      if (status.site === site.name) return { client: here, status };
      refused = unreachable(
        site.name,
        site.control.text,
        `site ${status.site} answers there; run this command on the machine of ${site.name}`,
      );
    } catch (error) {
      if (!(error instanceof TercetError)) throw error;
      refused = error;
    }
    if (site.remoteControl === null) throw refused;
    const client = new ControlClient(site.remoteControl, { tls: await this.#tlsTo(site.name) });
    const status = await client.status();
    if (status.site === site.name) return { client, status };
    throw unreachable(site.name, site.remoteControl.text, `site ${status.site} answers there`);
  }

  /** The same, or what is wrong as an error that can be shown. */
  async try(site: SiteConfig): Promise<Reached | TercetError | RemoteError> {
    try {
      return await this.site(site);
    } catch (error) {
      if (error instanceof TercetError || error instanceof RemoteError) return error;
      throw error;
    }
  }

  async #tlsTo(site: string): Promise<ControlTls | undefined> {
    this.#material ??= this.#load();
    const material = await this.#material;
    if (material === null) return undefined;
    const { tlsClientOptions, tlsReason } = await import('../host/tls-stream.ts');
    return { options: tlsClientOptions(material, { kind: 'site', name: site }), reasonOf: tlsReason };
  }

  async #load(): Promise<TlsMaterial | null> {
    const { tlsFilesOf } = await import('../daemon/config.ts');
    const { canRead, machineTls } = await import('../daemon/machine-tls.ts');
    const { TlsMaterial: Material } = await import('../host/tls-material.ts');
    const files = tlsFilesOf(this.#config, 'admin');
    if (files === null) return null;
    const { TERCET_ADMIN_CERT: cert, TERCET_ADMIN_KEY: key } = this.#env;
    if (cert !== undefined && key !== undefined) return new Material({ ca: files.ca, cert, key }, { kind: 'admin', name: '' });
    // `tercet cert issue --admin` makes admin.crt and admin.key, which lie where {site} stands for a site's name.
    return canRead(files.key) ? new Material(files, null) : machineTls(this.#config);
  }
}

function unreachable(site: string, address: string, reason: string): TercetError {
  return new TercetError('TERCET_UNREACHABLE', { what: `the daemon of ${site}`, address, reason });
}
