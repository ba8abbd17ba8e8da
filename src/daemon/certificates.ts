// Watches over the certificates of a process that runs for months: says so in time when they are about to expire, and reads them again when it
// is told to (SIGHUP, reload), without ending a connection.

import { TercetError } from '../core/base/errors.ts';
import type { Journal } from '../core/base/ports.ts';
import type { TlsMaterial, TlsStatus } from '../host/tls-material.ts';

/** How often the date is looked at. */
const LOOK_MILLIS = 3_600_000;
/** As long as a warning stays the same, it is told again after so long. */
const REMIND_MILLIS = 24 * 3_600_000;

/** What came of reading the files again. `sound` false: they have faults, and others stay in use. `text`: a sentence of what happened. */
export interface ReadAgain {
  readonly sound: boolean;
  readonly text: string;
}

/** The certificates of one process. */
export class CertificateWatch {
  readonly #material: TlsMaterial;
  readonly #journal: Journal;
  readonly #timer: NodeJS.Timeout;
  /** Others of this process who have read the same files, and read them again after this one. */
  also: () => void = () => {};
  #toldAt = -Infinity;

  constructor(material: TlsMaterial, journal: Journal) {
    this.#material = material;
    this.#journal = journal;
    this.#look();
    this.#timer = setInterval(() => this.#look(), LOOK_MILLIS);
    this.#timer.unref();
  }

  status(): TlsStatus {
    return this.#material.status(Date.now());
  }

  /** Reads the files again. What was in use stays in use when they are not sound. */
  reload(): ReadAgain {
    try {
      const text = this.#material.reload() ?? 'the certificates are as they were';
      this.also();
      this.#journal('tls.reloaded', { ...this.status() }, text);
      this.#toldAt = -Infinity;
      this.#look();
      return { sound: true, text: [text, this.status().warning].filter((said) => said !== null).join('; ') };
    } catch (error) {
      if (!(error instanceof TercetError)) throw error;
      this.#journal('tls.reload-failed', { code: error.code }, `${error.message}\nthose that were in use stay in use`);
      return { sound: false, text: `${error.message}\nthose that were in use stay in use` };
    }
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const { warning, expiresAt, daysLeft } = this.status();
    const now = performance.now();
    if (warning === null || now - this.#toldAt < REMIND_MILLIS) return;
    this.#toldAt = now;
    this.#journal('tls.expiry', { expiresAt, daysLeft }, warning);
  }
}
